"""Traffic that notices what happens to it: every byte and every datagram is numbered and counted."""

import socket
import struct
import threading
from types import TracebackType
from typing import Self

from kinety.kernel.namespace import Namespace
from tests.e2e.real_node import SOON, TcpServer, connect, family_of

_PAUSE = 0.002
_CHUNK = 1000
#: Long enough to live through a policy that forbids the connection for a while.
_PATIENCE = 60.0
_RECEIVE_BUFFER = 32 * 1024 * 1024
#: Like SO_RCVBUF, beyond what everybody may have. Source: asm-generic/socket.h.
_SO_RCVBUFFORCE = 33
_PATTERN = bytes(range(251)) * (_CHUNK // 251 + 2)
#: ``tcpi_bytes_received`` in ``struct tcp_info``. Source: linux/tcp.h.
_BYTES_RECEIVED = 128


def _pattern(offset: int, length: int) -> bytes:
    return _PATTERN[offset % 251 :][:length]


class TcpStream:
    """Bytes from one namespace to another over one connection, a thousand every two milliseconds."""

    def __init__(self, source: Namespace, target: Namespace, address: str, port: int) -> None:
        with TcpServer(target, port, family_of(address)) as server:
            self._sender = connect(source, address, port)
            self._receiver = server.accept()
        self._sender.settimeout(_PATIENCE)
        self._receiver.settimeout(_PATIENCE)
        self.sent = 0
        self.received = 0
        self.failure: BaseException | None = None
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=run) for run in (self._send, self._receive)]
        for thread in self._threads:
            thread.start()

    def _send(self) -> None:
        try:
            while not self._stop.wait(_PAUSE):
                self._sender.sendall(_pattern(self.sent, _CHUNK))
                self.sent += _CHUNK
            self._sender.shutdown(socket.SHUT_WR)
        except BaseException as error:
            self.failure = error

    def _receive(self) -> None:
        try:
            while part := self._receiver.recv(_CHUNK):
                assert part == _pattern(self.received, len(part)), f"wrong bytes after {self.received}"
                self.received += len(part)
        except BaseException as error:
            self.failure = self.failure or error

    @property
    def arrived(self) -> int:
        """Bytes that the receiver's kernel has, read or not. Source: tcp(7), TCP_INFO."""
        info = self._receiver.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
        count: int = struct.unpack_from("=Q", info, _BYTES_RECEIVED)[0]
        return count

    def end(self) -> None:
        """Stop sending; everything that was sent must have arrived, in order."""
        self._close()
        assert self.failure is None, repr(self.failure)
        assert self.received == self.sent > 0

    def _close(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(_PATIENCE)
        self._sender.close()
        self._receiver.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.end()
        else:
            self._receiver.settimeout(0.1)
            self._sender.close()
            self._close()


class Datagrams:
    """Numbered UDP datagrams from one namespace to another, one every two milliseconds.

    Nobody sends a datagram again: one that a change of policy, or an agent's death, has lost is missing.
    """

    def __init__(self, source: Namespace, target: Namespace, address: str, port: int) -> None:
        family = family_of(address)
        self._target = (address, port)
        self._sender = source.socket(family, socket.SOCK_DGRAM)
        self._receiver = target.socket(family, socket.SOCK_DGRAM)
        self._receiver.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER)
        self._receiver.bind((address, port))
        self._receiver.setblocking(False)
        self._numbers: list[int] = []
        self.sent = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._send)
        self._thread.start()

    def _send(self) -> None:
        while not self._stop.wait(_PAUSE):
            self._sender.sendto(self.sent.to_bytes(8, "big"), self._target)
            self.sent += 1

    def received(self) -> list[int]:
        """The numbers of those that arrived so far."""
        try:
            while True:
                self._numbers.append(int.from_bytes(self._receiver.recv(16), "big"))
        except BlockingIOError:
            return self._numbers

    def stop(self) -> list[int]:
        """Stop sending, and the numbers of all that arrived."""
        if not self._stop.is_set():
            self._stop.set()
            self._thread.join(SOON)
            self.received()
            self._sender.close()
            self._receiver.close()
        return self._numbers

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
