"""How long until Envoy serves one set of rules more, or changed, and how much memory does a set take?

Listeners are put as the agent puts them, three rules each, in front of 1, 100 and 1000 that are there. A time
ends when both loopback addresses accept connections (of a change: when Envoy has confirmed it). Memory is
Envoy's resident set (proc(5), VmRSS), and its baseline the same Envoy without listeners.
"""

from __future__ import annotations

import asyncio
import tempfile
import threading
import time
from collections.abc import Coroutine, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from bench.figure import Figure, median, percentile, spread
from bench.layer7_node import ENVOY
from bench.wire import namespace
from kinety.kernel.namespace import Namespace
from kinety.model.layer7 import HttpRule, Layer7, Layer7Id
from kinety.proxy.envoy.envoy import Envoy
from kinety.proxy.envoy.listener import Listener
from kinety.proxy.envoy.settings import EnvoySettings
from kinety.testing.wait import wait_until

COUNTS, QUICK_COUNTS = (1, 100, 1000), (1, 10)
TURNS, QUICK_TURNS = 50, 3
FIRST_PORT, SOON = 10_000, 10.0

T = TypeVar("T")


class Agent:
    """The agent's side, on a thread in the node's namespace."""

    def __init__(self, node: Namespace, directory: Path) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=lambda: node.call(self._loop.run_forever))
        self._thread.start()
        self._envoy = Envoy(EnvoySettings(str(ENVOY), directory), lambda _: None)
        self._running = self._do(self._begin())
        wait_until(lambda: self._do(self._envoy.status()).version is not None, SOON, "Envoy runs")

    def put(self, numbers: Iterable[int], edition: int = 0) -> float:
        """Have some listeners served; the milliseconds that it takes."""
        wanted = dict(listener(number, edition) for number in numbers)
        began = time.perf_counter()
        self._do(self._envoy.put(wanted))
        return (time.perf_counter() - began) * 1e3

    def remove(self, number: int) -> None:
        self._do(self._envoy.remove([name(number)]))

    def memory(self) -> float:
        """MiB of Envoy's."""
        pid = self._do(self._envoy.status()).pid
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024

    def listeners(self) -> Mapping[Layer7Id, object]:
        """Those that Envoy tells of."""
        return self._do(self._envoy.status()).listeners

    def close(self) -> None:
        """Go, and take Envoy along."""
        self._do(self._finish())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _begin(self) -> asyncio.Task[None]:
        return asyncio.create_task(self._envoy.run())

    async def _finish(self) -> None:
        self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)
        await self._envoy.end()

    def _do(self, order: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(order, self._loop).result(SOON)


def run(quick: bool = False) -> list[Figure]:
    """Milliseconds and MiB, for each number of listeners."""
    counts, turns = (QUICK_COUNTS, QUICK_TURNS) if quick else (COUNTS, TURNS)
    figures: list[Figure] = []
    with agent() as served:
        empty, there = served.memory(), 0
        for count in counts:
            several = count - there
            took = served.put(range(there, count))
            there = count
            figures.append(Figure(f"{named(several)} more at once, {count} in all", took, "ms"))
            if len(served.listeners()) != count:
                raise RuntimeError(f"Envoy tells of {len(served.listeners())} listeners, not {count}")
            memory = served.memory()
            figures.append(Figure(f"Envoy, {named(count)}", memory, "MiB", "without any", empty))
            figures += one_more(served, count, turns)
    return figures


def one_more(served: Agent, count: int, turns: int) -> list[Figure]:
    """One listener more, and a change of the first one, with so many there."""
    added, changed = [], []
    for turn in range(turns):
        added.append(served.put([count]))
        served.remove(count)
        changed.append(served.put([0], edition=turn + 1))
    return [
        Figure(f"{name} with {named(count)}, {part}", value, "ms", spread=spread(times))
        for name, times in (("one more", added), ("one changed", changed))
        for part, value in (("P50", median(times)), ("P99", percentile(times, 99)))
    ]


def named(count: int) -> str:
    return f"{count} rule set{'' if count == 1 else 's'}"


def name(number: int) -> Layer7Id:
    return Layer7Id(f"rules-{number}")


def listener(number: int, edition: int) -> tuple[Layer7Id, Listener]:
    """One of many, no two of which have the same rules."""
    rules = (
        HttpRule("GET", f"/v{edition}/{number}/.*"),
        HttpRule("POST", f"/v{edition}/{number}/land"),
        HttpRule("GET|HEAD", "/public/.*", "example[.]org"),
    )
    return name(number), Listener(FIRST_PORT + number, Layer7(http=rules), (f"policy-{number}",))


@contextmanager
def agent() -> Iterator[Agent]:
    """An Envoy in a namespace of its own."""
    with ExitStack() as stack:
        node = stack.enter_context(namespace("node"))
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="kinety-"))
        served = Agent(node, Path(directory))
        stack.callback(served.close)
        yield served
