"""Servers and clients that other tests believe: they see who asks what, and tell one ending from another."""

import socket
import ssl
import threading
import time

import dns.exception
import dns.flags
import dns.rcode
import grpclib
import pytest
from websockets.exceptions import InvalidStatus

from kinety.kernel.namespace import Namespace
from tests.layer7.grpc import call, grpc_server
from tests.layer7.http2 import Http2Client, http2_server
from tests.layer7.http_client import HttpClient, ask, websocket
from tests.layer7.http_server import GREETING, http_server
from tests.layer7.name_server import Name, addresses_in, name_server, resolve
from tests.layer7.tls import Ending, handshake, tls_server

pytestmark = pytest.mark.needs("root", "netns", "ipv6")

LOOPBACKS = ("127.0.0.1", "::1")
PORT = 8080


@pytest.mark.parametrize("address", LOOPBACKS)
def test_a_kept_connection_asks_many_times_and_the_server_knows_who_it_was(
    namespace: Namespace, address: str
) -> None:
    with http_server(namespace, PORT) as server, HttpClient(namespace, address, PORT) as client:
        port = client.stream.getsockname()[1]
        assert client.ask("GET", "/a//b?c=%2f", {"Host": "death.star", "X-Rank": "moff"}).body == GREETING
        answer = client.ask(
            "POST", "/chunks", {"answer-bytes": "1048576", "answer-chunked": "1"}, b"y" * 1024
        )
        assert (answer.headers["transfer-encoding"], len(answer.body)) == ("chunked", 1 << 20)
        answer = client.ask("PUT", "/large", {"answer-status": "201"}, b"y" * (1 << 20))
        assert (answer.status, answer.headers["request-bytes"]) == (201, str(1 << 20))
    first, chunks, large = server.received
    assert (first.version, first.method, first.path, first.host) == (
        "1.1",
        "GET",
        "/a//b?c=%2f",
        "death.star",
    )
    assert (first.client, first.port, first.headers["x-rank"]) == (address, port, "moff")
    assert (chunks.port, chunks.size, large.port, large.size) == (port, 1024, port, 1 << 20)
    assert server.connections == 1


def test_short_connections_are_one_request_each_and_end(namespace: Namespace) -> None:
    with http_server(namespace, PORT) as server:
        for _ in range(3):
            assert ask(namespace, "127.0.0.1", PORT, "GET", "/").headers["connection"] == "close"
        with HttpClient(namespace, "127.0.0.1", PORT) as client:
            client.ask(headers={"answer-close": "1"})
            with pytest.raises(ConnectionError):
                client.ask()
    assert server.connections == 4
    assert server.paths() == ["GET /"] * 4
    with pytest.raises(ConnectionRefusedError):
        ask(namespace, "127.0.0.1", PORT)


@pytest.mark.parametrize("address", LOOPBACKS)
def test_websockets_echo_and_refusals_are_told(namespace: Namespace, address: str) -> None:
    with http_server(namespace, PORT) as server:
        with websocket(namespace, address, PORT, "/chat") as stream:
            for message in ("text", b"\0bytes"):
                stream.send(message)
                assert stream.recv() == message
        assert server.paths() == ["GET /chat"]
        with pytest.raises(InvalidStatus) as refused:
            websocket(namespace, address, PORT, "/chat", {"answer-status": "403"})
    assert refused.value.response.status_code == 403


@pytest.mark.parametrize("address", LOOPBACKS)
def test_http2_with_prior_knowledge_has_many_streams(namespace: Namespace, address: str) -> None:
    with http2_server(namespace, PORT) as server, Http2Client(namespace, address, PORT) as client:
        answers = client.ask(("GET", "/1"), ("PUT", "/2"), headers={"x-rank": "moff"})
        assert [(each.status, each.body) for each in answers] == [(200, GREETING)] * 2
        assert client.ask(("GET", "/3"))[0].headers["content-type"] == "text/plain"
    assert server.paths() == ["GET /1", "PUT /2", "GET /3"]
    assert {(each.version, each.client) for each in server.received} == {("2", address)}
    assert server.received[0].headers == {"x-rank": "moff"}


