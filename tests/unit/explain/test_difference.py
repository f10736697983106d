"""Differences against the naive judge, asked about everybody before and after."""

from hypothesis import given, settings
from hypothesis import strategies as st

from kinety.explain.difference import Difference, difference, replacing
from kinety.explain.traffic import number_of
from kinety.model.rule import Direction
from kinety.model.verdict import VerdictKind
from kinety.plan.engine import Engine
from kinety.plan.fact import (
    CidrGroupRemoved,
    CidrGroupUpserted,
    EndpointUpserted,
    Fact,
    PolicyRemoved,
    PolicyUpserted,
    ServiceRemoved,
    ServiceUpserted,
)
from tests.unit.explain.everyone import identity_at, questions, told
from tests.unit.plan.generation import batches, facts
from tests.unit.plan.saying import ANYONE, cidr, endpoint, has, policy, rule, tcp

ABOUT_POLICIES = (
    PolicyUpserted,
    PolicyRemoved,
    CidrGroupUpserted,
    CidrGroupRemoved,
    ServiceUpserted,
    ServiceRemoved,
)
POLICY_FACTS = st.lists(facts.filter(lambda each: isinstance(each, ABOUT_POLICIES)), max_size=4)


@settings(max_examples=150, deadline=None)
@given(batches, POLICY_FACTS)
def test_it_is_exactly_what_asking_about_everybody_finds(former: list[list[Fact]], news: list[Fact]) -> None:
    engine, world = told([each for batch in former for each in batch])
    snapshot = engine.snapshot()
    found = difference(engine, news)
    assert engine.snapshot() == snapshot
    after = world.copy()
    after.learn(news)
    engine.change(news)
    for (subject, direction, address), protocol, port in questions(world):
        was = world.judge(subject, direction, world.owner(address), protocol, port)
        will = after.judge(subject, direction, after.owner(address), protocol, port)
        identity = engine.endpoint_plan(subject.id).identity
        said = about(found, direction, identity, identity_at(engine, found, address), protocol, port)
        if (was[0], was[2]) == (will[0], will[2]):
            assert said == []
        else:
            assert said == [(was[:2], will[:2])]


def about(
    found: Difference, direction: Direction, subject: int, peer: int, protocol: int, port: int
) -> list[object]:
    """What a difference says of one flow, in the naive judge's words; at most one thing."""
    number = number_of(protocol, port)
    return [
        (
            (each.before.kind, name(each.before_rule)),
            (each.after.kind, name(each.after_rule)),
        )
        for each in found.changes
        if each.direction is direction
        and subject in each.subjects
        and peer in each.peers
        and any(first <= number <= last for first, last in each.traffic)
    ]


def name(origin: object) -> str:
    return "" if origin is None else f"{origin.policy.name} {origin.path}"  # type: ignore[attr-defined]


@settings(max_examples=50, deadline=None)
@given(batches)
def test_nothing_changes_when_nothing_changes(former: list[list[Fact]]) -> None:
    engine, world = told([each for batch in former for each in batch])
    same = [PolicyUpserted(each) for each in world.policies.values()]
    assert difference(engine, replacing(engine, same)).changes == ()


def test_equal_subjects_and_equal_peers_are_told_together() -> None:
    engine = Engine()
    fighters = [EndpointUpserted(endpoint(number, app="fighter", ship=str(number))) for number in (1, 2)]
    engine.change([*fighters, EndpointUpserted(endpoint(3, app="star"))])
    shut = policy("shut", rule(has(app="fighter"), [has(app="star")], [tcp(80)]))
    (rest, outside) = sorted(
        difference(engine, [PolicyUpserted(shut)]).changes, key=lambda each: len(each.peers)
    )
    star = engine.endpoint_plan(fighters[0].endpoint.id)
    assert len(rest.subjects) == len(outside.subjects) == 2
    assert star.identity in outside.peers
    assert rest.before.kind is VerdictKind.ALLOW
    assert rest.after.kind is VerdictKind.DENY
    assert [str(each.after_rule) for each in (rest, outside)] == ["None", "None"]
    assert engine.policies == {}


def test_a_prefix_that_only_the_new_policy_names_is_a_peer_of_its_own() -> None:
    engine = Engine()
    engine.change([EndpointUpserted(endpoint(1, app="a")), PolicyUpserted(policy("p", rule(ANYONE, [])))])
    opened = policy("p", rule(ANYONE, [cidr("8.8.0.0/16", "8.8.8.0/24")]))
    (change,) = difference(engine, [PolicyUpserted(opened)]).changes
    found = difference(engine, [PolicyUpserted(opened)])
    (peer,) = change.peers
    assert str(found.outside[peer]) == "8.8.0.0/16"  # type: ignore[index]
    assert str(change.after_rule) == "p.yaml:1"
