"""What does the DNS proxy cost, and how many questions a second does it take?

A client asks a name server through a node that forwards, and then through the proxy on that node, which is
redirected to by nftables; the two alternate in one run. Answers a second, when the client asks as fast as
answers come (64 under way); the time of an answer at ten thousand questions a second, all three processes on
the same processors; and both again when the agent must have an answer's addresses first.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from bench.figure import Figure, Goal, compare, median, spread
from bench.wire import inside, spawn
from kinety.model.layer7 import Layer7Id, NamePattern
from kinety.proxy.dns import Answer, DnsProxy, DnsSettings, Listener
from kinety.testing.redirected import SERVER, Redirected, redirected
from kinety.testing.wait import wait_until

T = TypeVar("T")

PORT, RATE, NEW_RATE = 10007, 10_000, 1000
ROUNDS, QUICK_ROUNDS, SECONDS, QUICK_SECONDS = 5, 1, 1.5, 0.3
#: Names that are asked for in turn: every one remembered; and more than ever are, as in a crawl.
FEW, MANY = 1000, 1_000_000
RULES, PATTERN = Layer7Id("bench"), NamePattern("*.example.com")
START_SECONDS = 5.0
WAYS = ("direct", "proxy")


@dataclass(frozen=True, slots=True)
class Load:
    """What a client saw: answers a second, the part of its questions that was lost, milliseconds."""

    rate: float
    lost: float
    p50: float
    p99: float


def run(quick: bool = False) -> list[Figure]:
    """Answers a second, and what is added to their time."""
    rounds, seconds = (QUICK_ROUNDS, QUICK_SECONDS) if quick else (ROUNDS, SECONDS)
    figures: list[Figure] = []
    with node() as (world, agent):
        cases = ("", FEW, 4), (", IPv6", FEW, 6), (", every name new", MANY, 4)
        pid = agent.pid
        for what, names, family in cases[:1] if quick else cases:
            figures += fast(world, pid, f"DNS{what}", names, family, rounds, seconds)
            figures += paced(world, f"DNS{what}", names, family, RATE, rounds, seconds)
        agent.watch()
        if not quick:
            figures += fast(world, pid, "DNS, watched", FEW, 4, rounds, seconds)
            figures += paced(world, "DNS, watched", FEW, 4, RATE, rounds, seconds)
        figures += paced(world, "DNS, watched, every name new", MANY, 4, NEW_RATE, rounds, seconds)
    return figures


def fast(
    world: Redirected, pid: int, name: str, names: int, family: int, rounds: int, seconds: float
) -> list[Figure]:
    """As many as there can be, both ways in turn; and the proxy's processor time, whoever else is busy."""
    before = processor_seconds(pid)
    loads = alternating(world, names, family, 0, rounds, seconds)
    spent = processor_seconds(pid) - before
    rates = {way: [each.rate for each in loads[way]] for way in WAYS}
    goal = Goal("value", ">=", RATE)
    return [
        compare(f"{name}: answers", "1/s", rates["proxy"], "direct", rates["direct"], goal),
        Figure(f"{name}: the proxy's processor time", spent / sum(rates["proxy"]) / seconds * 1e6, "µs"),
    ]


def processor_seconds(pid: int) -> float:
    """Seconds of a processor that a process has used. Source: proc(5)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def paced(
    world: Redirected, name: str, names: int, family: int, rate: int, rounds: int, seconds: float
) -> list[Figure]:
    """So many a second, both ways in turn: what is lost, and what is added to an answer's time."""
    loads = alternating(world, names, family, rate, rounds, seconds)
    lost = median([each.lost for each in loads["proxy"]]) * 100
    figures = [Figure(f"{name}: lost at {rate}/s", lost, "%", goal=Goal("value", "<=", 0.1))]
    for part, limit in (("p50", None), ("p99", Goal("value", "<=", 5))):
        added = [
            getattr(slow, part) - getattr(plain, part)
            for plain, slow in zip(loads["direct"], loads["proxy"], strict=True)
        ]
        what = f"{name}: added at {rate}/s, {part}"
        figures.append(Figure(what, median(added), "ms", spread=spread(added), goal=limit))
    return figures


def alternating(
    world: Redirected, names: int, family: int, rate: int, rounds: int, seconds: float
) -> dict[str, list[Load]]:
    """Loads without and with the proxy, next to each other."""
    loads: dict[str, list[Load]] = {way: [] for way in WAYS}
    for _ in range(rounds):
        for way in WAYS:
            world.redirect(PORT) if way == "proxy" else world.direct()
            words = "ask", SERVER[family], str(rate), str(seconds), str(names)
            command = inside(world.client, sys.executable, "-m", "bench.dns_load", *words)
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            loads[way].append(Load(**json.loads(done.stdout)))
    return loads


class Agent:
    """The agent's side, on a thread in the node's namespace. It learns at once whatever it hears of."""

    def __init__(self, world: Redirected, directory: Path) -> None:
        self._proxy = DnsProxy(DnsSettings(directory), learn, lambda _: None)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=lambda: world.node.call(self._loop.run_forever))
        self._thread.start()
        self._running = asyncio.run_coroutine_threadsafe(self._proxy.run(), self._loop)

    def serve(self) -> None:
        """Have a listener for the names that are asked for."""
        self._do(self._proxy.put({RULES: Listener(PORT, (PATTERN,))}))

    def watch(self) -> None:
        """Hear of every answer, before the client does."""
        self._do(self._proxy.watch(frozenset((PATTERN,))))

    def close(self) -> None:
        """Go, and take the proxy along."""
        self._running.cancel()
        self._do(self._proxy.end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def pid(self) -> int:
        """The proxy's process."""
        found = self._do(self._proxy.status()).pid
        assert found is not None, "it serves"
        return found

    def _do(self, order: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(order, self._loop).result(START_SECONDS)


async def learn(_: Answer) -> bool:
    return True


@contextlib.contextmanager
def node() -> Iterator[tuple[Redirected, Agent]]:
    """A client, a node with the proxy, and name servers of both families."""
    with contextlib.ExitStack() as stack:
        world = stack.enter_context(redirected())
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="kinety-"))
        for address in SERVER.values():
            stack.enter_context(spawn(world.server, sys.executable, "-m", "bench.dns_load", "serve", address))
        agent = Agent(world, Path(directory))
        stack.callback(agent.close)
        agent.serve()
        wait_until(lambda: world.server.call(listening), START_SECONDS, "the name servers listen")
        yield world, agent


def listening() -> bool:
    """Whether something is bound to the port of DNS in both families, in this thread's namespace."""
    tables = (Path(f"/proc/thread-self/net/{name}").read_text() for name in ("udp", "udp6"))
    return all(":0035 " in table for table in tables)