@pytest.mark.parametrize("address", LOOPBACKS)
def test_grpc_calls_methods_and_refusals_are_told(namespace: Namespace, address: str) -> None:
    with grpc_server(namespace, PORT, "/empire.Star/Fire") as server:
        assert call(namespace, address, PORT, "/empire.Star/Fire", b"now") == b"now"
        with pytest.raises(grpclib.GRPCError):
            call(namespace, address, PORT, "/empire.Star/Vent")
    assert server.called == [("/empire.Star/Fire", address)]


@pytest.mark.parametrize("address", LOOPBACKS)
def test_tls_servers_know_their_name(namespace: Namespace, address: str) -> None:
    with tls_server(namespace, PORT, "empire.example", "*.empire.example") as server:
        trust = server.context_of_client()
        for name in ("empire.example", "star.empire.example"):
            assert handshake(namespace, address, PORT, name, trust) is Ending.SPOKE
        with pytest.raises(ssl.SSLError, match="certificate"):
            handshake(namespace, address, PORT, "alliance.example", trust)
        assert handshake(namespace, address, PORT, None, trust) is Ending.SPOKE
    assert server.names == ["empire.example", "star.empire.example", "alliance.example", None]
    assert server.clients.count(address) >= 3


@pytest.mark.parametrize("ending", [Ending.RESET, Ending.CLOSED])
def test_a_reset_is_told_from_a_close(namespace: Namespace, ending: Ending) -> None:
    listener = namespace.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", PORT))
    listener.listen()

    def serve() -> None:
        stream, _ = listener.accept()
        stream.recv(4096)
        if ending is Ending.RESET:
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        stream.close()

    thread = threading.Thread(target=serve)
    thread.start()
    with listener:
        trust = ssl.create_default_context()
        assert handshake(namespace, "127.0.0.1", PORT, "empire.example", trust) is ending
        thread.join()


MANY = tuple(f"192.0.2.{number}" for number in range(100))
NAMES = {
    "web.example": Name(("192.0.2.80", "2001:db8::80"), lifetime=7),
    "alias.example": Name(alias="further.example", lifetime=9),
    "further.example": Name(alias="web.example"),
    "slow.example": Name(("192.0.2.81",), delay=0.2),
    "long.example": Name(MANY),
    "broken.example": Name(raw=b"\x81\x80\0\1\0\1\0\0\0\0\xc0\x0c"),
}


@pytest.mark.parametrize("how", ["UDP", "TCP"])
@pytest.mark.parametrize("address", LOOPBACKS)
def test_names_have_addresses_aliases_and_lifetimes(namespace: Namespace, address: str, how: str) -> None:
    with name_server(namespace, address, NAMES) as server:
        answer = resolve(namespace, address, "web.example", "AAAA", how)
        assert (addresses_in(answer), answer.answer[0].ttl) == (["2001:db8::80"], 7)
        chain = resolve(namespace, address, "Alias.example", "A", how)
        assert [(str(each.name), each.ttl) for each in chain.answer] == [
            ("Alias.example.", 9),
            ("further.example.", 60),
            ("web.example.", 7),
        ]
        assert addresses_in(chain) == ["192.0.2.80"]
        assert resolve(namespace, address, "nobody.example", "A", how).rcode() == dns.rcode.NXDOMAIN
    assert server.questions[0] == ("web.example", "AAAA", how, address)
    assert server.asked[1] == ("alias.example", how)


def test_long_answers_go_by_tcp_slow_ones_late_and_broken_ones_are_seen_to_be(namespace: Namespace) -> None:
    with name_server(namespace, "127.0.0.1", NAMES):
        short = resolve(namespace, "127.0.0.1", "long.example")
        assert short.flags & dns.flags.TC
        assert len(addresses_in(resolve(namespace, "127.0.0.1", "long.example", how="TCP"))) == 100
        began = time.monotonic()
        assert addresses_in(resolve(namespace, "127.0.0.1", "slow.example")) == ["192.0.2.81"]
        assert time.monotonic() - began >= 0.2
        with pytest.raises(dns.exception.DNSException):
            resolve(namespace, "127.0.0.1", "broken.example", timeout=1)


def test_a_taken_port_is_an_error(namespace: Namespace) -> None:
    with (
        http_server(namespace, PORT),
        pytest.raises(OSError, match="in use"),
        http2_server(namespace, PORT),
    ):
        pass
