"""What is said to cover, covers: against everybody in a small world."""

from hypothesis import given, settings
from hypothesis import strategies as st

from kinety.explain.overlap import rule_covers, selector_covers
from kinety.model.label import Labels
from kinety.model.rule import Rule
from kinety.model.selector import Operator, PeerSelector
from tests.unit.plan.generation import ADDRESSES, PORTS, label_sets, peer_selectors, rules
from tests.unit.plan.naive import Party, World, selects
from tests.unit.plan.saying import ANYONE, cidr, entity, has, rule, tcp, where
from tests.unit.plan.winner import ports_naming

WORLD = World()
everybody = st.one_of(label_sets.map(Party), st.sampled_from(ADDRESSES).map(World().owner))


@settings(max_examples=400)
@given(peer_selectors, peer_selectors, st.lists(everybody, min_size=5, max_size=20))
def test_a_selector_that_covers_selects_all(
    outer: PeerSelector, inner: PeerSelector, some: list[Party]
) -> None:
    if selector_covers(outer, inner):
        for each in some:
            assert selects(outer, each) or not selects(inner, each)


@settings(max_examples=400)
@given(rules, rules, label_sets, st.lists(everybody, min_size=5, max_size=10))
def test_a_rule_that_covers_names_all(outer: Rule, inner: Rule, own: Labels, some: list[Party]) -> None:
    if rule_covers(outer, inner):
        assert outer.subject.matches(own) or not inner.subject.matches(own)
        for each in some:
            assert WORLD.is_about(outer, each) or not WORLD.is_about(inner, each)
        for protocol, port in PORTS:
            assert ports_naming(outer, protocol, port) or not ports_naming(inner, protocol, port)


def test_it_sees_what_it_should() -> None:
    assert selector_covers(ANYONE, has(app="a"))
    assert selector_covers(where("app", Operator.IN, "a", "b"), has(app="a", tier="b"))
    assert selector_covers(where("app", Operator.EXISTS), has("k8s", app="a"))
    assert not selector_covers(has("k8s", app="a"), has(app="a"))
    assert selector_covers(
        where("app", Operator.NOT_IN, "a", source="k8s"), where("app", Operator.DOES_NOT_EXIST)
    )
    assert not selector_covers(
        where("app", Operator.NOT_IN, "a"), where("app", Operator.NOT_IN, "a", source="k8s")
    )
    assert selector_covers(cidr("8.0.0.0/7"), cidr("8.8.0.0/16", "8.8.8.8/32"))
    assert not selector_covers(cidr("8.0.0.0/7", "8.8.8.0/24"), cidr("8.8.0.0/16", "8.8.8.8/32"))
    assert selector_covers(cidr("8.0.0.0/7", "8.8.8.8/32"), cidr("8.8.0.0/16", "8.8.8.0/24"))
    assert selector_covers(entity("world"), cidr("8.8.0.0/16"))
    assert not selector_covers(cidr("0.0.0.0/0"), entity("world"))
    assert rule_covers(rule(ANYONE, None, [tcp(1, 99)]), rule(has(app="a"), [ANYONE], [tcp(80)]))
    assert not rule_covers(rule(ANYONE, [ANYONE], [tcp(1, 99)]), rule(has(app="a"), None, [tcp(80)]))
