"""A transparent proxy that looks at nothing but one word, in the node's namespace, on a thread of its own.

It does what a proxy of the datapath's must: listens on the loopback address of each family, takes the
original destination from the accepted socket, and speaks to that in the name of the client, from a port of
the proxies' range, with the mark that says through which listener it went.
"""

import asyncio
import contextlib
import os
import socket
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from kinety import abi
from kinety.datapath.proxy_cgroup import enter
from kinety.kernel.namespace import Namespace

SOURCE_PORTS = (61000, 65535)
#: A client's word that no server is to hear, and what the client hears instead.
FORBIDDEN, REFUSED = b"forbidden", b"refused"

_IP_TRANSPARENT, _IP_ORIGINAL_DESTINATION, _IP_BIND_NO_PORT, _IP_PORT_RANGE = 19, 20, 24, 51
_IPV6_TRANSPARENT, _IPV6_ORIGINAL_DESTINATION = 75, 74
_SO_RCVMARK, _SO_ORIGINAL_DST = 75, 80
_LOOPBACK = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}


@dataclass(frozen=True, slots=True)
class Accepted:
    """What a proxy is told of a client: its address and port, whom it asked for, and the socket's mark."""

    client: tuple[str, int]
    destination: tuple[str, int]
    mark: int

    @property
    def identity(self) -> int:
        """As `enum mark` of the contract has it."""
        local = bool(self.mark & abi.Mark.LOCAL_IDENTITY) * int(abi.ReservedIdentity.LOCAL_BIT)
        return local | (self.mark & 0xFF) << 16 | self.mark >> 16


