"""Rules about content on real traffic: HTTP, gRPC, WebSocket and TLS, at either end and at both."""

import secrets
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any

import grpclib
import pytest
from websockets.exceptions import InvalidStatus

from kinety.kernel.namespace import Namespace
from kinety.testing.live import EventLog
from kinety.testing.wait import wait_until
from tests.e2e.layer7_node import (
    ACROSS,
    FAMILIES,
    FREE,
    GRPC,
    KINDS,
    METHODS,
    NAMES,
    NEEDS,
    REDIRECTS,
    TLS,
    WEB,
    WEB2,
    WITHIN,
    Layer7Node,
    Route,
    layer7_node,
    serving,
)
from tests.e2e.real_node import SOON, connect
from tests.layer7.grpc import GrpcServer, call, grpc_server
from tests.layer7.http2 import Http2Client, Http2Server, http2_server
from tests.layer7.http_client import HttpClient, ask, websocket
from tests.layer7.http_server import GREETING, HttpServer, http_server
from tests.layer7.tls import Ending, TlsServer, handshake, tls_server

pytestmark = pytest.mark.needs(*NEEDS)

EVERYWHERE = pytest.mark.parametrize("route", [*WITHIN, *ACROSS], ids=str)
BETWEEN_ENDPOINTS = pytest.mark.parametrize("route", WITHIN, ids=str)
EITHER_FAMILY = pytest.mark.parametrize("family", FAMILIES)
#: What proxies like to add, and neither end must see.
TRACES = ("via", "server: envoy", "x-envoy", "x-forwarded", "x-request-id")


@pytest.fixture(scope="module", params=REDIRECTS)
def node(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Layer7Node]:
    with layer7_node(tmp_path_factory.mktemp("layer7"), request.param) as made:
        yield made


@pytest.fixture(scope="module")
def web(node: Layer7Node) -> Iterator[Mapping[str, HttpServer]]:
    with serving(node, (*WITHIN, *ACROSS), WEB, http_server) as servers:
        yield servers


@EVERYWHERE
@EITHER_FAMILY
def test_requests_pass_or_get_403_whoever_looks(
    node: Layer7Node, web: Mapping[str, HttpServer], route: Route, family: int
) -> None:
    """Over one connection; the server sees who really asks, and nothing of what is refused."""
    token, server, address = secrets.token_hex(4), web[route.server], node.address(route.server, family)
    with HttpClient(node.home(route.client), address, WEB) as client:
        own = client.stream.getsockname()[0]
        answers = {kind: client.ask("GET", f"/{kind}/{token}") for kind in KINDS}
    passing = [kind for kind in KINDS if route.passes(kind)]
    arrived = [each for each in server.received if each.path.endswith(token)]
    assert [each.path for each in arrived] == [f"/{kind}/{token}" for kind in passing]
    assert {each.client for each in arrived} == {node.seen_as(route, family, own)}
    for kind, answer in answers.items():
        if kind in passing:
            assert (answer.status, answer.body) == (200, GREETING)
        else:
            refusing = "looks-out" if kind == "in" else "looks-in"
            assert (answer.status, refusing in answer.body.decode()) == (403, True), answer


@BETWEEN_ENDPOINTS
@EITHER_FAMILY
def test_neither_end_notices_who_is_between(
    node: Layer7Node, web: Mapping[str, HttpServer], route: Route, family: int
) -> None:
    """But for what a proxy of HTTP may do: names of headers come in lower case."""
    token, address = secrets.token_hex(4), node.address(route.server, family)
    sent = {"Host": "star.example", "User-Agent": "probe", "X-Rank": "moff", "Accept-Encoding": "identity"}
    answer = ask(node.home(route.client), address, WEB, "POST", f"/both/{token}", sent, b"x" * 1000)
    (arrived,) = (each for each in web[route.server].received if each.path == f"/both/{token}")
    expected = {name.lower(): value for name, value in sent.items()} | {"content-length": "1000"}
    assert {name: value for name, value in arrived.headers.items() if name != "connection"} == expected
    assert (arrived.host, arrived.version, answer.headers["request-bytes"]) == ("star.example", "1.1", "1000")
    seen = [f"{name}: {value}".lower() for name, value in answer.headers.items()]
    assert not [line for line in seen if line.startswith(TRACES)]
    assert "server" in answer.headers, "the server says what it is, and still does"


@BETWEEN_ENDPOINTS
@EITHER_FAMILY
def test_bodies_of_any_size_and_shape(
    node: Layer7Node, web: Mapping[str, HttpServer], route: Route, family: int
) -> None:
    large = 1 << 20
    with HttpClient(node.home(route.client), node.address(route.server, family), WEB) as client:
        for size in (0, 1024, large):
            for chunked in ({}, {"answer-chunked": "1"}):
                headers = {"answer-bytes": str(size), **chunked}
                answer = client.ask("PUT", "/both/body", headers, b"y" * size)
                assert (len(answer.body), answer.headers["request-bytes"]) == (size, str(size))
        # It is answered at once, and what the client is still sending is not read: that ends the connection.
        assert client.ask("PUT", "/neither/body", {}, b"y" * large).status == 403
    assert "PUT /neither/body" not in web[route.server].paths()


