"""What does a packet pay for programs that serve every endpoint, beside programs made for one?

The packets, driver and node of `bench.program_cost`; ``from_endpoint`` of each generation takes turns.
The baseline is the one that clang compiled for this endpoint, which is as special as can be. Both are
measured without what the driver takes by itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

from bench.figure import Figure, Goal, compare
from bench.program_cost import ACK, ADDRESSES, ALLOWED_PORT, CLIENT, Bench, bench, segment
from bench.ways import GENERATIONS
from kinety import abi
from kinety.datapath.generations.values import Values
from kinety.datapath.template import FROM_ENDPOINT
from kinety.kernel.collection import Collection
from kinety.kernel.map import Map
from kinety.kernel.program import Program

ROUNDS, QUICK_ROUNDS = 101, 3
RUNS, QUICK_RUNS = 4000, 100
#: Turns of which a round takes the mean: the kernel tells whole nanoseconds, which are 1 %.
TURNS, QUICK_TURNS = 16, 1
BASELINE = "compile"
#: What a resident program may cost more than a compiled one.
PRICE = 1.02


def run(quick: bool = False) -> list[Figure]:
    """Nanoseconds of an established flow's packet, by generation and family."""
    rounds, turns, runs = (QUICK_ROUNDS, QUICK_TURNS, QUICK_RUNS) if quick else (ROUNDS, TURNS, RUNS)
    with bench() as (space, built), programs(built) as chosen:
        return [
            figure
            for family in ADDRESSES
            for figure in space.call(partial(measured, built, chosen, family, rounds, turns, runs))
        ]


@contextmanager
def programs(built: Bench) -> Iterator[dict[str, Program]]:
    """``from_endpoint`` for the client, by generation, over the node's maps."""
    with ExitStack() as stack:
        maps = {name: stack.enter_context(Map.from_id(number)) for name, number in map_ids(built).items()}
        row = next(
            row
            for row in (abi.Endpoint.unpack(data) for _, data in maps["endpoints"].items())
            if row.id == CLIENT
        )
        sizes = {name: each.info.max_entries for name, each in maps.items()}
        found = {}
        for name, build in GENERATIONS.items():
            spec = build().generate(Values.of(row), {})
            loaded = Collection.load(spec, max_entries=sizes, maps=maps, programs=(FROM_ENDPOINT,))
            found[name] = stack.enter_context(loaded).programs[FROM_ENDPOINT]
        yield found


def map_ids(built: Bench) -> dict[str, int]:
    """The node's maps by their full names."""
    return {name: each.id for name, each in built.datapath._template.maps.items()}


def measured(
    built: Bench, chosen: dict[str, Program], family: int, rounds: int, turns: int, runs: int
) -> list[Figure]:
    """Every generation in turns, and the driver alone. Runs inside the node's namespace."""
    packet = segment(family, CLIENT, ALLOWED_PORT, ACK)
    times: dict[str, list[float]] = {name: [] for name in chosen}
    for _ in range(rounds):
        built.establish(family)
        sums = dict.fromkeys(chosen, 0.0)
        for _ in range(turns):
            alone = built.run(built.driver.programs["pass"], packet, runs, 0)
            for name, program in chosen.items():
                before = forwarded(built)
                sums[name] += built.run(program, packet, runs, 0) - alone
                if forwarded(built) - before != runs:
                    raise RuntimeError(f"{name}: not every packet was forwarded")
        for name, total in sums.items():
            times[name].append(total / turns)
        built.forget()
    return [
        compare(
            f"{name}, IPv{family}: packet of an established flow",
            "ns",
            times[name],
            BASELINE,
            times[BASELINE],
            Goal("ratio", "<=", PRICE) if name == "resident" else None,
        )
        for name in chosen
        if name != BASELINE
    ]


def forwarded(built: Bench) -> int:
    """Packets that went straight to another endpoint."""
    counted = built.datapath.counters()
    return sum(each.packets for (reason, _), each in counted.items() if reason is abi.Reason.FORWARDED_LOCAL)
