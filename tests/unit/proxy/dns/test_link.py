"""The proxy's end of the link, with agents that come, go and talk nonsense."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from ipaddress import ip_address
from pathlib import Path

import pytest

from kinety.model.layer7 import Layer7Id
from kinety.model.name import Answer
from kinety.proxy.dns import frame
from kinety.proxy.dns.link import AgentLink
from kinety.proxy.dns.question import Why
from kinety.proxy.dns.service import Denied
from kinety.proxy.dns.transparent import Place

SOON = 5.0
ANSWER = Answer("a.org", ((ip_address("192.0.2.1"), 60),), ("b.org",), ip_address("10.0.0.1"))
DENIED = Denied(
    Layer7Id("x"), Place("10.0.0.1", 5), Place("10.0.0.2", 53), socket.IPPROTO_UDP, "c.org", 1, Why.NAME
)


class Agents:
    """Whoever listens on the socket; each connection is given to the next agent."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.came: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()

    async def serve(self) -> None:
        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self.came.put((reader, writer))

        await asyncio.start_unix_server(accept, self.path)


def played(tmp_path: Path, story: Callable[[Played], Awaitable[None]]) -> None:
    async def play() -> None:
        made = Played(tmp_path / "agent.sock")
        await made.agents.serve()
        task = asyncio.create_task(made.link.run())
        async with asyncio.timeout(SOON):
            await story(made)
        task.cancel()

    asyncio.run(play())


class Played:
    """A link, what it was ordered, and whether an agent is there."""

    def __init__(self, path: Path) -> None:
        self.orders: list[frame.Value] = []
        self.attended: list[bool] = []
        self.agents = Agents(path)
        self.link = AgentLink(path, self._obey, self.attended.append)

    async def _obey(self, order: frame.Value) -> object:
        if "wrong" in order:
            raise ValueError("that is wrong")
        self.orders.append(order)
        return len(self.orders)


def test_orders_are_acknowledged_with_their_outcome(tmp_path: Path) -> None:
    async def story(played: Played) -> None:
        reader, writer = await played.agents.came.get()
        for order in ({"serial": 1, "state": {}}, {"serial": 2, "wrong": 1}, {"known": 3}, {"serial": 4}):
            writer.write(frame.encode(order))
        assert await frame.receive(reader) == {"done": 1, "error": None, "value": 1}
        assert await frame.receive(reader) == {"done": 2, "error": "that is wrong"}
        assert await frame.receive(reader) == {"done": 4, "error": None, "value": 3}
        assert played.orders[1] == {"known": 3}
        assert played.attended == [True]

    played(tmp_path, story)


def test_answers_and_denials_are_told(tmp_path: Path) -> None:
    async def story(played: Played) -> None:
        assert not played.link.tell(1, ANSWER)
        played.link.deny(DENIED)
        reader, writer = await played.agents.came.get()
        writer.write(frame.encode({"serial": 1, "state": {}}))
        await frame.receive(reader)
        for _ in range(300):
            played.link.deny(DENIED)
        assert played.link.tell(2, ANSWER)
        told = [await frame.receive(reader) for _ in range(2)]
        row = ["x", "10.0.0.1", 5, "10.0.0.2", 53, 17, "c.org", 1, "name"]
        assert {"denied": [row] * 200, "lost": 101} in told
        answer = {"name": "a.org", "chain": ["b.org"], "addresses": [["192.0.2.1", 60]]}
        assert {"answer": 2, "client": "10.0.0.1", **answer} in told

    played(tmp_path, story)


@pytest.mark.parametrize("nonsense", [b"", b"\0\0\0\2[]", b"\0\0\0\1{", b"\xff\xff\xff\xff", b"\0\0\0\5{}"])
def test_an_agent_that_goes_or_talks_nonsense_is_followed_by_another(tmp_path: Path, nonsense: bytes) -> None:
    async def story(played: Played) -> None:
        for _ in range(2):
            reader, writer = await played.agents.came.get()
            writer.write(frame.encode({"serial": 1, "state": {}}))
            assert (await frame.receive(reader))["error"] is None
            writer.write(nonsense)
            writer.close()
        await played.agents.came.get()
        assert played.attended == [True, False] * 2

    played(tmp_path, story)
