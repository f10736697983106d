"""One client's connection (RFC 7766): questions may follow each other without waiting for answers.

It has a connection of its own to the server, made when the first question may be asked, and ended with it.
What is refused is answered here, among the server's answers. Reading pauses while too many questions wait, or
while the other side does not take what it is sent, so nobody can make the process hold much.
"""

import asyncio
import errno
import os
import socket
import time
from collections.abc import Awaitable, Callable
from functools import partial

from kinety.proxy.dns.question import HEADER, Question, Remark, ResponseCode, Why
from kinety.proxy.dns.service import Desk, Service
from kinety.proxy.dns.transparent import Place, PortsExhausted, asking
from kinety.proxy.dns.upstream import Release, answers

#: Seconds without a whole question; until a server is there; until somebody takes what it is sent.
_IDLE, _CONNECT, _STUCK = 30.0, 5.0, 10.0
_MOST_WAITING = 128
_TRIES = 16

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class _Abuse(Exception):
    """A peer sends what is no message; its connection ends."""


async def connect(family: int, client: Place, server: Place, mark: int, ports: range) -> Streams:
    """A connection to a server in a client's name. Raises OSError, or TimeoutError after a few seconds."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(_CONNECT):
        for _ in range(_TRIES):
            made = asking(socket.SOCK_STREAM, family, client.host, mark, ports)
            try:
                await loop.sock_connect(made, server)
                return await asyncio.open_connection(sock=made)
            except BaseException as error:
                made.close()
                # The same four numbers were in use a moment ago: others are free.
                if not isinstance(error, OSError) or error.errno != errno.EADDRNOTAVAIL:
                    raise
    raise PortsExhausted(errno.EADDRNOTAVAIL, f"{client.host} has too many connections to {server.host}")


class Conversation:
    """Questions and answers of one connection."""

    def __init__(
        self,
        desk: Desk,
        service: Service,
        client: Place,
        server: Place,
        open_: Callable[[], Awaitable[Streams]],
        writer: asyncio.StreamWriter,
    ) -> None:
        """``open_`` makes the connection to the server; ``writer`` is the client's."""
        self._desk, self._service, self._client, self._server = desk, service, client, server
        self._open, self._writer = open_, writer
        self._upstream: asyncio.StreamWriter | None = None
        self._answering: asyncio.Task[None] | None = None
        self._waiting: dict[bytes, tuple[Question, Release]] = {}
        #: Questions without an answer, those included whose answer is there and held.
        self._unanswered = 0
        self._answered = asyncio.Event()

    async def run(self, reader: asyncio.StreamReader) -> None:
        """Until either end has had enough, or does what it may not."""
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                while (message := await _message(reader)) is not None:
                    await self._take(message)
                await self._until_fewer(1)
                if self._answering is not None:
                    self._answering.cancel()
        except* (OSError, EOFError, TimeoutError, _Abuse):
            self._writer.transport.abort()
        finally:
            if self._upstream is not None:
                self._upstream.close()

    def close(self) -> None:
        """End it at once."""
        for each in (self._writer, self._upstream):
            if each is not None:
                each.transport.abort()

    async def _take(self, message: bytes) -> None:
        counters = self._desk.counters
        counters.questions += 1
        ruling = self._desk.rules.ruling(message)
        if ruling.why is not None:
            self._deny(ruling.question, ruling.why)
            if ruling.answer is None:
                raise _Abuse("that was no question")
            self._write(message[:2] + ruling.answer)
            await _drain(self._writer)
            return
        assert ruling.question is not None, "what is not denied has been read"
        await self._until_fewer(_MOST_WAITING)
        self._unanswered += 1
        release = partial(self._release, ruling.question, message[:2], time.monotonic())
        await self._ask(ruling.question, message, release)

    async def _ask(self, question: Question, message: bytes, release: Release) -> None:
        if self._upstream is None:
            try:
                reader, self._upstream = await self._open()
            except (OSError, TimeoutError):
                release(question.answered(ResponseCode.SERVER_FAILURE, Remark.UNANSWERED), None)
                return
            self._answering = self._group.create_task(self._answer(reader, self._upstream))
        number = os.urandom(2)
        while number in self._waiting:
            number = os.urandom(2)
        self._waiting[number] = question, release
        self._upstream.write(len(message).to_bytes(2, "big") + number + message[2:])
        await _drain(self._upstream)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Read what the server sends. When it ends the connection, it has failed those that still wait."""
        try:
            while (message := await _message(reader, None)) is not None:
                asked = self._waiting.get(message[:2])
                if asked is None or not answers(message, asked[0]):
                    raise _Abuse("the server answers what nobody asked")
                del self._waiting[message[:2]]
                self._service.admit(self._client.host, asked[0], message, asked[1])
                await _drain(self._writer)
        except (OSError, EOFError):
            pass
        finally:
            writer.close()
        self._upstream = None
        failed, self._waiting = self._waiting, {}
        for question, release in failed.values():
            release(question.answered(ResponseCode.SERVER_FAILURE, Remark.UNANSWERED), None)

    def _deny(self, question: Question | None, why: Why) -> None:
        self._desk.deny(question, why, self._client, self._server, socket.IPPROTO_TCP)

    def _release(
        self, question: Question, number: bytes, since: float, answer: bytes, why: Why | None
    ) -> None:
        self._unanswered -= 1
        self._answered.set()
        if why is not None:
            self._deny(question, why)
        if not self._writer.is_closing():
            self._write(number + answer)
            self._desk.counters.answered(time.monotonic() - since)

    def _write(self, message: bytes) -> None:
        self._writer.write(len(message).to_bytes(2, "big") + message)

    async def _until_fewer(self, count: int) -> None:
        async with asyncio.timeout(_IDLE):
            while self._unanswered >= count:
                self._answered.clear()
                await self._answered.wait()


async def _message(reader: asyncio.StreamReader, patience: float | None = _IDLE) -> bytes | None:
    """The next message; None at the end. Raises EOFError in the midst of one, TimeoutError, _Abuse."""
    async with asyncio.timeout(patience):
        try:
            length = int.from_bytes(await reader.readexactly(2), "big")
        except asyncio.IncompleteReadError as error:
            if error.partial:
                raise
            return None
        if length < HEADER.size:
            raise _Abuse("that is shorter than a header")
        return await reader.readexactly(length)


async def _drain(writer: asyncio.StreamWriter) -> None:
    """Wait for whoever reads the other end. Raises OSError, and TimeoutError when it does not."""
    async with asyncio.timeout(_STUCK):
        await writer.drain()
