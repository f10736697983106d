"""What does a packet pay for the hook point: when nobody hangs there, and for filters that let it pass?

The packets, driver and node of `bench.program_cost`: a packet of an established flow between two endpoints
of the node, about which filters are asked twice. Taking turns are programs that were loaded without the
hook point, which are the baseline; the node's own, with nothing in the slots; and those with the least of
filters (bench/bpf/filter.bpf.c) at both points, and with eight of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

from bench.compiled import OBJECTS
from bench.figure import Figure, Goal, compare, median
from bench.generation_price import forwarded
from bench.program_cost import ACK, ADDRESSES, ALLOWED_PORT, CLIENT, Bench, bench, segment
from kinety import abi
from kinety.datapath.template import FROM_ENDPOINT, node_constants, packaged_object
from kinety.kernel.collection import Collection
from kinety.kernel.program import Program
from kinety.kernel.spec import CollectionSpec

ROUNDS, QUICK_ROUNDS = 21, 2
#: Many: loading a filter patches the program, and the next run pays some 30 µs for cold caches.
RUNS, QUICK_RUNS = 40_000, 100
BASELINE = "loaded without a hook point"
EMPTY = "no filter loaded"
#: Filters that are loaded, and what that is called.
FILTERS = {0: EMPTY, 1: "a filter at both points", abi.HOOK_SLOT_COUNT: "eight filters at both points"}
#: What the hook point may cost when nothing hangs there, in nanoseconds.
PRICE = 2.0


def run(quick: bool = False) -> list[Figure]:
    """Nanoseconds a packet, above programs without the hook point; by family."""
    rounds, runs = (QUICK_ROUNDS, QUICK_RUNS) if quick else (ROUNDS, RUNS)
    with bench() as (space, built), without_hooks(built) as plain:
        return [
            figure
            for family in ADDRESSES
            for figure in space.call(partial(measured, built, plain, family, rounds, runs))
        ]


@contextmanager
def without_hooks(built: Bench) -> Iterator[Program]:
    """``from_endpoint`` over the node's maps, from which the verifier removed the hook point."""
    template = built.datapath._template
    spec = CollectionSpec.parse(packaged_object())
    sizes = {name: each.info.max_entries for name, each in template.maps.items()}
    constants = node_constants(replace(built.datapath._settings, hooks=False))
    with Collection.load(
        spec, constants=constants, max_entries=sizes, maps=template.maps, programs=(FROM_ENDPOINT,)
    ) as loaded:
        yield loaded.programs[FROM_ENDPOINT]


def measured(built: Bench, plain: Program, family: int, rounds: int, runs: int) -> list[Figure]:
    """Every number of filters in turns. Runs inside the node's namespace."""
    packet = segment(family, CLIENT, ALLOWED_PORT, ACK)
    elf = (OBJECTS / "filter.o").read_bytes()
    times: dict[str, list[float]] = {name: [] for name in (BASELINE, *FILTERS.values())}
    for _ in range(rounds):
        built.establish(family)
        times[BASELINE].append(timed(built, plain, packet, runs))
        for count, name in FILTERS.items():
            for number in range(len(built.datapath.hooks.names()), count):
                built.datapath.hooks.load(f"filter-{number}", elf)
            times[name].append(timed(built, built.program, packet, runs))
        for hook in built.datapath.hooks.all():
            built.datapath.hooks.unload(hook.name)
        built.forget()
    return [above(f"{name}, IPv{family}", times[name], times[BASELINE]) for name in FILTERS.values()]


def timed(built: Bench, program: Program, packet: bytes, runs: int) -> float:
    """Mean nanoseconds of driver and program. Raises RuntimeError when a packet was not forwarded."""
    before = forwarded(built)
    took = built.run(program, packet, runs, 0)
    if forwarded(built) - before != runs:
        raise RuntimeError("not every packet was forwarded")
    return took


def above(name: str, values: list[float], baseline: list[float]) -> Figure:
    """What was paid above the baseline, round by round."""
    paid = [one - other for one, other in zip(values, baseline, strict=True)]
    figure = compare(name, "ns", values, BASELINE, baseline)
    goal = Goal("value", "<=", PRICE) if name.startswith(EMPTY) else None
    return replace(figure, name=f"{name}: above {BASELINE}", value=median(paid), goal=goal)
