"""What an endpoint may try, so as not to go through the proxy, or to be taken for one."""

import contextlib
import socket
import struct
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from scapy.layers.inet import IP, TCP

from kinety import abi
from kinety.abi import Reason, Redirect
from kinety.kernel.namespace import Namespace
from kinety.testing.checksum import internet_checksum
from tests.netns.datapath_node import (
    ANSWER_SECONDS,
    DENY,
    SILENCE_SECONDS,
    Node,
    address,
    listening,
    plan,
    refused,
    rule_sets,
    socket_to,
    table,
    wait_until,
)
from tests.netns.redirect_lab import (
    ALLIANCE,
    CLIENT,
    EGRESS,
    EMPIRE,
    INGRESS,
    NEEDS,
    PORT,
    PORTS,
    SERVER,
    Talk,
    both_proxies,
    counted,
    families,
    is_reset,
    redirect_lab,
    talking,
    to_proxy,
)

pytestmark = pytest.mark.needs(*NEEDS)

SO_MARK = 36
marks = pytest.mark.parametrize(
    "mark",
    [
        PORTS[EGRESS] << 16 | abi.Mark.FROM_PROXY,
        PORTS[INGRESS] << 16 | abi.Mark.FROM_PROXY,
        EMPIRE << 16 | abi.Mark.TO_PROXY,
    ],
    ids=hex,
)


@pytest.fixture
def lab(redirect: Redirect) -> Iterator[Node]:
    with redirect_lab(redirect=redirect) as built:
        built.put({CLIENT: plan(ALLIANCE, egress="egress"), SERVER: plan(EMPIRE, ingress="ingress")})
        yield built


@families
@marks
def test_a_mark_of_an_endpoint_means_nothing(lab: Node, family: int, mark: int) -> None:
    where = address(SERVER, family)
    with both_proxies(lab) as proxies, listening(lab.endpoints["server"], where, PORT) as listener:
        with socket_to(lab.endpoints["client"], where, socket.SOCK_STREAM) as client:
            client.setsockopt(socket.SOL_SOCKET, SO_MARK, struct.pack("=I", mark))
            client.settimeout(ANSWER_SECONDS)
            listener.settimeout(ANSWER_SECONDS)
            client.connect((where, PORT))
            server, _ = listener.accept()
            with server:
                server.settimeout(ANSWER_SECONDS)
                talk = Talk(client, server, ("", 0))
                assert talk.works()
                assert talk.refuses()
        assert [accepted.identity for proxy in proxies.values() for accepted in proxy.accepted] == [
            ALLIANCE,
            ALLIANCE,
        ]


@families
@marks
def test_a_mark_does_not_open_what_is_denied(lab: Node, family: int, mark: int) -> None:
    where = address(SERVER, family)
    with (
        both_proxies(lab),
        listening(lab.endpoints["server"], where, PORT + 1),
        socket_to(lab.endpoints["client"], where, socket.SOCK_STREAM) as client,
    ):
        client.setsockopt(socket.SOL_SOCKET, SO_MARK, struct.pack("=I", mark))
        client.settimeout(SILENCE_SECONDS)
        with pytest.raises(TimeoutError):
            client.connect((where, PORT + 1))


@families
def test_a_process_of_the_node_at_the_same_port_is_not_met(lab: Node, family: int) -> None:
    where, anywhere = address(SERVER, family), "0.0.0.0" if family == 4 else "::"
    with both_proxies(lab), listening(lab.namespace, anywhere, PORT) as of_the_node:
        for _ in range(3):
            with talking(lab.endpoints["client"], lab.endpoints["server"], where) as talk:
                assert talk.works()
        of_the_node.settimeout(0)
        with pytest.raises(BlockingIOError):
            of_the_node.accept()


@families
def test_listeners_cannot_be_reached_by_their_ports(lab: Node, family: int) -> None:
    """They are at the loopback address; the client is led to one when it asks for another address's port."""
    lab.put({CLIENT: plan(ALLIANCE)})
    with both_proxies(lab) as proxies:
        for host in ("127.0.0.1", "192.0.2.1") if family == 4 else ("::1", "2001:db8:ff::1"):
            for port in PORTS.values():
                assert refused(lab.endpoints["client"], host, port)
        assert not any(proxy.accepted for proxy in proxies.values())


@contextlib.contextmanager
def heard(namespace: Namespace) -> Iterator[socket.socket]:
    """Everything that comes in by an endpoint's interface."""
    with namespace.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as ear:
        ear.bind(("eth0", 3))
        ear.setblocking(False)
        yield ear


def arrives(ear: socket.socket, word: bytes) -> bool:
    with contextlib.suppress(BlockingIOError):
        while True:
            if word in ear.recv(65536):
                return True
    return False


@families
@pytest.mark.parametrize("way", ["egress", "ingress"])
def test_the_server_cannot_speak_past_the_proxy(lab: Node, family: int, way: str) -> None:
    """A segment of the server's with the ends of the client's connection; without the proxy it arrives."""
    where = address(SERVER, family)
    word = b"past the proxy"
    lab.put(
        {
            CLIENT: plan(ALLIANCE, egress="egress" if way == "egress" else None),
            SERVER: plan(EMPIRE, ingress="ingress" if way == "ingress" else None),
        }
    )
    with both_proxies(lab), heard(lab.endpoints["client"]) as ear:
        with talking(lab.endpoints["client"], lab.endpoints["server"], where) as talk:
            assert talk.works()
            forge(lab.endpoints["server"], where, address(CLIENT, family), talk.client.getsockname()[1], word)
            assert talk.works(), "the connection is as it was"
            assert talk.refuses()
            assert not arrives(ear, word)
        lab.put({CLIENT: plan(ALLIANCE), SERVER: plan(EMPIRE)})
        with talking(lab.endpoints["client"], lab.endpoints["server"], where) as talk:
            assert talk.works()
            forge(lab.endpoints["server"], where, address(CLIENT, family), talk.client.getsockname()[1], word)
            wait_until(partial(arrives, ear, word))


