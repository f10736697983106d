import json
from collections.abc import Callable
from dataclasses import replace

from click.testing import Result

from kinety.api.shadow import ShadowChange, ShadowPeer, ShadowPolicy, ShadowReport
from kinety.api.types import EventRule, PolicyOutcome, PolicyResult
from tests.served_node import ValueNode

Run = Callable[..., Result]
DEFAULT = EventRule(0, None, None, None, None)
CHANGE = ShadowChange(
    would="drop",
    endpoint="default/server",
    direction="ingress",
    peer=ShadowPeer(257, ("k8s:app=x",), "default/client", "10.0.0.2", "TCP", 80),
    rule=EventRule(7, "CiliumNetworkPolicy/prod/rule1", "prod.yaml", 7, "spec.ingressDeny[0]", mode="staged"),
    rule_in_force=DEFAULT,
    flows=2,
    packets=31,
    bytes=4000,
    last_seen=0.0,
)
WORLD = replace(
    CHANGE,
    rule=DEFAULT,
    rule_in_force=EventRule(9, None, None, None, None),
    peer=ShadowPeer(9, ("reserved:world-ipv4",), None, "192.0.2.1", "UDP", 53),
)
STAGED = ShadowPolicy("CiliumNetworkPolicy", "prod", "rule1", "staged", "prod.yaml", 3, 1, (CHANGE, WORLD))
AUDIT = ShadowPolicy("CiliumClusterwideNetworkPolicy", "", "all", "audit", "all.yaml", 4, 2, ())


def test_a_policy_with_its_changes_and_one_without(run: Run, node: ValueNode) -> None:
    node.report = ShadowReport((STAGED, AUDIT), ("prod",), ("default/x", "default/y"), 3)
    blocks = run("policy", "shadow", "report").stdout.rstrip("\n").split("\n\n")
    head, columns, first, second = blocks[0].splitlines()
    assert head == "CiliumNetworkPolicy/prod/rule1 (staged, prod.yaml:3), 1 endpoint"
    assert columns.split()[:5] == ["WOULD", "ENDPOINT", "DIRECTION", "PEER", "TRAFFIC"]
    assert "drop   default/server  ingress    default/client(257) 10.0.0.2" in first
    assert "TCP 80   prod.yaml:7" in first
    assert "reserved:world-ipv4(9) 192.0.2.1" in second
    assert "UDP 53   default deny  rule 9" in second
    assert blocks[1:] == [
        "CiliumClusterwideNetworkPolicy/all (audit, all.yaml:4), 2 endpoints\n"
        "nothing would have changed so far",
        "namespaces in audit: prod",
        "endpoints in audit: default/x, default/y",
        "3 packets not counted: the map shadow_counters was full",
    ]


def test_nothing_is_staged(run: Run) -> None:
    assert run("policy", "shadow", "report").stdout == "no policy is staged or in audit\n"


def test_a_report_for_programs(run: Run, node: ValueNode) -> None:
    node.report = ShadowReport((STAGED,), (), (), 0)
    (policy,) = json.loads(run("policy", "shadow", "report", "-o", "json").stdout)["policies"]
    assert policy["changes"][0]["peer"]["endpoint"] == "default/client"
    assert policy["changes"][0]["rule"]["mode"] == "staged"


def test_an_apply_says_what_is_not_in_force(run: Run, node: ValueNode) -> None:
    outcome = PolicyOutcome("CiliumNetworkPolicy", "prod", "rule1", "created", 1, "staged")
    node.result = PolicyResult((outcome,), False, 1, 0.004)
    said = run("policy", "apply", "-", stdin="x").stdout
    assert said.startswith("CiliumNetworkPolicy/prod/rule1 created (staged), 1 rule\n")


def test_promotion_by_any_name(run: Run, node: ValueNode) -> None:
    said = run("policy", "shadow", "promote", "cnp/prod/rule1", "everywhere").stdout
    assert node.asked == [
        ("CiliumNetworkPolicy", "prod", "rule1"),
        ("CiliumClusterwideNetworkPolicy", "", "everywhere"),
    ]
    assert said.splitlines()[0] == "CiliumNetworkPolicy/prod/rule1 updated, 1 rule"
    assert "in force on 1 endpoint" in said
