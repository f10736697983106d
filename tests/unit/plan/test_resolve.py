"""Rows against the sentence they stand for: first deny, else first allow, else the default."""

from hypothesis import given, settings
from hypothesis import strategies as st

from kinety.model.rule import PortRange, RuleId
from kinety.model.verdict import DEFAULT_DENY, Verdict, VerdictKind
from kinety.plan.lookup import longest
from kinety.plan.resolve import Row, Term, resolve
from tests.unit.plan.generation import PORTS
from tests.unit.plan.saying import ICMP, TCP, UDP, tcp, udp

ALLOW, DENY = VerdictKind.ALLOW, VerdictKind.DENY
DEFAULT_ALLOW = Verdict(ALLOW)

edges = st.sampled_from((0, 1, 79, 80, 81, 443, 1024, 65534, 65535))
ranges = st.one_of(
    st.builds(
        lambda protocol, one, other: PortRange(protocol, min(one, other), max(one, other)),
        st.sampled_from((TCP, UDP, ICMP, 132)),
        edges,
        edges,
    ),
    st.just(PortRange(0)),
)
terms = st.lists(
    st.tuples(st.sampled_from((ALLOW, DENY)), st.none() | st.lists(ranges, max_size=3).map(tuple)), max_size=6
).map(
    lambda found: [
        Term(Verdict(kind, RuleId(number)), where) for number, (kind, where) in enumerate(found, 1)
    ]
)
defaults = st.sampled_from((DEFAULT_DENY, DEFAULT_ALLOW))


def names(term: Term, protocol: int, port: int) -> bool:
    return term.ports is None or any(
        each.protocol == 0 or (each.protocol == protocol and each.first <= port <= each.last)
        for each in term.ports
    )


def decide(found: list[Term], default: Verdict, protocol: int, port: int) -> Verdict:
    for kind in (DENY, ALLOW):
        for term in found:
            if term.verdict.kind is kind and names(term, protocol, port):
                return term.verdict
    return default


def interesting(found: list[Term]) -> set[tuple[int, int]]:
    """Both sides of every edge, and protocols nobody names."""
    asked = {*PORTS, (47, 0), (255, 65535)}
    for term in found:
        for each in term.ports or ():
            for port in (each.first - 1, each.first, each.last, each.last + 1):
                if 0 <= port <= 65535:
                    asked |= {(protocol, port) for protocol in (each.protocol or TCP, UDP)}
    return asked


@settings(max_examples=300, deadline=None)
@given(terms, defaults)
def test_the_longest_row_says_what_the_rules_say(found: list[Term], default: Verdict) -> None:
    rows = resolve(found, default)
    for protocol, port in interesting(found):
        assert longest(rows, protocol, port) == decide(found, default, protocol, port), (protocol, port)


@given(terms, defaults)
def test_the_first_row_is_for_everything_else(found: list[Term], default: Verdict) -> None:
    first, *others = resolve(found, default)
    assert (first.bits, first.protocol, first.port) == (0, 0, 0)
    assert all(row.bits >= 8 for row in others)
    assert len({row[:3] for row in others}) == len(others)


@given(terms, defaults)
def test_rules_that_never_decide_leave_no_row(found: list[Term], default: Verdict) -> None:
    """Each verdict in the table is some port's; a rule that another hides is not in it."""
    rows = resolve(found, default)
    decided = {decide(found, default, *each) for each in interesting(found) | {(200, 0)}}
    assert {row.verdict for row in rows} <= decided | {rows[0].verdict}


def test_a_deny_of_everything_is_one_row() -> None:
    hidden = [Term(Verdict(ALLOW, RuleId(1)), (tcp(80), udp(53))), Term(Verdict(DENY, RuleId(2)), None)]
    assert resolve(hidden, DEFAULT_ALLOW) == (Row(0, 0, 0, Verdict(DENY, RuleId(2))),)


def test_a_rule_about_no_port_says_nothing() -> None:
    assert resolve([Term(Verdict(DENY, RuleId(1)), ())], DEFAULT_ALLOW) == (Row(0, 0, 0, DEFAULT_ALLOW),)


def test_equal_neighbours_are_one_row_and_different_rules_are_not() -> None:
    """1024-2047 is one prefix, unless two rules share it: each packet is told its rule."""
    whole = [Term(Verdict(ALLOW, RuleId(1)), (tcp(1024, 1535), tcp(1536, 2047)))]
    assert len(resolve(whole, DEFAULT_DENY)) == 2
    parts = [
        Term(Verdict(ALLOW, RuleId(number)), (tcp(first, first + 511),))
        for number, first in ((1, 1024), (2, 1536))
    ]
    assert len(resolve(parts, DEFAULT_DENY)) == 3
