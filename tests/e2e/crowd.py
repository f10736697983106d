"""A crowd of containers that come at the same time, and those whom they talk to."""

import json
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kinety.kernel.namespace import Namespace
from kinety.testing.wait import wait_until
from tests.e2e.crowd_member import DATAGRAM, SINK
from tests.e2e.real_node import Node
from tests.e2e.runtime import Runtime
from tests.feature import ROOT

PORT = 7
_BUFFER = 64 * 1024 * 1024
#: Beyond what everybody may have. Source: asm-generic/socket.h.
_SO_RCVBUFFORCE, _SO_TIMESTAMPNS = 33, 35
_SOL_PACKET, _PACKET_STATISTICS = 263, 6
_ETH_P_ALL, _OUTGOING = 3, 4
_TIME = struct.Struct("=qq")
_BACKLOG = 4096
_PATIENCE = 120.0


@dataclass(frozen=True, slots=True)
class Datagram:
    """What a member sent and a receiver got. ``sent`` is in nanoseconds since 1970."""

    who: str
    counts: bool
    number: int
    sent: int
    to: str


class Receiver:
    """All that comes to some addresses of a namespace: datagrams, connections, and each bare packet."""

    def __init__(self, namespace: Namespace, addresses: tuple[str, ...]) -> None:
        self.namespace = namespace
        self.addresses = addresses
        self.datagrams: list[Datagram] = []
        self.connections: list[Datagram] = []
        #: Source, destination and time of arrival, in nanoseconds since 1970.
        self.packets: list[tuple[str, str, int]] = []
        self._tap = self.namespace.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ETH_P_ALL))
        self._tap.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 2 * _BUFFER)
        self._tap.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        self._sockets = {}
        self._listeners = {}
        for address in self.addresses:
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            plain = self.namespace.socket(family, socket.SOCK_DGRAM)
            plain.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
            plain.bind((address, PORT))
            self._sockets[address] = plain
            listener = self.namespace.socket(family, socket.SOCK_STREAM)
            listener.bind((address, PORT))
            listener.listen(_BACKLOG)
            self._listeners[address] = listener

    def send(self, data: bytes, target: str) -> None:
        """A datagram to a member's sink."""
        own = next(each for each in self.addresses if (":" in each) == (":" in target))
        self._sockets[own].sendto(data, (target, SINK))

    def drain(self) -> None:
        """Take what has arrived until now."""
        for address, plain in self._sockets.items():
            plain.setblocking(False)
            while (data := _received(plain, 100)) is not None:
                self.datagrams.append(_datagram(data, address))
        for address, listener in self._listeners.items():
            listener.setblocking(False)
            while True:
                try:
                    stream, _ = listener.accept()
                except BlockingIOError:
                    break
                with stream:
                    stream.setblocking(False)
                    # One that a change of policy has cut says nothing.
                    if data := _received(stream, 100):
                        self.connections.append(_datagram(data, address))
        self._tap.setblocking(False)
        while True:
            try:
                data, extra, _, (_, _, kind, *_) = self._tap.recvmsg(64, 100)
            except BlockingIOError:
                break
            if kind != _OUTGOING and (found := _packet(data)):
                seconds, nanoseconds = _TIME.unpack(extra[0][2])
                self.packets.append((*found, seconds * 10**9 + nanoseconds))
        _, lost = struct.unpack("=II", self._tap.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8))
        assert lost == 0, "the tap was too small"

    def close(self) -> None:
        for each in (self._tap, *self._sockets.values(), *self._listeners.values()):
            each.close()


def _received(plain: socket.socket, size: int) -> bytes | None:
    try:
        return plain.recv(size)
    except BlockingIOError:
        return None


def _datagram(data: bytes, to: str) -> Datagram:
    who, counts, number, sent = DATAGRAM.unpack(data)
    return Datagram(who.rstrip(b"\0").decode(), counts, number, sent, to)