@dataclass
class SpliceProxy:
    """One listener. Use ``splicing``."""

    namespace: Namespace
    port: int
    accepted: list[Accepted] = field(default_factory=list)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def run(self, ready: threading.Event, end: asyncio.Event) -> None:
        with contextlib.ExitStack() as open_sockets:
            for family, loopback in _LOOPBACK.items():
                stream = open_sockets.enter_context(self._socket(family, socket.SOCK_STREAM))
                stream.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                stream.bind((loopback, self.port))
                stream.listen(256)
                self._start(self._accept(stream))
                datagrams = open_sockets.enter_context(self._socket(family, socket.SOCK_DGRAM))
                level, option = _original_destination(family)
                datagrams.setsockopt(level, option, 1)
                datagrams.setsockopt(socket.SOL_SOCKET, _SO_RCVMARK, 1)
                datagrams.bind((loopback, self.port))
                self._start(self._hear(datagrams))
            ready.set()
            await end.wait()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _start(self, work) -> None:  # type: ignore[no-untyped-def]
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _socket(self, family: int, kind: int) -> socket.socket:
        made = self.namespace.socket(family, kind, 0)
        level, option = (
            (socket.IPPROTO_IP, _IP_TRANSPARENT)
            if family == socket.AF_INET
            else (socket.IPPROTO_IPV6, _IPV6_TRANSPARENT)
        )
        made.setsockopt(level, option, 1)
        made.setblocking(False)
        return made

    def upstream(self, family: int, kind: int, client: str, port: int = 0) -> socket.socket:
        """A socket that speaks in a client's name, from a port of the proxies' unless another is said."""
        made = self._socket(family, kind)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, self.port << 16 | abi.Mark.FROM_PROXY)
        made.setsockopt(socket.IPPROTO_IP, _IP_PORT_RANGE, struct.pack("=HH", *SOURCE_PORTS))
        if kind == socket.SOCK_STREAM:
            made.setsockopt(socket.IPPROTO_IP, _IP_BIND_NO_PORT, 1)
        made.bind((client, port))
        return made

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            down, client = await loop.sock_accept(listener)
            self._start(self._serve(down, client))

    async def _serve(self, down: socket.socket, client: tuple[str, int]) -> None:
        loop = asyncio.get_running_loop()
        with down:
            destination = original_destination(down)
            mark = down.getsockopt(socket.SOL_SOCKET, socket.SO_MARK) & 0xFFFFFFFF
            self.accepted.append(Accepted(client[:2], destination[:2], mark))
            with self.upstream(down.family, socket.SOCK_STREAM, client[0]) as up:
                await loop.sock_connect(up, destination[:2])
                ways = [asyncio.ensure_future(each) for each in (_carry(up, down), _filter(down, up))]
                try:
                    await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for way in ways:
                        way.cancel()
                    await asyncio.gather(*ways, return_exceptions=True)

    async def _hear(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        readable = asyncio.Event()
        loop.add_reader(listener, readable.set)
        try:
            while True:
                await readable.wait()
                readable.clear()
                with contextlib.suppress(BlockingIOError):
                    while True:
                        data, extra, _, client = listener.recvmsg(65536, 256)
                        self._start(self._ask(listener.family, data, extra, client))
        finally:
            loop.remove_reader(listener)

    async def _ask(
        self, family: int, data: bytes, extra: list[tuple[int, int, bytes]], client: tuple[str, int]
    ) -> None:
        loop = asyncio.get_running_loop()
        told = {(level, kind): value for level, kind, value in extra}
        destination = _address(family, told[_original_destination(family)])
        mark = int.from_bytes(told[socket.SOL_SOCKET, socket.SO_MARK], "little")
        self.accepted.append(Accepted(client[:2], destination, mark))
        if data == FORBIDDEN:
            self._answer(REFUSED, destination, client)
            return
        with self.upstream(family, socket.SOCK_DGRAM, client[0]) as up:
            await loop.sock_connect(up, destination)
            await loop.sock_sendall(up, data)
            self._answer(await loop.sock_recv(up, 65536), destination, client)

    def _answer(self, data: bytes, source: tuple[str, int], client: tuple[str, int]) -> None:
        """From whom the client asked; nothing else is heard there meanwhile."""
        family = socket.AF_INET6 if ":" in source[0] else socket.AF_INET
        with self._socket(family, socket.SOCK_DGRAM) as down:
            down.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            down.bind(source)
            down.sendto(data, client[:2])


def original_destination(accepted: socket.socket) -> tuple[str, int]:
    """Whom a client had asked: the socket's own address, or of a listener's what is answered (``nat``)."""
    address, port, *_ = accepted.getsockname()
    if address != _LOOPBACK[accepted.family]:
        return address, port
    ipv4 = accepted.family == socket.AF_INET
    level, length = (socket.IPPROTO_IP, 16) if ipv4 else (socket.IPPROTO_IPV6, 28)
    return _address(accepted.family, accepted.getsockopt(level, _SO_ORIGINAL_DST, length))


async def _carry(source: socket.socket, target: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    while data := await loop.sock_recv(source, 65536):
        await loop.sock_sendall(target, data)


async def _filter(client: socket.socket, server: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    while data := await loop.sock_recv(client, 65536):
        if data == FORBIDDEN:
            await loop.sock_sendall(client, REFUSED)
        else:
            await loop.sock_sendall(server, data)


def _original_destination(family: int) -> tuple[int, int]:
    if family == socket.AF_INET:
        return socket.IPPROTO_IP, _IP_ORIGINAL_DESTINATION
    return socket.IPPROTO_IPV6, _IPV6_ORIGINAL_DESTINATION


def _address(family: int, raw: bytes) -> tuple[str, int]:
    """From a socket address as the kernel writes it."""
    (port,) = struct.unpack_from("!H", raw, 2)
    packed = raw[4:8] if family == socket.AF_INET else raw[8:24]
    return socket.inet_ntop(family, packed), port


@contextlib.contextmanager
def visiting(cgroup: Path | None) -> Iterator[None]:
    """Be in a cgroup, all of this process: sockets are of the one that they are made in."""
    if cgroup is None:
        yield
        return
    (own,) = (line[3:] for line in Path("/proc/self/cgroup").read_text().splitlines() if line[:3] == "0::")
    enter(cgroup, os.getpid())
    try:
        yield
    finally:
        enter(cgroup.parent / own.lstrip("/"), os.getpid())


@contextlib.contextmanager
def splicing(namespace: Namespace, port: int, cgroup: Path | None = None) -> Iterator[SpliceProxy]:
    """A proxy that is there until the block ends, and then is gone with all its sockets.

    ``cgroup`` is where its listeners are made.
    """
    proxy = SpliceProxy(namespace, port)
    ready = threading.Event()
    loop = asyncio.new_event_loop()
    end = asyncio.Event()
    thread = threading.Thread(target=lambda: loop.run_until_complete(proxy.run(ready, end)))
    with visiting(cgroup):
        thread.start()
        assert ready.wait(5)
    try:
        yield proxy
    finally:
        loop.call_soon_threadsafe(end.set)
        thread.join(5)
        loop.close()
