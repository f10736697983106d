"""Rows against the sentences they stand for, which `tests.unit.plan.winner` asks port by port."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from kinety.model.layer7 import NO_LAYER7
from kinety.model.rule import Action, PortRange, Rule, RuleId, Tier
from kinety.model.verdict import DEFAULT_DENY, Verdict, VerdictKind
from kinety.plan.lookup import longest
from kinety.plan.resolve import Row, Template, resolve
from kinety.plan.term import term_of
from tests.unit.plan.generation import PORTS
from tests.unit.plan.saying import ICMP, TCP, UDP, dns, http, rule, tcp, udp
from tests.unit.plan.winner import content, winner

DENY = VerdictKind.DENY
DEFAULT_ALLOW = Verdict(VerdictKind.ALLOW)

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
where = st.none() | st.lists(ranges, max_size=3).map(tuple)
contents = st.sampled_from((http("/a"), http("/b", "/a"), http(), dns("a.example"), dns("*")))
policy_rules = st.builds(
    lambda ports, action: rule(ports=ports, action=action),
    where,
    st.sampled_from((Action.ALLOW, Action.DENY)),
)
content_rules = st.builds(lambda ports, layer7: rule(ports=ports, layer7=layer7), where, contents)
tier_rules = st.builds(
    lambda ports, action, tier: rule(ports=ports, action=action, tier=tier),
    where,
    st.sampled_from(Action),
    st.sampled_from((Tier.ADMIN, Tier.BASELINE)),
)
#: Of each kind alone, and of all of them.
found_rules = st.one_of(
    st.lists(policy_rules, max_size=6),
    st.lists(policy_rules | content_rules, max_size=6),
    st.lists(policy_rules | tier_rules, max_size=7),
    st.lists(policy_rules | content_rules | tier_rules, max_size=8),
)
defaults = st.sampled_from((DEFAULT_DENY, DEFAULT_ALLOW))


def asked(found: list[Rule], default: Verdict) -> list[Rule]:
    """Where policies isolate, the baseline is not asked; whoever calls sees to it."""
    return [each for each in found if default == DEFAULT_ALLOW or each.tier is not Tier.BASELINE]


def resolved(found: list[Rule], default: Verdict) -> Template:
    return resolve([term_of(each, RuleId(number)) for number, each in enumerate(found, 1)], default)


def decide(found: list[Rule], default: Verdict, protocol: int, port: int) -> tuple[Verdict, object]:
    """A verdict without the content's address, and the content."""
    kind, decided, content = winner(found, isolated=default == DEFAULT_DENY, protocol=protocol, port=port)
    number = next((number for number, each in enumerate(found, 1) if each is decided), 0)
    return Verdict(kind, RuleId(number)), content


def said(template: Template, verdict: Verdict) -> tuple[Verdict, object]:
    if verdict.kind is not VerdictKind.REDIRECT:
        return verdict, None
    return replace(verdict, layer7=NO_LAYER7), content(template.layer7_sets[verdict.layer7])


def interesting(found: list[Rule]) -> set[tuple[int, int]]:
    """Both sides of every edge, and protocols nobody names."""
    asked = {*PORTS, (47, 0), (255, 65535)}
    for term in found:
        for each in term.ports or ():
            for port in (each.first - 1, each.first, each.last, each.last + 1):
                if 0 <= port <= 65535:
                    asked |= {(protocol, port) for protocol in (each.protocol or TCP, UDP)}
    return asked


@settings(max_examples=600, deadline=None)
@given(found_rules, defaults)
def test_the_longest_row_says_what_the_rules_say(found: list[Rule], default: Verdict) -> None:
    found = asked(found, default)
    template = resolved(found, default)
    for protocol, port in interesting(found):
        told = longest(template.rows, protocol, port)
        assert said(template, told) == decide(found, default, protocol, port), (protocol, port)


@given(found_rules, defaults)
def test_the_first_row_is_for_everything_else(found: list[Rule], default: Verdict) -> None:
    first, *others = resolved(asked(found, default), default).rows
    assert (first.bits, first.protocol, first.port) == (0, 0, 0)
    assert all(row.bits >= 8 for row in others)
    assert len({row[:3] for row in others}) == len(others)


@given(found_rules, defaults)
def test_rules_that_never_decide_leave_no_row(found: list[Rule], default: Verdict) -> None:
    """Each verdict in the table is some port's; a rule that another hides is not in it."""
    found = asked(found, default)
    template = resolved(found, default)
    decided = [decide(found, default, *each) for each in interesting(found) | {(200, 0)}]
    first, *others = (said(template, row.verdict) for row in template.rows)
    assert all(each in [*decided, first] for each in others)
    named = {row.verdict.layer7 for row in template.rows} - {NO_LAYER7}
    assert named == template.layer7_sets.keys()


def test_a_deny_of_everything_is_one_row() -> None:
    hidden = [rule(ports=[tcp(80), udp(53)]), rule(action=Action.DENY)]
    assert resolved(hidden, DEFAULT_ALLOW).rows == (Row(0, 0, 0, Verdict(DENY, RuleId(2))),)


def test_a_rule_about_no_port_says_nothing() -> None:
    nothing = [rule(ports=(), action=Action.DENY)]
    assert resolved(nothing, DEFAULT_ALLOW).rows == (Row(0, 0, 0, DEFAULT_ALLOW),)


def test_equal_neighbours_are_one_row_and_different_rules_are_not() -> None:
    """1024-2047 is one prefix, unless two rules share it: each packet is told its rule."""
    whole = [rule(ports=[tcp(1024, 1535), tcp(1536, 2047)])]
    assert len(resolved(whole, DEFAULT_DENY).rows) == 2
    parts = [rule(ports=[tcp(first, first + 511)]) for first in (1024, 1536)]
    assert len(resolved(parts, DEFAULT_DENY).rows) == 3


def test_equal_content_has_one_address_however_it_is_put_together() -> None:
    one = resolved([rule(ports=[tcp(80)], layer7=http("/b", "/a"))], DEFAULT_DENY)
    two = resolved([rule(ports=[tcp(80)], layer7=http(path)) for path in ("/a", "/b", "/a")], DEFAULT_DENY)
    assert one == two
    (asked,) = one.layer7_sets.values()
    assert asked.http == http("/a", "/b").http


def test_two_kinds_of_content_at_one_port_are_told_and_denied() -> None:
    found = [
        rule(ports=[tcp(53, 80)], layer7=http("/a")),
        rule(ports=[tcp(53)], layer7=dns("*")),
        rule(ports=[tcp(80)], layer7=http("/b")),
    ]
    template = resolved(found, DEFAULT_DENY)
    assert template.conflicts == {(RuleId(1), RuleId(2))}
    assert longest(template.rows, TCP, 53) == Verdict(DENY, RuleId(1))
    assert longest(template.rows, TCP, 54).kind is VerdictKind.REDIRECT


def test_where_a_plain_rule_or_a_denial_wins_kinds_of_content_do_not_meet() -> None:
    asking = [rule(ports=[tcp(53)], layer7=http("/a")), rule(ports=[tcp(53)], layer7=dns("*"))]
    for action in (Action.ALLOW, Action.DENY):
        template = resolved([*asking, rule(ports=[tcp(53)], action=action)], DEFAULT_DENY)
        assert (template.conflicts, template.layer7_sets) == (frozenset(), {})
