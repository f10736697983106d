"""A server that keeps what it got, byte for byte, so that a test can see what a proxy really sent."""

import contextlib
import socket
import threading
from dataclasses import dataclass, field
from typing import BinaryIO

from kinety.kernel.namespace import Namespace
from tests.netns.crossing import SERVER


@dataclass(frozen=True, slots=True)
class Seen:
    """A request that arrived whole: from whom, its head without the last empty line, its body as sent."""

    peer: tuple[str, int]
    head: bytes
    body: bytes

    @property
    def line(self) -> str:
        """The request line."""
        return self.head.split(b"\r\n", 1)[0].decode("latin-1")

    @property
    def target(self) -> str:
        """What the request line asks for."""
        return self.line.split(" ")[1]

    @property
    def headers(self) -> list[tuple[str, str]]:
        """The headers, in their order and as they were written."""
        lines = self.head.decode("latin-1").split("\r\n")[1:]
        return [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]

    def header(self, name: str) -> list[str]:
        """All values of a header."""
        return [value for each, value in self.headers if each.lower() == name.lower()]


@dataclass(slots=True)
class Witness:
    """An HTTP/1.1 server on a port of the server's namespace, at all of its addresses."""

    namespace: Namespace
    port: int
    answer: bytes = b"HTTP/1.1 200 OK\r\nX-Own: yes\r\nContent-Length: 2\r\n\r\nok"
    seen: list[Seen] = field(default_factory=list)
    connections: int = 0
    #: Of how many requests on a connection it answers; the next one it reads, and hangs up.
    most: int | None = None
    addresses: tuple[str, ...] = (SERVER[4], SERVER[6])
    _listening: list[socket.socket] = field(default_factory=list)

    def __enter__(self) -> "Witness":
        for address in self.addresses:
            kind = socket.AF_INET6 if ":" in address else socket.AF_INET
            listening = self.namespace.socket(kind, socket.SOCK_STREAM)
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind((address, self.port))
            listening.listen(512)
            self._listening.append(listening)
            threading.Thread(target=self._accept, args=(listening,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for listening in self._listening:
            with contextlib.suppress(OSError):
                listening.shutdown(socket.SHUT_RDWR)
            listening.close()

    def _accept(self, listening: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, peer = listening.accept()
                self.connections += 1
                threading.Thread(target=self._serve, args=(connection, peer[:2]), daemon=True).start()

    def _serve(self, connection: socket.socket, peer: tuple[str, int]) -> None:
        with connection, connection.makefile("rb") as stream, contextlib.suppress(OSError, EOFError):
            answered = 0
            while head := _head(stream):
                self.seen.append(Seen(peer, head, _body(stream, head)))
                if answered == self.most:
                    return
                connection.sendall(self.answer)
                answered += 1


def _head(stream: BinaryIO) -> bytes:
    lines = []
    while (line := stream.readline()) not in (b"\r\n", b""):
        lines.append(line)
    return b"".join(lines).removesuffix(b"\r\n")


def _body(stream: BinaryIO, head: bytes) -> bytes:
    """A body as it was sent, chunks and all. Raises EOFError when it is cut off."""
    headers = {
        name.strip().lower(): value.strip()
        for name, _, value in (line.partition(b":") for line in head.split(b"\r\n")[1:])
    }
    if b"chunked" not in headers.get(b"transfer-encoding", b""):
        return _exactly(stream, int(headers.get(b"content-length", b"0")))
    body = b""
    while line := stream.readline():
        size = int(line.split(b";")[0], 16)
        body += line + _exactly(stream, size + 2)
        if not size:
            return body
    raise EOFError


def _exactly(stream: BinaryIO, size: int) -> bytes:
    if len(found := stream.read(size)) < size:
        raise EOFError
    return found
