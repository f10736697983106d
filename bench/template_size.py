"""What does a template cost in the kernel as the program grows, and what do endpoints cost that use it?

Pairs of programs of about 500, 2000 and 8000 instructions (bench/bpf/template.bpf.c: look-ups, branches,
counters, as in the real ones), and the real pair. Each is read and loaded as the resident template; then a
hundred endpoints get it, one round each: by ``resident``, by ``symbols``, and by libbpf, which opens the
object, fills its ``.rodata`` and loads it. Templates and ways take turns. What the verifier walks through is
the other size of a program: the real one has more ways through it than its length tells.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

from bench.compiled import compiled_with
from bench.figure import Figure, compare, median
from bench.generations import OBJECTS, many_descriptors
from bench.rows import Node, node
from bench.ways import LIBBPF, ByGeneration, ByLibbpf, Way
from kinety.datapath.generations.deployment import Cost
from kinety.datapath.generations.resident import Resident
from kinety.datapath.generations.rodata import OBJECT as RODATA_OBJECT
from kinety.datapath.generations.rodata import Rodata
from kinety.datapath.generations.symbols import OBJECT as SYMBOLS_OBJECT
from kinety.datapath.generations.symbols import Symbols
from kinety.datapath.generations.values import Values
from kinety.datapath.template import OBJECT, PROGRAMS
from kinety.kernel.collection import Collection
from kinety.kernel.spec import CollectionSpec

ENDPOINTS, QUICK_ENDPOINTS = 100, 2
#: Steps of bench/bpf/template.bpf.c by the instructions of both programs that they make, about.
STEPS = {500: 5, 2000: 21, 8000: 85}
TOLERANCE = 0.1
#: Generations as -D GENERATION knows them (bpf/abi/constant.h).
SYMBOLS, RODATA, RESIDENT = 2, 3, 4
_MS, _KIB = 1e3, 1024

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Template:
    """One source, compiled for three generations; ``resident`` is the object's path."""

    name: str
    symbols: Path
    rodata: Path
    resident: Path

    def spec(self, path: Path) -> CollectionSpec:
        return CollectionSpec.parse(path.read_bytes())

    def instructions(self) -> int:
        """Of both programs, as compiled to be resident."""
        programs = self.spec(self.resident).programs
        return sum(len(programs[name].instructions) for name in PROGRAMS) // 8


@dataclass(slots=True)
class Spent:
    """What one template took, a number for each round: seconds, but for the last two, which stay the same."""

    parse: list[float] = field(default_factory=list)
    load: list[float] = field(default_factory=list)
    by_way: dict[str, list[Cost]] = field(default_factory=dict)
    program_bytes: int = 0
    verified: int = 0

    def made(self, way: str) -> list[float]:
        return [cost.generate + cost.load for cost in self.by_way[way]]


def run(quick: bool = False) -> list[Figure]:
    """Figures of each template: milliseconds, KiB, instructions."""
    count = QUICK_ENDPOINTS if quick else ENDPOINTS
    with many_descriptors(), templates() as chosen, node(count) as built:
        return built.space.call(partial(measured, built, chosen))


