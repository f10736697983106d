"""Agents on kernels that lack something or refuse: policy all the same, or one line that says why not."""

from __future__ import annotations

import socket
import subprocess

import pytest

from tests.e2e.real_node import EMPIRE_ONLY, Node, TcpServer, connect
from tests.feature import ENVOY, ROOT

pytestmark = pytest.mark.needs("root", "bpf", "netns", "bpffs", "nft", "objects", "ip")

PORT = 80
OLD = ("tests.e2e.other_kernel", "without-tcx")
REFUSING = ("tests.e2e.other_kernel", "that-refuses")


def guarded(node: Node) -> None:
    """The tiefighter reaches the deathstar over both families, the xwing over none."""
    for family in ("ipv4", "ipv6"):
        address = node.address("deathstar", family)
        with connect(node.workloads["tiefighter"], address, PORT):
            pass
        with pytest.raises(TimeoutError):
            connect(node.workloads["xwing"], address, PORT, timeout=0.5)


def stars(node: Node) -> None:
    node.workload("deathstar", "org=empire", "class=deathstar")
    node.workload("tiefighter", "org=empire", "class=tiefighter")
    node.workload("xwing", "org=alliance", "class=xwing")
    node.apply(EMPIRE_ONLY)


def hooks(node: Node) -> tuple[bool, int]:
    """Whether the agent uses tcx, and how many endpoints are on links."""
    with node.client() as client:
        datapath = client.status().datapath
    return datapath.tcx, datapath.endpoints_promoted


def attached(node: Node) -> str:
    lines = node.kinety("status").splitlines()
    return next(line.split(maxsplit=1)[1] for line in lines if line.startswith("Attached"))


def filters(node: Node) -> int:
    """Clsact filters on the node's interfaces; two an endpoint."""
    enter = ["nsenter", f"--net=/run/netns/{node.name}"]
    names = [
        line.split()[0].partition("@")[0]
        for line in subprocess.check_output([*enter, "ip", "-br", "link"], text=True).splitlines()
        if line.startswith("kinety")
    ]
    found = 0
    for name in names:
        for place in ("ingress", "egress"):
            shown = subprocess.check_output([*enter, "tc", "filter", "show", "dev", name, place], text=True)
            found += "direct-action" in shown
    return found


def test_a_kernel_without_tcx_enforces_by_filters_and_says_so(node: Node) -> None:
    node.module = OLD
    node.start()
    stars(node)
    node.settled()
    assert hooks(node) == (False, 0)
    assert attached(node) == "by clsact filters; tcx: no"
    assert list(node.pins.rglob("links/*")) == []
    assert filters(node) == 6
    with TcpServer(node.workloads["deathstar"], PORT, family=socket.AF_INET6):
        guarded(node)
        node.end()
        node.start()  # and once more, over what is there
        guarded(node)
        node.settled()
        assert hooks(node) == (False, 0)
        assert node.json("status")["reconciliation"]["state"] == "in-sync"


@pytest.mark.needs("tcx")
def test_links_are_made_once_the_kernel_has_them(node: Node) -> None:
    node.module = OLD
    node.start()
    stars(node)
    node.settled()
    assert hooks(node) == (False, 0)
    node.end()
    node.module = Node.module
    node.start()
    node.settled()
    assert hooks(node) == (True, 3)
    assert attached(node) == "by tcx links, 3 of 3 endpoints"
    with TcpServer(node.workloads["deathstar"], PORT, family=socket.AF_INET6):
        guarded(node)


def test_clsact_by_choice_says_so(node: Node) -> None:
    node.start("--attach-mode", "clsact")
    stars(node)
    assert hooks(node) == (False, 0)
    assert attached(node) == "by clsact filters; tcx: no"
    with TcpServer(node.workloads["deathstar"], PORT, family=socket.AF_INET6):
        guarded(node)


ABOUT_NODES = """
apiVersion: cilium.io/v2
kind: CiliumClusterwideNetworkPolicy
metadata: {name: node}
spec:
  nodeSelector: {}
  ingress: [{}]
"""


