"""The proxy's end of the link with the agent: it calls the agent, again and again while there is none."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

from kinety.model.name import Answer
from kinety.proxy.dns import frame
from kinety.proxy.dns.outbox import Outbox
from kinety.proxy.dns.service import Denied

log = logging.getLogger(__name__)

#: Seconds between calls for an agent that is away; a restarted one need not wait long.
_PAUSE = 0.05
#: Seconds for which denials are gathered, and how many are told of them; the rest is counted.
_GATHER, _MOST_DENIALS = 0.1, 200
#: Bytes that may wait for the agent before it counts as away.
_MOST_UNREAD = 1 << 24

#: Does what an order says and returns a value. Raises OSError or ValueError for what cannot be done.
Obey = Callable[[frame.Value], Awaitable[object]]


class AgentLink:
    """The connection to the agent's socket."""

    def __init__(self, path: Path, obey: Obey, attend: Callable[[bool], None]) -> None:
        """``attend`` is told when an agent has given its state, and when it is gone."""
        self._path, self._obey, self._attend = path, obey, attend
        self._writer: asyncio.StreamWriter | None = None
        self._outbox: Outbox | None = None
        self._denied: list[Denied] = []
        self._lost = 0

    async def run(self) -> None:
        """Speak with whichever agent is there."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._report())
            while True:
                try:
                    reader, writer = await asyncio.open_unix_connection(self._path)
                except OSError:
                    await asyncio.sleep(_PAUSE)
                    continue
                try:
                    await self._speak(reader, writer)
                except (OSError, EOFError):
                    log.info("the agent is away")
                except (ValueError, TypeError, KeyError) as error:
                    log.error("the agent says what nobody understands: %r", error)
                await asyncio.sleep(_PAUSE)

    def tell(self, number: int, answer: Answer) -> bool:
        """Tell the agent of an answer. False when there is none, or it does not listen."""
        addresses = [[str(address), seconds] for address, seconds in answer.addresses]
        told = {"name": answer.name, "chain": answer.chain, "addresses": addresses}
        return self._send({"answer": number, "client": str(answer.client), **told})

    def deny(self, denied: Denied) -> None:
        """Tell the agent, soon, of a denial."""
        if self._writer is None or len(self._denied) >= _MOST_DENIALS:
            self._lost += 1
        else:
            self._denied.append(denied)

    async def _speak(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writer, self._outbox = writer, Outbox(writer)
        attended = False
        try:
            while True:
                order = await frame.receive(reader)
                await self._follow(order)
                if not attended and "state" in order:
                    attended = True
                    log.info("an agent is there")
                    self._attend(True)
        finally:
            self._writer = self._outbox = None
            self._attend(False)
            writer.close()

    async def _follow(self, order: frame.Value) -> None:
        if "serial" not in order:
            await self._obey(order)
            return
        done: frame.Value = {"done": order["serial"], "error": None}
        try:
            done["value"] = await self._obey(order)
        except (OSError, ValueError) as error:
            done["error"] = str(error)
        self._send(done)

    def _send(self, value: frame.Value) -> bool:
        writer, outbox = self._writer, self._outbox
        if writer is None or outbox is None or writer.is_closing():
            return False
        if writer.transport.get_write_buffer_size() > _MOST_UNREAD:
            log.warning("the agent does not listen")
            writer.transport.abort()
            return False
        outbox.put(value)
        return True

    async def _report(self) -> None:
        while True:
            await asyncio.sleep(_GATHER)
            if self._denied or (self._lost and self._writer):
                rows = [
                    [each.listener, *each.client, *each.server, each.protocol, each.name, each.kind, each.why]
                    for each in self._denied
                ]
                self._send({"denied": rows, "lost": self._lost})
                self._denied.clear()
                self._lost = 0
