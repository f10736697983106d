"""Probes in a real namespace, against servers that speak all that is asked, and against others."""

import os
import secrets
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import ip_address

import dns.message
import pytest

from kinety.kernel.namespace import Namespace
from kinety.kernel.netlink import Netlink
from kinety.testing import exchange
from kinety.testing.content import Content, DnsQuestion, HttpRequest, TlsHello
from kinety.testing.content_server import ContentServers
from kinety.testing.names import Zone
from kinety.testing.scenario import Host, Probe

NEEDS = pytest.mark.needs("root", "netns", "ipv6")
LOOPBACKS = {4: ip_address("127.0.0.1"), 6: ip_address("::1")}
KNOWN = {ip_address("198.51.100.7"): ["api.example.com"], ip_address("2001:db8::7"): ["api.example.com"]}
REQUEST = HttpRequest("PUT", "/v1/x?y", "web.example", (("X-Rank", "moff"),))
ASKED: list[tuple[str, int, Content | None]] = [
    ("TCP", 80, HttpRequest()),
    ("TCP", 80, REQUEST),
    ("TCP", 8080, HttpRequest("HEAD")),
    ("TCP", 8080, HttpRequest("ODD")),
    ("TCP", 80, TlsHello("web.example")),
    ("TCP", 80, None),
    ("UDP", 53, DnsQuestion("api.example.com")),
    ("TCP", 53, DnsQuestion("api.example.com")),
    ("UDP", 53, DnsQuestion("nobody.example")),
    ("UDP", 53, None),
    ("TCP", 53, None),
]
PORTS = {("TCP", 80), ("TCP", 8080), ("UDP", 53), ("TCP", 53)}


@pytest.fixture(scope="module")
def namespace() -> Iterator[Namespace]:
    made = Namespace.create(f"kinety-{os.getpid()}-{secrets.token_hex(4)}")
    try:
        with Netlink(made) as netlink, netlink.batch() as batch:
            batch.link_set("lo", up=True)
        yield made
    finally:
        made.remove()


def asked(namespace: Namespace, family: int, protocol: str, port: int, content: Content | None) -> str:
    """What comes of a probe on loopback."""
    probe = Probe(Host(), Host(), protocol, port, (family,), "allow", "s.yaml", 1, content)
    address = LOOPBACKS[family]
    return exchange.exchange(namespace, probe, address, address, secrets.token_bytes(16))[1]


@NEEDS
@pytest.mark.parametrize("family", LOOPBACKS)
def test_servers_speak_whatever_they_are_asked(namespace: Namespace, family: int) -> None:
    with ContentServers(Zone(KNOWN)) as servers:
        for protocol, port in PORTS:
            servers.listen(namespace, LOOPBACKS[family], protocol, port)
        for protocol, port, content in ASKED:
            assert asked(namespace, family, protocol, port, content) == "allow", (protocol, content)
    for protocol, port, content in ASKED:
        assert asked(namespace, family, protocol, port, content) == "deny", "nobody is there any more"


@NEEDS
def test_what_arrives_is_what_the_probe_says(namespace: Namespace) -> None:
    with answering(namespace, b"HTTP/1.1 204 No\r\n\r\n") as heard:
        assert asked(namespace, 4, "TCP", 80, REQUEST) == "http-204"
        assert asked(namespace, 4, "TCP", 80, HttpRequest()) == "http-204"
    first, second = (each.decode().split("\r\n") for each in heard)
    assert first[:3] == ["PUT /v1/x?y HTTP/1.1", "Host: web.example", "X-Rank: moff"]
    assert first[3].startswith("Kinety-Probe: ")
    assert first[4:] == ["Content-Length: 0", "", ""]
    assert second[:2] == ["GET / HTTP/1.1", "Host: 127.0.0.1"]
    assert len(second) == 5


@contextmanager
def answering(namespace: Namespace, answer: bytes | None) -> Iterator[list[bytes]]:
    """A server on port 80 that answers whatever comes, or resets; what it was told."""
    heard: list[bytes] = []
    listener = namespace.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", 80))
    listener.listen()

    def serve() -> None:
        while True:
            try:
                stream, _ = listener.accept()
            except OSError:
                return
            with stream:
                heard.append(stream.recv(4096))
                if answer is None:
                    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                else:
                    stream.sendall(answer)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield heard
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
        listener.close()


@NEEDS
@pytest.mark.parametrize(
    ("answer", "content", "outcome"),
    [
        (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", REQUEST, "http-403"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", REQUEST, "http-200"),
        (b"nonsense\r\n\r\n", REQUEST, "deny"),
        (None, REQUEST, "reset"),
        (b"", REQUEST, "reset"),
        (None, TlsHello("web.example"), "reset"),
        (b"", TlsHello("web.example"), "reset"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", TlsHello("web.example"), "deny"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", None, "deny"),
    ],
)
def test_refusals_and_strangers_are_told_apart(
    namespace: Namespace, answer: bytes | None, content: Content | None, outcome: str
) -> None:
    """A server that answers and is not ours (who shows the probe again) is no server that was reached."""
    with answering(namespace, answer) as heard:
        assert asked(namespace, 4, "TCP", 80, content) == outcome
    assert len(heard) == 1


def refuses(question: bytes) -> bytes:
    return question[:2] + b"\x81\x05" + question[4:]


def answers_another(question: bytes) -> bytes:
    return bytes(2) + b"\x81\x00" + question[4:]


@NEEDS
@pytest.mark.parametrize(
    ("answer", "outcome"), [(refuses, "dns-refused"), (answers_another, "deny"), (lambda _: b"\0", "deny")]
)
def test_answers_of_name_servers(
    namespace: Namespace, answer: Callable[[bytes], bytes], outcome: str
) -> None:
    with namespace.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 53))

        def serve() -> None:
            question, client = server.recvfrom(512)
            server.sendto(answer(question), client)

        thread = threading.Thread(target=serve)
        thread.start()
        assert asked(namespace, 4, "UDP", 53, DnsQuestion("api.example.com")) == outcome
        thread.join()


def test_a_zone_answers_questions_of_its_names_and_types_alone() -> None:
    def addresses(name: str, kind: str) -> list[str]:
        answer = Zone(KNOWN).answer(dns.message.make_query(name, kind).to_wire())
        assert answer is not None
        return [each.to_text() for rrset in dns.message.from_wire(answer).answer for each in rrset]

    assert addresses("API.example.com", "A") == ["198.51.100.7"]
    assert addresses("api.example.com", "AAAA") == ["2001:db8::7"]
    assert addresses("api.example.com", "TXT") == addresses("example.com", "A") == []
    assert Zone(KNOWN).answer(b"no question") is None
    answer = dns.message.make_response(dns.message.make_query("api.example.com", "A"))
    assert Zone(KNOWN).answer(answer.to_wire()) is None


def test_checksum_is_the_internets() -> None:
    words = bytes.fromhex("0001f203f4f5f6f7")  # the example of RFC 1071, section 3
    assert exchange._checksum(words) == struct.pack("!H", ~0xDDF2 & 0xFFFF)
