"""A policy that is edited in place, so that most of what it said it still says."""

from __future__ import annotations

from kinety.model.endpoint import EndpointId
from kinety.model.rule import Policy
from kinety.plan.engine import Engine
from kinety.plan.fact import EndpointUpserted, PolicyRemoved, PolicyUpserted
from tests.unit.plan.saying import ANYONE, endpoint, has, policy, rule, tcp

ONE, OTHER = 1, 2


def opened(subject: str) -> Policy:
    who = ANYONE if subject == "anyone" else has(app=subject)
    return policy("p", rule(who, [has(app="web")], [tcp(80)]))


def test_another_subject_of_the_same_rule_makes_a_table_of_its_own() -> None:
    """What a change publishes it does not also take away: the former table may have the same content."""
    engine = Engine()
    engine.change([EndpointUpserted(endpoint(ONE, app="web")), EndpointUpserted(endpoint(OTHER, app="db"))])
    engine.change([PolicyUpserted(opened("web"))])
    change = engine.change([PolicyUpserted(opened("anyone"))])
    assert change.rule_sets.keys().isdisjoint(change.rule_sets_removed)
    assert change.rule_sets_removed
    live = engine.snapshot().rule_sets
    assert live.keys() == {engine.endpoint_plan(EndpointId(number)).ingress for number in (ONE, OTHER)}
    again = engine.change([PolicyUpserted(opened("db"))])
    assert again.rule_sets_removed == live.keys()
    assert engine.change([PolicyRemoved(opened("db").key)]).rule_sets_removed == again.rule_sets.keys()
    assert not engine.snapshot().rule_sets


def test_an_edit_is_published_as_a_fresh_start_would() -> None:
    """A rule's number, and so its counter, and the names of tables do not depend on how it came about."""
    edited, fresh = Engine(), Engine()
    facts = [EndpointUpserted(endpoint(ONE, app="web")), EndpointUpserted(endpoint(OTHER, app="db"))]
    edited.change([*facts, PolicyUpserted(opened("web"))])
    edited.change([PolicyUpserted(opened("anyone"))])
    fresh.change([*facts, PolicyUpserted(opened("anyone"))])
    assert edited.snapshot().rule_sets.keys() == fresh.snapshot().rule_sets.keys()
    assert edited.snapshot().rules == fresh.snapshot().rules
