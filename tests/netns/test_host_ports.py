"""Ports of the node that lead to endpoints: who gets there, as whom, and what comes back."""

import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from kinety.abi import Reason
from kinety.kernel.namespace import Namespace
from kinety.model.address import Prefix, pack_address
from kinety.model.host_port import HostPort
from kinety.model.identity import ClassId, Identity
from kinety.model.rule import Direction
from kinety.testing.packet import Flow, Link, frame, transport
from tests.netns.datapath_node import (
    ALLOW,
    ANSWER_SECONDS,
    DENY,
    HOST,
    OUTSIDE,
    SILENCE_SECONDS,
    Node,
    address,
    connect,
    endpoint,
    listening,
    node,
    plan,
    refused,
    rule_sets,
    socket_to,
    table,
)

pytestmark = pytest.mark.needs("root", "bpf", "tcx", "netns", "bpffs", "nft", "objects")

EMPIRE, ALLIANCE, HOST_IDENTITY = Identity(256), Identity(257), Identity(1)
WORLD = {4: Identity(9), 6: Identity(10)}
EMPIRE_CLASS, ALLIANCE_CLASS, HOST_CLASS, WORLD_CLASS = 3, 4, 5, 6
CLASSES = {
    EMPIRE: ClassId(EMPIRE_CLASS),
    ALLIANCE: ClassId(ALLIANCE_CLASS),
    HOST_IDENTITY: ClassId(HOST_CLASS),
    WORLD[4]: ClassId(WORLD_CLASS),
    WORLD[6]: ClassId(WORLD_CLASS),
}
SERVER, CLIENT, OTHER = 11, 12, 13
NAMES = {SERVER: "server", CLIENT: "client", OTHER: "other"}
PORT, HOST_PORT = 80, 8080
families = pytest.mark.parametrize("family", [4, 6])


@pytest.fixture
def lab() -> Iterator[Node]:
    """A node whose port 8080 leads to port 80 of a server, with two clients beside it."""
    with node() as built:
        built.open()
        for number, name in NAMES.items():
            built.attach(name, number)
        built.put(
            {SERVER: plan(EMPIRE), CLIENT: plan(EMPIRE), OTHER: plan(ALLIANCE)},
            identity_classes=CLASSES,
            ipcache={Prefix.parse(HOST[family]): HOST_IDENTITY for family in (4, 6)},
        )
        publish(built, SERVER, f"{HOST_PORT}:{PORT}/tcp")
        yield built


def publish(lab: Node, number: int, *ports: str) -> None:
    assert lab.datapath is not None
    name = NAMES[number]
    interface = lab.datapath.interface(endpoint(name, number).id)
    assert interface is not None
    lab.run(
        lab.datapath.host_ports.publish,
        endpoint(name, number),
        [HostPort.parse(each) for each in ports],
        interface.name,
    )


def withdraw(lab: Node, number: int, *ports: str) -> None:
    assert lab.datapath is not None
    written = [HostPort.parse(each) for each in ports]
    lab.run(lab.datapath.host_ports.withdraw, endpoint(NAMES[number], number), written)
    assert lab.run(lab.datapath.host_ports.end_departed), "the agent does that when it has time"
    assert not lab.run(lab.datapath.host_ports.end_departed)


def let_in(lab: Node, *classes: int, protocol: int = socket.IPPROTO_TCP) -> None:
    """The server admits these classes to its port, and nobody else to anything."""
    rows = {(0, 0, 0, 0): DENY}
    rows |= {(each, 0, 0, 0): DENY for each in classes}
    rows |= {(each, 24, protocol, PORT): ALLOW for each in classes}
    name = "guard" + "-".join(map(str, classes))
    lab.put({SERVER: plan(EMPIRE, ingress=name)}, rule_sets=rule_sets(**{name: table(rows)}))