@contextmanager
def templates() -> Iterator[list[Template]]:
    """The grown ones, compiled, and the real one. Raises ValueError when one has another size."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        found = []
        for size, steps in STEPS.items():
            paths = {each: Path(folder) / f"{size}-{each}.o" for each in (SYMBOLS, RODATA, RESIDENT)}
            for generation, path in paths.items():
                compiled_with("template", path, STEPS=steps, GENERATION=generation)
            grown = Template("template", *paths.values())
            if abs(grown.instructions() - size) > TOLERANCE * size:
                raise ValueError(f"{steps} steps are {grown.instructions()} instructions, not {size}")
            found.append(grown)
        real = [OBJECTS / name for name in (SYMBOLS_OBJECT, RODATA_OBJECT, OBJECT)]
        yield [*found, Template("endpoint.bpf.c", *real)]


@dataclass(frozen=True, slots=True)
class Trial:
    """A template and the endpoints that have it, in each way."""

    node: Node
    template: Template
    resident: Resident
    ways: Mapping[str, Way]
    spent: Spent

    @classmethod
    def of(cls, built: Node, template: Template) -> Trial:
        resident = Resident(template.spec(template.resident))
        symbols = Symbols(template.spec(template.symbols))
        rodata = Rodata(template.spec(template.rodata))
        ways: dict[str, Way] = {
            "resident": ByGeneration(built, resident),
            "symbols": ByGeneration(built, symbols),
            LIBBPF: ByLibbpf(built, template.rodata, rodata),
        }
        return cls(built, template, resident, ways, Spent(by_way={name: [] for name in ways}))

    def round(self, values: Values) -> None:
        """Read and load the template once more, and give it to one more endpoint, in random order."""
        actions: list[Callable[[], None]] = [self.read, partial(self.load, values)]
        actions += [partial(self.deploy, name, values) for name in self.ways]
        for action in random.sample(actions, len(actions)):
            action()

    def read(self) -> None:
        seconds, _ = timed(partial(self.template.spec, self.template.resident))
        self.spent.parse.append(seconds)

    def load(self, values: Values) -> None:
        spec = self.resident.generate(values, self.node.constants)
        sizes = {name: each.info.max_entries for name, each in self.node.maps.items()}
        seconds, loaded = timed(
            partial(Collection.load, spec, max_entries=sizes, maps=self.node.maps, programs=PROGRAMS)
        )
        with loaded:
            self.spent.load.append(seconds)
            self.spent.program_bytes = sum(each.memory() for each in loaded.programs.values())
            self.spent.verified = sum(each.info.verified_instructions for each in loaded.programs.values())

    def deploy(self, way: str, values: Values) -> None:
        self.spent.by_way[way].append(self.ways[way].deploy(values))

    def kept(self) -> dict[str, int]:
        """Bytes of the programs of all endpoints so far, by way."""
        return {name: way.memory().program_bytes for name, way in self.ways.items()}


def measured(built: Node, chosen: Sequence[Template]) -> list[Figure]:
    """An endpoint a round, every template in turns. Runs inside the node's namespace."""
    with ExitStack() as stack:
        trials = [Trial.of(built, template) for template in chosen]
        for way in (way for trial in trials for way in trial.ways.values()):
            stack.callback(way.close)
        for values in built.endpoints:
            for trial in trials:
                trial.round(values)
        return [figure for trial in trials for figure in figures(trial.template, trial.spent, trial.kept())]


def timed(function: Callable[[], T]) -> tuple[float, T]:
    started = time.perf_counter()
    answer = function()
    return time.perf_counter() - started, answer


def figures(template: Template, spent: Spent, kept: dict[str, int]) -> Iterator[Figure]:
    """One template's. What all endpoints took includes reading the template, and no attaching."""
    count = len(spent.parse)
    called = f"{template.name}, {template.instructions()} instructions"
    libbpf = [seconds * _MS for seconds in spent.made(LIBBPF)]
    yield Figure(f"{called}: walked through by the verifier", spent.verified, "instructions")
    yield Figure(f"{called}: read the object", median(spent.parse) * _MS, "ms")
    for name, seconds in (("load once, resident", spent.load), ("each by symbols", spent.made("symbols"))):
        yield compare(f"{called}: {name}", "ms", [each * _MS for each in seconds], LIBBPF, libbpf)
    attach = [cost.attach * _MS for cost in spent.by_way["resident"]]
    yield Figure(f"{called}: attach, each", median(attach), "ms")
    yield Figure(f"{called}: kernel memory of programs", spent.program_bytes / _KIB, "KiB")
    parse = median(spent.parse)
    totals = {name: (parse + sum(spent.made(name))) * _MS for name in ("resident", "symbols")}
    yield Figure(
        f"{called}: template and {count} endpoints, resident",
        totals["resident"],
        "ms",
        "symbols",
        totals["symbols"],
    )
    yield Figure(
        f"{called}: kernel memory of programs for {count} endpoints, resident",
        kept["resident"] / _KIB,
        "KiB",
        "symbols",
        kept["symbols"] / _KIB,
    )
