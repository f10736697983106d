"""Both ends of HTTP/2 with prior knowledge: a client that sends anything, a server that keeps what it got."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    RequestReceived,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from h2.exceptions import ProtocolError

from kinety.kernel.namespace import Namespace
from tests.netns.crossing import SERVER
from tests.netns.envoy_node import EnvoyNode

Headers = list[tuple[str, str]]


class Http2:
    """One end of a connection with HTTP/2 from the first byte on."""

    def __init__(self, connection: socket.socket, *, client: bool) -> None:
        # Nothing is checked: what tests send may be wrong.
        config = H2Configuration(
            client_side=client,
            header_encoding="utf-8",
            validate_outbound_headers=False,
            normalize_outbound_headers=False,
        )
        self.socket = connection
        self.state = H2Connection(config)
        self.state.initiate_connection()
        self.flush()

    def flush(self) -> None:
        self.socket.sendall(self.state.data_to_send())

    def events(self) -> Iterator[Event]:
        # It raises for what comes after a farewell, too, of which only the first part matters here.
        with suppress(ConnectionError, ProtocolError):
            while data := self.socket.recv(65536):
                yield from self.state.receive_data(data)
                self.flush()

    def asked(self, headers: Headers, body: bytes = b"") -> tuple[dict[str, str], bytes]:
        """The answer to a request, trailers among its headers; none when it is ended instead."""
        stream = self.state.get_next_available_stream_id()
        self.state.send_headers(stream, headers, end_stream=not body)
        if body:
            self.state.send_data(stream, body, end_stream=True)
        self.flush()
        found: dict[str, str] = {}
        data = b""
        for event in self.events():
            if isinstance(event, ConnectionTerminated):
                return {}, b""
            if getattr(event, "stream_id", None) != stream:
                continue
            if isinstance(event, ResponseReceived | TrailersReceived):
                found |= dict(event.headers)
            elif isinstance(event, DataReceived):
                data += event.data
            elif isinstance(event, StreamReset):
                return {}, b""
            elif isinstance(event, StreamEnded):
                return found, data
        return {}, b""


class Http2Witness:
    """A server of the same that keeps the headers of what it was asked."""

    def __init__(self, namespace: Namespace, port: int, answer: Headers, trailers: Headers) -> None:
        self.seen: list[Headers] = []
        self._answer, self._trailers = answer, trailers
        self._listening = namespace.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listening.bind((SERVER[4], port))
        self._listening.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=self._serve, args=(self._listening.accept()[0],), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            peer = Http2(connection, client=False)
            for event in peer.events():
                if isinstance(event, RequestReceived):
                    self.seen.append([(str(name), str(value)) for name, value in event.headers])
                if isinstance(event, StreamEnded):
                    peer.state.send_headers(event.stream_id, self._answer)
                    peer.state.send_data(event.stream_id, b"ok", end_stream=not self._trailers)
                    if self._trailers:
                        peer.state.send_headers(event.stream_id, self._trailers, end_stream=True)
                    peer.flush()


def request(path: str, *more: tuple[str, str], method: str = "GET") -> Headers:
    pseudo = [(":method", method), (":scheme", "http"), (":authority", "h"), (":path", path)]
    return [*pseudo, *more]


@contextmanager
def http2(node: EnvoyNode, port: int) -> Iterator[Http2]:
    with node.crossing.connect(port) as connection:
        yield Http2(connection, client=True)
