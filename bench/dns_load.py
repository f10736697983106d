"""The two ends of `bench.dns`, each a process in a namespace of its own: a name server, and who asks it.

``python -m bench.dns_load serve ADDRESS`` answers every question with one address.
``python -m bench.dns_load ask ADDRESS RATE SECONDS NAMES`` asks for so many names in turn, RATE questions a
second, or as fast as answers come for RATE 0, and prints figures as JSON.
"""

from __future__ import annotations

import gc
import json
import select
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from bench.figure import percentile

PORT, PATIENCE = 53, 0.5
SOCKETS, WINDOW = 8, 64
ONE_ADDRESS = b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\xc0\x00\x02\x01"
ANSWERED = b"\x81\x80\x00\x01\x00\x01\x00\x00\x00\x00"
#: 250 Âµs: how often questions are sent that are due.
TICK = 0.00025


def family(address: str) -> int:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def serve(address: str) -> None:
    """Answer until killed."""
    with socket.socket(family(address), socket.SOCK_DGRAM) as made:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        made.bind((address, PORT))
        receive, send = made.recvfrom, made.sendto
        while True:
            query, source = receive(512)
            send(query[:2] + ANSWERED + query[12:] + ONE_ADDRESS, source)


def queries(names: int) -> list[bytes]:
    """One question for each name, without an id."""
    made = []
    for number in range(names):
        label = f"name-{number}".encode()
        name = bytes((len(label),)) + label + b"\x07example\x03com\0"
        made.append(b"\x01\0\0\x01\0\0\0\0\0\0" + name + b"\0\x01\0\x01")
    return made


@dataclass(slots=True)
class Load:
    """Questions that are under way, and how long the others took (seconds)."""

    address: str
    names: int
    sockets: list[socket.socket] = field(default_factory=list)
    waiting: dict[tuple[int, int], float] = field(default_factory=dict)
    took: list[float] = field(default_factory=list)
    sent: int = 0

    def run(self, rate: int, seconds: float) -> dict[str, float]:
        gc.disable()
        for _ in range(SOCKETS):
            made = socket.socket(family(self.address), socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
            made.connect((self.address, PORT))
            self.sockets.append(made)
        poll = select.epoll()
        of_number = {made.fileno(): index for index, made in enumerate(self.sockets)}
        for number in of_number:
            poll.register(number, select.EPOLLIN)
        texts = queries(self.names)
        began = time.perf_counter()
        while (now := time.perf_counter()) < began + seconds:
            due = int((now - began) * rate) if rate else self.sent + WINDOW - len(self.waiting)
            while self.sent < due:
                self._send(texts)
            for number, _ in poll.poll(TICK if rate else PATIENCE):
                self._receive(of_number[number])
            if not rate:
                self._give_up()
        elapsed = time.perf_counter() - began
        answered = len(self.took)
        end = time.perf_counter() + PATIENCE
        while self.waiting and time.perf_counter() < end:
            for number, _ in poll.poll(TICK):
                self._receive(of_number[number])
        return {
            "rate": answered / elapsed,
            "lost": (self.sent - len(self.took)) / self.sent,
            "p50": percentile(self.took, 50) * 1000,
            "p99": percentile(self.took, 99) * 1000,
        }

    def _send(self, texts: Sequence[bytes]) -> None:
        index, number = self.sent % SOCKETS, self.sent & 0xFFFF
        self.waiting[index, number] = time.perf_counter()
        self.sockets[index].send(number.to_bytes(2, "big") + texts[self.sent % len(texts)])
        self.sent += 1

    def _receive(self, index: int) -> None:
        receive = self.sockets[index].recv
        while True:
            try:
                answer = receive(512)
            except BlockingIOError:
                return
            since = self.waiting.pop((index, int.from_bytes(answer[:2], "big")), None)
            if since is not None:
                self.took.append(time.perf_counter() - since)

    def _give_up(self) -> None:
        """What was lost makes room again."""
        old = time.perf_counter() - PATIENCE
        for key, since in list(self.waiting.items()):
            if since > old:
                break
            del self.waiting[key]


def main(arguments: Sequence[str]) -> None:
    if arguments[0] == "serve":
        serve(arguments[1])
        return
    address, rate, seconds, names = arguments[1:]
    print(json.dumps(Load(address, int(names)).run(int(rate), float(seconds))))


if __name__ == "__main__":
    main(sys.argv[1:])
