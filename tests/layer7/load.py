"""Many requests at once, some allowed and some not, while policy changes; and whether policy held.

A policy in force is a `Stage`. While one is exchanged for another, either may hold; before and after, exactly
one does. A request is judged by the stages that may have held between its first byte and the last of its
answer: forbidden by all of them, it must not reach the server, which remembers the number that every request
carries; allowed by all of them, it must not be refused. A request that a change has met is free to have
either fate. A connection that ends is no verdict: it is counted, and the request is made again.
"""

import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import NamedTuple

from kinety.kernel.namespace import Namespace
from tests.layer7.http_client import HttpClient, Response
from tests.layer7.received import Received

NUMBER = "request-number"
_REFUSED, _ENDED = 403, 503
#: A client whose connections end again and again for so long is not served at all.
_PATIENCE = 20.0
_TIMEOUT = 5.0


class Request(NamedTuple):
    """What is asked."""

    method: str
    path: str


@dataclass(frozen=True, slots=True)
class Stage:
    """A policy, and what it allows of what is asked."""

    policy: str
    allowed: frozenset[Request]


class Schedule:
    """Which stages may hold, from moment to moment. Written by one thread."""

    def __init__(self, first: Stage) -> None:
        self._moments: list[tuple[Stage, ...]] = [(first,)]

    @contextmanager
    def change(self, after: Stage) -> Iterator[None]:
        """Either stage may hold within the block, and ``after`` from its end on."""
        before = self._moments[-1][-1]
        self._moments.append((before, after))
        yield
        self._moments.append((after,))

    @property
    def changes(self) -> int:
        """How many changes there were."""
        return len(self._moments) // 2

    def now(self) -> int:
        """The number of this moment."""
        return len(self._moments) - 1

    def fates(self, request: Request, first: int, last: int) -> set[bool]:
        """Whether a request was allowed, by each of the stages of some moments."""
        return {request in stage.allowed for each in self._moments[first : last + 1] for stage in each}


@dataclass(slots=True)
class Tally:
    """What came of all requests."""

    sent: int = 0
    passed: int = 0
    refused: int = 0
    #: Forbidden, and the server got them; allowed, and refused.
    leaked: list[Request] = field(default_factory=list)
    wronged: list[Request] = field(default_factory=list)
    #: Made while one stage held, and forbidden by it: what `leaked` could have been.
    forbidden: int = 0
    #: Connections that ended without an answer, by how, and answers that are nobody's.
    resets: Counter[str] = field(default_factory=Counter)
    failures: Counter[int] = field(default_factory=Counter)
    changes: int = 0
    seconds: float = 0.0

    def __str__(self) -> str:
        return (
            f"{self.sent} requests in {self.seconds:.1f} s, {self.changes} changes: {self.passed} passed, "
            f"{self.refused} refused ({self.forbidden} had to be), {len(self.leaked)} leaked, "
            f"{len(self.wronged)} wronged, resets {dict(self.resets)}, failures {dict(self.failures)}"
        )


class Arrivals:
    """The server's side: numbers of requests that it got. Its ``see`` is for `http_server`."""

    def __init__(self) -> None:
        self.numbers: set[int] = set()

    def see(self, request: Received) -> None:
        """Remember one."""
        self.numbers.add(int(request.headers[NUMBER]))


@dataclass(frozen=True, slots=True)
class Client:
    """One who asks, in a namespace, over a connection that is kept or over many short ones."""

    namespace: Namespace
    address: str
    port: int
    keeps: bool


def load(
    clients: Sequence[Client],
    arrivals: Arrivals,
    mix: Sequence[Request],
    stages: Sequence[Stage],
    put_in_force: Callable[[Stage], None],
    count: int,
    patience: float = _PATIENCE,
) -> Tally:
    """Have ``count`` requests answered by all clients at once, while stages follow each other in a circle.

    The first stage is in force already. ``put_in_force`` returns when a stage holds. Raises what it raises,
    and TimeoutError where a client gets no answer within ``patience`` seconds.
    """
    run = _Run(Schedule(stages[0]), mix, count, patience)
    began = time.monotonic()
    with ThreadPoolExecutor(len(clients) + 1) as threads:
        changing = threads.submit(run.change, stages, put_in_force)
        asking = [threads.submit(run.ask, client) for client in clients]
        try:
            for each in asking:
                each.result()
        finally:
            run.over.set()
        changing.result()
    return run.tally(arrivals, time.monotonic() - began)


class _Made(NamedTuple):
    """A request that was made: over which moments, and the status of its answer, if any."""

    number: int
    request: Request
    first: int
    last: int
    status: int | None


class _Run:
    """One load on its way."""

    def __init__(self, schedule: Schedule, mix: Sequence[Request], count: int, patience: float) -> None:
        self.over = threading.Event()
        self._schedule = schedule
        self._mix = mix
        self._turns = itertools.count()
        self._numbers = itertools.count()
        self._count = count
        self._patience = patience
        self._made: list[_Made] = []
        self._resets: Counter[str] = Counter()

    def change(self, stages: Sequence[Stage], put_in_force: Callable[[Stage], None]) -> None:
        if len(stages) == 1:
            return
        for stage in itertools.islice(itertools.cycle(stages), 1, None):
            if self.over.is_set():
                return
            with self._schedule.change(stage):
                put_in_force(stage)

    def ask(self, client: Client) -> None:
        asking = _Asking(client)
        try:
            while (turn := next(self._turns)) < self._count:
                request = self._mix[turn % len(self._mix)]
                began = time.monotonic()
                while not self._answered(asking, request):
                    if time.monotonic() - began > self._patience:
                        raise TimeoutError(f"{request} gets no answer; endings: {dict(self._resets)}")
        finally:
            asking.end()

    def _answered(self, asking: "_Asking", request: Request) -> bool:
        number, first = next(self._numbers), self._schedule.now()
        status: int | None = None
        try:
            status = asking.ask(number, request).status
        except OSError as error:
            self._resets[type(error).__name__] += 1
        if status == _ENDED:
            self._resets[str(_ENDED)] += 1
            status = None
        self._made.append(_Made(number, request, first, self._schedule.now(), status))
        return status is not None

    def tally(self, arrivals: Arrivals, seconds: float) -> Tally:
        tally = Tally(changes=self._schedule.changes, resets=self._resets, seconds=seconds)
        for number, request, first, last, status in self._made:
            fates = self._schedule.fates(request, first, last)
            tally.sent += status is not None
            tally.passed += status == 200
            tally.refused += status == _REFUSED
            tally.forbidden += fates == {False}
            if status not in (200, _REFUSED, None):
                tally.failures[status] += 1
            if fates == {False} and number in arrivals.numbers:
                tally.leaked.append(request)
            if fates == {True} and status == _REFUSED:
                tally.wronged.append(request)
        return tally


class _Asking:
    """A client's connection, while it has one."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._open: HttpClient | None = None

    def ask(self, number: int, request: Request) -> Response:
        client = self._client
        headers = {NUMBER: str(number)} | ({} if client.keeps else {"connection": "close"})
        if self._open is None:
            self._open = HttpClient(client.namespace, client.address, client.port, _TIMEOUT)
        try:
            response = self._open.ask(request.method, request.path, headers)
        except BaseException:
            self.end()
            raise
        if not client.keeps or response.headers.get("connection") == "close":
            self.end()
        return response

    def end(self) -> None:
        if self._open is not None:
            with suppress(OSError):
                self._open.close()
            self._open = None