def asked_from(lab: Node, namespace: Namespace, target: str, port: int = HOST_PORT) -> str | None:
    """Who the server takes a client for that connects and is answered; None when it does not come."""
    family = 6 if ":" in target else 4
    with (
        listening(lab.endpoints["server"], address(SERVER, family), PORT) as server,
        socket_to(namespace, target, socket.SOCK_STREAM) as client,
    ):
        client.settimeout(SILENCE_SECONDS)
        try:
            client.connect((target, port))
        except (TimeoutError, OSError):
            return None
        server.settimeout(ANSWER_SECONDS)
        accepted, (peer, *_) = server.accept()
        with accepted:
            client.settimeout(ANSWER_SECONDS)
            accepted.settimeout(ANSWER_SECONDS)
            client.sendall(b"question")
            assert accepted.recv(100) == b"question"
            accepted.sendall(b"answer" * 1000)
            got = b""
            while len(got) < 6000:
                got += client.recv(10000)
        return peer


@families
def test_the_world_comes_in_with_its_own_address_and_by_policy(lab: Node, family: int) -> None:
    assert asked_from(lab, lab.outside, HOST[family]) == OUTSIDE[family]
    let_in(lab, WORLD_CLASS)
    assert asked_from(lab, lab.outside, HOST[family]) == OUTSIDE[family]
    let_in(lab, HOST_CLASS, EMPIRE_CLASS)
    assert asked_from(lab, lab.outside, HOST[family]) is None


@families
def test_the_node_itself_comes_as_host(lab: Node, family: int) -> None:
    let_in(lab, HOST_CLASS)
    assert asked_from(lab, lab.namespace, HOST[family]) == HOST[family]
    let_in(lab, WORLD_CLASS, EMPIRE_CLASS)
    assert asked_from(lab, lab.namespace, HOST[family]) is None


def test_the_node_asks_its_loopback_address(lab: Node) -> None:
    let_in(lab, HOST_CLASS)
    assert asked_from(lab, lab.namespace, "127.0.0.1") == HOST[4]
    let_in(lab, WORLD_CLASS, EMPIRE_CLASS)
    assert asked_from(lab, lab.namespace, "127.0.0.1") is None


def test_the_loopback_address_of_ipv6_is_not_led_on(lab: Node) -> None:
    with socket_to(lab.namespace, "::1", socket.SOCK_STREAM) as client, pytest.raises(ConnectionRefusedError):
        client.connect(("::1", HOST_PORT))
    with listening(lab.namespace, "::1", HOST_PORT):
        assert connect(lab.namespace, "::1", HOST_PORT)


def test_an_endpoint_does_not_reach_the_nodes_loopback_address(lab: Node) -> None:
    """Its interface would let it, for the sake of answers to processes of the node's."""
    assert lab.datapath is not None
    own = lab.datapath.interface(endpoint("server", SERVER).id)
    assert own is not None
    sysctl = Path("/proc/sys/net/ipv4/conf", own.name, "route_localnet")
    assert lab.run(sysctl.read_text) == "1\n"
    flow = Flow(pack_address(address(SERVER, 4)), pack_address("127.0.0.1"), socket.IPPROTO_UDP, 40000, 7777)
    sent = frame(flow, link=Link(own.container_mac, own.host_mac))
    with (
        socket_to(lab.namespace, "127.0.0.1", socket.SOCK_DGRAM) as server,
        lab.endpoints["server"].socket(socket.AF_PACKET, socket.SOCK_RAW) as raw,
    ):
        server.bind(("127.0.0.1", 7777))
        server.settimeout(SILENCE_SECONDS)
        raw.bind(("eth0", 0))
        raw.send(sent)
        with pytest.raises(TimeoutError):
            server.recv(1)
    assert lab.run(lab.datapath.counters)[Reason.LOOPBACK, Direction.EGRESS].packets == 1


def datagrams(lab: Node, server: str, where: str) -> socket.socket:
    """A server's UDP socket on its port."""
    bound = socket_to(lab.endpoints[server], where, socket.SOCK_DGRAM)
    bound.bind((where, PORT))
    bound.settimeout(ANSWER_SECONDS)
    return bound


