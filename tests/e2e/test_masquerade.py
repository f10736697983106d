"""The way out: what hosts beyond the node's uplink see of endpoints, and what of theirs comes back."""

import errno
import signal
import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from kinety.kernel.namespace import Namespace
from kinety.kernel.netlink import Netlink
from kinety.testing.wait import wait_until
from tests.e2e import outside as world
from tests.e2e.outside import FAR, NEAR, NODE, ROUTER
from tests.e2e.real_node import SOON, Node, TcpServer, connect, family_of, refused
from tests.e2e.real_node import node as make_node
from tests.e2e.traffic import TcpStream

pytestmark = pytest.mark.needs("root", "bpf", "netns", "bpffs", "nft", "objects", "ip", "ipv6")

FAMILIES = (4, 6)
#: Nothing may come in, but for what an endpoint asked for.
CLOSED = """
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: closed}
spec: {endpointSelector: {}, ingress: [{}], egress: [{toEntities: [world]}]}
"""
#: Source: linux/in.h, linux/in6.h, linux/errqueue.h, linux/icmp.h, linux/icmpv6.h.
_RECEIVE_ERRORS = {4: (socket.IPPROTO_IP, 11), 6: (socket.IPPROTO_IPV6, 25)}
_HOPS = {4: (socket.IPPROTO_IP, socket.IP_TTL), 6: (socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS)}
_EXTENDED_ERROR = struct.Struct("=IBBBBII")
_ECHO = {4: (8, 0), 6: (128, 129)}
_TIME_EXCEEDED = {4: 11, 6: 3}
_UNREACHABLE = {4: 3, 6: 1}


