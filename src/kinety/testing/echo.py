"""Servers of probes: they send back what they get, and remember it, so that silence can be proved."""

import selectors
import socket
import threading
from contextlib import suppress
from types import TracebackType
from typing import Self

from kinety.kernel.namespace import Namespace
from kinety.model.address import IPAddress

_TURN_SECONDS = 0.05
_LARGEST = 2048


class EchoServers:
    """TCP and UDP echo servers in any number of namespaces, served by one thread."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._seen: set[bytes] = set()
        self._stopping = threading.Event()
        # A daemon: an interrupt between its start and the block must not keep the process alive.
        self._thread = threading.Thread(target=self._serve, name="echo", daemon=True)

    def listen(self, namespace: Namespace, address: IPAddress, protocol: str, port: int) -> None:
        """Serve one address and port. Call before the block of ``with`` begins to send."""
        family = socket.AF_INET if address.version == 4 else socket.AF_INET6
        kind = socket.SOCK_STREAM if protocol == "TCP" else socket.SOCK_DGRAM
        server = namespace.socket(family, kind)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        server.bind((str(address), port))
        server.setblocking(False)
        if kind == socket.SOCK_STREAM:
            server.listen(64)
        self._selector.register(server, selectors.EVENT_READ, kind == socket.SOCK_STREAM)

    def saw(self, token: bytes) -> bool:
        """Whether any server received a token."""
        return token in self._seen

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._thread.join()
        for key in list(self._selector.get_map().values()):
            assert isinstance(key.fileobj, socket.socket)
            key.fileobj.close()
        self._selector.close()

    def _serve(self) -> None:
        while not self._stopping.is_set():
            for key, _ in self._selector.select(_TURN_SECONDS):
                assert isinstance(key.fileobj, socket.socket)
                with suppress(BlockingIOError, ConnectionError):
                    self._turn(key.fileobj, listening=bool(key.data))

    def _turn(self, ready: socket.socket, *, listening: bool) -> None:
        if listening:
            connection, _ = ready.accept()
            connection.setblocking(False)
            self._selector.register(connection, selectors.EVENT_READ, False)
            return
        data, sender = ready.recvfrom(_LARGEST)
        if ready.type == socket.SOCK_DGRAM:
            self._seen.add(data)
            ready.sendto(data, sender)
        elif data:
            self._seen.add(data)
            ready.send(data)
        else:
            self._selector.unregister(ready)
            ready.close()