@families
def test_datagrams_are_led_and_answered(lab: Node, family: int) -> None:
    publish(lab, OTHER, f"{HOST_PORT}:{PORT}/udp")
    for source in (lab.outside, lab.namespace, lab.endpoints["client"], lab.endpoints["other"]):
        with (
            datagrams(lab, "other", address(OTHER, family)) as server,
            socket_to(source, HOST[family], socket.SOCK_DGRAM) as client,
        ):
            client.settimeout(ANSWER_SECONDS)
            client.connect((HOST[family], HOST_PORT))
            for _ in range(3):
                client.send(b"question")
                question, sender = server.recvfrom(100)
                server.sendto(question + b" answered", sender)
                assert client.recv(100) == b"question answered"


@families
def test_an_error_comes_back_by_the_way_of_the_question(lab: Node, family: int) -> None:
    """Nobody listens behind the host port; a connected datagram socket is told so."""
    publish(lab, OTHER, f"{HOST_PORT}:{PORT}/udp")
    for source in (lab.outside, lab.namespace, lab.endpoints["client"]):
        with socket_to(source, HOST[family], socket.SOCK_DGRAM) as client:
            client.settimeout(ANSWER_SECONDS)
            client.connect((HOST[family], HOST_PORT))
            client.send(b"question")
            with pytest.raises(ConnectionRefusedError):
                client.recv(100)


@families
def test_one_socket_asks_straight_and_by_the_host_port(lab: Node, family: int) -> None:
    """The server sees one flow; each answer goes the way of the last question."""
    publish(lab, OTHER, f"{HOST_PORT}:{PORT}/udp")
    straight = address(OTHER, family)
    with (
        datagrams(lab, "other", straight) as server,
        socket_to(lab.endpoints["client"], straight, socket.SOCK_DGRAM) as client,
    ):
        client.settimeout(ANSWER_SECONDS)
        for where, port in ((HOST[family], HOST_PORT), (straight, PORT)) * 2:
            client.sendto(b"question", (where, port))
            question, sender = server.recvfrom(100)
            server.sendto(question, sender)
            answer, (came_from, its_port, *_) = client.recvfrom(100)
            assert (answer, came_from, its_port) == (b"question", where, port)


@families
def test_streams_of_sctp_are_led(lab: Node, family: int) -> None:
    publish(lab, OTHER, f"{HOST_PORT}:{PORT}/sctp")
    for source, comes_as in (
        (lab.outside, OUTSIDE[family]),
        (lab.namespace, HOST[family]),
        (lab.endpoints["client"], address(CLIENT, family)),
    ):
        assert first_packet_of_sctp(lab, source, family) == comes_as


def first_packet_of_sctp(lab: Node, source: Namespace, family: int) -> str:
    """Who the endpoint takes somebody for that begins an association; nobody's kernel need have SCTP."""
    kind = socket.AF_INET if family == 4 else socket.AF_INET6
    flow = Flow(bytes(16), bytes(16), socket.IPPROTO_SCTP, 40000, HOST_PORT)
    with (
        lab.endpoints["other"].socket(kind, socket.SOCK_RAW, socket.IPPROTO_SCTP) as server,
        source.socket(kind, socket.SOCK_RAW, socket.IPPROTO_SCTP) as client,
    ):
        server.settimeout(ANSWER_SECONDS)
        client.sendto(transport(flow), (HOST[family], 0))
        packet, (sender, *_) = server.recvfrom(200)
        chunk = packet[20:] if family == 4 else packet
        assert struct.unpack("!HH", chunk[:4]) == (40000, PORT)
        return str(sender)


@families
def test_datagrams_follow_the_port_to_another_endpoint(lab: Node, family: int) -> None:
    """The client goes on sending all the time: to nobody, to one endpoint, to another, to nobody again."""
    target = HOST[family]
    with (
        socket_to(lab.outside, target, socket.SOCK_DGRAM) as client,
        datagrams(lab, "other", address(OTHER, family)) as first,
        datagrams(lab, "client", address(CLIENT, family)) as second,
    ):
        client.bind(("", 5353))

        def arrives(server: socket.socket, seconds: float = ANSWER_SECONDS) -> bool:
            client.sendto(b"x", (target, HOST_PORT))
            server.settimeout(seconds)
            try:
                return bool(server.recv(10))
            except TimeoutError:
                return False

        assert not arrives(first, SILENCE_SECONDS)
        publish(lab, OTHER, f"{HOST_PORT}:{PORT}/udp")
        assert arrives(first)
        withdraw(lab, OTHER, f"{HOST_PORT}:{PORT}/udp")
        assert not arrives(first, SILENCE_SECONDS)
        publish(lab, CLIENT, f"{HOST_PORT}:{PORT}/udp")
        assert arrives(second)
        assert not arrives(first, SILENCE_SECONDS)