@BETWEEN_ENDPOINTS
def test_a_server_may_close(node: Layer7Node, web: Mapping[str, HttpServer], route: Route) -> None:
    namespace, address = node.home(route.client), node.address(route.server, 4)
    for _ in range(20):
        assert ask(namespace, address, WEB, "GET", "/both/short").status == 200
    with HttpClient(namespace, address, WEB) as client:
        assert client.ask("GET", "/both/last", {"answer-close": "1"}).status == 200
        assert client.ask("GET", "/both/next").status == 200, "the client's connection need not end with it"


@BETWEEN_ENDPOINTS
def test_what_is_no_http_reaches_nobody(
    node: Layer7Node, web: Mapping[str, HttpServer], route: Route
) -> None:
    server = web[route.server]
    before = server.connections, len(server.received)
    for said in (b"SSH-2.0-OpenSSH_9.2\r\n", b"\x16\x03\x01\x00\x05hello", b"GET /both/x\r\n\r\n"):
        with connect(node.home(route.client), node.address(route.server, 4), WEB) as stream:
            stream.sendall(said)
            answer = stream.recv(4096)
            assert not answer or b" 400 " in answer.splitlines()[0], answer
    assert (server.connections, len(server.received)) == before


@pytest.fixture(scope="module")
def web2(node: Layer7Node) -> Iterator[Mapping[str, Http2Server]]:
    with serving(node, WITHIN, WEB2, http2_server) as servers:
        yield servers


@BETWEEN_ENDPOINTS
@EITHER_FAMILY
def test_streams_of_one_http2_connection_are_judged_each(
    node: Layer7Node, web2: Mapping[str, Http2Server], route: Route, family: int
) -> None:
    token = secrets.token_hex(4)
    with Http2Client(node.home(route.client), node.address(route.server, family), WEB2) as client:
        own = client.stream.getsockname()[0]
        answers = client.ask(*(("GET", f"/{kind}/{token}") for kind in KINDS))
    assert [each.status for each in answers] == [200 if route.passes(kind) else 403 for kind in KINDS]
    arrived = [each for each in web2[route.server].received if each.path.endswith(token)]
    assert sorted(each.path for each in arrived) == sorted(
        f"/{kind}/{token}" for kind in KINDS if route.passes(kind)
    )
    assert {(each.version, each.client) for each in arrived} == {("2", own)}


def all_methods(namespace: Namespace, port: int) -> AbstractContextManager[GrpcServer]:
    return grpc_server(namespace, port, *METHODS.values())


@pytest.fixture(scope="module")
def grpc(node: Layer7Node) -> Iterator[Mapping[str, GrpcServer]]:
    with serving(node, WITHIN, GRPC, all_methods) as servers:
        yield servers


@BETWEEN_ENDPOINTS
@EITHER_FAMILY
def test_methods_of_grpc(node: Layer7Node, grpc: Mapping[str, GrpcServer], route: Route, family: int) -> None:
    called = grpc[route.server].called
    called.clear()
    namespace, address = node.home(route.client), node.address(route.server, family)
    for kind, method in METHODS.items():
        if route.passes(kind):
            assert call(namespace, address, GRPC, method, b"now") == b"now"
        else:
            with pytest.raises(grpclib.GRPCError) as refused:
                call(namespace, address, GRPC, method)
            assert refused.value.status is grpclib.Status.PERMISSION_DENIED
    client = node.address(route.client, family)
    assert called == [(method, client) for kind, method in METHODS.items() if route.passes(kind)]


@BETWEEN_ENDPOINTS
@EITHER_FAMILY
def test_websockets(node: Layer7Node, web: Mapping[str, HttpServer], route: Route, family: int) -> None:
    token = secrets.token_hex(4)
    namespace, address = node.home(route.client), node.address(route.server, family)
    for kind in KINDS:
        if not route.passes(kind):
            with pytest.raises(InvalidStatus) as refused:
                websocket(namespace, address, WEB, f"/{kind}/{token}")
            assert refused.value.response.status_code == 403
            continue
        with websocket(namespace, address, WEB, f"/{kind}/{token}") as stream:
            for message in ("text", b"\0bytes", "x" * 100_000):
                stream.send(message)
                assert stream.recv(SOON) == message
    arrived = [each.path for each in web[route.server].received if each.path.endswith(token)]
    assert arrived == [f"/{kind}/{token}" for kind in KINDS if route.passes(kind)]


def all_names(namespace: Namespace, port: int) -> AbstractContextManager[TlsServer]:
    return tls_server(namespace, port, *NAMES.values())


