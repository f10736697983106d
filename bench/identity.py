"""What does a new identity cost on a node with 1000 policies and 100 endpoints?

The engine and the datapath in this process, on a real kernel: an endpoint with labels nobody had before
becomes known, first to an application that policies name, and its identity must be told apart from the
next packet on. Counted are the datapath's writes to policy maps; measured is the time from the fact to
the realised change. The baseline is the same engine and datapath given the whole plan again.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

from bench.figure import Figure, Goal, median, percentile, spread
from bench.policy_apply import document
from bench.wire import namespace
from kinety.datapath.cleanup import cleanup
from kinety.datapath.datapath import Datapath
from kinety.datapath.settings import Settings
from kinety.model.address import pack_address
from kinety.model.endpoint import Endpoint, EndpointId
from kinety.model.label import Label
from kinety.plan.engine import Engine
from kinety.plan.fact import EndpointUpserted, PolicyUpserted
from kinety.policy.document import Document
from kinety.policy.parse import parse_policies

POLICIES, ENDPOINTS, APPLICATIONS = 1000, 100, 100
IDENTITIES, QUICK_IDENTITIES = 300, 10
RESTORES, QUICK_RESTORES = 10, 2


@dataclass(frozen=True, slots=True)
class Cost:
    """Milliseconds and writes of each new identity, and milliseconds of each whole plan."""

    milliseconds: list[float]
    writes: list[int]
    whole: list[float]


def run(quick: bool = False) -> list[Figure]:
    """Map writes (each identity's, the worst), and the time's median and 99th percentile."""
    with namespace("node") as space, tempfile.TemporaryDirectory(prefix="bench-") as folder:
        cost = space.call(measured, Path(folder) / "bpf", quick)
    whole = median(cost.whole)
    title, baseline = "new identity", "the whole plan again"
    times = spread(cost.milliseconds)
    p99 = percentile(cost.milliseconds, 99)
    return [
        Figure(f"{title}, policy map writes", max(cost.writes), "writes", goal=Goal("value", "==", 1)),
        Figure(f"{title}, P50", median(cost.milliseconds), "ms", baseline, whole, spread=times),
        Figure(f"{title}, P99", p99, "ms", baseline, whole, spread=times, goal=Goal("value", "<=", 5.0)),
    ]


def measured(pins: Path, quick: bool) -> Cost:
    """Runs inside the node's namespace."""
    settings = Settings(pins=pins)
    engine = Engine()
    datapath = Datapath.open(settings)
    try:
        datapath.restore(engine.snapshot(), ())
        text = "---\n".join(policy(number) for number in range(POLICIES))
        policies = parse_policies([Document("bench.yaml", text)])
        known = [endpoint(number, number % APPLICATIONS) for number in range(ENDPOINTS)]
        datapath.apply(
            engine.change([*map(PolicyUpserted, policies), *(EndpointUpserted(each) for each in known)])
        )
        cost = Cost([], [], [])
        for number in range(ENDPOINTS, ENDPOINTS + (QUICK_IDENTITIES if quick else IDENTITIES)):
            milliseconds, writes = appear(engine, datapath, endpoint(number, number % APPLICATIONS))
            cost.milliseconds.append(milliseconds)
            cost.writes.append(writes)
        for _ in range(QUICK_RESTORES if quick else RESTORES):
            cost.whole.append(whole_plan(engine, datapath))
    finally:
        datapath.close()
        cleanup(settings)
    return cost


def appear(engine: Engine, datapath: Datapath, new: Endpoint) -> tuple[float, int]:
    """Milliseconds and map writes until the datapath knows an identity that was just made."""
    before = datapath.statistics().writes
    started = time.perf_counter()
    datapath.apply(engine.change([EndpointUpserted(new)]))
    took = time.perf_counter() - started
    return took * 1e3, datapath.statistics().writes - before


def whole_plan(engine: Engine, datapath: Datapath) -> float:
    """Milliseconds to compare everything with the kernel, which holds it already."""
    started = time.perf_counter()
    datapath.restore(engine.snapshot(), ())
    return (time.perf_counter() - started) * 1e3


def endpoint(number: int, application: int) -> Endpoint:
    labels = frozenset(
        Label.parse(text)
        for text in (
            f"k8s:app=app-{application}",
            f"k8s:replica=r{number}",
            "k8s:io.kubernetes.pod.namespace=default",
        )
    )
    address = pack_address(IPv4Address("10.240.0.0") + 2 + number)
    return Endpoint(EndpointId(number + 1), "default", f"pod-{number}", labels, address, None)


def policy(number: int) -> str:
    """Ten policies an application; each lets in another application on a port of its own."""
    application, peer = number % APPLICATIONS, (number * 7 + number // APPLICATIONS) % APPLICATIONS
    return document(f"policy-{number}", f"app: app-{application}", peer, 8000 + number // APPLICATIONS)
