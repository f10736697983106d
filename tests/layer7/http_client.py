"""HTTP/1.1 and WebSocket from inside a network namespace."""

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, NotConnected

from websockets.sync.client import ClientConnection
from websockets.sync.client import connect as upgrade

from kinety.kernel.namespace import Namespace
from tests.e2e.real_node import SOON, connect


@dataclass(frozen=True, slots=True)
class Response:
    """What came back; names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class HttpClient:
    """One connection, kept open; nothing is sent a second time. Closed when the block of ``with`` ends."""

    def __init__(self, namespace: Namespace, address: str, port: int, timeout: float = SOON) -> None:
        self.stream = connect(namespace, address, port, timeout)
        self.stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connection = HTTPConnection(address, port, timeout)
        self._connection.sock = self.stream
        self._connection.auto_open = 0  # it would open the next one in our own namespace

    def ask(
        self,
        method: str = "GET",
        path: str = "/",
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> Response:
        """Ask once and wait. Raises OSError, ConnectionError where the connection ended instead."""
        try:
            self._connection.request(method, path, body, dict(headers or {}))
            answer = self._connection.getresponse()
            read = answer.read()
        except NotConnected as error:
            raise ConnectionError("the connection ended after the last answer") from error
        except HTTPException as error:
            raise ConnectionError(f"the answer is none, or not whole: {error!r}") from error
        return Response(answer.status, {name.lower(): value for name, value in answer.getheaders()}, read)

    def close(self) -> None:
        """End the connection."""
        self._connection.close()
        self.stream.close()

    def __enter__(self) -> "HttpClient":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def ask(
    namespace: Namespace,
    address: str,
    port: int,
    method: str = "GET",
    path: str = "/",
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
) -> Response:
    """Ask once over a connection of its own."""
    with HttpClient(namespace, address, port) as client:
        return client.ask(method, path, {"connection": "close", **(headers or {})}, body)


def websocket(
    namespace: Namespace, address: str, port: int, path: str, headers: Mapping[str, str] | None = None
) -> ClientConnection:
    """An open WebSocket. Raises websockets.exceptions.InvalidStatus where the answer is no upgrade."""
    host = f"[{address}]" if ":" in address else address
    stream = connect(namespace, address, port)
    try:
        return upgrade(
            f"ws://{host}:{port}{path}",
            sock=stream,
            proxy=None,
            compression=None,
            additional_headers=dict(headers or {}),
        )
    except BaseException:
        stream.close()
        raise