@pytest.fixture(scope="module")
def tls(node: Layer7Node) -> Iterator[Mapping[str, TlsServer]]:
    with serving(node, (*WITHIN, *ACROSS), TLS, all_names) as servers:
        yield servers


@EVERYWHERE
@EITHER_FAMILY
def test_names_of_tls_servers(
    node: Layer7Node, tls: Mapping[str, TlsServer], route: Route, family: int
) -> None:
    """The certificate that the client sees is the server's own: nothing is decrypted on the way."""
    server = tls[route.server]
    server.names.clear()
    server.clients.clear()
    namespace, address = node.home(route.client), node.address(route.server, family)
    with connect(namespace, address, TLS) as stream:
        own = stream.getsockname()[0]
    for kind, name in NAMES.items():
        ending = handshake(namespace, address, TLS, name, server.context_of_client())
        assert ending is (Ending.SPOKE if route.passes(kind) else Ending.RESET), name
    assert handshake(namespace, address, TLS, None, server.context_of_client()) is Ending.RESET
    assert server.names == [name for kind, name in NAMES.items() if route.passes(kind)]
    assert set(server.clients) == {node.seen_as(route, family, own)}


@BETWEEN_ENDPOINTS
def test_what_is_no_tls_is_reset(node: Layer7Node, tls: Mapping[str, TlsServer], route: Route) -> None:
    with connect(node.home(route.client), node.address(route.server, 4), TLS) as stream:
        stream.sendall(b"GET / HTTP/1.1\r\nhost: both.example\r\n\r\n")
        with pytest.raises(ConnectionResetError):
            stream.recv(100)
    assert None not in tls[route.server].names


@BETWEEN_ENDPOINTS
@EITHER_FAMILY
def test_ports_beside_are_none_of_a_proxys_business(node: Layer7Node, route: Route, family: int) -> None:
    """An HTTP server of anybody's paths at a port that plain rules allow, and none where no rule does."""
    namespace, address = node.home(route.client), node.address(route.server, family)
    with http_server(node.home(route.server), FREE) as server, HttpClient(namespace, address, FREE) as client:
        port = client.stream.getsockname()[1]
        assert client.ask("DELETE", "/neither").status == 200
        assert server.received[0].port == port, "the client's own connection"
    with pytest.raises(TimeoutError):
        connect(namespace, address, FREE + 1, 0.3)


@EITHER_FAMILY
def test_watchers_are_told_who_was_refused_what_and_by_whom(
    node: Layer7Node, web: Mapping[str, HttpServer], family: int
) -> None:
    token, route = secrets.token_hex(4), WITHIN[1]
    log = EventLog()
    with node.node.client() as watching:
        log.follow(watching)
        ask(node.home(route.client), node.address(route.server, family), WEB, "PUT", f"/out/{token}")

        def told() -> bool:
            return any(each.request and token in each.request.path for each in log.events)

        wait_until(told, SOON, "the refusal is told of")
    (event,) = (each for each in log.events if each.request and token in each.request.path)
    request = event.request
    assert (event.kind, event.verdict, event.protocol) == ("request", "deny", "TCP")
    assert (request.kind, request.method, request.path, request.status) == (
        "http",
        "PUT",
        f"/out/{token}",
        403,
    )
    assert request.milliseconds is not None
    assert 0 <= request.milliseconds < 1000 * SOON
    assert request.policies == ("CiliumNetworkPolicy/default/looks-in",)
    assert (event.source.endpoint, event.source.address) == (
        f"default/{route.client}",
        node.address(route.client, family),
    )
    assert (event.destination.endpoint, event.destination.port) == (f"default/{route.server}", WEB)
    assert event.rule.policy == "CiliumNetworkPolicy/default/looks-in"


def test_status_counts_requests_and_refusals_of_each_listener(
    node: Layer7Node, web: Mapping[str, HttpServer]
) -> None:
    route = WITHIN[1]

    def listener() -> dict[str, Any]:
        found = node.node.json("proxy", "status")
        assert found["redirect"] == node.redirect
        (mine,) = (
            each
            for each in found["listeners"]
            if each["policies"] == ["CiliumNetworkPolicy/default/looks-in"]
            and "/(in|both)/" in str(each["rules"])
        )
        assert (mine["kind"], mine["endpoints"], mine["leaving"]) == ("http", 1, False)
        return mine

    def counted() -> tuple[int, int]:
        return listener()["requests"], listener()["denied"]

    before = counted()
    with HttpClient(node.home(route.client), node.address(route.server, 4), WEB) as client:
        assert [client.ask("GET", f"/{kind}/x").status for kind in KINDS] == [403, 200, 200]
        assert listener()["flows"] == 1
    wait_until(lambda: listener()["flows"] == 0, SOON, "nobody uses it")
    wait_until(lambda: counted() == (before[0] + 3, before[1] + 1), SOON, "three requests, one refused")
