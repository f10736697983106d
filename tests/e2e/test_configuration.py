"""An agent that does without something: real packets meet what is left; who asks for the rest is told."""

import signal
import socket
import subprocess

import pytest

from kinety.testing.wait import wait_until
from tests.e2e.real_node import EMPIRE_ONLY, SOON, Node, TcpServer, connect, family_of, refused

pytestmark = pytest.mark.needs("root", "bpf", "netns", "bpffs", "nft", "objects", "ip")

LEAST = ("--events", "none", "--no-shadow", "--no-fragments", "--no-hooks")
STAGED = """apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata:
  name: closed
  annotations: {kinety.io/staged: "true"}
spec:
  endpointSelector: {matchLabels: {class: deathstar}}
  ingressDeny: [{fromEndpoints: [{matchLabels: {org: empire}}]}]
"""
PORT = 4000


def populate(node: Node) -> None:
    """The deathstar, a tiefighter and an xwing; only the empire may call."""
    node.workload("deathstar", "org=empire", "class=deathstar")
    node.workload("tiefighter", "org=empire", "class=tiefighter")
    node.workload("xwing", "org=alliance", "class=xwing")
    node.apply(EMPIRE_ONLY)


@pytest.fixture
def least(node: Node) -> Node:
    """A populated node with the smallest programs there are."""
    node.start(*LEAST)
    populate(node)
    return node


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_policy_is_in_force_with_the_smallest_programs(least: Node, family: str) -> None:
    address = least.address("deathstar", family)
    with (
        TcpServer(least.workloads["deathstar"], 80, family_of(address)) as server,
        connect(least.workloads["tiefighter"], address, 80),
        server.accept(),
    ):
        dropped = least.dropped()
        assert refused(least.workloads["xwing"], address, 80)
        assert least.dropped() > dropped, "told of by nobody, and counted"


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_fragments_are_dropped_and_counted_and_whole_packets_arrive(least: Node, family: str) -> None:
    """From the xwing, which is nobody's subject, to the tiefighter: another reason there is none."""
    address = least.address("tiefighter", family)
    kind = family_of(address)
    with (
        least.workloads["tiefighter"].call(socket.socket, kind, socket.SOCK_DGRAM) as receiver,
        least.workloads["xwing"].call(socket.socket, kind, socket.SOCK_DGRAM) as sender,
    ):
        receiver.bind((address, PORT))
        receiver.settimeout(SOON)
        sender.sendto(bytes(4000), (address, PORT))
        wait_until(lambda: least.dropped("fragments-disabled") == 3, SOON, "three fragments are dropped")
        sender.sendto(b"whole", (address, PORT))
        assert receiver.recv(8000) == b"whole"


def test_whoever_asks_for_what_is_not_there_is_told(least: Node) -> None:
    monitor = least.run("monitor", "--count", "1")
    assert monitor.returncode == 1
    assert "the programs of this node tell of nothing (--events none)" in monitor.stderr
    lines = dict(
        line.split(maxsplit=1) for line in least.kinety("status").split("\n\n")[0].splitlines() if line
    )
    assert lines["Events"] == "none"
    assert lines["Without"] == "events, shadow, fragments, hooks"
    for name in ("fragments", "shadow_counters", "events"):
        done = least.run("map", "dump", name)
        assert done.returncode == 1
        assert f"map '{name}' is not there: this agent's options do without it" in done.stderr
    names = {each["name"] for each in least.json("map", "list")}
    assert "conntrack" in names
    assert names.isdisjoint({"fragments", "shadow_counters", "shadow_scratch", "lost_events", "events"})


def test_nothing_is_staged_or_audited_where_nobody_would_judge_it(least: Node) -> None:
    done = least.run("policy", "apply", "-", stdin=STAGED.encode())
    assert done.returncode == 1
    assert "with --no-shadow nobody would judge a policy that is staged" in done.stderr
    audit = least.run("endpoint", "audit", "deathstar", "on")
    assert audit.returncode == 1
    assert "nobody would judge what endpoint default/deathstar does in audit" in audit.stderr
    assert least.json("endpoint", "get", "deathstar")["audit"] is False
    assert [each["name"] for each in least.json("policy", "list")] == ["rule1"]


def test_a_start_that_would_leave_something_unjudged_changes_nothing(running: Node) -> None:
    """What is staged stays staged, and what is in force in force; then it starts as before."""
    populate(running)
    running.apply(STAGED)
    address = running.address("deathstar")
    running.end(signal.SIGTERM)
    held = sorted(path.name for path in running.pins.glob("contract-*/**/*"))
    failed = subprocess.run(
        running.agent("--no-shadow"), check=False, capture_output=True, text=True, timeout=30
    )
    assert failed.returncode == 1
    assert "nobody would judge a policy that is staged; put it into force" in failed.stderr
    assert sorted(path.name for path in running.pins.glob("contract-*/**/*")) == held
    assert refused(running.workloads["xwing"], address, 80)
    running.start()
    assert [each["name"] for each in running.json("policy", "shadow", "report")["policies"]] == ["closed"]
