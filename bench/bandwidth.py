"""How near to its bandwidth does TCP come, and what does its burst let through?

``iperf3`` between two endpoints of a node, one of which has a limit: what it sends (egress) or receives
(ingress), over IPv4 and IPv6, with the burst that Kinety gives. What passes before the first burst is used up
is left out. A goal has one side: it is about how far off the rate is, in percent of it.

Beside that, what much smaller bursts leave of 100 Mbit/s: the reason for the default (docs/decisions/0031).
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.figure import Figure, Goal
from bench.load import tool
from bench.wire import inside, namespace, spawn
from kinety.datapath.cleanup import cleanup
from kinety.datapath.datapath import Datapath
from kinety.datapath.interface import Shape
from kinety.datapath.settings import Settings
from kinety.kernel.namespace import Namespace
from kinety.model.address import pack_address
from kinety.model.bandwidth import Bandwidth, Rate
from kinety.model.endpoint import Endpoint, EndpointId
from kinety.model.identity import Identity
from kinety.plan.change import Change, EndpointPlan, Snapshot
from kinety.testing.wait import wait_until

MEGABIT = 10**6
RATES, QUICK_RATES = (10, 100, 1000), (100,)
BURST_MILLISECONDS = (20, 100, 250)
SECONDS, QUICK_SECONDS, SETTLE_SECONDS = 5, 1, 2
PORT, START_SECONDS = "5201", 10.0
PLAIN, LIMITED = EndpointId(1), EndpointId(2)
ADDRESSES = {4: ("10.240.0.2", "10.240.0.3"), 6: ("fd00:240::2", "fd00:240::3")}
WAYS = ("egress", "ingress")


@dataclass(frozen=True, slots=True)
class Pair:
    """Two endpoints of a node, the second of which has a limit."""

    plain: Namespace
    limited: Namespace

    def megabits(self, way: str, family: int, seconds: int) -> float:
        """Megabits a second that TCP gets through, in the direction that is limited."""
        sender, receiver = (self.limited, self.plain) if way == "egress" else (self.plain, self.limited)
        address = ADDRESSES[family][1 if way == "ingress" else 0]
        times = "--time", str(seconds), "--omit", str(SETTLE_SECONDS)
        with spawn(receiver, tool("iperf3"), "--server", "--port", PORT):
            wait_until(lambda: _listens(receiver), START_SECONDS, "iperf3 listens")
            command = tool("iperf3"), "--client", address, "--port", PORT, "--json", *times
            done = subprocess.run(inside(sender, *command), capture_output=True, text=True, check=True)
        return float(json.loads(done.stdout)["end"]["sum_received"]["bits_per_second"]) / MEGABIT


def run(quick: bool = False) -> list[Figure]:
    """Throughput beside the rate, how far off it is at worst, and what small bursts leave."""
    seconds = QUICK_SECONDS if quick else SECONDS
    figures, off = [], 0.0
    for rate in QUICK_RATES if quick else RATES:
        for way in WAYS:
            with pair(way, Rate.of(rate * MEGABIT)) as built:
                for family in ADDRESSES:
                    got = built.megabits(way, family, seconds)
                    off = max(off, abs(got / rate - 1) * 100)
                    name = f"TCP at {rate} Mbit/s, {way}, IPv{family}"
                    figures.append(Figure(name, got, "Mbit/s", "the rate", rate))
    figures.append(Figure("furthest from the rate", off, "%", goal=Goal("value", "<=", 10)))
    for milliseconds in () if quick else BURST_MILLISECONDS:
        with pair("egress", Rate.of(100 * MEGABIT, 100 * MEGABIT * milliseconds // 1000)) as built:
            name = f"TCP at 100 Mbit/s, with a burst of {milliseconds} ms"
            figures.append(Figure(name, built.megabits("egress", 4, seconds), "Mbit/s", "the rate", 100))
    return figures


@contextmanager
def pair(way: str, rate: Rate) -> Iterator[Pair]:
    """A node with the two endpoints, without policy; removed again."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        space, plain, limited = (stack.enter_context(namespace(role)) for role in ("node", "pod", "pod"))
        settings = Settings(pins=folder / "bpf")
        stack.callback(space.call, cleanup, settings)
        datapath = space.call(Datapath.open, settings)
        stack.callback(datapath.close)
        space.call(datapath.restore, Snapshot({}, {}, {}, {}, {}), ())
        limit = Shape(bandwidth=Bandwidth(**{way: rate}))
        for number, pod, shape in ((PLAIN, plain, Shape()), (LIMITED, limited, limit)):
            space.call(datapath.attach, endpoint(number), pod, "eth0", shape)
        own = Identity(1000)
        plans = {number: EndpointPlan(own, None, None, own, own) for number in (PLAIN, LIMITED)}
        space.call(datapath.apply, Change(endpoints=plans))
        yield Pair(plain, limited)


def endpoint(number: EndpointId) -> Endpoint:
    ipv4, ipv6 = (pack_address(ADDRESSES[family][number - 1]) for family in (4, 6))
    return Endpoint(number, "default", f"pod-{number}", frozenset(), ipv4, ipv6)


def _listens(space: Namespace) -> bool:
    """Whether somebody listens on the port, by either family. Source: proc_net_tcp(5)."""
    tables = (Path("/proc/thread-self/net/tcp"), Path("/proc/thread-self/net/tcp6"))
    lines = space.call(lambda: [line for table in tables for line in table.read_text().splitlines()])
    return any(f":{int(PORT):04X} " in line and " 0A " in line for line in lines)
