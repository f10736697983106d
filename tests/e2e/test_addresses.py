"""Addresses of a real agent's endpoints: kept apart for a while, over kills, and over other pools."""

import signal
import subprocess
import sys
from contextlib import suppress

import pytest

from kinety.testing.wait import wait_until
from tests.e2e.real_node import SOON, Node, TcpServer, connect

pytestmark = pytest.mark.needs("root", "bpf", "netns", "bpffs", "nft", "objects", "ip")

SMALL = ("--ipv4-pool", "10.9.0.0/30", "--ipv6-pool", "none")
LONG = ("--address-quarantine", "600")


def states(node: Node) -> dict[str, tuple[str, str]]:
    """State and endpoint of every address."""
    return {each["address"]: (each["state"], each["endpoint"]) for each in node.json("address", "list")}


def attach(node: Node, name: str, *more: str) -> "subprocess.CompletedProcess[str]":
    """Try to attach a workload that is there or not."""
    if name not in node.workloads:
        node.bare_workload(name)
    return node.run(
        "endpoint", "attach", "--netns", node.workloads[name].name, "--name", name, "-o", "json", *more
    )


def test_an_address_is_not_given_again_before_its_time(node: Node) -> None:
    node.start(*SMALL, *LONG)
    node.workload("a")
    node.workload("b")
    node.kinety("endpoint", "detach", "a")
    expected = {"10.9.0.1": ("quarantine", "default/a"), "10.9.0.2": ("in-use", "default/b")}
    for number in (signal.SIGKILL, signal.SIGTERM):
        assert states(node) == expected
        full = attach(node, "c")
        assert full.returncode == 1
        assert (
            "address pool 10.9.0.0/30 is exhausted: 1 of 2 in use, 1 in quarantine; the next is free in"
            in full.stderr
        )
        asked = attach(node, "c", "--address", "10.9.0.1")
        assert asked.returncode == 1
        assert "address 10.9.0.1 was endpoint default/a's and is in quarantine for another" in asked.stderr
        assert full.stderr.count("\n") == asked.stderr.count("\n") == 1
        node.end(number)
        node.start(*SMALL, *LONG)
    assert "1 of 2 in 10.9.0.0/30, 1 in quarantine" in node.kinety("status")
    assert attach(node, "a", "--address", "10.9.0.1").returncode == 0, "its own, it may have back"
    assert states(node)["10.9.0.1"] == ("in-use", "default/a")
    assert "2 of 2 in use; detach endpoints" in attach(node, "c").stderr


def test_after_its_time_an_address_is_given_again_and_reachable(node: Node) -> None:
    node.start(*SMALL, "--address-quarantine", "1")
    node.workload("a")
    node.workload("b")
    node.kinety("endpoint", "detach", "a")
    wait_until(lambda: attach(node, "c").returncode == 0, SOON, "the address is free again")
    assert node.address("c") == "10.9.0.1"
    with TcpServer(node.workloads["c"], 80):
        connect(node.workloads["b"], "10.9.0.1", 80).close()


def test_an_address_whose_endpoint_went_with_its_namespace_waits_too(node: Node) -> None:
    node.start(*SMALL, *LONG)
    node.workload("brief")
    node.workloads.pop("brief").remove()
    wait_until(
        lambda: states(node) == {"10.9.0.1": ("quarantine", "default/brief")}, SOON, "its address is given up"
    )
    node.workload("gone")
    node.end(signal.SIGKILL)
    node.workloads.pop("gone").remove()
    node.start(*SMALL, *LONG)
    wait_until(
        lambda: states(node).get("10.9.0.2") == ("quarantine", "default/gone"),
        SOON,
        "it is given up though nobody saw the endpoint go",
    )


def test_endpoints_keep_their_addresses_when_the_pools_change(node: Node) -> None:
    node.start(*SMALL)
    node.workload("old")
    for words, new, shown in [
        (("--ipv4-pool", "10.8.0.0/24", "--ipv6-pool", "fd08::/64"), "10.8.0.1", "1 outside of the pools"),
        (
            ("--ipv4-pool", "10.9.0.0/30", "--ipv4-pool", "10.8.0.0/24", "--pool-reserve", "10.9.0.2/32"),
            "10.8.0.2",
            "1 of 1 in 10.9.0.0/30; 2 of 254 in 10.8.0.0/24",
        ),
    ]:
        node.end()
        node.start(*words)
        assert node.address("old") == "10.9.0.1"
        node.workload(f"new-{new}")
        assert node.address(f"new-{new}") == new
        assert shown in node.kinety("status")
        with TcpServer(node.workloads["old"], 80):
            connect(node.workloads[f"new-{new}"], "10.9.0.1", 80).close()
    node.end()
    node.start("--ipv4-pool", "none", "--ipv6-pool", "none")
    assert node.address("old") == "10.9.0.1"
    assert "the agent has no address pools; give the endpoint an address" in attach(node, "last").stderr


def test_the_nodes_own_addresses_are_passed_over_and_its_networks_told_of(node: Node) -> None:
    for words in ("link add n0 type veth peer name n1", "address add 10.9.0.1/24 dev n0"):
        subprocess.run(["ip", "-n", node.name, *words.split()], check=True)
    node.start(*SMALL)
    warning = "pool 10.9.0.0/30 overlaps 10.9.0.0/24, a network of this node"
    assert warning in node.log.read_text()
    node.workload("a")
    assert node.address("a") == "10.9.0.2"
    assert (
        "address 10.9.0.1 is in use by the node itself" in attach(node, "b", "--address", "10.9.0.1").stderr
    )


def test_kills_at_any_moment_leave_every_address_to_one_or_in_quarantine(node: Node) -> None:
    """While an endpoint is attached or detached; what is in use is what endpoints have, and nothing twice."""
    words = ("--ipv4-pool", "10.9.0.0/26", "--ipv6-pool", "fd09::/64", *LONG)
    node.start(*words)
    seen: dict[str, int] = {}
    for turn, moment in enumerate((0.16, 0.2, 0.24, 0.28, 0.32, 0.36)):
        name = f"w{turn}"
        node.bare_workload(name)
        verb = [sys.executable, "-m", "kinety.cli.main", "--socket", str(node.socket), "endpoint"]
        process = subprocess.Popen(
            [*verb, "attach", "--netns", node.workloads[name].name, "--name", name],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        with suppress(subprocess.TimeoutExpired):
            process.wait(moment)
        node.end(signal.SIGKILL)
        process.wait(SOON)
        node.start(*words)
        for each in node.json("endpoint", "list"):
            for address in (each["ipv4"], each["ipv6"]):
                assert seen.setdefault(address, each["id"]) == each["id"], "never another's"
        held = {each for each, (state, _) in states(node).items() if state == "in-use"}
        assert held == {e[family] for e in node.json("endpoint", "list") for family in ("ipv4", "ipv6")}
        assert attach(node, f"next{turn}").returncode == 0
    assert seen.keys() <= states(node).keys()