ABOUT_CONTENT = """
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: content}
spec:
  endpointSelector: {matchLabels: {class: deathstar}}
  ingress:
  - fromEndpoints: [{matchLabels: {org: empire}}]
    toPorts:
    - ports: [{port: "80", protocol: TCP}]
      rules: {http: [{method: GET, path: "/v1/.*"}]}
"""


@pytest.mark.needs("envoy")
def test_without_nftables_either_policies_about_content_are_refused_and_no_others(node: Node) -> None:
    node.module = ("tests.e2e.other_kernel", "without-nft")
    node.start("--envoy", str(ENVOY))
    stars(node)
    done = node.run("policy", "apply", "-", stdin=ABOUT_CONTENT.encode())
    assert done.returncode != 0
    assert "nothing gets to a proxy here (" in done.stderr
    assert "tproxy needs the program nft: install the package nftables" in done.stderr
    assert [policy["name"] for policy in node.json("policy", "list")] == ["rule1"]
    assert node.kinety("proxy", "status").startswith("redirect  none (not sk_assign: ")
    with TcpServer(node.workloads["deathstar"], PORT, family=socket.AF_INET6):
        guarded(node)


def test_a_kernel_without_netfilters_programs_refuses_policies_about_nodes_and_no_others(node: Node) -> None:
    node.module = ("tests.e2e.other_kernel", "without-netfilter")
    node.start()
    stars(node)
    done = node.run("policy", "apply", "-", stdin=ABOUT_NODES.encode())
    assert done.returncode != 0
    assert (
        "this kernel cannot enforce rules about nodes (nodeSelector); policies about nodes need"
        in done.stderr
    )
    assert "Linux 6.4 with CONFIG_NETFILTER_BPF_LINK" in done.stderr
    assert "load program" in done.stderr
    assert [policy["name"] for policy in node.json("policy", "list")] == ["rule1"]
    with TcpServer(node.workloads["deathstar"], PORT, family=socket.AF_INET6):
        guarded(node)


def test_an_agent_does_not_start_on_such_a_kernel_over_a_policy_about_the_node(node: Node) -> None:
    """It would have to leave the node unjudged."""
    node.start()
    node.apply(ABOUT_NODES)
    node.end()
    node.module = ("tests.e2e.other_kernel", "without-netfilter")
    subprocess.run(["rm", "-r", *map(str, node.pins.glob("contract-*/host"))], check=True)
    done = subprocess.run(node.agent(), cwd=ROOT, capture_output=True, check=False, text=True, timeout=60)
    assert done.returncode == 1
    (line,) = [each for each in done.stderr.splitlines() if each.startswith("kinety: ")]
    assert line.startswith("kinety: policies about nodes need Linux 6.4 with")


def refusal(node: Node, *options: str) -> str:
    """What an agent says that does not start."""
    node.module = REFUSING
    done = subprocess.run(
        node.agent(*options), cwd=ROOT, capture_output=True, check=False, text=True, timeout=60
    )
    assert done.returncode == 1
    assert done.stdout == ""
    return done.stderr


def test_a_verifiers_refusal_is_one_telling_line_and_leaves_nothing(node: Node) -> None:
    (line,) = refusal(node).splitlines()
    assert line.startswith("kinety: load program to_endpoint: Permission denied; verifier: R9 !read_ok; at: ")
    assert [path for path in node.pins.rglob("*") if path.suffix != ".debug"] == []
    node.module = Node.module
    node.start()
    assert hooks(node)[1] == 0


def test_the_whole_log_is_told_on_request(node: Node) -> None:
    said = refusal(node, "--log-level", "debug").splitlines()
    assert said[-1].startswith("kinety: load program to_endpoint: ")
    assert any(line.endswith("(bf) r0 = r9") for line in said), said
    assert "R9 !read_ok" in said


def test_too_few_descriptors_are_named(node: Node) -> None:
    command = ["prlimit", "--nofile=24:24", *node.agent()]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=False, text=True, timeout=60)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "Too many open files" in line
    assert "ulimit -n" in line
    assert [path for path in node.pins.rglob("*") if path.suffix != ".debug"] == []
