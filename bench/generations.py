"""What does an endpoint's program cost, by generation, and what does libbpf make of the same job?

A thousand interfaces wait in a node's namespace, each with its row. For each generation their programs
are made, loaded and attached one endpoint after the other; after 1, 10, 100, 500 and 1000 of them the
cost so far is noted, as the mean of an endpoint: generating (the compiler, patching, filling), loading
(maps, verifier, the machine's code), attaching (two tcx links: a grace period each), and processor time
of this process and its children. Then one constant of the node is changed for all of them. The baseline
is libbpf, which opens the object, fills its ``.rodata`` and loads it for every endpoint, with the same
maps, and attaches nothing. Compiling stops at 100 endpoints: it takes the same time for each.
"""

from __future__ import annotations

import os
import resource
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from bench.figure import Figure, Goal
from bench.libbpf import Library
from bench.wire import namespace
from kinety import abi
from kinety.datapath.cleanup import cleanup
from kinety.datapath.datapath import Datapath
from kinety.datapath.generations.compile import Compile
from kinety.datapath.generations.deployment import Cost, Deployment, Memory
from kinety.datapath.generations.generation import Generation
from kinety.datapath.generations.resident import Resident
from kinety.datapath.generations.rodata import OBJECT, Rodata
from kinety.datapath.generations.symbols import Symbols
from kinety.datapath.generations.values import Values
from kinety.datapath.settings import Settings
from kinety.datapath.template import PROGRAMS, contract_directory, node_constants
from kinety.kernel.map import Map
from kinety.kernel.namespace import Namespace
from kinety.kernel.netlink import Netlink
from kinety.model.address import pack_address
from kinety.plan.change import Capacity, Snapshot

COUNTS, QUICK_COUNTS = (1, 10, 100, 500, 1000), (1, 3)
COMPILED, QUICK_COMPILED = 100, 1
CHANGED, QUICK_CHANGED = 100, 3
GENERATIONS: dict[str, Callable[[], Generation]] = {
    "compile": Compile,
    "symbols": Symbols,
    "rodata": Rodata,
    "resident": Resident,
}
LIBBPF = "libbpf, open + load"
INTERFACES_AT_ONCE = 50
_MS, _KIB = 1e3, 1024


@dataclass(frozen=True, slots=True)
class Stand:
    """What was spent for the first so many endpoints."""

    count: int
    cost: Cost
    cpu: float
    memory: Memory


@dataclass(frozen=True, slots=True)
class Node:
    """A namespace with interfaces that wait for their programs."""

    space: Namespace
    settings: Settings
    maps: dict[str, Map]
    endpoints: Sequence[Values]


def run(quick: bool = False) -> list[Figure]:
    """Figures per endpoint: milliseconds, KiB."""
    counts = QUICK_COUNTS if quick else COUNTS
    compiled, changed = (QUICK_COMPILED, QUICK_CHANGED) if quick else (COMPILED, CHANGED)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # six descriptors an endpoint
    try:
        with node(max(counts)) as built:
            baseline = libbpf(built, counts)
            stands, changes = {}, {}
            for name, build in GENERATIONS.items():
                most = compiled if name == "compile" else max(counts)
                steps = [count for count in counts if count <= most]
                stands[name], changes[name] = built.space.call(
                    partial(deployed, built, build(), steps, min(changed, most))
                )
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return [*per_count(stands, baseline), *splits(stands), *goals(stands), *change_figures(changes)]


def deployed(
    built: Node, generation: Generation, counts: Sequence[int], changed: int
) -> tuple[list[Stand], tuple[int, float]]:
    """Deploy by one generation; what it took at each count, and to change a constant for some of them."""
    stands: list[Stand] = []
    spent, began = Cost(), cpu()
    with Deployment(built.maps, node_constants(built.settings)) as deployment:
        for number, values in enumerate(built.endpoints[: max(counts)], 1):
            spent += deployment.deploy(values, generation)
            if number in counts:
                stands.append(Stand(number, spent, cpu() - began, deployment.memory()))
        for values in built.endpoints[changed : max(counts)]:
            deployment.remove(values.endpoint)
        started = time.perf_counter()
        deployment.change({"config_event_level": 0})
        took = time.perf_counter() - started
    return stands, (min(changed, max(counts)), took)


def libbpf(built: Node, counts: Sequence[int]) -> dict[int, float]:
    """Seconds of opening and loading so many objects by libbpf."""
    library, rodata = Library(), Rodata()
    path = Path(__file__).resolve().parent.parent / "src/kinety/bpf" / OBJECT
    maps = {name: each.fd for name, each in built.maps.items()}
    spent, found = 0.0, {}
    with ExitStack() as stack:
        for number, values in enumerate(built.endpoints[: max(counts)], 1):
            contents = rodata.generate(values, node_constants(built.settings)).maps[".rodata.config"].contents
            assert contents is not None
            started = time.perf_counter()
            handle = library.load(path, {".rodata.config": contents}, maps)
            spent += time.perf_counter() - started
            for program in library.programs(handle, PROGRAMS):
                stack.callback(os.close, program)
            if number in counts:
                found[number] = spent
    return found


