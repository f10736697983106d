"""An Envoy on the node of a crossing, with a server behind it that keeps what it got."""

import contextlib
import socket
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from kinety.model.layer7 import Layer7, Layer7Id
from kinety.proxy.envoy.envoy import Envoy, EnvoyStatus
from kinety.proxy.envoy.listener import Listener
from kinety.proxy.envoy.observation import Request
from kinety.proxy.envoy.settings import EnvoySettings
from kinety.testing.wait import wait_until
from tests.feature import ENVOY
from tests.netns.crossing import PATIENCE, Crossing, crossing

#: Of the server, whatever listener its traffic goes through.
HTTP, TLS = 80, 443
FIRST_PORT = 10_000


class EnvoyNode:
    """The parts, and requests through them. Make one with `envoy_node`."""

    def __init__(self, crossing: Crossing, directory: Path) -> None:
        self.crossing = crossing
        self.settings = EnvoySettings(str(ENVOY), directory, patience=PATIENCE)
        #: What Envoy told of, in its order.
        self.told: list[Request] = []
        self._listeners: dict[Layer7Id, Listener] = {}

    def begin(self, restored: Mapping[Layer7Id, Listener] | None = None) -> None:
        """An agent begins: it restores, and serves Envoy from then on."""

        async def made() -> Envoy:
            envoy = Envoy(self.settings, self.told.append)
            await envoy.restore(restored or {})
            return envoy

        self.envoy = self.crossing.run(made())
        self._running = self.crossing.start(self.envoy.run())

    def leave(self) -> None:
        """The agent ends, and Envoy stays."""
        self._running.cancel()
        wait_until(self._running.done, PATIENCE)

    def end(self) -> None:
        """Both end."""
        self.leave()
        self.crossing.run(self.envoy.end())

    def change(self, **settings: Any) -> None:
        """Other settings for the next agent."""
        self.settings = replace(self.settings, **settings)

    def listens(self, to: int) -> bool:
        """Whether a listener is in the way to a port of the server's."""
        with self.crossing.node.socket(socket.AF_INET, socket.SOCK_STREAM) as connection:
            return connection.connect_ex(("127.0.0.1", FIRST_PORT + to)) == 0

    def connect_listener(self, listener: Listener) -> socket.socket:
        """A connection of the node's own to a listener, that nobody redirected."""
        connection = self.crossing.node.socket(socket.AF_INET, socket.SOCK_STREAM)
        connection.settimeout(PATIENCE)
        connection.connect(("127.0.0.1", listener.port))
        return connection

    def status(self) -> EnvoyStatus:
        """How Envoy is."""
        return self.crossing.run(self.envoy.status())

    def put(self, layer7: Layer7, *policies: str, to: int = HTTP, name: str = "rules") -> Listener:
        """Put a listener in the way to a port of the server's, instead of what was put there before."""
        id = Layer7Id(name)
        listener = Listener(FIRST_PORT + to, layer7, policies)
        self.crossing.run(self.envoy.put({id: listener}))
        self._listeners[id] = listener
        self.crossing.redirect({each.port - FIRST_PORT: each.port for each in self._listeners.values()})
        return listener


@contextlib.contextmanager
def envoy_node(directory: Path) -> Iterator[EnvoyNode]:
    """A node whose Envoy runs, and ends with the block."""
    with crossing() as made:
        node = EnvoyNode(made, directory)
        node.begin()
        try:
            wait_until(lambda: node.status().version, PATIENCE)
            yield node
        finally:
            node.end()


def asked(connection: socket.socket, request: bytes) -> tuple[int, dict[str, str], bytes]:
    """What a request over HTTP/1.1 is answered: status, headers and body. The connection stays open."""
    connection.sendall(request)
    return answer(connection)


def answer(connection: socket.socket) -> tuple[int, dict[str, str], bytes]:
    """The next answer on a connection; (0, {}, b"") when it is closed instead."""
    head = b""
    # Byte by byte: what comes after it may be of the next answer.
    while not head.endswith(b"\r\n\r\n"):
        try:
            more = connection.recv(1)
        except ConnectionResetError:
            more = b""
        if not more:
            return 0, {}, head
        head += more
    status, *lines = head.decode("latin-1").split("\r\n")
    headers = {
        name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)
    }
    body, length = b"", int(headers.get("content-length", 0))
    while len(body) < length:
        body += connection.recv(length - len(body))
    return int(status.split()[1]), headers, body


def get(path: str, *headers: str, host: str = "server.example", method: str = "GET") -> bytes:
    """A request without a body."""
    return "\r\n".join([f"{method} {path} HTTP/1.1", f"Host: {host}", *headers, "", ""]).encode("latin-1")
