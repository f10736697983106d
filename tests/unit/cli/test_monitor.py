import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from kinety.api import insight, types
from kinety.api.errors import AgentUnreachable
from kinety.api.proxy import Request
from kinety.cli.main import kinety
from tests.served_node import StoredEvents, ValueNode

DROP = types.Event(
    time=1.25,
    kind="drop",
    direction="ingress",
    verdict="deny",
    reason="policy-denied",
    sentence="Denied by policy",
    protocol="TCP",
    source=types.EventEnd("10.0.0.3", 43122, 258, "default/xwing", ("k8s:org=alliance",)),
    destination=types.EventEnd("fd00::1", 80, 256, None, ()),
    rule=types.EventRule(3, "CiliumNetworkPolicy/default/rule1", "policy.yaml", 12, "spec.ingress[0]"),
    length=60,
    tcp_flags=2,
)


def run(socket_path: Path, *words: str) -> Result:
    command = ["--socket", str(socket_path), "monitor", *words]
    return CliRunner().invoke(kinety, command, catch_exceptions=False)


def test_a_line_says_who_and_why(socket_path: Path, node: ValueNode) -> None:
    default = types.EventRule(0, None, None, None, None)
    lost = types.Event(2.0, "lost", count=7)
    by_default = replace(DROP, direction="egress", rule=default)
    multicast = replace(by_default, reason="multicast", sentence="Multicast is not forwarded")
    node.subscription = StoredEvents([DROP, by_default, multicast, lost])
    first, second, unjudged, third = run(socket_path, "--count", "4").stdout.splitlines()
    assert "drop" in first
    assert "default/xwing(258) 10.0.0.3:43122 -> ?(256) [fd00::1]:80 TCP" in first
    assert first.endswith("Denied by policy  [policy.yaml:12]")
    assert second.endswith("[default deny]")
    assert unjudged.endswith("Multicast is not forwarded")
    assert third.endswith("7 events came too fast")


def test_a_line_has_what_the_policy_wants_said(socket_path: Path, node: ValueNode) -> None:
    assert DROP.rule is not None
    node.subscription = StoredEvents([replace(DROP, rule=replace(DROP.rule, log="not from there"))])
    (line,) = run(socket_path, "--count", "1").stdout.splitlines()
    assert line.endswith("Denied by policy  [policy.yaml:12 not from there]")


def test_a_denial_by_default_says_who_isolates_and_what_came_nearest(
    socket_path: Path, node: ValueNode
) -> None:
    place = insight.RulePlace("policy.yaml:12", "CiliumNetworkPolicy/default/rule1", "spec.ingress[0]")
    failures = (
        insight.Failure("peer", "it asks for org=empire (it has alliance)"),
        insight.Failure("port", "it names TCP/80"),
    )
    by = ("CiliumNetworkPolicy/default/rule1", "NetworkPolicy/default/shut")
    default = replace(DROP, rule=types.EventRule(0, None, None, None, None))
    near = replace(default, denial=insight.Denial(by, insight.Miss(place, failures)))
    none = replace(default, denial=insight.Denial(by[1:], None))
    node.subscription = StoredEvents([near, none])
    first, second = run(socket_path, "--count", "2").stdout.splitlines()
    assert first.endswith(
        "[default deny by CiliumNetworkPolicy/default/rule1, NetworkPolicy/default/shut;"
        " near policy.yaml:12, peer: it asks for org=empire (it has alliance); port: it names TCP/80]"
    )
    assert second.endswith("[default deny by NetworkPolicy/default/shut]")
    node.subscription = StoredEvents([near])
    (line,) = run(socket_path, "-o", "json", "--count", "1").stdout.splitlines()
    told = json.loads(line)["denial"]
    assert told["isolated_by"] == list(by)
    assert told["nearest"]["place"]["rule"] == "policy.yaml:12"
    assert [each["condition"] for each in told["nearest"]["failures"]] == ["peer", "port"]


