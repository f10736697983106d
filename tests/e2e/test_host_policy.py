"""Policies about the node itself, with real packets: from outside, from endpoints, and of the node's own."""

from __future__ import annotations

import secrets
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from kinety.api.reload import ReloadRequest
from kinety.api.types import Document, EndpointRequest
from kinety.kernel.link import Link
from kinety.kernel.namespace import Namespace
from kinety.testing.checksum import internet_checksum
from kinety.testing.lab import Lab, lab
from kinety.testing.scenario import HOST_ADDRESSES, WORLD_ADDRESSES
from tests.e2e.real_node import TcpServer, connect, family_of

pytestmark = pytest.mark.needs("root", "bpf", "netns", "bpffs", "nft", "objects", "netfilter", "ip", "ipv6")

SSH, WEB, OTHER = 22, 80, 8080
FAMILIES = (4, 6)
DENIED = 0.4
POLICY = """
apiVersion: cilium.io/v2
kind: CiliumClusterwideNetworkPolicy
metadata: {name: node}
spec:
  nodeSelector: {matchLabels: {zone: a}}
"""
#: From outside ssh, from friends web, and an echo from anybody; out to the world only web, to friends all.
GUARDED = (
    POLICY
    + """
  ingress:
  - fromEntities: [world]
    toPorts: [{ports: [{port: "22", protocol: TCP}, {port: "53", protocol: UDP}]}]
  - fromEndpoints: [{matchLabels: {"k8s:io.kubernetes.pod.namespace": default, role: friend}}]
    toPorts: [{ports: [{port: "80", protocol: TCP}]}]
  - fromEntities: [all]
    icmps: [{fields: [{type: 8, family: IPv4}, {type: 128, family: IPv6}]}]
  egress:
  - toEntities: [world]
    toPorts: [{ports: [{port: "80", protocol: TCP}]}]
  - toEndpoints: [{matchLabels: {"k8s:io.kubernetes.pod.namespace": default, role: friend}}]
"""
)
NOTHING = POLICY + "  ingress: [{}]\n  egress: [{}]\n"


@pytest.fixture
def built() -> Iterator[Lab]:
    with lab() as made:
        made.start_agent("--node-label", "zone=a")
        yield made


def apply(built: Lab, text: str) -> tuple[str, ...]:
    """Apply a policy; returns the warnings."""
    with built.client() as client:
        return client.apply([Document("node.yaml", text)]).warnings


def endpoint(built: Lab, name: str, *labels: str) -> Namespace:
    namespace = built.namespace(name)
    with built.client() as client:
        client.attach(EndpointRequest(name=name, netns=namespace.name, labels=labels))
    return namespace


def address(built: Lab, name: str, family: int) -> str:
    with built.client() as client:
        found = client.endpoint("default", name)
    return str(found.ipv4 if family == 4 else found.ipv6)


def tcp(source: Namespace, target: Namespace, address: str, port: int) -> bool:
    """Whether a byte gets there and back."""
    with TcpServer(target, port, family_of(address)) as server:
        try:
            with connect(source, address, port, DENIED) as stream, server.accept() as other:
                other.settimeout(DENIED)
                stream.sendall(b"?")
                other.sendall(other.recv(1))
                return stream.recv(1) == b"?"
        except (TimeoutError, PermissionError):
            return False


def udp(source: Namespace, target: Namespace, address: str, port: int, payload: bytes = b"?") -> bool:
    """Whether a datagram gets there and back."""
    family = family_of(address)
    with closing(target.socket(family, socket.SOCK_DGRAM)) as server:
        server.bind(("::" if family == socket.AF_INET6 else "0.0.0.0", port))
        server.settimeout(DENIED)
        with closing(source.socket(family, socket.SOCK_DGRAM)) as client:
            client.settimeout(DENIED)
            try:
                client.sendto(payload, (address, port))
                data, back = server.recvfrom(65535)
                server.sendto(data, back)
                return client.recv(65535) == payload
            except (TimeoutError, PermissionError):
                return False


