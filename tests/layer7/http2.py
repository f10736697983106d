"""HTTP/2 with prior knowledge (RFC 9113, 3.3) for tests; bodies are short."""

import asyncio
import socket
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    RequestReceived,
    ResponseReceived,
    StreamEnded,
    StreamReset,
)
from h2.exceptions import ProtocolError

from kinety.kernel.namespace import Namespace
from tests.e2e.real_node import SOON, connect
from tests.layer7.background import background
from tests.layer7.http_client import Response
from tests.layer7.http_server import GREETING
from tests.layer7.received import Received

_PART = 65536


@dataclass(slots=True)
class Http2Server:
    """A running server; make one with `http2_server`."""

    received: list[Received] = field(default_factory=list)

    def paths(self) -> list[str]:
        """Methods and paths of all that arrived."""
        return [f"{each.method} {each.path}" for each in list(self.received)]


class _Serving(asyncio.Protocol):
    """One connection to the server."""

    def __init__(self, server: Http2Server) -> None:
        self._server = server
        self._h2 = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._h2.initiate_connection()
        transport.write(self._h2.data_to_send())

    def data_received(self, data: bytes) -> None:
        try:
            events = self._h2.receive_data(data)
        except ProtocolError:
            self._transport.close()
            return
        for event in events:
            if isinstance(event, RequestReceived):
                self._remember(dict(event.headers))
            elif isinstance(event, DataReceived):
                self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, StreamEnded):
                self._h2.send_headers(event.stream_id, [(":status", "200"), ("content-type", "text/plain")])
                self._h2.send_data(event.stream_id, GREETING, end_stream=True)
        self._transport.write(self._h2.data_to_send())

    def _remember(self, headers: dict[str, str]) -> None:
        method, path, host = (headers.pop(name, "") for name in (":method", ":path", ":authority"))
        headers.pop(":scheme", None)
        client, port = self._transport.get_extra_info("peername")[:2]
        self._server.received.append(Received("2", method, path, host, headers, client, port))


@contextmanager
def http2_server(namespace: Namespace, port: int) -> Iterator[Http2Server]:
    """A server at a port of a namespace's addresses while the block runs."""
    server = Http2Server()

    async def start(stack: AsyncExitStack) -> None:
        loop = asyncio.get_running_loop()
        listening = await loop.create_server(lambda: _Serving(server), None, port)
        stack.callback(listening.close)

    with background(namespace, start):
        yield server


class Http2Client:
    """One connection. Closed when the block of ``with`` ends."""

    def __init__(self, namespace: Namespace, address: str, port: int, timeout: float = SOON) -> None:
        self._authority = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
        self.stream: socket.socket = connect(namespace, address, port, timeout)
        self._h2 = H2Connection(H2Configuration(header_encoding="utf-8"))
        self._h2.initiate_connection()
        self._send()

    def ask(self, *asked: tuple[str, str], headers: Mapping[str, str] | None = None) -> list[Response]:
        """Ask (method, path) all at once, a stream each; the answers in the same order.

        Raises ConnectionError where a stream or the connection ends without an answer.
        """
        numbers = [self._request(method, path, headers or {}) for method, path in asked]
        self._send()
        heads: dict[int, dict[str, str]] = {}
        bodies: dict[int, bytes] = defaultdict(bytes)
        ended: set[int] = set()
        while not ended.issuperset(numbers):
            data = self.stream.recv(_PART)
            if not data:
                raise ConnectionError("the connection ended before the answer")
            for event in self._h2.receive_data(data):
                if isinstance(event, ResponseReceived):
                    heads[event.stream_id] = dict(event.headers)
                elif isinstance(event, DataReceived):
                    bodies[event.stream_id] += event.data
                    self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                elif isinstance(event, StreamEnded):
                    ended.add(event.stream_id)
                elif isinstance(event, StreamReset | ConnectionTerminated):
                    raise ConnectionError(f"no answer: {event}")
            self._send()
        return [Response(int(heads[each].pop(":status")), heads[each], bodies[each]) for each in numbers]

    def _request(self, method: str, path: str, headers: Mapping[str, str]) -> int:
        number = self._h2.get_next_available_stream_id()
        pseudo = {":method": method, ":path": path, ":scheme": "http", ":authority": self._authority}
        self._h2.send_headers(number, list((pseudo | dict(headers)).items()), end_stream=True)
        return number

    def _send(self) -> None:
        self.stream.sendall(self._h2.data_to_send())

    def close(self) -> None:
        """End the connection."""
        self.stream.close()

    def __enter__(self) -> "Http2Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