def test_a_filters_drop_names_the_filter(socket_path: Path, node: ValueNode) -> None:
    node.subscription = StoredEvents(
        [replace(DROP, reason="hook-denied", sentence="Dropped", hook="no-mail")]
    )
    assert run(socket_path, "--count", "1").stdout.splitlines()[0].endswith("Dropped  [hook no-mail]")


def test_a_shadow_says_what_would_happen_and_what_does(socket_path: Path, node: ValueNode) -> None:
    assert DROP.rule is not None
    default = types.EventRule(0, None, None, None, None)
    told = replace(
        DROP,
        kind="shadow",
        would="drop",
        reason=None,
        sentence=None,
        rule=replace(DROP.rule, mode="staged"),
        rule_in_force=default,
        verdict_in_force="allow",
    )
    unknown = replace(told, rule=default, rule_in_force=types.EventRule(9, None, None, None, None))
    node.subscription = StoredEvents([told, unknown])
    first, second = run(socket_path, "--count", "2").stdout.splitlines()
    assert first.split()[1:4] == ["would-drop", "ingress", "allow"]
    assert first.endswith("TCP  [policy.yaml:12 staged; now allow by default]")
    assert second.endswith("[default; now allow by rule 9]")


def test_a_request_says_what_was_asked_what_came_of_it_and_by_whose_rules(
    socket_path: Path, node: ValueNode
) -> None:
    policies = ("CiliumNetworkPolicy/default/rule1",)
    put = Request("http", "PUT", "/v1/exhaust-port", "deathstar", 403, 0.21, policies=policies)
    requests = [
        put,
        replace(put, status=200, why="a header mismatched"),
        Request("tls", host="bad.example", policies=policies),
        Request("tls"),
    ]
    node.subscription = StoredEvents([replace(DROP, kind="request", request=each) for each in requests])
    lines = [line.split(maxsplit=1)[1] for line in run(socket_path, "--count", "4").stdout.splitlines()]
    start = "-request{} ingress deny  default/xwing(258) 10.0.0.3:43122 -> ?(256) [fd00::1]:80 TCP  "
    http, tls = "http" + start.format("  "), "tls" + start.format("   ")
    by = "  [policy.yaml:12 CiliumNetworkPolicy/default/rule1]"
    assert lines == [
        f"{http}PUT deathstar /v1/exhaust-port 403 after 0.2 ms{by}",
        f"{http}PUT deathstar /v1/exhaust-port 200 (a header mismatched) after 0.2 ms{by}",
        f"{tls}bad.example reset{by}",
        f"{tls}no name reset  [policy.yaml:12]",
    ]


def test_structured_output_is_one_value_an_event(socket_path: Path, node: ValueNode) -> None:
    node.subscription = StoredEvents([DROP, DROP])
    lines = run(socket_path, "-o", "json", "--count", "2").stdout.splitlines()
    assert [json.loads(line)["rule"]["line"] for line in lines] == [12, 12]
    node.subscription = StoredEvents([DROP, DROP])
    documents = list(yaml.safe_load_all(run(socket_path, "-o", "yaml", "--count", "2").stdout))
    assert [document["source"]["endpoint"] for document in documents] == ["default/xwing"] * 2


def test_filters_go_to_the_agent_and_count_ends_it(socket_path: Path, node: ValueNode) -> None:
    node.subscription = StoredEvents([DROP, DROP, DROP])
    words = "--kind drop --kind shadow --endpoint xwing --verdict deny --port 80 --count 2"
    assert len(run(socket_path, *words.split()).stdout.splitlines()) == 2
    assert node.asked == [{"kind": "drop,shadow", "endpoint": "xwing", "verdict": "deny", "port": "80"}]


def test_an_agent_that_stops_is_no_success(socket_path: Path, node: ValueNode) -> None:
    node.subscription = StoredEvents([DROP])
    with pytest.raises(AgentUnreachable, match="the agent has stopped"):
        run(socket_path)