def _packet(data: bytes) -> tuple[str, str] | None:
    """Source and destination of a TCP or UDP packet."""
    if data[0] >> 4 == 4 and data[9] in (socket.IPPROTO_TCP, socket.IPPROTO_UDP):
        return socket.inet_ntop(socket.AF_INET, data[12:16]), socket.inet_ntop(socket.AF_INET, data[16:20])
    if data[0] >> 4 == 6 and data[6] in (socket.IPPROTO_TCP, socket.IPPROTO_UDP):
        return socket.inet_ntop(socket.AF_INET6, data[8:24]), socket.inet_ntop(socket.AF_INET6, data[24:40])
    return None


class Crowd:
    """Containers with a process each that was there first, and a runtime that adds them."""

    def __init__(
        self, node: Node, directory: Path, targets: list[str], orders: subprocess.Popen[bytes]
    ) -> None:
        self.node = node
        self.directory = directory
        self.targets = targets
        self.runtime = Runtime(node)
        self._orders = orders
        self._lock = threading.Lock()
        #: When each ADD began and had returned, in nanoseconds since 1970.
        self.times: dict[str, tuple[int, int]] = {}
        self.addresses: dict[str, tuple[str, ...]] = {}

    def order(self, **what: Any) -> None:
        line = json.dumps(what).encode() + b"\n"
        assert self._orders.stdin is not None
        with self._lock:
            self._orders.stdin.write(line)
            self._orders.stdin.flush()

    def gather(self, names: list[str], expected: int) -> None:
        """Make the containers, each with its process; ``expected`` connections of each will come to be."""
        for name in names:
            self.runtime.container(name)
            self._start(name, "early", expected)
        for name in names:
            self._wait(f"{name}.early.ready")

    def add(self, name: str, labels: str, expected: int) -> None:
        """ADD; at the moment it returns the container's process is told, and another one starts."""
        began = time.time_ns()
        answer = self.runtime.call("ADD", name, args=f"KINETY_LABELS={labels},name={name}")
        returned = time.time_ns()
        assert answer.code == 0, (answer, self.node.log.read_text()[-2000:])
        self.order(do="added", name=name)
        self._start(name, "late", expected)
        self.times[name] = began, returned
        self.addresses[name] = tuple(each["address"].partition("/")[0] for each in answer.said["ips"])
        self.runtime.results[name, "eth0"] = answer.said

    def _start(self, name: str, kind: str, expected: int) -> None:
        self.order(
            do="start",
            kind=kind,
            name=name,
            netns=self.runtime.netns(name),
            targets=[(each, PORT) for each in self.targets],
            expected=expected,
            report=str(self.directory / f"{name}.{kind}"),
        )

    def flood(self, namespace: Namespace, targets: list[str]) -> None:
        """Datagrams to addresses from now on, whether somebody has them or not."""
        places = [(each, SINK) for each in targets]
        self.order(do="flood", netns=f"/run/netns/{namespace.name}", targets=places)

    def report(self, name: str, kind: str) -> dict[str, Any]:
        """What a process has to tell, once it ended."""
        said: dict[str, Any] = json.loads(self._wait(f"{name}.{kind}").read_text())
        return said

    def _wait(self, name: str) -> Path:
        path = self.directory / name
        error = path.with_name(name.removesuffix(".ready") + ".error")
        wait_until(lambda: path.exists() or error.exists(), _PATIENCE, name)
        assert not error.exists(), error.read_text()
        return path

    def leave(self, at_once: int) -> None:
        """DEL of all."""
        with ThreadPoolExecutor(at_once) as pool:
            list(pool.map(self.runtime.delete, list(self.times)))


@contextmanager
def crowd(node: Node, directory: Path, targets: list[str]) -> Iterator[Crowd]:
    """Nobody yet. Their processes end with the block."""
    command = [sys.executable, "-m", "tests.e2e.crowd_member"]
    orders = subprocess.Popen(command, stdin=subprocess.PIPE, cwd=ROOT)
    try:
        yield Crowd(node, directory, targets, orders)
    finally:
        assert orders.stdin is not None
        orders.stdin.close()
        orders.wait(60)
