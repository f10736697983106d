"""What does an endpoint's program cost, by generation, and what does libbpf make of the same job?

A thousand interfaces wait in a node's namespace, each with its row. For each generation their programs
are made, loaded and attached one endpoint after the other. After 1, 10, 100, 500 and 1000 of them, what
was spent so far is noted, as the mean of an endpoint: generating (the compiler, patching, filling), loading
(maps, verifier, the machine's code), attaching (two tcx links: a grace period each); processor time of
this process and of its children, in user space and in the kernel; kernel memory of the programs and of maps
that are theirs alone. Then one constant of the node is changed for as many endpoints as there are.

The baseline is libbpf, which opens the object, fills its ``.rodata`` and loads it for every endpoint, with
the same maps, and attaches nothing: generating and loading are compared with that, in a change as well.
Threads of the kernel's own (which free what is replaced) are in the time on the wall and not in the
processor time. Compiling stops at 100 endpoints; `bench.generations_in_full` does not.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench.figure import Figure, Goal
from bench.rows import node
from bench.ways import GENERATIONS, LIBBPF, ByGeneration, ByLibbpf, Way
from kinety.datapath.generations.deployment import Cost, Memory
from kinety.datapath.generations.rodata import OBJECT, Rodata
from kinety.datapath.generations.values import Values

COUNTS, QUICK_COUNTS = (1, 10, 100, 500, 1000), (1, 3)
COMPILED, QUICK_COMPILED = 100, 1
#: Seconds, 60 by default: no code comes or goes with it.
CHANGED = {"config_udp_idle": 61}
OBJECTS = Path(__file__).resolve().parent.parent / "src/kinety/bpf"
_MS, _KIB = 1e3, 1024


@dataclass(frozen=True, slots=True)
class Processor:
    """Seconds of processor time of this process and the children it has waited for."""

    user: float = 0.0
    system: float = 0.0

    @classmethod
    def now(cls) -> Processor:
        used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return cls(sum(each.ru_utime for each in used), sum(each.ru_stime for each in used))

    def since(self, before: Processor) -> Processor:
        return Processor(self.user - before.user, self.system - before.system)

    def __add__(self, other: Processor) -> Processor:
        return Processor(self.user + other.user, self.system + other.system)


@dataclass(frozen=True, slots=True)
class Stand:
    """What was spent for the first so many endpoints; then, what a change took for all of them.

    ``changed_seconds`` is the whole change on the wall, ``changed`` its parts.
    """

    count: int
    cost: Cost
    processor: Processor
    memory: Memory
    changed: Cost
    changed_seconds: float


def run(quick: bool = False) -> list[Figure]:
    """Figures of every generation at every count: milliseconds, KiB."""
    if quick:
        return figures(measure(QUICK_COUNTS, QUICK_COMPILED))
    return figures(measure(COUNTS, COMPILED))


def measure(counts: Sequence[int], compiled: int) -> dict[str, list[Stand]]:
    """Stands by generation, and libbpf's; by ``compile`` no more than ``compiled`` endpoints."""
    with many_descriptors(), node(max(counts)) as built:
        ways: dict[str, Callable[[], Way]] = {
            LIBBPF: partial(ByLibbpf, built, OBJECTS / OBJECT, Rodata()),
            **{name: partial(ByGeneration, built, build()) for name, build in GENERATIONS.items()},
        }
        some = [count for count in counts if count <= compiled]
        return {
            name: built.space.call(stands, way, built.endpoints, some if name == "compile" else counts)
            for name, way in ways.items()
        }


@contextmanager
def many_descriptors() -> Iterator[None]:
    """As many as are allowed: ten for each endpoint, while its programs are replaced."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def stands(build: Callable[[], Way], waiting: Sequence[Values], counts: Collection[int]) -> list[Stand]:
    """Deploy in one way, with a stand at each count. Every change gives the constant another value."""
    found: list[Stand] = []
    cost, processor = Cost(), Processor()
    with closing(build()) as way:
        for number, values in enumerate(waiting[: max(counts)], 1):
            before = Processor.now()
            cost += way.deploy(values)
            processor += Processor.now().since(before)
            if number in counts:
                memory, started = way.memory(), time.perf_counter()
                changed = way.change({name: value + number for name, value in CHANGED.items()})
                seconds = time.perf_counter() - started
                found.append(Stand(number, cost, processor, memory, changed, seconds))
    return found


def figures(found: dict[str, list[Stand]]) -> list[Figure]:
    """Each generation's stands beside libbpf's, and how far the generations are from each other."""
    baseline = {stand.count: stand for stand in found[LIBBPF]}
    every = [
        figure
        for name in GENERATIONS
        for stand in found[name]
        for figure in beside(name, stand, baseline[stand.count])
    ]
    return [*every, *goals(found), growth(found["resident"])]


def beside(name: str, stand: Stand, libbpf: Stand) -> Iterator[Figure]:
    """One generation at one count; "each" is the mean of an endpoint, the rest is for all."""
    count = stand.count
    called = f"{name}, {endpoints(count)}"

    def of(what: str, unit: str, scale: float, value: float, baseline: float | None = None) -> Figure:
        compared = (LIBBPF, baseline * scale) if baseline is not None else (None, None)
        return Figure(f"{called}: {what}", value * scale, unit, *compared)

    each, ours, theirs = _MS / count, stand.processor, libbpf.processor
    yield of("generate + load, each", "ms", each, made(stand.cost), made(libbpf.cost))
    yield of("generate, each", "ms", each, stand.cost.generate)
    yield of("load, each", "ms", each, stand.cost.load)
    yield of("attach, each", "ms", each, stand.cost.attach)
    yield of("processor in user space, each", "ms", each, ours.user, theirs.user)
    yield of("processor in the kernel, each", "ms", each, ours.system, theirs.system)
    kept, baseline = stand.memory, libbpf.memory
    yield of("kernel memory of programs", "KiB", 1 / _KIB, kept.program_bytes, baseline.program_bytes)
    yield of("kernel memory of own maps", "KiB", 1 / _KIB, kept.map_bytes, baseline.map_bytes)
    yield of("change a constant, generate + load", "ms", _MS, made(stand.changed), made(libbpf.changed))
    yield of("change a constant, in all", "ms", _MS, stand.changed_seconds)


def endpoints(count: int) -> str:
    return f"{count} endpoint{'s' if count > 1 else ''}"


def made(cost: Cost) -> float:
    """Seconds until the programs could be attached."""
    return cost.generate + cost.load


def goals(found: dict[str, list[Stand]]) -> Iterator[Figure]:
    """Generation against generation, at as many endpoints as both have."""
    for name, other, bound in (
        ("symbols", "compile", 0.05),
        ("rodata", "symbols", 1.5),
        ("resident", "symbols", 0.1),
    ):
        common = {stand.count: stand for stand in found[other]}
        stand = [each for each in found[name] if each.count in common][-1]
        each = _MS / stand.count
        yield Figure(
            f"{name} against {other}, {endpoints(stand.count)}",
            made(stand.cost) * each,
            "ms",
            other,
            made(common[stand.count].cost) * each,
            goal=Goal("ratio", "<=", bound),
        )


def growth(resident: list[Stand]) -> Figure:
    """Resident programs take no more memory for many endpoints than for one."""
    one, many = resident[0], resident[-1]
    return Figure(
        f"resident, kernel memory of programs, {endpoints(many.count)} against {one.count}",
        many.memory.program_bytes / _KIB,
        "KiB",
        endpoints(one.count),
        one.memory.program_bytes / _KIB,
        goal=Goal("ratio", "==", 1),
    )