def ping(source: Namespace, address: str) -> bool:
    """Whether an echo request is answered."""
    version4 = family_of(address) == socket.AF_INET
    protocol = socket.IPPROTO_ICMP if version4 else socket.IPPROTO_ICMPV6
    request = struct.pack("!BBHHH", 8 if version4 else 128, 0, 0, secrets.randbelow(1 << 16), 1) + b"token"
    if version4:
        request = request[:2] + struct.pack("!H", internet_checksum(request)) + request[4:]
    deadline = time.monotonic() + DENIED
    with closing(source.socket(family_of(address), socket.SOCK_RAW, protocol)) as client:
        client.settimeout(DENIED)
        try:
            client.sendto(request, (address, 0))
            while time.monotonic() < deadline:
                data = client.recv(2048)
                answer = data[(data[0] & 15) * 4 :] if version4 else data
                if answer[0] == (0 if version4 else 129) and answer[4:] == request[4:]:
                    return True
        except (TimeoutError, PermissionError):
            pass
    return False


def host(family: int) -> str:
    return str(HOST_ADDRESSES[family])


def world(family: int) -> str:
    return str(WORLD_ADDRESSES[family])


def pins(built: Lab) -> list[Path]:
    return sorted(built.pins.glob("contract-*/host/*"))


@pytest.mark.parametrize("family", FAMILIES)
def test_from_outside_only_what_a_policy_allows(built: Lab, family: int) -> None:
    assert tcp(built.world, built.node, host(family), OTHER)
    assert apply(built, GUARDED) == ()
    assert tcp(built.world, built.node, host(family), SSH)
    assert udp(built.world, built.node, host(family), 53)
    assert ping(built.world, host(family))
    assert not tcp(built.world, built.node, host(family), OTHER)
    assert not udp(built.world, built.node, host(family), OTHER)
    assert not tcp(built.world, built.node, host(family), WEB)


@pytest.mark.parametrize("family", FAMILIES)
def test_fragments_are_judged_as_what_they_are_pieces_of(built: Lab, family: int) -> None:
    apply(built, GUARDED)
    assert udp(built.world, built.node, host(family), 53, bytes(20_000))
    assert not udp(built.world, built.node, host(family), OTHER, bytes(20_000))


@pytest.mark.parametrize("family", FAMILIES)
def test_out_only_what_a_policy_allows(built: Lab, family: int) -> None:
    apply(built, GUARDED)
    assert tcp(built.node, built.world, world(family), WEB)
    assert not tcp(built.node, built.world, world(family), OTHER)
    assert not udp(built.node, built.world, world(family), 53)
    assert not ping(built.node, world(family))


