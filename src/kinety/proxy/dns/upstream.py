"""Servers asked in clients' names by UDP: one connected socket for each client and server, reused.

An answer counts when it comes from that server to that socket, has the id that was drawn for the question,
and repeats the question. Sockets are renewed, so that a port is nothing to be guessed at leisure.
"""

import asyncio
import os
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import NamedTuple

from kinety.proxy.dns.question import Question, Remark, ResponseCode, Why
from kinety.proxy.dns.transparent import Place, asking

#: Seconds that a question waits for its answer, that an unused socket stays, and that a used one is used.
_PATIENCE, _IDLE, _LIFE = 5.0, 10.0, 60.0
#: Questions that wait for one server, for one client; sockets of one client.
_MOST_WAITING, _MOST_SOCKETS = 2048, 64
#: Datagrams that are read in one go before others have their turn.
BATCH = 64
_LONGEST = 0xFFFF
_IDS = 256
_RESPONSE_AND_OPCODE = 0xF8

#: Called with the answer, without its id, that the client may have; and why it is a refusal, if it is one.
Release = Callable[[bytes, Why | None], None]
#: Takes who asked, the question, its answer, and what to call then.
Admit = Callable[[str, Question, bytes, Release], None]


class Waiting(NamedTuple):
    """A question that was sent to a server, when (monotonic seconds), and whom to give the answer."""

    question: Question
    since: float
    release: Release


def answers(message: bytes, question: Question) -> bool:
    """Whether a message with the right id answers a question: opcode, and the question repeated.

    A server that fails may leave the question out, and then everything.
    """
    if len(message) < 12 or message[2] & _RESPONSE_AND_OPCODE != 0x80:
        return False
    wire = question.wire
    end = 12 + len(wire)
    if message[4:6] == b"\0\1":
        repeated = message[12:end]
        # Some servers fold the case of a name. The four bytes after it are numbers, not letters.
        return repeated == wire or (repeated[-4:] == wire[-4:] and repeated[:-4].lower() == wire[:-4].lower())
    return len(message) == 12 and message[4:] == bytes(8) and bool(message[3] & 0x0F)


class Upstream:
    """One server, asked for one client."""

    __slots__ = ("_admit", "_client", "_ids", "_loop", "_socket", "_waiting", "born", "strays", "used")

    def __init__(self, made: socket.socket, client: str, admit: Admit) -> None:
        self._socket = made
        self._client = client
        self._admit = admit
        self._waiting: dict[bytes, Waiting] = {}
        self._ids: list[bytes] = []
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(made, self._read)
        self.born = self.used = time.monotonic()
        self.strays = 0

    def ask(self, message: bytes, waiting: Waiting) -> bool:
        """Send a question on under another id. False when it did not leave."""
        if len(self._waiting) >= _MOST_WAITING:
            return False
        number = self._draw()
        if not self._send(number + message[2:]):
            return False
        self._waiting[number] = waiting
        self.used = waiting.since
        return True

    def expire(self, now: float) -> bool:
        """Forget questions that nobody answers any more. Returns whether any are left."""
        for number, waiting in list(self._waiting.items()):
            if waiting.since > now - _PATIENCE:
                return True
            del self._waiting[number]
        return False

    def close(self) -> None:
        """Let go of the socket, and of the questions."""
        self._loop.remove_reader(self._socket)
        self._socket.close()
        self._waiting.clear()

    def _send(self, message: bytes) -> bool:
        try:
            self._socket.send(message)
        except BlockingIOError:
            return False
        except OSError:
            # What became of the one before; this one has not been tried yet.
            self._fail()
            with suppress(OSError):
                self._socket.send(message)
                return True
            return False
        return True

    def _fail(self) -> None:
        failed, self._waiting = self._waiting, {}
        for each in failed.values():
            each.release(each.question.answered(ResponseCode.SERVER_FAILURE, Remark.UNANSWERED), None)

    def _draw(self) -> bytes:
        while True:
            if not self._ids:
                drawn = os.urandom(2 * _IDS)
                self._ids = [drawn[at : at + 2] for at in range(0, len(drawn), 2)]
            number = self._ids.pop()
            if number not in self._waiting:
                return number

    def _read(self) -> None:
        for _ in range(BATCH):
            try:
                message = self._socket.recv(_LONGEST)
            except BlockingIOError:
                return
            except OSError:
                # The server's machine says that nobody listens, or another one that there is no way.
                self._fail()
                continue
            waiting = self._waiting.get(message[:2])
            if waiting is None or not answers(message, waiting.question):
                self.strays += 1
                continue
            del self._waiting[message[:2]]
            self._admit(self._client, waiting.question, message, waiting.release)


class Upstreams:
    """The sockets of one listener's clients in one address family."""

    def __init__(self, family: int, mark: int, ports: range, admit: Admit) -> None:
        self._family, self._mark, self._ports, self._admit = family, mark, ports, admit
        self._open: dict[tuple[str, Place], Upstream] = {}
        self._of_client: Counter[str] = Counter()
        self._retired: list[Upstream] = []

    def of(self, client: str, server: Place) -> Upstream | None:
        """The socket of a client and a server; None when there can be none, or the client has too many."""
        found = self._open.get((client, server))
        return found if found is not None else self._make(client, server)

    def expire(self, now: float) -> None:
        """Give up questions and sockets that are too old; to be called every second."""
        for key, each in list(self._open.items()):
            waits = each.expire(now)
            if each.born < now - _LIFE or (not waits and each.used < now - _IDLE):
                self._retired.append(self._open.pop(key))
                self._of_client -= Counter((key[0],))
        for each in [each for each in self._retired if not each.expire(now)]:
            self._retired.remove(each)
            each.close()

    def close(self) -> None:
        """Let go of all sockets."""
        for each in self._all():
            each.close()
        self._open.clear()
        self._of_client.clear()
        self._retired.clear()

    @property
    def strays(self) -> int:
        """Datagrams that answer no question, of the sockets that are open."""
        return sum(each.strays for each in self._all())

    def _all(self) -> Iterable[Upstream]:
        return [*self._open.values(), *self._retired]

    def _make(self, client: str, server: Place) -> Upstream | None:
        if self._of_client[client] >= _MOST_SOCKETS:
            return None
        try:
            made = asking(socket.SOCK_DGRAM, self._family, client, self._mark, self._ports)
        except OSError:
            return None
        try:
            made.connect(server)
        except OSError:
            made.close()
            return None
        self._of_client[client] += 1
        upstream = self._open[client, server] = Upstream(made, client, self._admit)
        return upstream