def forge(namespace: Namespace, source: str, target: str, port: int, word: bytes) -> None:
    """Send a TCP segment from the served port, with any sequence number."""
    family = socket.AF_INET6 if ":" in target else socket.AF_INET
    with namespace.socket(family, socket.SOCK_RAW, socket.IPPROTO_TCP) as raw:
        raw.bind((source, 0))
        segment = struct.pack("!HHIIBBHHH", PORT, port, 1, 1, 5 << 4, 0x18, 1024, 0, 0) + word
        pseudo = (
            socket.inet_pton(family, source)
            + socket.inet_pton(family, target)
            + struct.pack("!II", len(segment), socket.IPPROTO_TCP)
        )
        total = internet_checksum(pseudo + segment + bytes(len(segment) % 2))
        raw.sendto(segment[:16] + struct.pack("!H", total) + segment[18:], (target, 0))


@families
def test_a_client_at_a_port_of_the_proxies_cannot_meet_what_a_proxy_sends(lab: Node, family: int) -> None:
    """The proxy speaks to the server from such a port; the client knows which, and tries it itself."""
    lab.put({CLIENT: plan(ALLIANCE), SERVER: plan(EMPIRE, ingress="ingress")})
    where = address(SERVER, family)
    with both_proxies(lab), talking(lab.endpoints["client"], lab.endpoints["server"], where) as talk:
        assert talk.works()
        lab.put({SERVER: plan(EMPIRE)})
        before = counted(lab, Reason.PROXY_PORT_TAKEN)
        with socket_to(lab.endpoints["client"], where, socket.SOCK_STREAM) as client:
            client.bind((address(CLIENT, family), talk.seen[1]))
            client.settimeout(SILENCE_SECONDS)
            with pytest.raises(TimeoutError):
                client.connect((where, PORT))
        assert counted(lab, Reason.PROXY_PORT_TAKEN) > before


@families
@pytest.mark.parametrize("client", ["client", "node"])
def test_a_server_at_a_port_of_the_proxies_is_guarded_as_any(lab: Node, family: int, client: str) -> None:
    """What goes there is no answer to a proxy, though a socket of the node's has its ends."""
    where, port = address(SERVER, family), 61500
    tables = rule_sets(guarded=to_proxy(INGRESS, port=port), closed=table({(0, 0, 0, 0): DENY}))
    lab.put({CLIENT: plan(ALLIANCE), SERVER: plan(EMPIRE, ingress="guarded")}, rule_sets=tables)
    source = lab.namespace if client == "node" else lab.endpoints[client]
    with both_proxies(lab), talking(source, lab.endpoints["server"], where, port) as talk:
        assert talk.works()
        assert talk.refuses()
        lab.put({SERVER: plan(EMPIRE, ingress="closed")})
        talk.client.sendall(b"question")
        talk.server.settimeout(SILENCE_SECONDS)
        with pytest.raises(TimeoutError):
            talk.server.recv(100)
        lab.put({SERVER: plan(EMPIRE)})
        assert is_reset(talk.client)
        with talking(source, lab.endpoints["server"], where, port) as again:
            assert again.hears()


def test_a_disturbed_handshake_is_no_connection_to_the_client(lab: Node) -> None:
    """The kernel answers an acknowledgement of nothing, which is not to be taken for the server's call.

    A proxy that asks whom the client had asked would be told: itself.
    """
    client, where, port = lab.endpoints["client"], address(SERVER, 4), 40123
    silent = (
        "table inet silent { chain output { type filter hook output priority 0;\n tcp flags rst drop\n }\n }"
    )
    client.call(partial(subprocess.run, ["nft", "-f", "-"], input=silent, text=True, check=True))
    with (
        both_proxies(lab) as proxies,
        client.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as out,
        client.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP) as ear,
    ):
        ear.settimeout(ANSWER_SECONDS)

        def say(flags: str, sequence: int, acknowledged: int = 0) -> None:
            segment = TCP(sport=port, dport=PORT, flags=flags, seq=sequence, ack=acknowledged)
            out.sendto(bytes(IP(src=address(CLIENT, 4), dst=where) / segment), (where, 0))

        def hear() -> TCP:
            while (heard := IP(ear.recv(4096))[TCP]).dport != port:
                pass
            return heard

        say("S", 1000)
        first = hear()
        say("A", 1000 + (1 << 30), first.seq + 1)
        assert hear().flags == "A", "the kernel does not answer, and this test shows nothing"
        say("A", 1001, first.seq + 1)
        wait_until(lambda: proxies[EGRESS].accepted)
        assert proxies[EGRESS].accepted[0].destination == (where, PORT)
        tracked = lab.run(Path("/proc/thread-self/net/nf_conntrack").read_text)
        assert not [line for line in tracked.splitlines() if f"dport={port}" in line.partition("[")[0]]
