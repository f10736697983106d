"""Two kinds of content for one peer at one port: refused to who says it, denied where it just happens."""

import pytest

from kinety.model.endpoint import EndpointId
from kinety.model.rule import Direction, Policy
from kinety.model.verdict import VerdictKind
from kinety.plan.engine import Engine
from kinety.plan.fact import EndpointUpserted, Fact, PolicyRemoved, PolicyUpserted
from kinety.policy.error import PolicyError
from tests.unit.plan.saying import TCP, dns, endpoint, has, http, policy, rule, tcp

SUBJECT, A, BOTH = (
    EndpointUpserted(endpoint(number, **pairs))
    for number, pairs in enumerate(({"app": "s"}, {"app": "a"}, {"app": "a", "tier": "b"}), 1)
)
HTTP = policy("http", rule(has(app="s"), [has(app="a")], [tcp(53, 80)], layer7=http("/a")), file="http.yaml")
DNS = policy("dns", rule(has(app="s"), [has(tier="b")], [tcp(53)], layer7=dns("*")), file="dns.yaml", line=9)


def engine_with(*facts: Fact) -> Engine:
    engine = Engine()
    engine.change(facts)
    return engine


def kinds(engine: Engine, peer: int, *ports: int) -> list[VerdictKind]:
    identity = engine.endpoint_plan(EndpointId(peer)).identity
    return [engine.verdict(EndpointId(1), Direction.INGRESS, identity, TCP, port).kind for port in ports]


def test_who_applies_the_second_is_told_of_both_and_nothing_changes() -> None:
    engine = engine_with(SUBJECT, A, BOTH, PolicyUpserted(HTTP))
    before = engine.snapshot()
    with pytest.raises(PolicyError) as refused:
        engine.change([PolicyUpserted(DNS)])
    assert str(refused.value) == (
        "dns.yaml:9: spec.rule[0]: asks for DNS questions of a peer and port of which http.yaml:1"
        " (CiliumNetworkPolicy/default/http spec.rule[0]) asks for HTTP requests;"
        " name other ports, or peers that the other rule does not name"
    )
    assert engine.snapshot() == before


@pytest.mark.parametrize("order", [[HTTP, DNS], [DNS, HTTP]])
def test_of_two_that_come_together_the_last_by_file_and_line_is_named(order: list[Policy]) -> None:
    engine = engine_with(SUBJECT, BOTH)
    with pytest.raises(PolicyError, match=r"^http\.yaml:1: .* dns\.yaml:9") as refused:
        engine.change(map(PolicyUpserted, order))
    assert len(refused.value.findings) == 1


def test_nobody_whom_both_name_is_no_conflict() -> None:
    engine = engine_with(SUBJECT, A, PolicyUpserted(HTTP), PolicyUpserted(DNS))
    assert kinds(engine, 2, 53, 80, 81) == [VerdictKind.REDIRECT, VerdictKind.REDIRECT, VerdictKind.DENY]


def test_where_they_meet_later_they_deny_and_say_so_at_the_next_edit() -> None:
    engine = engine_with(SUBJECT, A, PolicyUpserted(HTTP), PolicyUpserted(DNS))
    engine.change([BOTH])
    assert kinds(engine, 3, 53, 80) == [VerdictKind.DENY, VerdictKind.REDIRECT]
    engine.change([PolicyUpserted(policy("other", rule(has(app="s"), [has(app="c")])))])
    assert kinds(engine, 3, 53, 80) == [VerdictKind.DENY, VerdictKind.REDIRECT]
    edited = policy("dns", rule(has(app="s"), [has(tier="b")], [tcp(53)], layer7=dns("a.example")))
    with pytest.raises(PolicyError):
        engine.change([PolicyUpserted(edited)])
    engine.change([PolicyRemoved(DNS.key)])
    assert kinds(engine, 3, 53, 80) == [VerdictKind.REDIRECT, VerdictKind.REDIRECT]


def test_a_restart_takes_up_what_was_in_force() -> None:
    engine = Engine()
    with engine.step([SUBJECT, BOTH, PolicyUpserted(HTTP), PolicyUpserted(DNS)], in_force=True) as change:
        assert len(change.layer7_sets) == 1
    assert kinds(engine, 3, 53, 80) == [VerdictKind.DENY, VerdictKind.REDIRECT]
