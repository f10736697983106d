"""The UDP side of a listener: questions in, and answers out in the name of whom the client had asked."""

import asyncio
import socket
import time
from functools import partial

from kinety.proxy.dns.question import Question, Why
from kinety.proxy.dns.service import Desk, Service
from kinety.proxy.dns.transparent import ANCILLARY, LOOPBACK, REDIRECTED, Place, datagram_listener, told
from kinety.proxy.dns.upstream import BATCH, Upstreams, Waiting
from kinety.proxy.mark import upstream_mark

#: Bytes of a question that are read; whoever has more to say comes by TCP.
_LONGEST = 4096


class Datagrams:
    """One address family of a listener."""

    def __init__(self, family: int, port: int, desk: Desk, service: Service) -> None:
        """Raises OSError when the port is taken, or a capability is missing."""
        self._desk, self._service = desk, service
        self._replies = service.replies[family]
        self._own = Place(LOOPBACK[socket.AddressFamily(family)], port)
        self._socket = datagram_listener(family, port)
        self._upstreams = Upstreams(family, upstream_mark(port), service.ports, service.admit)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._socket, self._read)

    def expire(self, now: float) -> None:
        """Give up what is too old; to be called every second with monotonic time."""
        self._upstreams.expire(now)

    def close(self) -> None:
        """Stop listening, and forget what was asked."""
        self._loop.remove_reader(self._socket)
        self._socket.close()
        self._upstreams.close()

    def _read(self) -> None:
        receive, now = self._socket.recvmsg, time.monotonic()
        for _ in range(BATCH):
            try:
                message, ancillary, flags, client = receive(_LONGEST, ANCILLARY)
            except OSError:
                return
            self._desk.counters.questions += 1
            server, mark = told(ancillary)
            if flags & socket.MSG_TRUNC or server is None or server == self._own:
                # The last one was sent to the listener itself: nobody was asked.
                self._desk.counters.dropped += 1
                continue
            self._take(message, client, server, mark or REDIRECTED, now)

    def _take(self, message: bytes, client: tuple[str, int], server: Place, mark: bytes, now: float) -> None:
        desk = self._desk
        ruling = desk.rules.ruling(message)
        if ruling.why is not None:
            desk.deny(ruling.question, ruling.why, Place(*client[:2]), server, socket.IPPROTO_UDP)
            if ruling.answer is not None:
                self._replies.send(message[:2] + ruling.answer, client, server, mark)
            return
        assert ruling.question is not None, "what is not denied has been read"
        release = partial(self._release, ruling.question, message[:2], client, server, mark, now)
        upstream = self._upstreams.of(client[0], server)
        if upstream is None or not upstream.ask(message, Waiting(ruling.question, now, release)):
            desk.counters.dropped += 1

    def _release(
        self,
        question: Question,
        number: bytes,
        client: tuple[str, int],
        server: Place,
        mark: bytes,
        since: float,
        answer: bytes,
        why: Why | None,
    ) -> None:
        counters = self._desk.counters
        if why is not None:
            self._desk.deny(question, why, Place(*client[:2]), server, socket.IPPROTO_UDP)
        if self._replies.send(number + answer, client, server, mark):
            counters.answered(time.monotonic() - since)
        else:
            counters.dropped += 1
