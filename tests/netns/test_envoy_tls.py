"""Rules about TLS server names: whole connections, by the name in the ClientHello, and nothing decrypted."""

import contextlib
import socket
from collections.abc import Iterator
from ipaddress import ip_address

import pytest

from kinety.model.layer7 import Layer7, Layer7Id, NamePattern
from kinety.testing.echo import EchoServers
from kinety.testing.wait import wait_until
from tests.netns.crossing import PATIENCE, SERVER
from tests.netns.envoy_node import TLS, EnvoyNode, envoy_node
from tests.netns.tls_hello import hello

pytestmark = pytest.mark.needs("root", "netns", "nft", "envoy")

NAMES = ("a.example.com", "*.one.example", "**.deep.example", "api-*.example.net")


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EnvoyNode]:
    with envoy_node(tmp_path_factory.mktemp("envoy")) as made:
        servers = EchoServers()
        for address in SERVER.values():
            servers.listen(made.crossing.server, ip_address(address), "TCP", TLS)
        with servers:
            made.put(Layer7(server_names=tuple(map(NamePattern, NAMES))), "default/names", to=TLS)
            yield made


def echoed(node: EnvoyNode, *parts: bytes, family: int = 4) -> bytes:
    """What comes back from the server. Raises ConnectionResetError when nothing may."""
    with node.crossing.connect(TLS, family) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for part in parts:
            connection.sendall(part)
        received, length = b"", len(b"".join(parts))
        while len(received) < length and (more := connection.recv(length)):
            received += more
        return received


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize(
    "name",
    [
        "a.example.com",
        "A.Example.COM",
        "x.one.example",
        "x.y.deep.example",
        "x.deep.example",
        "api-1.example.net",
    ],
)
def test_a_name_that_matches_passes_untouched(node: EnvoyNode, name: str, family: int) -> None:
    said = hello(name)
    assert echoed(node, said, family=family) == said


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize(
    "name",
    [
        "example.com",
        "b.a.example.com",
        "one.example",
        "x.y.one.example",
        "deep.example",
        "api.example.net",
        "axexample.com",
        None,
    ],
)
def test_another_name_or_none_is_reset(node: EnvoyNode, name: str | None, family: int) -> None:
    with pytest.raises(ConnectionResetError):
        echoed(node, hello(name), family=family)


@pytest.mark.parametrize(
    "sent", [b"GET / HTTP/1.1\r\nHost: a.example.com\r\n\r\n", b"SSH-2.0-x\r\n", b"\x16\x03\x01\x00\x05abcde"]
)
def test_what_is_no_tls_is_reset(node: EnvoyNode, sent: bytes) -> None:
    with pytest.raises(ConnectionResetError):
        echoed(node, sent)


def test_a_hello_in_pieces_is_put_together(node: EnvoyNode) -> None:
    said = hello("a.example.com")
    assert echoed(node, said[:3], said[3:60], said[60:]) == said
    said = hello("b.example.com")
    with pytest.raises(ConnectionResetError):
        echoed(node, said[:3], said[3:60], said[60:])


def test_refused_names_are_told_and_counted(node: EnvoyNode) -> None:
    before = node.status().listeners[Layer7Id("rules")]
    with pytest.raises(ConnectionResetError):
        echoed(node, hello("told.example"))
    echoed(node, hello("x.one.example"))
    told = wait_until(lambda: [each for each in node.told if each.host == "told.example"], PATIENCE)
    assert [(each.denied, each.listener, each.status, each.server.port) for each in told] == [
        (True, Layer7Id("rules"), 0, TLS)
    ]
    assert not any(each.host == "x.one.example" for each in node.told)
    after = node.status().listeners[Layer7Id("rules")]
    assert (after.requests - before.requests, after.denied - before.denied) == (2, 1)


@pytest.mark.parametrize("family", [4, 6])
def test_a_name_that_may_pass_no_more_ends_its_connections_and_no_others(
    node: EnvoyNode, family: int
) -> None:
    def open_as(name: str) -> socket.socket:
        connection = node.crossing.connect(TLS, family)
        connection.sendall(hello(name))
        assert connection.recv(2000)
        return connection

    def ended(connection: socket.socket) -> bool:
        connection.setblocking(False)
        try:
            return connection.recv(1) == b""
        except BlockingIOError:
            return False
        except ConnectionResetError:
            return True

    gone, kept = ("a.example.com", "x.one.example"), ("x.y.deep.example", "api-1.example.net")
    fewer = tuple(map(NamePattern, (*NAMES[2:], "new.example")))
    with contextlib.ExitStack() as stack:
        connections = {name: stack.enter_context(open_as(name)) for name in (*gone, *kept)}
        stack.callback(node.put, Layer7(server_names=tuple(map(NamePattern, NAMES))), to=TLS)
        node.put(Layer7(server_names=fewer), "default/names", to=TLS)
        for name in gone:
            wait_until(lambda name=name: ended(connections[name]), PATIENCE)
            with pytest.raises(ConnectionResetError):
                echoed(node, hello(name), family=family)
        for name in kept:
            assert not ended(connections[name])
            connections[name].settimeout(PATIENCE)
            connections[name].sendall(b"still there?")
            assert connections[name].recv(100) == b"still there?"
