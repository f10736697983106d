"""Patterns against the kernel's look-up on the same rows."""

from itertools import pairwise
from operator import attrgetter

from hypothesis import given, settings
from hypothesis import strategies as st

from kinety.explain.pattern import OPEN, outcome, passing, pattern_of, stretches, together, verdict_at
from kinety.explain.traffic import END, EVERYTHING, number_of
from kinety.model.layer7 import Layer7Id
from kinety.model.rule import RuleId
from kinety.model.verdict import Verdict, VerdictKind
from kinety.plan.lookup import longest
from kinety.plan.resolve import Row, Term, resolve
from tests.unit.plan.generation import port_ranges

ALLOW, DENY = VerdictKind.ALLOW, VerdictKind.DENY
terms = st.lists(
    st.builds(
        lambda kind, ports, rule: Term(Verdict(kind, RuleId(rule)), None if ports is None else tuple(ports)),
        st.sampled_from((ALLOW, DENY)),
        st.none() | st.lists(port_ranges, max_size=3),
        st.integers(1, 5),
    ),
    max_size=4,
)
rows = st.builds(resolve, terms, st.sampled_from((ALLOW, DENY)).map(Verdict)).map(attrgetter("rows"))
SOME = [
    (protocol, port) for protocol in (0, 1, 6, 17, 255) for port in (0, 53, 79, 80, 81, 443, 444, 1000, 65535)
]


@settings(max_examples=200)
@given(rows)
def test_a_pattern_is_what_the_kernel_finds(found: tuple[Row, ...]) -> None:
    pattern = pattern_of(found)
    assert pattern[0].first == 0
    assert all(one.verdict != other.verdict for one, other in pairwise(pattern))
    edges = [(step.first >> 16, step.first & 0xFFFF) for step in pattern]
    before = [((step.first - 1) >> 16, (step.first - 1) & 0xFFFF) for step in pattern[1:]]
    for protocol, port in (*SOME, *edges, *before):
        assert verdict_at(pattern, number_of(protocol, port)) == longest(found, protocol, port)
    for stretch, verdict in stretches(pattern):
        assert (verdict.kind is not DENY) == any(
            first <= stretch.first <= last for first, last in passing(pattern)
        )


@given(rows, rows)
def test_two_patterns_together(one: tuple[Row, ...], other: tuple[Row, ...]) -> None:
    left, right = pattern_of(one), pattern_of(other)
    start = 0
    for stretch, former, latter in together(left, right):
        assert stretch.first == start
        start = stretch.last + 1
        for number in (stretch.first, stretch.last):
            assert (verdict_at(left, number), verdict_at(right, number)) == (former, latter)
    assert start == END


def test_no_rows_deny_and_no_table_is_open() -> None:
    assert passing(pattern_of(())) == ()
    assert passing(OPEN) == EVERYTHING


def test_an_outcome_is_the_verdict_without_its_rule() -> None:
    assert outcome(Verdict(ALLOW, RuleId(3), Layer7Id("7"))) == Verdict(ALLOW, layer7=Layer7Id("7"))
