"""HTTP/2, gRPC and WebSocket through a real Envoy, which speaks to servers what clients speak to it."""

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.sync.server import ServerConnection, serve

from kinety.model.layer7 import HttpRule, Layer7
from tests.netns.crossing import PATIENCE, SERVER
from tests.netns.envoy_node import HTTP, EnvoyNode, envoy_node
from tests.netns.http2 import Headers, Http2Witness, http2, request

pytestmark = pytest.mark.needs("root", "netns", "nft", "envoy")

GRPC, SOCKETS = 50051, 8081


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EnvoyNode]:
    with envoy_node(tmp_path_factory.mktemp("envoy")) as made:
        yield made


@pytest.fixture(scope="module")
def witness(node: EnvoyNode) -> Iterator[Http2Witness]:
    answer = [(":status", "200"), ("x-own", "yes")]
    with closing(Http2Witness(node.crossing.server, HTTP, answer, [])) as made:
        yield made


@pytest.fixture
def server(witness: Http2Witness) -> Http2Witness:
    witness.seen.clear()
    return witness


def test_http2_is_judged_as_http1_is(node: EnvoyNode, server: Http2Witness) -> None:
    node.put(Layer7(http=(HttpRule("GET", "/public/.*"),)), "default/public")
    with http2(node, HTTP) as client:
        headers, body = client.asked(request("/public/a", ("x-a", "b")))
        assert (headers[":status"], headers["x-own"], body) == ("200", "yes", b"ok")
        headers, body = client.asked(request("/secret"))
        assert (headers[":status"], body) == ("403", b"Access denied by default/public\r\n")
        assert client.asked(request("/public/../secret"))[0][":status"] == "403"
        assert client.asked(request("//public/./b"))[0][":status"] == "200"
        # Other rules act on the next request of this connection, too.
        node.put(Layer7(http=(HttpRule("PUT"),)))
        assert client.asked(request("/public/a"))[0][":status"] == "403"
    assert server.seen == [request("/public/a", ("x-a", "b")), request("/public/b")]


ODD = [
    [(":method", "GET"), (":scheme", "http"), (":authority", "h")],
    [*request("/public/a"), (":path", "/secret")],
    [*request("/public/a"), ("X-A", "b")],
    [*request("/public/a"), ("x-a", "b\r\nx-b: c")],
    [*request("/public/a"), ("connection", "x-a")],
    [*request("/public/a"), ("transfer-encoding", "chunked")],
    [*request("/public/a"), ("te", "gzip")],
    [*request("/public/a\r\nx: y")],
    [*request("/public/a b")],
    [*request("/public/..%2fsecret")],
    [*request("http://h/public/a")],
    [*request("*", method="OPTIONS")],
    [(":method", "CONNECT"), (":authority", "h:80")],
    [*request("/public/a", method="CONNECT"), (":protocol", "websocket")],
]


def test_odd_requests_in_http2_do_not_arrive(node: EnvoyNode, server: Http2Witness) -> None:
    node.put(Layer7(http=(HttpRule("GET", "/public/.*"), HttpRule("CONNECT"), HttpRule("OPTIONS"))))

    def status(headers: Headers) -> str | None:
        with http2(node, HTTP) as client:
            return client.asked(headers)[0].get(":status")

    # Together, because Envoy takes its time to hang up.
    with ThreadPoolExecutor(len(ODD)) as pool:
        found = list(pool.map(status, ODD))
    assert set(found) <= {"400", "403", "404", None}, list(zip(ODD, found, strict=True))
    assert server.seen == []
    assert status(request("/public/a")) == "200"


def test_a_second_host_in_http2_is_left_out(node: EnvoyNode, server: Http2Witness) -> None:
    node.put(Layer7(http=(HttpRule("GET", host="h"),)))
    with http2(node, HTTP) as client:
        assert client.asked(request("/", ("host", "g")))[0][":status"] == "200"
    assert server.seen == [request("/")]


def test_grpc_is_judged_by_path_and_keeps_its_trailers(node: EnvoyNode) -> None:
    node.put(Layer7(http=(HttpRule("POST", "/pets.Shop/List"),)), "default/shop", to=GRPC)
    grpc = ("content-type", "application/grpc"), ("te", "trailers")
    answer = [(":status", "200"), ("content-type", "application/grpc")]
    trailers = [("grpc-status", "0")]
    with (
        closing(Http2Witness(node.crossing.server, GRPC, answer, trailers)) as server,
        http2(node, GRPC) as client,
    ):
        headers, body = client.asked(request("/pets.Shop/List", *grpc, method="POST"), b"\0\0\0\0\0")
        assert (headers[":status"], headers["grpc-status"], body) == ("200", "0", b"ok")
        headers, body = client.asked(request("/pets.Shop/Buy", *grpc, method="POST"), b"\0\0\0\0\0")
        # 7 is PERMISSION_DENIED.
        assert (headers[":status"], headers["grpc-status"], body) == ("200", "7", b"")
        assert "default/shop" in headers["grpc-message"]
    assert server.seen == [request("/pets.Shop/List", *grpc, method="POST")]


@pytest.fixture
def sockets(node: EnvoyNode) -> Iterator[None]:
    """A server of WebSockets that sends back what it gets."""
    listening = node.crossing.server.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind((SERVER[4], SOCKETS))
    listening.listen()

    def echo(peer: ServerConnection) -> None:
        for message in peer:
            peer.send(message)

    with serve(echo, sock=listening) as server:
        serving = threading.Thread(target=server.serve_forever, daemon=True)
        serving.start()
        yield
    serving.join(PATIENCE)


@pytest.mark.usefixtures("sockets")
def test_a_websocket_that_is_allowed_carries_messages(node: EnvoyNode) -> None:
    node.put(Layer7(http=(HttpRule("GET", "/chat"),)), "default/chat", to=SOCKETS, name="sockets")
    with (
        closing(node.crossing.connect(SOCKETS)) as connection,
        connect(f"ws://server:{SOCKETS}/chat", sock=connection, open_timeout=PATIENCE) as peer,
    ):
        for message in ("a", "b" * 100_000):
            peer.send(message)
            assert peer.recv(PATIENCE) == message
        # What is open stays open under other rules; the next one is judged by those.
        node.put(Layer7(http=(HttpRule("GET", "/other"),)), "default/chat", to=SOCKETS, name="sockets")
        peer.send("c")
        assert peer.recv(PATIENCE) == "c"
    with closing(node.crossing.connect(SOCKETS)) as connection, pytest.raises(InvalidStatus, match="403"):
        connect(f"ws://server:{SOCKETS}/chat", sock=connection, open_timeout=PATIENCE)
