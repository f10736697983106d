"""Whose doing it would be: counters of the datapath as changes of policies."""

import time
from dataclasses import replace

import pytest

from kinety import abi
from kinety.agent.promotion import promote
from kinety.agent.shadow import report
from kinety.api.shadow import ShadowPolicy, ShadowReport
from kinety.model.address import pack_address
from kinety.model.rule import PolicyKey, RuleId
from tests.unit.agent.conftest import POLICY, Agent, files

STAGED = POLICY.replace("{name: NAME}", '{name: NAME, annotations: {kinety.io/staged: "true"}}')
AUDIT = STAGED.replace("staged", "audit")
DENIES = STAGED.replace("ingress:", "ingressDeny:")
SERVER, CLIENT = 1, 2


@pytest.fixture
def open_(agent: Agent) -> Agent:
    """A server and a client, and no policy."""
    agent.attach(SERVER, "server")
    agent.attach(CLIENT, "client")
    return agent


def number(agent: Agent, policy: str) -> int:
    """The first rule of a policy."""
    return min(key for key, rule in agent.control.engine.rules.items() if rule.origin.policy.name == policy)


def count(agent: Agent, rule: int, **fields: int) -> None:
    """The server's ingress from the client differed."""
    key = abi.ShadowKey(
        endpoint=SERVER,
        remote_identity=agent.control.engine.endpoint_plan(agent.datapath.attached[1]).identity,
        rule=rule,
        rule_in_force=0,
        direction=abi.Direction.INGRESS,
        verdict=abi.Verdict.DENY,
        verdict_in_force=abi.Verdict.ALLOW,
    )
    agent.datapath.shadows[replace(key, **fields)] = abi.ShadowCounter(
        flows=2,
        packets=5,
        bytes=300,
        last_seen=time.monotonic_ns(),
        peer=pack_address("10.0.0.2"),
        port=80,
        protocol=6,
    )


def told(agent: Agent) -> dict[str, ShadowPolicy]:
    """What is reported, by policy and mode."""
    found: ShadowReport = report(agent.control)
    return {f"{each.name} {each.mode}": each for each in found.policies}


def test_a_change_with_its_peer_and_both_rules(open_: Agent) -> None:
    open_.control.apply(files("b", text=DENIES))
    count(open_, number(open_, "b"))
    policy = told(open_)["b staged"]
    assert (policy.kind, policy.namespace, policy.endpoints) == ("CiliumNetworkPolicy", "default", 1)
    assert (policy.file, policy.line) == ("b.yaml", 7)
    (change,) = policy.changes
    assert (change.would, change.endpoint, change.direction) == ("drop", "default/server", "ingress")
    assert (change.flows, change.packets, change.bytes) == (2, 5, 300)
    assert (change.peer.endpoint, change.peer.address) == ("default/client", "10.0.0.2")
    assert (change.peer.protocol, change.peer.port) == ("TCP", 80)
    assert "k8s:app=client" in change.peer.labels
    assert (change.rule.line, change.rule.mode, change.rule_in_force.id) == (7, "staged", 0)
    assert abs(change.last_seen - time.time()) < 60


def test_what_isolates_is_what_the_default_denies_by(open_: Agent) -> None:
    """Both policies isolate; a policy that only lets something in by itself does not."""
    lax = STAGED.replace("  ingress:", "  enableDefaultDeny: {ingress: false}\n  ingress:")
    open_.control.apply((*files("a", text=STAGED), *files("b", text=AUDIT), *files("c", text=lax)))
    count(open_, 0)
    found = told(open_)
    assert {name: len(each.changes) for name, each in found.items()} == {
        "a staged": 1,
        "b audit": 1,
        "c staged": 0,
    }


def test_where_a_rule_in_force_would_decide_all_that_are_not_are_told(open_: Agent) -> None:
    open_.control.apply((*files("a"), *files("b", text=STAGED)))
    count(open_, number(open_, "a"))
    assert len(told(open_)["b staged"].changes) == 1


def test_a_policy_without_changes_and_without_endpoints_is_told_too(agent: Agent) -> None:
    agent.control.apply(files("a", text=STAGED))
    assert told(agent)["a staged"].endpoints == 0
    assert report(agent.control).lost == 4


def test_rows_of_what_is_not_there_any_more_are_not_told(open_: Agent) -> None:
    open_.control.apply((*files("a"), *files("b", text=DENIES)))
    rule = number(open_, "b")
    count(open_, rule)
    count(open_, rule, endpoint=99)
    promote(open_.control, PolicyKey("CiliumNetworkPolicy", "default", "b"))
    assert told(open_) == {}


def test_of_an_endpoint_in_audit_all_its_policies_are_told(open_: Agent) -> None:
    open_.control.apply((*files("a"), *files("b", text=STAGED)))
    open_.control.audit("default", "server", True)
    count(open_, 0)
    found = told(open_)
    assert {name: (each.endpoints, len(each.changes)) for name, each in found.items()} == {
        "a audit": (1, 1),
        "b staged": (1, 1),
    }
    assert report(open_.control).audited_endpoints == ("default/server",)


def test_rules_keep_their_numbers_through_a_promotion(open_: Agent) -> None:
    open_.control.apply(files("a", text=STAGED))
    before = number(open_, "a")
    promote(open_.control, PolicyKey("CiliumNetworkPolicy", "default", "a"))
    assert number(open_, "a") == before
    assert open_.control.directory.rule(RuleId(before)).mode == "enforced"
