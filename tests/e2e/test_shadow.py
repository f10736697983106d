"""Policies that are staged or in audit, with real traffic: nothing changes, everything that would is told."""

import signal
from typing import Any

import pytest

from kinety.testing.wait import wait_until
from tests.e2e.real_node import EMPIRE_ONLY, SOON, Node, TcpServer, connect, family_of, refused
from tests.e2e.traffic import TcpStream

pytestmark = pytest.mark.needs("root", "bpf", "netns", "bpffs", "nft", "objects", "ip")

Change = dict[str, Any]
#: The deathstar is closed to the empire's own, who may reach it now; and open to the xwing.
DENIES = """apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata:
  name: closed
  annotations:
    kinety.io/staged: "true"
spec:
  endpointSelector: {matchLabels: {class: deathstar}}
  ingressDeny: [{fromEndpoints: [{matchLabels: {org: empire}}]}]
"""
ALLOWS = DENIES.replace("closed", "open").replace("ingressDeny", "ingress").replace("empire", "alliance")
ISOLATES = DENIES.replace("closed", "isolated").replace("ingressDeny", "ingress").replace("empire", "nobody")


@pytest.fixture
def stars(running: Node) -> Node:
    """The deathstar, a tiefighter and an xwing, and no policy."""
    running.workload("deathstar", "org=empire", "class=deathstar")
    running.workload("tiefighter", "org=empire", "class=tiefighter")
    running.workload("xwing", "org=alliance", "class=xwing")
    return running


def report(node: Node) -> dict[str, list[Change]]:
    """The changes of every policy that is not in force, by its name and mode."""
    policies = node.json("policy", "shadow", "report")["policies"]
    return {f"{each['name']} {each['mode']}": each["changes"] for each in policies}


def reaches(node: Node, source: str, address: str) -> bool:
    """Whether a connection to the deathstar's port 80 is made."""
    with TcpServer(node.workloads["deathstar"], 80, family_of(address)) as server:
        try:
            with connect(node.workloads[source], address, 80, 1.0), server.accept():
                return True
        except TimeoutError:
            return False


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_a_staged_denial_is_told_of_until_it_is_promoted(stars: Node, family: str) -> None:
    """The same connection lives through it all: staged, the agent killed and started again, in force."""
    address = stars.address("deathstar", family)
    deathstar, tiefighter = stars.workloads["deathstar"], stars.workloads["tiefighter"]
    with stars.client() as client, TcpStream(tiefighter, deathstar, address, 80) as live:
        told = client.events({"kind": "shadow", "endpoint": "deathstar"})
        assert stars.apply(DENIES)["endpoints"] == 1
        event = next(told)
        assert (event.would, event.verdict_in_force, event.direction) == ("drop", "allow", "ingress")
        assert event.rule is not None
        assert (event.rule.policy, event.rule.mode) == ("CiliumNetworkPolicy/default/closed", "staged")
        told.close()  # type: ignore[attr-defined]
        arrived = live.arrived
        wait_until(lambda: live.arrived > arrived + 20_000, SOON, "bytes go on arriving")
        (change,) = report(stars)["closed staged"]
        assert (change["would"], change["endpoint"], change["flows"]) == ("drop", "default/deathstar", 1)
        assert (change["peer"]["endpoint"], change["peer"]["protocol"]) == ("default/tiefighter", "TCP")
        assert (change["peer"]["port"], change["rule_in_force"]["id"]) == (80, 0)
        assert change["packets"] > 20
        stars.end(signal.SIGKILL)
        stars.start()
        (kept,) = report(stars)["closed staged"]
        assert kept["packets"] >= change["packets"]
        assert kept["flows"] == 1
        assert "the kernel holds the plan after 0 writes" in stars.log.read_text()
        stars.kinety("policy", "shadow", "promote", "closed")
        dropped = stars.dropped()
        wait_until(lambda: stars.dropped() >= dropped + 2, SOON, "packets are denied")
        assert report(stars) == {}
        assert "staged" not in stars.kinety("policy", "get", "closed")
        stars.kinety("policy", "delete", "closed")
        stopped = live.arrived
        wait_until(lambda: live.arrived > stopped, 20, "it goes on when it may")


def test_a_staged_allowance_is_told_of_until_it_is_promoted(stars: Node) -> None:
    stars.apply(EMPIRE_ONLY)
    addresses = [stars.address("deathstar", family) for family in ("ipv4", "ipv6")]
    stars.apply(ALLOWS)
    assert all(refused(stars.workloads["xwing"], address, 80) for address in addresses)
    assert all(reaches(stars, "tiefighter", address) for address in addresses)
    examples = set()
    for change in report(stars)["open staged"]:
        assert (change["would"], change["direction"]) == ("allow", "ingress")
        assert change["peer"]["endpoint"] == "default/xwing"
        assert change["flows"] == change["packets"] >= 1, "each attempt is a flow"
        examples.add(change["peer"]["address"])
    assert examples <= {stars.address("xwing", family) for family in ("ipv4", "ipv6")}
    stars.kinety("policy", "shadow", "promote", "cnp/default/open")
    assert all(reaches(stars, "xwing", address) for address in addresses)
    assert report(stars) == {}


def test_what_would_isolate_is_told_of_by_default_and_forgotten_with_the_policy(stars: Node) -> None:
    stars.apply(ISOLATES)
    address = stars.address("deathstar")
    assert reaches(stars, "xwing", address)
    (change,) = report(stars)["isolated staged"]
    assert (change["would"], change["rule"]["id"], change["peer"]["endpoint"]) == ("drop", 0, "default/xwing")
    assert stars.json("map", "dump", "shadow_counters")
    stars.kinety("policy", "delete", "isolated")
    assert stars.json("map", "dump", "shadow_counters") == []
    assert reaches(stars, "xwing", address)


def test_a_policy_in_audit_lets_through_what_it_forbids(stars: Node) -> None:
    """What others forbid stays forbidden."""
    stars.apply(EMPIRE_ONLY)
    stars.apply(DENIES.replace("staged", "audit"))
    address = stars.address("deathstar")
    assert reaches(stars, "tiefighter", address)
    assert refused(stars.workloads["xwing"], address, 80)
    (change,) = report(stars)["closed audit"]
    assert (change["would"], change["peer"]["endpoint"]) == ("drop", "default/tiefighter")
    assert change["rule_in_force"]["policy"] == "CiliumNetworkPolicy/default/rule1"


@pytest.mark.parametrize("words", [("endpoint", "audit", "deathstar"), ("namespace", "audit", "default")])
def test_audit_of_an_endpoint_and_of_its_namespace(stars: Node, words: tuple[str, ...]) -> None:
    stars.apply(EMPIRE_ONLY)
    address, xwing = stars.address("deathstar"), stars.workloads["xwing"]
    assert refused(xwing, address, 80)
    stars.kinety(*words, "on")
    assert reaches(stars, "xwing", address)
    stars.end(signal.SIGKILL)
    stars.start()
    assert reaches(stars, "xwing", address)
    (change,) = report(stars)["rule1 audit"]
    assert (change["would"], change["flows"]) == ("drop", 2)
    assert stars.json("endpoint", "get", "deathstar")["audit"] is True
    stars.kinety(*words, "off")
    assert refused(xwing, address, 80)
    assert report(stars) == {}


def test_what_is_not_staged_cannot_be_promoted(stars: Node) -> None:
    stars.apply(EMPIRE_ONLY)
    done = stars.run("policy", "shadow", "promote", "rule1")
    assert done.returncode == 1
    assert "CiliumNetworkPolicy/default/rule1 is in force already" in done.stderr
