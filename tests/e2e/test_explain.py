"""What policies mean, asked of a real agent about what its kernel holds."""

import json

import pytest

from tests.e2e.real_node import EMPIRE_ONLY, Node

pytestmark = pytest.mark.needs("root", "bpf", "netns", "bpffs", "nft", "objects", "ip")

ON_80 = EMPIRE_ONLY + '    toPorts: [{ports: [{port: "80", protocol: TCP}]}]\n'
INVARIANT = """
apiVersion: kinety.io/v1alpha1
kind: Invariant
metadata: {name: no-alliance, namespace: default}
spec:
  mustDeny:
  - from: {endpoints: {matchLabels: {org: alliance}}}
    to: {endpoints: {matchLabels: {class: deathstar}}}
"""
FLOW = ("policy", "explain", "--from", "xwing", "--to", "deathstar", "--port", "80")


def test_an_explanation_is_what_the_kernel_holds(shared: Node) -> None:
    """Identity, class and rule set are those that the other verbs show."""
    done = shared.run(*FLOW, "-o", "json")
    assert done.returncode == 1
    chain = json.loads(done.stdout)["ingress"]["chain"]
    classes = {one["identity"]: one["class_id"] for one in shared.json("identity", "list")}
    assert chain["identity"] == shared.json("endpoint", "get", "xwing")["identity"]
    assert chain["class_id"] == classes[chain["identity"]]
    assert chain["rule_set"] == shared.json("endpoint", "get", "deathstar")["ingress"]["rule_set"]
    allowed = shared.kinety("policy", "explain", "--from", "tiefighter", "--to", "deathstar", "--port", "80")
    assert allowed.splitlines()[0] == "default/tiefighter → default/deathstar, TCP/80, is allowed"


def test_an_edit_that_is_applied_does_what_it_says(shared: Node) -> None:
    done = shared.run(*FLOW, "-o", "json")
    (step,) = json.loads(done.stdout)["edits"][0]["steps"]
    assert step["path"] == "spec.ingress[0].fromEndpoints"
    item = json.dumps(step["value"])
    shared.apply(EMPIRE_ONLY.replace("fromEndpoints: [", f"fromEndpoints: [{item}, "))
    try:
        shared.kinety(*FLOW)
    finally:
        shared.apply(EMPIRE_ONLY)


def test_a_dry_run_says_which_verdicts_would_change(shared: Node) -> None:
    result = json.loads(
        shared.kinety("policy", "apply", "--dry-run", "-o", "json", "-", stdin=ON_80.encode())
    )
    (change,) = result["changes"]
    assert change["subjects"]["names"] == ["default/deathstar"]
    assert change["peers"]["names"] == ["default/deathstar", "default/tiefighter"]
    assert (change["before"], change["after"], change["traffic"]["text"]) == (
        "allow",
        "deny",
        "all but TCP/80",
    )
    (rule,) = [row for row in shared.json("policy", "verdicts") if row["rule"] == "<stdin>:8"]
    assert (rule["verdict"], rule["traffic"]["text"]) == ("allow", "all")
    assert shared.json("policy", "lint") == []


def test_an_agent_keeps_what_must_hold(shared: Node) -> None:
    shared.kinety("policy", "apply", "-", stdin=INVARIANT.encode())
    try:
        wider = EMPIRE_ONLY.replace("org: empire}}]", "org: alliance}}]").encode()
        for words in (("policy", "apply", "-"), ("policy", "apply", "--dry-run", "-")):
            message = shared.run(*words, stdin=wider)
            assert message.returncode == 1
            assert (
                "spec.mustDeny[0]: broken by default/xwing → default/deathstar, all: it must be denied"
                in (message.stderr)
            )
        assert shared.run("policy", "delete", "rule1").returncode == 1
        assert [one["name"] for one in shared.json("policy", "list")] == ["rule1", "no-alliance"]
    finally:
        shared.kinety("policy", "delete", "no-alliance")
