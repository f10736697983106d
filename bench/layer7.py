"""What do rules about content cost, by each way for flows to get to their proxy?

Side by side, in turns: direct, under a policy without such rules, and every redirect that there is. Asked are
requests a second, their time (the median, and one in a hundred takes longer), and the processor's time for
one. First through Envoy, which reads every request; then with the server in Envoy's place, which leaves the
redirect alone. There, a node without any rules of netfilter's joins: what the others' take is the difference
(decision 0049). The nodes: ``bench/layer7_node.py``; the load: ``bench/layer7_load.py``.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from bench.figure import Figure, Goal, compare
from bench.layer7_load import CASES, Case, Taken, take
from bench.layer7_node import DIRECT, Way, unfiltered, way
from bench.load import LoadError
from kinety.abi import Redirect

ROUNDS, QUICK_ROUNDS, SECONDS, QUICK_SECONDS = 13, 1, 0.5, 0.1
QUICK_CASES = CASES[1:4:2]
DEFAULT = Redirect.SK_ASSIGN.name.lower()
#: What the default one is to be no slower than. The last one is for who wants more than that.
RIVALS = (Redirect.TPROXY.name.lower(), Redirect.NAT.name.lower())
REDIRECTS = tuple(each for each in Redirect if each is not Redirect.NONE)
UNFILTERED = f"{DEFAULT} without netfilter"
#: The redirect itself against no redirect; the default one against others, as far as rounds can tell.
ALONE, NO_SLOWER = Goal("ratio", ">=", 0.95), Goal("ratio", ">=", 0.97)

#: By case and way, what each round took.
Rounds = Mapping[Case, Mapping[str, Sequence[Taken]]]


def run(quick: bool = False) -> list[Figure]:
    """For each case: every redirect against the direct way, and the default one against others."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        ways = [stack.enter_context(way(redirect)) for redirect in (None, *REDIRECTS)]
        # Made now, so that its agent has as much time as the others' to put its programs where they stay.
        control = stack.enter_context(way(Redirect.SK_ASSIGN, UNFILTERED))
        through_envoy = in_turns(ways, folder, quick)
        for each in ways[1:]:
            check(each, through_envoy)
        ways = [stack.enter_context(each.served_by_itself()) for each in (*ways, control)]
        unfiltered(ways[-1])
        alone = in_turns(ways, folder, quick)
    figures = [figure for case in through_envoy for figure in proxied(case, through_envoy[case])]
    return figures + [figure for case in alone for figure in redirected(case, alone[case])]


def in_turns(ways: Sequence[Way], folder: Path, quick: bool) -> Rounds:
    """Every case on every way, next to each other, the order of ways by chance."""
    cases, rounds, seconds = (QUICK_CASES, QUICK_ROUNDS, QUICK_SECONDS) if quick else (CASES, ROUNDS, SECONDS)
    found: dict[Case, dict[str, list[Taken]]] = {case: {each.name: [] for each in ways} for case in cases}
    for _ in range(rounds):
        for case in cases:
            for each in random.sample(ways, len(ways)):
                found[case][each.name].append(take(case, each, folder, seconds))
    return found


def check(each: Way, rounds: Rounds) -> None:
    """A figure for a proxy that was passed by is worth nothing."""
    asked = sum(taken.requests for ways in rounds.values() for taken in ways[each.name])
    if (counted := each.requests()) < asked:
        raise LoadError(f"{each.name}: the proxy has counted {counted} requests of {asked}")


def proxied(case: Case, ways: Mapping[str, Sequence[Taken]]) -> list[Figure]:
    """Through Envoy."""
    figures = [
        compared(f"{case}: {name}", what, ways, name, DIRECT, None)
        for name in ways
        if name != DIRECT
        for what in ("rate", "p50", "p99", "cpu")
    ]
    return figures + [
        compared(f"{case}: {DEFAULT}", "rate", ways, DEFAULT, name, NO_SLOWER) for name in RIVALS
    ]


def redirected(case: Case, ways: Mapping[str, Sequence[Taken]]) -> list[Figure]:
    """Without a proxy behind the redirect."""
    return [
        compared(f"redirect alone, {case}: {name}", what, ways, name, DIRECT, goal)
        for name in ways
        if name != DIRECT
        for what, goal in (("rate", ALONE if name in (DEFAULT, UNFILTERED) else None), ("cpu", None))
    ]


#: What a figure is called, and its unit.
KINDS = {
    "rate": ("", "requests/s"),
    "p50": (", p50", "µs"),
    "p99": (", p99", "µs"),
    "cpu": (", processor", "µs/request"),
}


def compared(
    name: str, what: str, ways: Mapping[str, Sequence[Taken]], way: str, baseline: str, goal: Goal | None
) -> Figure:
    ending, unit = KINDS[what]
    ours, theirs = ([getattr(taken, what) for taken in ways[each]] for each in (way, baseline))
    return compare(name + ending, unit, ours, baseline, theirs, goal)
