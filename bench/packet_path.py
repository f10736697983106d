"""What does a packet's way cost, against a bare wire and against a bridge with nftables?

Questions and generators: ``bench/load.py``; the wires compared: ``bench/wire.py``; Kinety with no
policy, one rule and 1000 rules: ``bench/node.py``. Everything stands side by side and takes turns
within one run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack

from bench.figure import Figure, Goal, compare
from bench.load import LOADS, Load, measure
from bench.node import kinety_wires
from bench.wire import bare, bridge

BARE, BRIDGE, KINETY = "bare veth", "bridge + nftables", "Kinety"
MANY = 1000
ROUNDS, PAIR_ROUNDS, QUICK_ROUNDS = 300, 1000, 8

AGAINST_BARE = {
    "request/response": Goal("ratio", ">=", 0.97),
    "connect/request/response": Goal("ratio", ">=", 0.97),
    "bulk stream": Goal("ratio", ">=", 1.0),
    "small datagrams": None,
}


def run(quick: bool = False) -> list[Figure]:
    """Six figures for each load."""
    figures: list[Figure] = []
    with ExitStack() as stack:
        wires = [
            stack.enter_context(bare(BARE)),
            *(stack.enter_context(bridge(rules, named(BRIDGE, rules))) for rules in (1, MANY)),
        ]
        _, ours = stack.enter_context(kinety_wires({named(KINETY, rules): rules for rules in (0, 1, MANY)}))
        wires += ours
        for load in LOADS:
            figures += compared(load, measure(load, wires, QUICK_ROUNDS if quick else ROUNDS))
            figures.append(scaling(load, measure(load, wires[-2:], QUICK_ROUNDS if quick else PAIR_ROUNDS)))
    return figures


def named(kind: str, rules: int) -> str:
    return f"{kind}, {rules} rule{'' if rules == 1 else 's'}"


def compared(load: Load, rates: Mapping[str, Sequence[float]]) -> list[Figure]:
    """Kinety against the bare wire, and with as many rules against the bridge."""
    no_slower = Goal("ratio", ">=", 1.0)
    pairs = [(named(KINETY, rules), BARE, AGAINST_BARE[load.name]) for rules in (0, 1, MANY)]
    pairs += [(named(KINETY, rules), named(BRIDGE, rules), no_slower) for rules in (1, MANY)]
    return [figure(load, rates, *pair) for pair in pairs]


def scaling(load: Load, rates: Mapping[str, Sequence[float]]) -> Figure:
    """A thousand rules against one: half a percent is little, so these two are measured alone, and longer."""
    return figure(load, rates, named(KINETY, MANY), named(KINETY, 1), Goal("ratio", ">=", 0.995))


def figure(
    load: Load, rates: Mapping[str, Sequence[float]], wire: str, baseline: str, goal: Goal | None
) -> Figure:
    name = f"{load.name}: {wire}"
    return compare(name, load.unit, rates[wire], baseline, rates[baseline], goal)
