"""Processes in containers: each sends as soon as it can, numbers what it sends, and writes down what came.

Run as a program it starts them by fork, a millisecond after it is told: four hundred interpreters would take
longer to start than what they are to see. Orders are JSON, a line each, on standard input:

* ``start`` NAME of a KIND in ``netns``, with ``targets`` and a ``report`` to write. ``early``: it was there
  before the container had an interface, and tries from the moment that it comes up. ``late``: the runtime
  starts it when ADD has returned.
* ``added`` NAME: ADD has returned. What an early one sends from now on counts.
* ``flood`` in ``netns``: datagrams to ``targets`` again and again, until the program ends.
"""

import json
import os
import select
import signal
import socket
import struct
import sys
import time
from pathlib import Path
from typing import Any

from kinety.kernel import libc

#: Where an early one listens to whatever comes.
SINK = 7000
#: Who sent a datagram, whether it counts, its number, and when it was sent in nanoseconds since 1970.
DATAGRAM = struct.Struct("!12s?HQ")
ROUNDS = 5
_PATIENCE = 3.0
_LINK_GROUP = 1
_LONGEST_PAUSE = 0.016
_UP = 60.0


class Member:
    """One process of one container."""

    def __init__(self, name: str, targets: list[tuple[str, int]]) -> None:
        self.name = name
        self.targets = targets
        self.number = 0
        self.datagrams: list[tuple[int, int, int]] = []
        self.connections: list[tuple[int, int, socket.socket]] = []
        self.tried = 0
        families = (socket.AF_INET, socket.AF_INET6)
        self._sockets = {each: socket.socket(each, socket.SOCK_DGRAM) for each in families}
        for each in self._sockets.values():
            each.setblocking(False)

    def send(self, counts: bool) -> None:
        """A datagram to every target; those that left are written down."""
        for index, (address, port) in enumerate(self.targets):
            now = time.time_ns()
            data = DATAGRAM.pack(self.name.encode(), counts, self.number, now)
            self.tried += 1
            try:
                self._sockets[_family(address)].sendto(data, (address, port))
            except OSError:
                if counts:
                    raise
            else:
                self.datagrams.append((index, self.number, now))
        self.number += 1

    def connect(self) -> None:
        """Begin a connection to every target."""
        for index, (address, port) in enumerate(self.targets):
            stream = socket.socket(_family(address), socket.SOCK_STREAM)
            stream.setblocking(False)
            self.connections.append((index, time.time_ns(), stream))
            stream.connect_ex((address, port))

    def connected(self, expected: int) -> list[tuple[int, int, bool]]:
        """Which connections came to be, a while after that many of them did or patience ended."""
        poll = select.poll()
        waiting = {stream.fileno(): each for each in self.connections for stream in each[2:]}
        for fd in waiting:
            poll.register(fd, select.POLLOUT)
        done: list[tuple[int, int, bool]] = []
        deadline = time.monotonic() + _PATIENCE
        while waiting and (left := deadline - time.monotonic()) > 0:
            for fd, happened in poll.poll(left * 1000):
                poll.unregister(fd)
                index, began, stream = waiting.pop(fd)
                came = not happened & (select.POLLERR | select.POLLHUP)
                if came:
                    stream.send(DATAGRAM.pack(self.name.encode(), True, index, began))
                done.append((index, began, came))
            if sum(came for _, _, came in done) >= expected:
                deadline = min(deadline, time.monotonic() + 0.1)
        return [*done, *((index, began, False) for index, began, _ in waiting.values())]

    def tell(self, report: str, connected: list[tuple[int, int, bool]], received: list[str]) -> None:
        said = {
            "datagrams": self.datagrams,
            "connected": connected,
            "received": received,
            "tried": self.tried,
        }
        Path(f"{report}.part").write_text(json.dumps(said))
        os.rename(f"{report}.part", report)


def late(order: dict[str, Any]) -> None:
    """A process that starts when ADD has returned."""
    member = Member(order["name"], order["targets"])
    member.connect()
    for _ in range(ROUNDS):
        member.send(counts=True)
    member.tell(order["report"], member.connected(order["expected"]), [])


def early(order: dict[str, Any], added: int) -> None:
    """A process that is there before the interface is."""
    links = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
    links.bind((0, _LINK_GROUP))
    sink = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    sink.bind(("::", SINK))
    member = Member(order["name"], order["targets"])
    Path(order["report"] + ".ready").touch()
    select.select([links, added], [], [], _UP)
    pause = 0.001
    while not select.select([added], [], [], pause)[0]:
        member.send(counts=False)
        pause = min(2 * pause, _LONGEST_PAUSE)
    unsure, member.datagrams = len(member.datagrams), []
    member.connect()
    for _ in range(ROUNDS):
        member.send(counts=True)
    connected = member.connected(order["expected"])
    received = []
    sink.settimeout(_UP)
    while True:
        data, (source, *_) = sink.recvfrom(100)
        if data == b"end":
            break
        received.append(source)
    member.tried = unsure
    member.tell(order["report"], connected, received)


def flood(order: dict[str, Any]) -> None:
    """Datagrams to everybody who is there or will be."""
    sockets = {each: socket.socket(each, socket.SOCK_DGRAM) for each in (socket.AF_INET, socket.AF_INET6)}
    while True:
        for at, (address, port) in enumerate(order["targets"]):
            sockets[_family(address)].sendto(b"flood", (address, port))
            if at % 50 == 0:
                time.sleep(0.005)


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _start(order: dict[str, Any], added: int) -> None:
    netns = os.open(order["netns"], os.O_RDONLY)
    libc.setns(netns, libc.CLONE_NEWNET)
    os.close(netns)
    if order["do"] == "flood":
        flood(order)
    elif order["kind"] == "late":
        late(order)
    else:
        early(order, added)


def main() -> None:
    """Carry out orders until there are no more; all processes end then."""
    waiting: dict[str, int] = {}
    children = set()
    for line in sys.stdin:
        order = json.loads(line)
        if order["do"] == "added":
            os.write(waiting.pop(order["name"]), b"1")
            continue
        added, tell = os.pipe()
        child = os.fork()
        if child == 0:
            code = 1
            try:
                _start(order, added)
                code = 0
            except BaseException as error:
                Path(order.get("report", "/dev/null") + ".error").write_text(repr(error))
            finally:
                os._exit(code)
        children.add(child)
        os.close(added)
        if order.get("kind") == "early":
            waiting[order["name"]] = tell
        else:
            os.close(tell)
    for child in children:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


if __name__ == "__main__":
    main()