@pytest.mark.parametrize("family", FAMILIES)
def test_between_node_and_endpoints_both_have_a_say(built: Lab, family: int) -> None:
    friend, stranger = endpoint(built, "friend", "role=friend"), endpoint(built, "stranger", "role=stranger")
    apply(built, GUARDED)
    assert tcp(friend, built.node, host(family), WEB)
    assert not tcp(friend, built.node, host(family), SSH)
    assert not tcp(stranger, built.node, host(family), WEB)
    assert ping(stranger, host(family))
    assert tcp(built.node, friend, address(built, "friend", family), OTHER)
    assert ping(built.node, address(built, "friend", family))
    assert not tcp(built.node, stranger, address(built, "stranger", family), OTHER)
    assert tcp(friend, stranger, address(built, "stranger", family), OTHER)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_node_that_may_nothing_serves_its_endpoints_all_the_same(built: Lab, family: int) -> None:
    """Neighbours are found, masqueraded traffic and its answers pass, the loopback is nobody's business."""
    workload = endpoint(built, "workload")
    apply(built, NOTHING)
    for namespace in (built.node, built.world):
        command = ["nsenter", f"--net={namespace.name}", "ip", "neigh", "flush", "all"]
        subprocess.run(command, check=True)
    assert tcp(workload, built.world, world(family), OTHER)
    assert udp(workload, built.world, world(family), OTHER)
    assert ping(workload, world(family))
    assert not tcp(built.node, built.world, world(family), WEB)
    assert not tcp(built.world, built.node, host(family), SSH)
    for loopback in ({4: "127.0.0.1", 6: "::1"}[family], host(family)):
        assert tcp(built.node, built.node, loopback, SSH)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_live_connection_is_cut_at_its_next_packet(built: Lab, family: int) -> None:
    apply(built, GUARDED)
    with ExitStack() as ends:
        server = ends.enter_context(TcpServer(built.node, SSH, family_of(host(family))))
        stream = ends.enter_context(connect(built.world, host(family), SSH))
        other = ends.enter_context(server.accept())
        assert passes(stream, other)
        warnings = apply(built, NOTHING)
        assert f"{world(family)} to port {SSH}" in warnings[0]
        assert f"TCP ports {SSH}" in warnings[1]
        assert not passes(stream, other)
        apply(built, GUARDED)
        assert other.recv(1) == b"?"  # what was dropped is sent again


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("speaker", ["node", "world"])
@pytest.mark.parametrize("opener", ["node", "world"])
def test_connections_older_than_the_policy_are_judged_by_who_opened_them(
    built: Lab, family: int, speaker: str, opener: str
) -> None:
    """Whoever speaks first afterwards: the policy lets the world in at no port, and the node out to all."""
    spaces = {"node": built.node, "world": built.world}
    addresses = {"node": host(family), "world": world(family)}
    client, target = (opener, "world" if opener == "node" else "node")
    with ExitStack() as ends:
        server = ends.enter_context(TcpServer(spaces[target], OTHER, family_of(addresses[target])))
        stream = ends.enter_context(connect(spaces[client], addresses[target], OTHER))
        other = ends.enter_context(server.accept())
        assert passes(stream, other)
        apply(built, POLICY + "  ingress: [{}]\n  egress: [{toEntities: [all]}]\n")
        sockets = {client: stream, target: other}
        listener = "world" if speaker == "node" else "node"
        assert passes(sockets[speaker], sockets[listener]) == (opener == "node")


def passes(sender: socket.socket, receiver: socket.socket) -> bool:
    receiver.settimeout(DENIED)
    try:
        sender.sendall(b"?")
        return receiver.recv(1) == b"?"
    except (TimeoutError, PermissionError):
        return False
    finally:
        receiver.settimeout(10)


def test_the_world_is_not_the_host_and_neither_is_who_says_so(built: Lab) -> None:
    apply(built, POLICY + "  ingress: [{fromEntities: [host, remote-node]}]\n")
    for family in FAMILIES:
        assert not tcp(built.world, built.node, host(family), SSH)


def test_programs_come_with_the_first_policy_and_go_with_the_last(built: Lab) -> None:
    other = POLICY.replace("name: node", "name: other").replace("zone: a", "zone: b") + "  ingress: [{}]\n"
    apply(built, other)
    assert pins(built) == []
    apply(built, GUARDED)
    assert len(pins(built)) == 4
    with built.client() as client:
        node = client.status().node
        assert (node.egress, node.ingress, node.judged, node.audit) == (True, True, True, False)
        assert {"node:zone=a", "reserved:host"} <= set(node.labels)
        client.delete_policy("CiliumClusterwideNetworkPolicy", "", "node")
        assert client.status().node.judged is False
    assert pins(built) == []
    assert tcp(built.world, built.node, host(4), OTHER)


def test_the_agent_may_die(built: Lab) -> None:
    apply(built, GUARDED)
    before = links(built)
    built.stop_agent(signal.SIGKILL)
    for family in FAMILIES:
        assert tcp(built.world, built.node, host(family), SSH)
        assert not tcp(built.world, built.node, host(family), OTHER)
    built.start_agent("--node-label", "zone=a")
    assert links(built) == before
    assert tcp(built.world, built.node, host(4), SSH)
    assert not tcp(built.world, built.node, host(4), OTHER)
    built.stop_agent()
    built.start_agent("--node-label", "zone=b")  # and is another's now
    assert pins(built) == []
    assert tcp(built.world, built.node, host(4), OTHER)


