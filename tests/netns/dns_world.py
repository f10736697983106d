"""What is around a DNS proxy in its tests: name servers that answer as they are told, and clients."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import dns.flags
import dns.message
import dns.rrset

from kinety.kernel.namespace import Namespace
from kinety.model.address import IPAddress
from kinety.model.name import Answer
from kinety.proxy.dns import Denied, DnsProxy, DnsSettings
from kinety.testing.redirected import CLIENT, SERVER, Redirected
from kinety.testing.wait import wait_until

T = TypeVar("T")

PORT = 53
LISTENER = 10007
FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
PATIENCE = 2.0

#: From a query and whether it came by TCP to the messages that go back.
Answering = Callable[[bytes, bool], list[bytes]]


def answer(query: bytes, *records: str, truncated: bool = False) -> bytes:
    """An answer with records in the notation of zone files."""
    made = dns.message.make_response(dns.message.from_wire(query))
    for text in records:
        owner, lifetime, class_, kind, data = text.split(maxsplit=4)
        made.answer.append(dns.rrset.from_text(owner, int(lifetime), class_, kind, data))
    if truncated:
        made.flags |= dns.flags.TC
    return made.to_wire()


class NameServer:
    """Answers on the addresses of a namespace, by a function that can be exchanged."""

    def __init__(self, namespace: Namespace, answering: Answering) -> None:
        self.answering = answering
        #: Where questions came from, and what they were.
        self.asked: list[tuple[str, int, bytes]] = []
        self._sockets = []
        self._threads = []
        for family, address in SERVER.items():
            datagrams = namespace.socket(FAMILIES[family], socket.SOCK_DGRAM)
            listener = namespace.socket(FAMILIES[family], socket.SOCK_STREAM)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            for each in (datagrams, listener):
                each.bind((address, PORT))
            listener.listen()
            self._sockets += [datagrams, listener]
            self._start(self._datagrams, datagrams)
            self._start(self._accept, listener)

    def _start(self, target: Callable[[socket.socket], None], argument: socket.socket) -> None:
        self._threads.append(threading.Thread(target=target, args=(argument,), daemon=True))
        self._threads[-1].start()

    def _datagrams(self, datagrams: socket.socket) -> None:
        while True:
            query, source = datagrams.recvfrom(65535)
            if not query:
                return
            self.asked.append((source[0], source[1], query))
            for each in self.answering(query, False):
                datagrams.sendto(each, source)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                stream, source = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._stream, args=(stream, source), daemon=True).start()

    def _stream(self, stream: socket.socket, source: tuple[str, int]) -> None:
        with stream, contextlib.suppress(OSError), stream.makefile("rb") as queries:
            while length := queries.read(2):
                query = queries.read(int.from_bytes(length, "big"))
                self.asked.append((source[0], source[1], query))
                for each in self.answering(query, True):
                    stream.sendall(len(each).to_bytes(2, "big") + each)

    def close(self) -> None:
        for each in self._sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()


class Client:
    """A client's socket."""

    def __init__(self, world: Redirected, family: int, server: str = "") -> None:
        self._world, self._family = world, family
        self._server = server or SERVER[family]

    @contextlib.contextmanager
    def datagrams(self) -> Iterator[socket.socket]:
        """A socket connected to the server, as resolvers have it: only its answers are taken."""
        with self._world.client.socket(FAMILIES[self._family], socket.SOCK_DGRAM) as made:
            made.settimeout(PATIENCE)
            made.connect((self._server, PORT))
            yield made

    @contextlib.contextmanager
    def stream(self) -> Iterator[socket.socket]:
        with self._world.client.socket(FAMILIES[self._family], socket.SOCK_STREAM) as made:
            made.settimeout(PATIENCE)
            made.connect((self._server, PORT))
            yield made

    def ask(self, query: bytes) -> bytes:
        """The answer by UDP. Raises TimeoutError without any."""
        with self.datagrams() as made:
            made.send(query)
            return made.recv(65535)

    def ask_by_tcp(self, *queries: bytes) -> list[bytes]:
        """The answers to queries that are sent at once, as they come."""
        with self.stream() as made, made.makefile("rb") as answers:
            made.sendall(b"".join(len(each).to_bytes(2, "big") + each for each in queries))
            return [read(answers) for _ in queries]

    @property
    def address(self) -> str:
        return CLIENT[self._family]


