"""Policies that are not in force: the tables are as if they were not there, the shadow as if they were."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import replace

import pytest

from kinety.model.address import pack_address
from kinety.model.endpoint import EndpointId
from kinety.model.rule import Action, Direction, Mode, Policy, PolicyKey, Tier
from kinety.model.verdict import Verdict, VerdictKind
from kinety.plan.engine import Engine
from kinety.plan.fact import EndpointRemoved, EndpointUpserted, Fact, PolicyRemoved, PolicyUpserted
from tests.unit.plan.saying import TCP, cidr, endpoint, has, http, policy, rule, tcp, udp
from tests.unit.plan.tables import Tables

WEB, DB, OTHER = (EndpointId(number) for number in (1, 2, 3))
ENDPOINTS = [
    endpoint(WEB, ipv6=True, app="web", tier="front"),
    endpoint(DB, app="db"),
    endpoint(OTHER, app="other"),
]
ADDRESSES = [pack_address(text) for text in ("10.0.0.1", "10.0.0.2", "10.0.0.3", "192.0.2.1", "198.51.100.1")]
TRAFFIC = [(TCP, 80), (TCP, 81), (TCP, 443), (17, 53)]
POLICIES = [
    policy("allows", rule(has(app="web"), [has(app="db")], [tcp(80, 81)])),
    policy(
        "denies", rule(has(app="web"), [has(app="db")], [tcp(81)], action=Action.DENY, default_deny=False)
    ),
    policy("outward", rule(has(app="db"), [cidr("192.0.2.0/24")], [udp(53)], direction=Direction.EGRESS)),
    policy("asks", rule(has(app="web"), [has(app="other")], [tcp(443)], layer7=http("/a"))),
    policy(
        "admin",
        rule(has(app="web"), [has(app="other")], action=Action.PASS, tier=Tier.ADMIN, default_deny=False),
        rule(has(app="web"), None, [tcp(443)], action=Action.DENY, tier=Tier.ADMIN, priority=1),
    ),
    policy("below", rule(has(app="db"), None, action=Action.DENY, tier=Tier.BASELINE, default_deny=False)),
]
Decided = tuple[object, str, str, str]


def in_mode(mode: Mode, found: Policy) -> Policy:
    return replace(found, rules=tuple(replace(each, mode=mode) for each in found.rules))


def engine_of(policies: Iterable[Policy]) -> tuple[Engine, Tables]:
    engine, tables = Engine(), Tables()
    facts: list[Fact] = [EndpointUpserted(each) for each in ENDPOINTS]
    tables.apply(engine.change([*facts, *map(PolicyUpserted, policies)]))
    return engine, tables


def decided(engine: Engine, verdict: Verdict) -> Decided:
    origin = engine.rules[verdict.rule].origin if verdict.rule else None
    where = (origin.policy.name, origin.path) if origin else ("", "")
    return (verdict.kind, *where, str(verdict.layer7))


def questions(engine: Engine) -> Iterable[tuple[EndpointId, Direction, bytes, tuple[int, int]]]:
    return itertools.product(engine.endpoints, Direction, ADDRESSES, TRAFFIC)


def check(engine: Engine, tables: Tables, mode: Mode, chosen: set[str]) -> None:
    """The engine against two that hold what is in force, and everything."""
    told = [in_mode(mode, each) if each.key.name in chosen else each for each in POLICIES]
    without, _ = engine_of(each for each in told if each.mode is Mode.ENFORCED)
    everything, _ = engine_of(POLICIES)
    assert engine.snapshot() == tables.snapshot()
    for question in questions(engine):
        assert asked(engine, *question) == asked(without, *question)
        key, direction, address, traffic = question
        peer = engine.identity_of_address(address)
        beside = engine.shadow_verdict(key, direction, peer, *traffic)
        assert beside == tables.judge_beside(key, direction, peer, *traffic)
        expected = asked(everything, *question)
        assert expected == (asked(without, *question) if beside is None else decided(engine, beside))


def asked(
    engine: Engine, key: EndpointId, direction: Direction, address: bytes, traffic: tuple[int, int]
) -> Decided:
    peer = engine.identity_of_address(address)
    return decided(engine, engine.verdict(key, direction, peer, *traffic))


@pytest.mark.parametrize("mode", [Mode.STAGED, Mode.AUDIT])
@pytest.mark.parametrize("count", [1, 2, 5, 6])
def test_whatever_is_out_of_force(mode: Mode, count: int) -> None:
    for chosen in itertools.combinations([each.key.name for each in POLICIES], count):
        engine, tables = engine_of(
            in_mode(mode, each) if each.key.name in chosen else each for each in POLICIES
        )
        check(engine, tables, mode, set(chosen))


def test_whatever_came_before() -> None:
    """In and out of force, one policy after the other, with an endpoint that goes and comes."""
    engine, tables = engine_of(())
    staged: set[str] = set()
    for each in POLICIES:
        tables.apply(engine.change([PolicyUpserted(in_mode(Mode.STAGED, each))]))
        staged.add(each.key.name)
    tables.apply(engine.change([EndpointRemoved(WEB)]))
    tables.apply(engine.change([EndpointUpserted(ENDPOINTS[0])]))
    check(engine, tables, Mode.STAGED, staged)
    for each in POLICIES:
        tables.apply(engine.change([PolicyUpserted(each)]))
        staged.discard(each.key.name)
        check(engine, tables, Mode.STAGED, staged)
    assert all(
        plan.shadow_egress is plan.shadow_ingress is None for plan in engine.snapshot().endpoints.values()
    )


def test_who_is_selected_by_nothing_staged_has_no_shadow_and_is_not_touched() -> None:
    engine, _ = engine_of([])
    change = engine.change([PolicyUpserted(in_mode(Mode.STAGED, POLICIES[0]))])
    assert change.endpoints.keys() == {WEB}
    plan = change.endpoints[WEB]
    assert (plan.egress, plan.ingress, plan.shadow_egress) == (None, None, None)
    assert change.rule_sets.keys() == {plan.shadow_ingress}


def test_a_rule_keeps_its_number_when_it_goes_into_force_and_the_change_says_so() -> None:
    engine, _ = engine_of([in_mode(Mode.STAGED, POLICIES[0])])
    (number,) = (number for number, each in engine.rules.items() if each.origin.policy.name == "allows")
    change = engine.change([PolicyUpserted(POLICIES[0])])
    assert change.rules_turned == {number}
    assert change.endpoints[WEB].ingress is not None
    assert change.endpoints[WEB].shadow_ingress is None
    assert engine.rules[number].mode is Mode.ENFORCED
    assert not engine.change([PolicyUpserted(POLICIES[0])]).rules_turned
    assert not engine.change([PolicyRemoved(POLICIES[0].key)]).rules_turned


def test_an_endpoint_in_audit_may_do_everything_and_no_other_may() -> None:
    engine, tables = engine_of(POLICIES)
    before = engine.endpoint_plan(WEB)
    change = engine.change([EndpointUpserted(replace(ENDPOINTS[0], audit=True))])
    tables.apply(change)
    assert change.endpoints.keys() == {WEB}
    assert not change.rule_sets
    after = change.endpoints[WEB]
    assert (after.egress, after.ingress) == (None, None)
    assert (after.shadow_egress, after.shadow_ingress) == (before.egress, before.ingress)
    peer = engine.identity_of_address(ADDRESSES[1])
    assert engine.verdict(WEB, Direction.INGRESS, peer, TCP, 81).kind is VerdictKind.ALLOW
    beside = engine.shadow_verdict(WEB, Direction.INGRESS, peer, TCP, 81)
    assert beside is not None
    assert decided(engine, beside)[1] == "denies"
    assert engine.change([EndpointUpserted(ENDPOINTS[0])]).endpoints[WEB] == before


def test_a_step_that_is_taken_back_leaves_no_shadow() -> None:
    engine, _ = engine_of(POLICIES)
    before = engine.snapshot()
    with pytest.raises(ZeroDivisionError), engine.step([PolicyUpserted(in_mode(Mode.AUDIT, POLICIES[0]))]):
        raise ZeroDivisionError
    assert engine.snapshot() == before
    key = PolicyKey("CiliumNetworkPolicy", "default", "allows")
    assert engine.policies[key].mode is Mode.ENFORCED
    assert (
        engine.shadow_verdict(WEB, Direction.INGRESS, engine.identity_of_address(ADDRESSES[1]), TCP, 80)
        is None
    )
