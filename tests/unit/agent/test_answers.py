"""Answers about policies: from the agent's own engine, which stays as it is."""

import pytest

from kinety.agent.answers import changes, denial, explanation, findings, verdicts
from kinety.api.errors import ApiError
from kinety.model.rule import Direction
from tests.unit.agent.conftest import POLICY, Agent, files


def test_an_explanation_is_about_the_plan_in_force(busy: Agent) -> None:
    held = busy.held()
    found = explanation(busy.control.engine, "client", "server", "TCP", 80)
    assert (found.verdict, found.edits) == ("allow", ())
    assert found.ingress is not None
    plan = busy.control.engine.endpoint_plan(busy.control.endpoints["default", "server"].endpoint.id)
    assert found.ingress.chain.rule_set == plan.ingress
    denied = explanation(busy.control.engine, "203.0.113.9", "server", "TCP", 80)
    assert denied.verdict == "deny"
    assert denied.edits[0].steps[0].place.rule == "rule1.yaml:8"
    assert busy.held() == held


@pytest.mark.parametrize(("end", "protocol"), [("nobody", "TCP"), ("server", "TPC")])
def test_what_there_is_not_is_refused(busy: Agent, end: str, protocol: str) -> None:
    with pytest.raises(ApiError, match="there is no"):
        explanation(busy.control.engine, end, "server", protocol, 80)


def test_a_denial_is_about_the_plan_in_force(busy: Agent) -> None:
    engine = busy.control.engine
    server = busy.control.endpoints["default", "server"].endpoint
    asked = server.id, Direction.INGRESS, engine.endpoint_plan(server.id).identity, 6, 80
    found = denial(engine, *asked)
    assert found is not None
    assert found.isolated_by == ("CiliumNetworkPolicy/default/rule1",)
    assert found.nearest is not None
    assert found.nearest.place.rule == "rule1.yaml:7"
    assert [each.reason for each in found.nearest.failures] == ["it asks for app=client (it has server)"]
    steps = busy.control.steps
    busy.control.delete_policy(next(iter(busy.control.policies)))
    assert busy.control.steps == steps + 1
    assert denial(engine, *asked) is None


def test_changes_are_told_and_not_made(busy: Agent) -> None:
    held = busy.held()
    (change,) = changes(busy.control.engine, files("rule1", text=POLICY.replace("app: client", "app: x")))
    assert (change.direction, change.subjects.names, change.peers.names) == (
        "ingress",
        ("default/server",),
        ("default/client",),
    )
    assert (change.before, change.before_rule, change.after, change.after_rule) == (
        "allow",
        "rule1.yaml:7",
        "deny",
        None,
    )
    assert change.traffic.text == "all"
    assert changes(busy.control.engine, files("rule1")) == ()
    assert busy.held() == held


def test_findings_are_about_the_policies_in_force(busy: Agent) -> None:
    assert findings(busy.control.engine) == ()
    busy.control.apply(files("rule2"))
    assert [(each.check, each.file, each.line) for each in findings(busy.control.engine)] == [
        ("redundant", "rule2.yaml", 7),
        ("redundant", "rule2.yaml", 8),
    ]


def test_verdicts_of_every_endpoint(busy: Agent) -> None:
    rows = verdicts(busy.control.engine)
    assert {each.subjects.names for each in rows if each.direction == "ingress"} == {
        ("default/server",),
        ("default/client", "host"),
    }
    (by_cidr,) = [each for each in rows if each.rule == "rule1.yaml:8"]
    assert (by_cidr.peers.names, by_cidr.verdict, by_cidr.traffic.text) == (("192.0.2.0/24",), "allow", "all")
