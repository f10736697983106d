"""What does real traffic pay for programs that serve every endpoint, beside programs made for one?

Two endpoints of a node with an agent, a load between them (`bench.load`), and at each of them a pair of links
before the agent's. All generations' programs are loaded beforehand; between two slices of 25 ms the links are
updated from one generation to the next, in random order. So all of them serve the same sockets, interfaces
and flows, and what one is disturbed by, its neighbours are, too. The baseline is what clang compiled for each
endpoint. The control is a second load of that same code: what it differs by is what this cannot tell.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial

from bench.figure import Figure, Goal, compare
from bench.load import LOADS, Generator, Load, LoadError, generators, in_turns
from bench.node import Node, kinety_wires
from bench.ways import GENERATIONS
from bench.wire import Wire
from kinety import abi
from kinety.datapath.generations.placement import LinkPlacement
from kinety.datapath.generations.values import Values
from kinety.datapath.replacement import Programs
from kinety.datapath.template import PROGRAMS
from kinety.kernel.collection import Collection
from kinety.kernel.map import Map
from kinety.kernel.program import run_time_counted
from kinety.kernel.spec import CollectionSpec

ROUNDS, QUICK_ROUNDS = 300, 3
BASELINE = "compile"
CONTROL = "compile, loaded again"
#: Of the rate with programs that were compiled for the endpoint.
GOAL = Goal("ratio", ">=", 0.98)
#: The least part of a turn's packets that its own programs judge.
OWN = 0.95


@dataclass(frozen=True, slots=True)
class Side:
    """An endpoint's links, and the programs they may be given, by generation."""

    placement: LinkPlacement
    programs: Mapping[str, Programs]

    def take(self, generation: str) -> None:
        self.placement.replace(self.programs[generation])

    def runs(self, generation: str) -> int:
        """How often these programs ran while the kernel counted."""
        return sum(each.statistics().runs for each in self.programs[generation].values())


def run(quick: bool = False) -> list[Figure]:
    """Rates by load and generation, and the control's."""
    rounds = QUICK_ROUNDS if quick else ROUNDS
    with kinety_wires({"Kinety": 1}) as (machine, (wire,)), sides(machine) as ends:
        return [figure for load in LOADS for figure in measured(load, wire, ends, rounds)]


@contextmanager
def sides(machine: Node) -> Iterator[list[Side]]:
    """Every endpoint of the node with programs of every generation, one of them in place."""
    with ExitStack() as stack:
        (pins,) = machine.lab.pins.glob("contract-*/maps")
        maps = {path.name: stack.enter_context(Map.open(path)) for path in pins.iterdir()}
        rows = [abi.Endpoint.unpack(data) for _, data in maps["endpoints"].items()]
        found = []
        for row in (row for row in rows if row.interface):
            programs = {
                name: stack.enter_context(loaded(spec, maps)).programs
                for name, spec in specs(Values.of(row)).items()
            }
            place = partial(LinkPlacement, row.interface, programs[BASELINE])
            placement = machine.lab.node.call(place)
            stack.callback(placement.remove)
            found.append(Side(placement, programs))
        yield found


def specs(values: Values) -> dict[str, CollectionSpec]:
    """An endpoint's programs by generation; the control is the baseline's."""
    found = {name: build().generate(values, {}) for name, build in GENERATIONS.items()}
    return {**found, CONTROL: found[BASELINE]}


def loaded(spec: CollectionSpec, maps: Mapping[str, Map]) -> Collection:
    sizes = {name: each.info.max_entries for name, each in maps.items()}
    return Collection.load(spec, max_entries=sizes, maps=maps, programs=PROGRAMS)


def measured(load: Load, wire: Wire, ends: list[Side], rounds: int) -> list[Figure]:
    """One load, by all generations in turns."""
    names = list(ends[0].programs)
    with generators(load, [wire]) as (generator,):
        turns = {name: partial(rate, generator, ends, name) for name in names}
        require_own_programs(turns, ends)
        rates = in_turns(load, turns, rounds)
    return [
        compare(
            f"{load.name}: {name}",
            load.unit,
            rates[name],
            BASELINE,
            rates[BASELINE],
            GOAL if name == "resident" else None,
        )
        for name in names
        if name != BASELINE
    ]


def rate(generator: Generator, ends: list[Side], name: str) -> float:
    """The rate over one slice, both endpoints judged by a generation's programs."""
    for end in ends:
        end.take(name)
    return generator.rate()


def require_own_programs(turns: Mapping[str, Callable[[], float]], ends: list[Side]) -> None:
    """Raise LoadError unless it is a generation's programs that judge in its turn.

    What is under way when a generator stops may still meet the former ones, for as long as it takes.
    """
    with run_time_counted():
        for name, turn in turns.items():
            before = counted(ends)
            turn()
            ran = {other: runs - before[other] for other, runs in counted(ends).items()}
            if ran[name] <= OWN * sum(ran.values()):
                raise LoadError(f"in the turn of {name}, programs ran as often as this: {ran}")


def counted(ends: list[Side]) -> dict[str, int]:
    """How often programs ran at either end, by generation."""
    return {name: sum(end.runs(name) for end in ends) for name in ends[0].programs}
