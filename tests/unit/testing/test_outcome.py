import json

import pytest

from kinety.model.rule import Origin, PolicyKey
from kinety.policy.parse import Objects
from kinety.testing.outcome import ALLOW, DENY, UNJUDGED, Answer, Result, Side
from kinety.testing.scenario import Host, Outside, Probe, Scenario

ORIGIN = Origin(PolicyKey("CiliumNetworkPolicy", "default", "p"), "p.yaml", 7, "spec.ingress[0]")
SCENARIO = Scenario("s", "s.yaml", (), Objects({}), (), ())


def result(expect: str, *answers: Answer) -> Result:
    families = tuple(answer.family for answer in answers)
    probe = Probe(Host(), Outside("world", {}), "TCP", 80, families, expect, "s.yaml", 3)
    return Result(SCENARIO, probe, answers)


@pytest.mark.parametrize(
    ("side", "shown"),
    [
        (Side(ALLOW, ORIGIN), "allow: p.yaml:7"),
        (Side(DENY, ORIGIN), "deny: p.yaml:7"),
        (Side(ALLOW), "default allow"),
        (Side(DENY), "default deny"),
        (Side(DENY, reason="Not the endpoint's address"), "deny: Not the endpoint's address"),
        (UNJUDGED, "-"),
    ],
)
def test_a_side_in_words(side: Side, shown: str) -> None:
    assert str(side) == shown


def test_one_wrong_family_fails_the_probe_and_tells_it() -> None:
    right, wrong = Answer(4, DENY, UNJUDGED, Side(DENY)), Answer(6, ALLOW, UNJUDGED, Side(ALLOW, ORIGIN))
    assert result("deny", right).ok
    for answers in ((right, wrong), (wrong, right)):
        failed = result("deny", *answers)
        assert not failed.ok
        assert failed.telling is wrong
    assert result("deny", right, right).telling is right


def test_json_has_both_sides_apart_with_their_rules() -> None:
    value = result("allow", Answer(4, DENY, Side(ALLOW), Side(DENY, ORIGIN))).value()
    assert json.loads(json.dumps(value)) == {
        "scenario": "s",
        "file": "s.yaml",
        "line": 3,
        "from": "host",
        "to": "world",
        "port": 80,
        "protocol": "TCP",
        "families": [4],
        "expect": "allow",
        "outcome": "deny",
        "ok": False,
        "egress": {"verdict": "allow", "rule": None},
        "ingress": {
            "verdict": "deny",
            "rule": "p.yaml:7",
            "policy": "CiliumNetworkPolicy/default/p",
            "path": "spec.ingress[0]",
        },
    }


def test_json_says_what_is_odd() -> None:
    side = Side(DENY, reason="No room for a new flow")
    value = result("deny", Answer(6, DENY, side, UNJUDGED, "as asked")).value()
    assert value["egress"] == {"verdict": "deny", "rule": None, "reason": "No room for a new flow"}
    assert value["remark"] == "as asked"
