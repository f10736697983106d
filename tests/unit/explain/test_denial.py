"""Reasons of denials by default: against the naive judge, and by name."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kinety.explain import denial as explained
from kinety.explain.condition import Condition
from kinety.explain.denial import Denial, denial
from kinety.model.endpoint import EndpointId
from kinety.model.identity import Identity
from kinety.model.label import NAMESPACE_KEY
from kinety.model.rule import Direction, PolicyKey
from kinety.model.verdict import VerdictKind
from kinety.plan.engine import Engine
from kinety.plan.fact import EndpointUpserted, Fact, PolicyUpserted
from kinety.policy.document import Document
from kinety.policy.parse import parse_policies
from tests.unit.explain.everyone import questions, told
from tests.unit.plan.generation import batches
from tests.unit.plan.saying import endpoint

TCP = 6
DOCK = """\
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: dock}
spec:
  endpointSelector: {matchLabels: {class: deathstar}}
  ingress:
  - fromEndpoints: [{matchLabels: {org: empire}}]
    toPorts: [{ports: [{port: "80", protocol: TCP}]}]
  - fromEndpoints: [{matchLabels: {org: rebels, class: spy}}]
    toPorts: [{ports: [{port: "443", protocol: TCP}]}]
---
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: shut}
spec:
  endpointSelector: {matchLabels: {class: deathstar}}
  ingress: [{}]
---
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: open}
spec:
  endpointSelector: {matchLabels: {class: deathstar}}
  enableDefaultDeny: {ingress: false}
  ingress:
  - fromEndpoints: [{matchLabels: {org: guests}}]
"""
DEATHSTAR, XWING = EndpointId(1), EndpointId(2)


def stars() -> Engine:
    engine = Engine()
    facts: list[Fact] = [PolicyUpserted(each) for each in parse_policies([Document("dock.yaml", DOCK)])]
    ends = ({"org": "empire", "class": "deathstar"}, {"org": "alliance", "class": "xwing"})
    facts += [
        EndpointUpserted(endpoint(number, False, **{NAMESPACE_KEY: "default"}, **each))
        for number, each in enumerate(ends, 1)
    ]
    engine.change(facts)
    return engine


def of_xwing(engine: Engine, port: int) -> Denial | None:
    peer = engine.endpoint_plan(XWING).identity
    return denial(engine, DEATHSTAR, Direction.INGRESS, peer, TCP, port)


def test_it_names_who_isolates_and_what_came_nearest() -> None:
    found = of_xwing(stars(), 80)
    assert found is not None
    assert [each.name for each in found.isolated_by] == ["dock", "shut"]
    assert found.nearest is not None
    assert (found.nearest.origin.line, found.nearest.origin.policy.name) == (7, "dock")
    (failure,) = found.nearest.failures
    assert (failure.condition, failure.reason) == (Condition.PEER, "it asks for org=empire (it has alliance)")


def test_names_and_rules_that_are_looked_at_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = stars()
    monkeypatch.setattr(explained, "NAMED", 1)
    monkeypatch.setattr(explained, "LOOKED_AT", 3)
    near_the_second = of_xwing(engine, 443)
    assert near_the_second is not None
    assert [each.name for each in near_the_second.isolated_by] == ["dock"]
    assert near_the_second.nearest is not None
    assert near_the_second.nearest.origin.line == 7


def test_what_is_gone_or_decided_has_no_reason() -> None:
    engine = stars()
    peer = engine.endpoint_plan(XWING).identity
    assert denial(engine, EndpointId(9), Direction.INGRESS, peer, TCP, 80) is None
    assert denial(engine, DEATHSTAR, Direction.INGRESS, Identity(65_000), TCP, 80) is None
    assert denial(engine, DEATHSTAR, Direction.EGRESS, peer, TCP, 80) is None, "it is not denied"


@settings(max_examples=40, deadline=None)
@given(batches, st.data())
def test_there_is_a_reason_exactly_where_the_naive_judge_denies_by_no_rule(
    former: list[list[Fact]], data: st.DataObject
) -> None:
    engine, world = told([each for batch in former for each in batch])
    if not world.endpoints:
        return
    (own, direction, address), protocol, port = data.draw(st.sampled_from(list(questions(world))))
    kind, deciding, _ = world.judge(own, direction, world.owner(address), protocol, port)
    peer = engine.identity_of_address(address)
    found = denial(engine, own.id, direction, peer, protocol, port)
    assert (found is not None) == (kind is VerdictKind.DENY and not deciding)
    if found is not None:
        assert found.isolated_by
        assert all(isinstance(each, PolicyKey) for each in found.isolated_by)
        assert found.nearest is None or found.nearest.failures