@pytest.fixture(scope="module")
def still(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node with an uplink and an endpoint; every test leaves it as it was."""
    with make_node(tmp_path_factory.mktemp("masquerade")) as made, world.outside(made):
        made.start()
        made.workload("client", "app=client")
        made.workload("server", "app=server")
        yield made


@pytest.fixture
def router(still: Node) -> Iterator[Namespace]:
    """The node's router. Only answers come in to its endpoints."""
    still.apply(CLOSED)
    with Namespace.open(world.path_of_router(still)) as made:
        yield made


def own(node: Node, name: str, family: int) -> str:
    return node.address(name, f"ipv{family}")


@pytest.mark.parametrize("family", FAMILIES)
def test_the_node_speaks_for_its_endpoints(still: Node, router: Namespace, family: int) -> None:
    client, inet = still.workloads["client"], family_of(FAR[family])
    with connection(client, router, family) as (near, far):
        assert far.getpeername()[0] == NODE[family]
        far.sendall(b"answer")
        assert near.recv(100) == b"answer"
    with client.socket(inet, socket.SOCK_DGRAM) as near, router.socket(inet, socket.SOCK_DGRAM) as far:
        far.bind((FAR[family], 9))
        for each in (near, far):
            each.settimeout(SOON)
        near.sendto(b"question", (FAR[family], 9))
        data, source = far.recvfrom(100)
        assert (data, source[0]) == (b"question", NODE[family])
        far.sendto(b"answer", source)
        assert near.recv(100) == b"answer"
    with (
        router.socket(inet, socket.SOCK_RAW, protocol(family)) as tap,
        client.socket(inet, socket.SOCK_RAW, protocol(family)) as near,
    ):
        tap.settimeout(SOON)
        near.settimeout(SOON)
        near.sendto(echo(family), (FAR[family], 0))
        seen = next(source for kind, source in messages(tap, family) if kind == _ECHO[family][0])
        assert seen == NODE[family]
        answered = next(source for kind, source in messages(near, family) if kind == _ECHO[family][1])
        assert answered == FAR[family]


@contextmanager
def connection(
    client: Namespace, host: Namespace, family: int, address: str = ""
) -> Iterator[tuple[socket.socket, socket.socket]]:
    """A connection to a host outside: both ends."""
    address = address or FAR[family]
    with (
        TcpServer(host, 80, family_of(address)) as server,
        connect(client, address, 80) as near,
        server.accept() as far,
    ):
        yield near, far


def protocol(family: int) -> int:
    return socket.IPPROTO_ICMP if family == 4 else socket.IPPROTO_ICMPV6


def echo(family: int) -> bytes:
    """An echo request; the kernel fills in the checksum of ICMPv6."""
    kind, number = _ECHO[family][0], 77
    total = (kind << 8) + number + 1
    checksum = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF if family == 4 else 0
    return struct.pack("!BBHHH", kind, 0, checksum, number, 1)


def messages(raw: socket.socket, family: int) -> Iterator[tuple[int, str]]:
    """Types and sources of ICMP messages as they come."""
    while True:
        data, source = raw.recvfrom(1000)
        header = (data[0] & 15) * 4 if family == 4 else 0
        yield data[header], source[0]


@pytest.mark.parametrize("family", FAMILIES)
def test_those_on_the_way_are_heard(still: Node, router: Namespace, family: int) -> None:
    """As traceroute does it: hop by hop, until the last one says that nobody listens."""
    client = still.workloads["client"]
    with (
        world.beyond(still, router),
        client.socket(family_of(FAR[family]), socket.SOCK_DGRAM) as probe,
    ):
        probe.setsockopt(*_RECEIVE_ERRORS[family], 1)
        heard = []
        for hops in (1, 2, 3):
            probe.setsockopt(*_HOPS[family], hops)
            probe.sendto(b"probe", (FAR[family], 33434))
            heard.append(wait_until(lambda: reported(probe, family), SOON, f"hop {hops} is heard"))
        with pytest.raises(ConnectionRefusedError):
            connect(client, FAR[family], 81)
    exceeded, unreachable = _TIME_EXCEEDED[family], _UNREACHABLE[family]
    assert heard == [
        (exceeded, heard[0][1]),  # the node, by any of its addresses
        (exceeded, ROUTER[family]),
        (unreachable, FAR[family]),
    ]


def reported(probe: socket.socket, family: int) -> tuple[int, str] | None:
    """The type of an ICMP error that a socket was told of, and who sent it."""
    try:
        _, extra, _, _ = probe.recvmsg(100, 500, socket.MSG_ERRQUEUE | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return None
    data = next(data for level, kind, data in extra if (level, kind) == _RECEIVE_ERRORS[family])
    number, _, kind, *_ = _EXTENDED_ERROR.unpack_from(data)
    assert number in (errno.EHOSTUNREACH, errno.ECONNREFUSED)
    offender = data[_EXTENDED_ERROR.size :]
    inet, start, size = (socket.AF_INET, 4, 4) if family == 4 else (socket.AF_INET6, 8, 16)
    return kind, socket.inet_ntop(inet, offender[start : start + size])


@pytest.mark.parametrize("family", FAMILIES)
def test_nobody_outside_comes_in_uninvited(still: Node, router: Namespace, family: int) -> None:
    """The router knows the way to the pool, and uses it."""
    client, address = still.workloads["client"], own(still, "client", family)
    world.run(router, f"ip -{family} route add {address} via {NODE[family]}")
    before = still.dropped()
    with TcpServer(client, 80, family_of(address)):
        assert refused(router, address, 80, 0.3)
        assert still.dropped() > before
    world.run(router, f"ip -{family} route del {address}")
    with connection(client, router, family) as (near, far):
        far.sendall(b"answer")
        assert near.recv(100) == b"answer"


@pytest.mark.parametrize("family", FAMILIES)
def test_another_uplink_has_another_address(still: Node, router: Namespace, family: int) -> None:
    """What leaves by it has its address; and of several addresses, one that the other side can answer."""
    second = {4: ("198.18.0.1", "198.18.0.2", 24), 6: ("fd00:2::1", "fd00:2::2", 64)}[family]
    near, far, bits = second
    with Netlink(still.namespace) as netlink, netlink.batch() as batch:
        macs = b"\2\0\0\0\1\1", b"\2\0\0\0\1\2"
        batch.veth(0, "uplink1", macs[0], peer="eth1", peer_mac=macs[1], peer_namespace=router, mtu=1500)
    for namespace, name, address in ((still.namespace, "uplink1", near), (router, "eth1", far)):
        world.run(namespace, f"ip link set {name} up")
        world.run(namespace, f"ip address add {address}/{bits} dev {name}" + " nodad" * (family == 6))
    world.run(still.namespace, f"ip -{family} route add {FAR[family]} via {far}")
    client = still.workloads["client"]
    for target, seen in ((FAR[family], near), (NEAR[family], NODE[family])):
        with (
            client.socket(family_of(target), socket.SOCK_DGRAM) as sender,
            router.socket(family_of(target), socket.SOCK_DGRAM) as receiver,
        ):
            receiver.bind((target, 9))
            receiver.settimeout(SOON)
            sender.sendto(b"x", (target, 9))
            assert receiver.recvfrom(100)[1][0] == seen
    world.run(still.namespace, "ip link del uplink1")


@pytest.mark.parametrize("family", FAMILIES)
def test_inside_the_pools_everybody_has_his_own_address(still: Node, router: Namespace, family: int) -> None:
    """Also who is not on this node; and the node's own endpoints, and the node to them."""
    elsewhere = {4: "10.240.200.1", 6: "fd4b:696e:6574:79:ffff::1"}[family]
    world.run(router, f"ip address add {elsewhere} dev lo")
    address = own(still, "client", family)
    with (
        still.workloads["client"].socket(family_of(address), socket.SOCK_DGRAM) as sender,
        router.socket(family_of(address), socket.SOCK_DGRAM) as receiver,
    ):
        receiver.bind((elsewhere, 9))
        receiver.settimeout(SOON)
        still.apply(CLOSED.replace("[world]", "[all]"))
        sender.sendto(b"x", (elsewhere, 9))
        assert receiver.recvfrom(100)[1][0] == address
    world.run(router, f"ip address del {elsewhere} dev lo")
    still.apply(
        CLOSED.replace("ingress: [{}]", "ingress: [{fromEntities: [all]}]").replace("[world]", "[all]")
    )
    client, server = still.workloads["client"], still.workloads["server"]
    with connection(client, server, family, own(still, "server", family)) as (_, far):
        assert far.getpeername()[0] == address


@pytest.fixture
def fresh_router(node: Node) -> Iterator[Namespace]:
    """The router of a node whose agent may be ended."""
    with world.outside(node) as made:
        node.start()
        node.workload("client", "app=client")
        node.apply(CLOSED)
        yield made


def test_without_it_endpoints_speak_for_themselves(node: Node, fresh_router: Namespace) -> None:
    """Until the agent is started with it again."""
    rules, router = node.ruleset(), fresh_router
    for words, masquerades in ((["--no-masquerade"], False), ([], True)):
        node.end()
        node.start(*words)
        assert node.ruleset() == (rules if masquerades else "")
        for family in FAMILIES:
            address = own(node, "client", family)
            world.run(router, f"ip -{family} route replace {address} via {NODE[family]}")
            with connection(node.workloads["client"], router, family) as (_, far):
                assert far.getpeername()[0] == (NODE[family] if masquerades else address)
            world.run(router, f"ip -{family} route del {address}")


def test_connections_to_the_outside_outlive_the_agent(node: Node, fresh_router: Namespace) -> None:
    client, router = node.workloads["client"], fresh_router
    rules = node.ruleset()
    with ExitStack() as stack:
        streams = [stack.enter_context(TcpStream(client, router, FAR[family], 80)) for family in FAMILIES]
        for number in (signal.SIGKILL, signal.SIGTERM):
            node.end(number)
            assert node.ruleset() == rules
            node.start()
            marks = [stream.received + 20_000 for stream in streams]
            wait_until(
                lambda marks=marks: all(s.received > mark for s, mark in zip(streams, marks, strict=True)),
                SOON,
                "bytes arrive",
            )
    assert node.ruleset() == rules