def read(stream: BinaryIO) -> bytes:
    """The next message of a stream. Raises EOFError at its end."""
    if len(length := stream.read(2)) < 2:
        raise EOFError("the connection was ended")
    return stream.read(int.from_bytes(length, "big"))


def state(**names: tuple[int, list[str]]) -> Mapping[str, object]:
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return {
        "format": 1,
        "boot": boot,
        "listeners": {name: list(value) for name, value in names.items()},
        "watched": [],
        "known": [],
        "protection": [[], []],
        "least": 0,
        "denied": 5,
    }


@contextlib.contextmanager
def proxy(
    world: Redirected, directory: Path, document: Mapping[str, object] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """The process, without an agent: it serves what its file says. It must end when told, and well."""
    if document is not None:
        (directory / "dns-state.json").write_text(json.dumps(document))
    command = (
        *("nsenter", f"--net={world.node.name}", "--", sys.executable, "-m", "kinety.proxy.dns"),
        *("--run-directory", str(directory), "--source-ports", "61000-65535"),
    )
    with (directory / "dns.log").open("ab") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        wait_until(lambda: serves(world) or process.poll() is not None, 10, "the proxy serves")
        assert process.poll() is None, (directory / "dns.log").read_text()
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(5) == 0, (directory / "dns.log").read_text()


def serves(world: Redirected, port: int = LISTENER) -> bool:
    """Whether something listens on the port, by UDP and TCP and in both families."""
    tables = world.node.call(lambda: [Path(f"/proc/thread-self/net/{name}").read_text() for name in TABLES])
    return all(f":{port:04X} " in table for table in tables)


class Agent:
    """The agent's side, on a thread in the node's namespace; what it learns and hears of is kept."""

    def __init__(self, world: Redirected, directory: Path, **settings: Any) -> None:
        self.learnt: list[Answer] = []
        self.denied: list[Denied] = []
        self.mappings: dict[tuple[str, IPAddress], float] = {}
        #: Called with each answer before it counts as learnt, which it does unless that is False.
        self.learning: Callable[[Answer], object] = lambda _: None
        self.proxy = DnsProxy(
            DnsSettings(directory, **settings), self._learn, self.denied.append, lambda: self.mappings
        )
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=lambda: world.node.call(self._loop.run_forever))
        self._thread.start()

    async def _learn(self, answer: Answer) -> bool:
        if await asyncio.to_thread(self.learning, answer) is False:
            return False
        self.learnt.append(answer)
        return True

    def call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(15)

    def start(self) -> None:
        async def start() -> asyncio.Task[None]:
            return asyncio.create_task(self.proxy.run())

        self._running = self.call(start())

    async def _leave(self) -> None:
        self._running.cancel()
        await asyncio.wait([self._running])

    def stop(self) -> None:
        """Go as an agent goes; the process stays."""
        self.call(self._leave())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def remove(self) -> None:
        """Go, and take the process along."""
        self.call(self._leave())
        self.call(self.proxy.end())
        self.stop()


@contextlib.contextmanager
def agent(
    world: Redirected, directory: Path, stays: bool = False, restored: Any = None, **settings: Any
) -> Iterator[Agent]:
    """An agent whose process is gone at the end, unless it stays and the block succeeds."""
    made = Agent(world, directory, **settings)
    if restored:
        made.call(made.proxy.restore(*restored))
    made.start()
    try:
        yield made
    except BaseException:
        made.remove()
        raise
    made.stop() if stays else made.remove()


TABLES = ("udp", "udp6", "tcp", "tcp6")
