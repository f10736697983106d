"""How large packets may be: endpoints follow the uplink, and believe those who tell of a narrow way."""

import errno
import socket
from collections.abc import Iterator

import pytest

from kinety.kernel.namespace import Namespace
from kinety.kernel.netlink import Netlink
from kinety.testing.wait import wait_until
from tests.e2e.outside import FAR, NEAR, UPLINK, beyond, outside, run
from tests.e2e.real_node import SOON, Node, TcpServer, connect, family_of
from tests.e2e.real_node import node as make_node

pytestmark = pytest.mark.needs("root", "bpf", "netns", "bpffs", "nft", "objects", "ip", "ipv6")

NARROW = 1400
#: Replies alone may come in; and what quotes a flow that went out.
CLOSED = """
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: closed}
spec: {endpointSelector: {matchLabels: {app: client}}, ingress: [{}], egress: [{toEntities: [world]}]}
"""
#: Source: linux/in.h, linux/in6.h.
_MTU_DISCOVER = {4: (socket.IPPROTO_IP, 10), 6: (socket.IPPROTO_IPV6, 23)}
_KNOWN_MTU = {4: (socket.IPPROTO_IP, 14), 6: (socket.IPPROTO_IPV6, 24)}
_ALWAYS = 2
_HEADERS = {4: 28, 6: 48}
_LARGE = 1500
_BULK = 300_000


def mtu_of(namespace: Namespace, name: str = "eth0") -> int:
    with Netlink(namespace) as netlink:
        link = netlink.link_named(name)
    assert link is not None
    return link.mtu


def set_mtu(namespace: Namespace, name: str, mtu: int) -> None:
    with Netlink(namespace) as netlink, netlink.batch() as batch:
        batch.link_set(name, mtu=mtu)


def test_endpoints_follow_the_uplink(node: Node) -> None:
    node.start()
    assert mtu_of(node.workload("before")) == 1500, "there is no uplink yet"
    with outside(node, mtu=NARROW):
        assert mtu_of(node.workload("narrow")) == NARROW
        assert node.json("endpoint", "get", "narrow")["mtu"] == NARROW
        set_mtu(node.namespace, UPLINK, 9000)
        assert mtu_of(node.workload("wide")) == 9000
        assert mtu_of(node.workload("own", more=("--mtu", "1300"))) == 1300
        assert mtu_of(node.workloads["narrow"]) == NARROW, "those that are there stay as they are"
        set_mtu(node.namespace, UPLINK, 1000)
        assert mtu_of(node.workload("tiny")) == 1280, "IPv6 has no less"
        set_mtu(node.namespace, UPLINK, 1450)
        assert mtu_of(node.workload("ipv4")) == 1450
    node.end()
    node.start("--mtu", "1350")
    assert mtu_of(node.workload("said")) == 1350


def test_an_interface_that_is_given_back_is_as_wide_as_it_was(running: Node) -> None:
    workload = running.workload("x", more=("--mtu", "1300"))
    run(workload, "ip link del eth0")
    wait_until(lambda: has_link(workload), SOON, "it has its interface again")
    assert mtu_of(workload) == 1300


def has_link(namespace: Namespace) -> bool:
    with Netlink(namespace) as netlink:
        return netlink.link_named("eth0") is not None


def test_a_width_that_ipv6_does_not_have(node: Node) -> None:
    node.start()
    namespace = node.bare_workload("x")
    words = ("endpoint", "attach", "--netns", namespace.name, "--name", "x", "--mtu", "1279")
    done = node.run(*words)
    assert (done.returncode, "1280" in done.stderr) == (1, True), done.stderr
    assert node.json("endpoint", "list") == []
    node.end()
    node.start("--no-ipv6", "--mtu", "1000")
    assert (node.run(*words).returncode, mtu_of(namespace)) == (0, 1279)
    assert mtu_of(node.workload("y")) == 1000
    with TcpServer(namespace, 80):
        connect(node.workloads["y"], node.address("x"), 80).close()


@pytest.fixture(scope="module", params=["the node's own uplink", "a link beyond the router"])
def narrow(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[tuple[Namespace, Namespace]]:
    """An endpoint of 1500 bytes, and a host to which at most 1400 get through somewhere on the way."""
    uplink, further = (NARROW, _LARGE) if request.param == "the node's own uplink" else (_LARGE, NARROW)
    with (
        make_node(tmp_path_factory.mktemp("narrow")) as node,
        outside(node, mtu=uplink) as router,
        beyond(node, router, mtu=further) as host,
    ):
        node.start("--mtu", str(_LARGE))
        client = node.workload("client", "app=client")
        node.apply(CLOSED)
        yield client, host


@pytest.mark.parametrize("family", [4, 6])
def test_a_narrow_way_is_found_out(narrow: tuple[Namespace, Namespace], family: int) -> None:
    client, host = narrow
    assert mtu_of(client) == _LARGE
    inet = family_of(NEAR[family])
    with (
        client.socket(inet, socket.SOCK_DGRAM) as sender,
        host.socket(inet, socket.SOCK_DGRAM) as receiver,
    ):
        receiver.bind((NEAR[family], 9))
        receiver.settimeout(SOON)
        sender.setsockopt(*_MTU_DISCOVER[family], _ALWAYS)
        sender.connect((NEAR[family], 9))
        sender.send(b"small")
        assert receiver.recv(_LARGE) == b"small"
        sender.send(bytes(_LARGE - _HEADERS[family]))
        wait_until(lambda: sender.getsockopt(*_KNOWN_MTU[family]) == NARROW, SOON, "it believes the router")
        assert sender.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.EMSGSIZE
        with pytest.raises(OSError, match="Message too long"):
            sender.send(bytes(_LARGE - _HEADERS[family]))
        largest = bytes(NARROW - _HEADERS[family])
        sender.send(largest)
        assert receiver.recv(_LARGE) == largest


@pytest.mark.parametrize("family", [4, 6])
def test_a_connection_gets_through_a_narrow_way_in_both_directions(
    narrow: tuple[Namespace, Namespace], family: int
) -> None:
    client, host = narrow
    data = bytes(range(250)) * (_BULK // 250)
    with (
        TcpServer(host, 80, family_of(FAR[family])) as server,
        connect(client, FAR[family], 80) as near,
        server.accept() as far,
    ):
        for sender, receiver in ((near, far), (far, near)):
            sender.settimeout(SOON)
            receiver.settimeout(SOON)
            assert transfer(sender, receiver, data) == data


def transfer(sender: socket.socket, receiver: socket.socket, data: bytes) -> bytes:
    """What arrives of what is sent."""
    arrived = b""
    sent = 0
    while len(arrived) < len(data):
        if sent < len(data):
            sent += sender.send(data[sent : sent + 50_000])
        arrived += receiver.recv(65536)
    return arrived