def links(built: Lab) -> dict[str, int]:
    found = {}
    for path in pins(built):
        with Link.open(path) as link:
            found[path.name] = link.info.id
    return found


def test_audit_lets_everything_pass_and_tells(built: Lab) -> None:
    with built.client() as client:
        assert client.audit_node(True).changed
        assert apply(built, NOTHING) == ()
        assert tcp(built.world, built.node, host(4), OTHER)
        report = client.shadow_report()
        assert report.audited_node
        (policy,) = report.policies
        assert {(each.endpoint, each.direction, each.would) for each in policy.changes} == {
            ("host", "ingress", "drop")
        }
        assert client.status().node.audit
        assert client.audit_node(False).changed
    assert not tcp(built.world, built.node, host(4), OTHER)


def test_the_node_is_told_that_it_may_not_send(built: Lab) -> None:
    apply(built, NOTHING)
    with (
        closing(built.node.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sender,
        pytest.raises(PermissionError),
    ):
        sender.sendto(b"?", (world(4), OTHER))


def test_other_programs_take_over_without_a_gap(built: Lab) -> None:
    apply(built, GUARDED)
    before = links(built)
    with ExitStack() as ends:
        server = ends.enter_context(TcpServer(built.node, SSH))
        stream = ends.enter_context(connect(built.world, host(4), SSH))
        other = ends.enter_context(server.accept())
        ends.enter_context(built.client()).reload(ReloadRequest(events="drops"))
        assert passes(stream, other)
    assert len(links(built)) == 4
    assert not before.keys() & links(built).keys()
    assert not tcp(built.world, built.node, host(4), OTHER)
    with built.client() as client:
        names = [program.name for program in client.status().datapath.programs]
    assert names == ["from_endpoint", "to_endpoint", "to_host", "from_host"]


def test_cleanup_takes_the_programs_off(built: Lab) -> None:
    apply(built, NOTHING)
    built.stop_agent()
    assert not tcp(built.world, built.node, host(4), OTHER)
    subprocess.run(built._command("--cleanup"), check=True, capture_output=True)
    assert tcp(built.world, built.node, host(4), OTHER)
    assert not built.pins.exists() or not any(built.pins.iterdir())


REWRITTEN = 9999


@pytest.mark.parametrize("family", FAMILIES)
def test_a_host_port_is_the_nodes_only_where_the_node_asks(built: Lab, family: int) -> None:
    """Others build them by rewriting destinations, before and at the hooks where we look."""
    workload = endpoint(built, "workload")
    inside, word = address(built, "workload", family), {4: "ip", 6: "ip6"}[family]
    target = f"[{inside}]" if family == 6 else inside
    rule = f"{word} daddr {host(family)} tcp dport {REWRITTEN} dnat to {target}"
    table = f"""
        table {word} others {{
            chain before {{ type nat hook prerouting priority -100; {rule}:{OTHER}; }}
            chain own {{ type nat hook output priority -100; {rule}:{OTHER}; }}
        }}"""
    command = ["nsenter", f"--net={built.node.name}", "nft", "-f", "-"]
    subprocess.run(command, input=table, text=True, check=True)
    assert tcp_rewritten(built.node, workload, family)
    apply(built, NOTHING)
    assert tcp_rewritten(built.world, workload, family)
    assert not tcp_rewritten(built.node, workload, family)


def tcp_rewritten(source: Namespace, target: Namespace, family: int) -> bool:
    """Whether the workload is reached by the node's port."""
    with TcpServer(target, OTHER, family_of(host(family))) as server:
        try:
            with connect(source, host(family), REWRITTEN, DENIED), server.accept():
                return True
        except (TimeoutError, PermissionError):
            return False