def test_a_port_of_one_address_is_none_of_another(lab: Node) -> None:
    publish(lab, OTHER, f"{HOST[4]}:9000:{PORT}/tcp", f"127.0.0.1:9001:{PORT}", f"0.0.0.0:9002:{PORT}")
    lab.command("ip", "address", "add", "192.0.2.77/24", "dev", "uplink")
    with (
        listening(lab.endpoints["other"], address(OTHER, 4), PORT),
        listening(lab.endpoints["other"], address(OTHER, 6), PORT),
    ):
        assert connect(lab.outside, HOST[4], 9000)
        assert refused(lab.outside, "192.0.2.77", 9000)
        assert refused(lab.namespace, "127.0.0.1", 9000)
        assert refused(lab.outside, HOST[4], 9001)
        assert connect(lab.namespace, "127.0.0.1", 9001)
        assert connect(lab.outside, "192.0.2.77", 9002)
        assert refused(lab.outside, HOST[6], 9002)


def test_an_established_connection_survives_the_agent(lab: Node) -> None:
    with (
        listening(lab.endpoints["server"], address(SERVER, 4), PORT) as server,
        socket_to(lab.endpoints["client"], HOST[4], socket.SOCK_STREAM) as client,
    ):
        client.settimeout(ANSWER_SECONDS)
        client.connect((HOST[4], HOST_PORT))
        accepted, _ = server.accept()
        lab.restart_with_plans({SERVER: plan(EMPIRE), CLIENT: plan(EMPIRE), OTHER: plan(ALLIANCE)}, CLASSES)
        assert lab.datapath is not None
        before = lab.datapath.host_ports.writes
        wanted = [(endpoint("server", SERVER), [HostPort.parse(f"{HOST_PORT}:{PORT}")])]
        lab.run(lab.datapath.host_ports.restore, wanted)
        assert lab.datapath.host_ports.writes == before, "the table was what it should be"
        with accepted:
            client.sendall(b"question")
            assert accepted.recv(100) == b"question"
            accepted.sendall(b"answer")
            assert client.recv(100) == b"answer"


@families
def test_an_endpoint_comes_as_itself_and_is_answered(lab: Node, family: int) -> None:
    assert asked_from(lab, lab.endpoints["client"], HOST[family]) == address(CLIENT, family)
    let_in(lab, EMPIRE_CLASS)
    assert asked_from(lab, lab.endpoints["client"], HOST[family]) == address(CLIENT, family)
    assert asked_from(lab, lab.endpoints["other"], HOST[family]) is None
    let_in(lab, HOST_CLASS, WORLD_CLASS)
    assert asked_from(lab, lab.endpoints["client"], HOST[family]) is None


@families
def test_an_endpoint_comes_straight_too(lab: Node, family: int) -> None:
    for _ in range(3):
        straight = address(SERVER, family)
        assert asked_from(lab, lab.endpoints["client"], straight, PORT) == address(CLIENT, family)
        assert asked_from(lab, lab.endpoints["client"], HOST[family]) == address(CLIENT, family)


@families
def test_an_endpoint_comes_to_itself_as_the_world(lab: Node, family: int) -> None:
    assert asked_from(lab, lab.endpoints["server"], HOST[family]) == HOST[family]
    let_in(lab, WORLD_CLASS)
    assert asked_from(lab, lab.endpoints["server"], HOST[family]) == HOST[family]
    let_in(lab, HOST_CLASS, EMPIRE_CLASS)
    assert asked_from(lab, lab.endpoints["server"], HOST[family]) is None
