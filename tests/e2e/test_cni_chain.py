"""The plugin among Debian's others, as a runtime chains them: what works, and what is refused and how.

`docs/guide/cni.md` tells users of each of these.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from kinety.kernel.namespace import Namespace
from kinety.kernel.netlink import Netlink
from tests.e2e.chain import Chain
from tests.e2e.outside import FAR, NODE, outside, path_of_router, run
from tests.e2e.real_node import Node, TcpServer, connect, refused
from tests.e2e.real_node import node as make_node

pytestmark = pytest.mark.needs("root", "bpf", "netns", "bpffs", "nft", "objects", "ip", "ipv6", "runtimes")

KINETY: Mapping[str, Any] = {"labels": {"app": "web"}}
#: Only one port may be reached, by whoever is outside.
ONE_PORT = """
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: one-port}
spec:
  endpointSelector: {matchLabels: {app: web}}
  ingress: [{fromEntities: [world], toPorts: [{ports: [{port: "80", protocol: TCP}]}]}]
"""


@pytest.fixture(scope="module")
def wired(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with make_node(tmp_path_factory.mktemp("chain")) as node, outside(node):
        node.start()
        yield node


@pytest.fixture
def container(wired: Node) -> Iterator[Namespace]:
    made = wired.bare_workload("c1")
    yield made
    assert wired.json("endpoint", "list") == []
    wired.workloads.pop("c1").remove()


@pytest.fixture
def router(wired: Node) -> Iterator[Namespace]:
    with Namespace.open(path_of_router(wired)) as made:
        yield made


def test_tuning_sets_what_is_the_containers(
    wired: Node, container: Namespace, router: Namespace, tmp_path: Path
) -> None:
    tuning = {"type": "tuning", "sysctl": {"net.core.somaxconn": "500"}, "mtu": 1300}
    chain = Chain(wired, tmp_path, [KINETY, tuning])
    assert chain.add("c1").code == 0
    assert run(container, "cat /proc/sys/net/core/somaxconn").strip() == "500"
    with Netlink(container) as netlink:
        link = netlink.link_named("eth0")
    assert link is not None
    assert link.mtu == 1300
    assert all(each.nothing for each in chain.check("c1"))
    with TcpServer(router, 80):
        connect(container, FAR[4], 80).close()
    chain.delete("c1")


def test_a_mac_of_tunings_is_not_followed_and_check_says_so(
    wired: Node, container: Namespace, tmp_path: Path
) -> None:
    chain = Chain(wired, tmp_path, [KINETY, {"type": "tuning", "mac": "02:11:22:33:44:55"}])
    assert chain.add("c1").code == 0
    ours, _ = chain.check("c1")
    assert (ours.error, "eth0 has the MAC 02:11:22:33:44:55" in ours.said["msg"]) == (103, True)
    chain.delete("c1")


def test_portmap_brings_in_whom_policy_lets_in(
    wired: Node, container: Namespace, router: Namespace, tmp_path: Path
) -> None:
    chain = Chain(wired, tmp_path, [KINETY, {"type": "portmap", "capabilities": {"portMappings": True}}])
    asked = [{"hostPort": port + 8000, "containerPort": port, "protocol": "tcp"} for port in (80, 81)]
    wired.apply(ONE_PORT)
    assert chain.add("c1", portMappings=asked).code == 0
    with TcpServer(container, 80) as server, TcpServer(container, 81):
        connect(router, NODE[4], 8080).close()
        with server.accept() as stream:
            assert stream.getpeername()[0] != NODE[4], "who came is who he is"
        assert refused(router, NODE[4], 8081)
    chain.delete("c1", portMappings=asked)
    assert "tcp dport 8080" not in wired.ruleset()
    wired.kinety("policy", "delete", "one-port")


def test_firewall_does_no_harm(wired: Node, container: Namespace, router: Namespace, tmp_path: Path) -> None:
    chain = Chain(wired, tmp_path, [KINETY, {"type": "firewall", "backend": "iptables"}])
    assert chain.add("c1").code == 0
    assert all(each.nothing for each in chain.check("c1"))
    with TcpServer(router, 80):
        connect(container, FAR[4], 80).close()
    chain.delete("c1")


@pytest.mark.parametrize(
    ("plugin", "word"),
    [
        ({"type": "bandwidth", "capabilities": {"bandwidth": True}}, "ingress qdisc"),
        ({"type": "sbr"}, "network is unreachable"),
    ],
)
def test_what_does_not_fit_fails_and_leaves_nothing(
    wired: Node, container: Namespace, tmp_path: Path, plugin: Mapping[str, Any], word: str
) -> None:
    """They need a qdisc where Kinety's is, and a network that the address is in."""
    rate = {f"{way}{what}": 1_000_000 for way in ("ingress", "egress") for what in ("Rate", "Burst")}
    answer = Chain(wired, tmp_path, [KINETY, plugin]).add("c1", bandwidth=rate)
    assert answer.code == 1
    assert word in answer.said["msg"]
    with Netlink(container) as netlink:
        assert netlink.link_named("eth0") is None


def test_behind_a_plugin_that_makes_the_interface_there_is_no_room(
    wired: Node, container: Namespace, tmp_path: Path
) -> None:
    ipam = {
        "type": "host-local",
        "dataDir": str(tmp_path / "leases"),
        "ranges": [[{"subnet": "10.77.0.0/24"}]],
    }
    bridge = {"type": "bridge", "bridge": "br0", "ipam": ipam}
    answer = Chain(wired, tmp_path, [bridge, KINETY]).add("c1")
    assert answer.error == 101
    assert re.search("has an interface eth0 already", answer.said["msg"])
    with Netlink(container) as netlink:
        assert netlink.link_named("eth0") is None, "the bridge's is gone, too"
    run(wired.namespace, "ip link del br0")