def cpu() -> float:
    """Seconds of processor time of this process and the children it has waited for."""
    return sum(os.times()[:4])


def per_count(stands: dict[str, list[Stand]], baseline: dict[int, float]) -> list[Figure]:
    return [
        Figure(
            f"{name}, {stand.count} endpoints: generate + load, each",
            made(stand),
            "ms",
            LIBBPF,
            baseline[stand.count] / stand.count * _MS,
        )
        for name, found in stands.items()
        for stand in found
    ]


def made(stand: Stand) -> float:
    """Milliseconds of an endpoint until its program could be attached."""
    return (stand.cost.generate + stand.cost.load) / stand.count * _MS


def splits(stands: dict[str, list[Stand]]) -> Iterator[Figure]:
    """Of the most endpoints: what the time went into, and what stays in the kernel."""
    for name, found in stands.items():
        stand = found[-1]
        parts = {
            "generate": stand.cost.generate,
            "load": stand.cost.load,
            "attach": stand.cost.attach,
            "processor": stand.cpu,
        }
        for part, seconds in parts.items():
            yield Figure(f"{name}, {stand.count}: {part}, each", seconds / stand.count * _MS, "ms")
        memory = stand.memory
        for part, size in (("programs", memory.program_bytes), ("maps", memory.map_bytes)):
            yield Figure(f"{name}, {stand.count}: kernel memory of {part}", size / _KIB, "KiB")


def goals(stands: dict[str, list[Stand]]) -> Iterator[Figure]:
    """Generation against generation, at as many endpoints as both have."""
    for name, other, bound in (
        ("symbols", "compile", 0.05),
        ("rodata", "symbols", 1.5),
        ("resident", "symbols", 0.1),
    ):
        common = {stand.count: stand for stand in stands[other]}
        stand = [each for each in stands[name] if each.count in common][-1]
        yield Figure(
            f"{name} against {other}, {stand.count} endpoints",
            made(stand),
            "ms",
            other,
            made(common[stand.count]),
            goal=Goal("ratio", "<=", bound),
        )


def change_figures(changes: dict[str, tuple[int, float]]) -> Iterator[Figure]:
    for name, (count, seconds) in changes.items():
        yield Figure(f"{name}: change a constant of {count} endpoints", seconds * _MS, "ms")


@contextmanager
def node(count: int) -> Iterator[Node]:
    """A node without an agent: its maps, and interfaces with rows but without programs."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        space, pods = stack.enter_context(namespace("node")), stack.enter_context(namespace("pods"))
        settings = Settings(
            pins=folder / "bpf", capacity=replace(Capacity(), endpoints=count), spare_rule_sets=0
        )
        stack.callback(space.call, cleanup, settings)
        datapath = space.call(Datapath.open, settings)
        stack.callback(datapath.close)
        space.call(datapath.restore, Snapshot({}, {}, {}, {}, {}), ())
        pinned = contract_directory(settings.pins) / "maps"
        maps = {path.name: stack.enter_context(Map.open(path)) for path in pinned.iterdir()}
        rows = [row(settings, slot) for slot in range(count)]
        for slot, each in enumerate(rows):
            maps["endpoints"].update(slot.to_bytes(4, "little"), each.pack())
        space.call(add_interfaces, rows, pods)
        yield Node(space, settings, maps, [Values.of(each) for each in rows])


def row(settings: Settings, slot: int) -> abi.Endpoint:
    """A row that is ready and has no policy."""
    tail = slot.to_bytes(4, "big")
    empty = abi.Endpoint.unpack(bytes(abi.Endpoint.SIZE))
    return replace(
        empty,
        id=slot + 1,
        flags=int(abi.EndpointFlag.READY),
        interface=settings.interface_base + slot,
        host_mac=b"\x02\x01" + tail,
        container_mac=b"\x02\x02" + tail,
        ipv4=pack_address(f"10.240.{slot >> 8}.{slot & 255}"),
        ipv6=pack_address(f"fd00:240::{slot + 1:x}"),
    )


def add_interfaces(rows: Sequence[abi.Endpoint], pods: Namespace) -> None:
    """A veth pair for each row, down: nothing is sent."""
    with Netlink() as netlink:
        for start in range(0, len(rows), INTERFACES_AT_ONCE):
            with netlink.batch() as batch:
                for each in rows[start : start + INTERFACES_AT_ONCE]:
                    batch.veth(
                        each.interface,
                        f"kinety{each.id - 1}",
                        each.host_mac,
                        peer=f"pod{each.id}",
                        peer_mac=each.container_mac,
                        peer_namespace=pods,
                        mtu=1500,
                    )
