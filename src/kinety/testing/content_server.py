"""Servers of probes with content: HTTP, TLS and DNS at one port, whichever a client begins to speak.

What is none of them comes back as it is, so that probes without content find an echo there too.
"""

import socket
import socketserver
import ssl
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from types import TracebackType
from typing import Any, Protocol, Self

from kinety.kernel.namespace import Namespace
from kinety.model.address import IPAddress
from kinety.testing.content import DNS_PORT

#: The header that a probe's request carries, in hexadecimal, and that its answer shows again.
PROBE = "Kinety-Probe"
_LARGEST = 4096
_PATIENCE = 5.0
_TURN_SECONDS = 0.05
_HANDSHAKE = 0x16


class Zone(Protocol):
    """What answers questions: `kinety.testing.names.Zone`."""

    def answer(self, data: bytes) -> bytes | None: ...


class ContentServers:
    """Servers in any number of namespaces. ``zone`` answers at port 53, where there is one."""

    def __init__(self, zone: Zone | None) -> None:
        self.zone = zone
        self._seen: set[bytes] = set()
        self._servers: list[socketserver.BaseServer] = []
        self._threads: list[threading.Thread] = []

    def listen(self, namespace: Namespace, address: IPAddress, protocol: str, port: int) -> None:
        """Serve one address and port until the block of ``with`` ends."""
        family = socket.AF_INET if address.version == 4 else socket.AF_INET6
        made: _Streams | _Datagrams
        if protocol == "TCP":
            made = _Streams(self, namespace.socket(family, socket.SOCK_STREAM), str(address), port)
        else:
            made = _Datagrams(self, namespace.socket(family, socket.SOCK_DGRAM), str(address), port)
        self._servers.append(made)
        # A daemon: an interrupt between its start and the block must not keep the process alive.
        thread = threading.Thread(
            target=made.serve_forever, args=(_TURN_SECONDS,), name="content", daemon=True
        )
        self._threads.append(thread)
        thread.start()

    def see(self, token: bytes) -> None:
        """Remember a token."""
        self._seen.add(token)

    def saw(self, token: bytes) -> bool:
        """Whether any server received a token."""
        return token in self._seen

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()
        for thread in self._threads:
            thread.join()


def anonymous(side: int) -> ssl.SSLContext:
    """TLS 1.2 without certificates, for a ``ssl.PROTOCOL_TLS_…`` side: there is nobody to be sure of here."""
    context = ssl.SSLContext(side)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("aNULL:@SECLEVEL=0")
    return context


class _Streams(socketserver.ThreadingTCPServer):
    """One listener over TCP."""

    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    request_queue_size = 64

    def __init__(self, content: ContentServers, listener: socket.socket, address: str, port: int) -> None:
        super().__init__((address, port), _Stream, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self.content = content
        self.asks_names = content.zone is not None and port == DNS_PORT
        try:
            if listener.family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            self.server_bind()
            self.server_activate()
        except BaseException:
            self.server_close()
            raise


class _Datagrams(socketserver.UDPServer):
    """One listener over UDP."""

    allow_reuse_address = True

    def __init__(self, content: ContentServers, listener: socket.socket, address: str, port: int) -> None:
        super().__init__((address, port), _Datagram, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self.content = content
        self.asks_names = content.zone is not None and port == DNS_PORT
        try:
            self.server_bind()
        except BaseException:
            self.server_close()
            raise


class _Stream(socketserver.BaseRequestHandler):
    """A connection, by what its first bytes are."""

    request: socket.socket
    server: _Streams

    def handle(self) -> None:
        self.request.settimeout(_PATIENCE)
        with suppress(OSError):
            first = self.request.recv(_LARGEST, socket.MSG_PEEK)
            if b" HTTP/1." in first.partition(b"\n")[0]:
                _Request(self.request, self.client_address, self.server)
            elif first[:1] == bytes([_HANDSHAKE]):
                with anonymous(ssl.PROTOCOL_TLS_SERVER).wrap_socket(self.request, server_side=True) as secret:
                    self._echo(secret)
            elif self.server.asks_names and self._answered():
                return
            else:
                self._echo(self.request)

    def _echo(self, stream: socket.socket) -> None:
        while data := stream.recv(_LARGEST):
            self.server.content.see(data)
            stream.sendall(data)

    def _answered(self) -> bool:
        """Whether the bytes that lie there are a question; it is answered then."""
        zone = self.server.content.zone
        first = self.request.recv(_LARGEST, socket.MSG_PEEK)
        answer = zone.answer(first[2:]) if zone is not None else None
        if answer is None or int.from_bytes(first[:2], "big") != len(first) - 2:
            return False
        self.request.recv(_LARGEST)
        self.request.sendall(len(answer).to_bytes(2, "big") + answer)
        return True


class _Datagram(socketserver.BaseRequestHandler):
    """One datagram."""

    request: tuple[bytes, socket.socket]
    server: _Datagrams

    def handle(self) -> None:
        data, replying = self.request
        zone = self.server.content.zone
        answer = zone.answer(data) if self.server.asks_names and zone is not None else None
        if answer is None:
            self.server.content.see(data)
        with suppress(OSError):
            replying.sendto(answer or data, self.client_address)


class _Request(BaseHTTPRequestHandler):
    """One request of any method; its probe is remembered and shown again."""

    protocol_version = "HTTP/1.1"
    timeout = _PATIENCE
    server: Any

    def __getattr__(self, name: str) -> Any:
        if name.startswith("do_"):
            return self._answer
        raise AttributeError(name)

    def _answer(self) -> None:
        token = self.headers.get(PROBE, "")
        with suppress(ValueError):
            self.server.content.see(bytes.fromhex(token))
        self.send_response_only(200)
        self.send_header(PROBE, token)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Nobody reads a log."""
