"""The load notices what it is there to notice: a policy that leaks, one that refuses, and endings."""

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field

import pytest
from aiohttp import web

from kinety.kernel.namespace import Namespace
from kinety.testing.wait import wait_until
from tests.layer7.background import background
from tests.layer7.load import NUMBER, Arrivals, Client, Request, Schedule, Stage, Tally, load

pytestmark = pytest.mark.needs("root", "netns", "ipv6")

GET, PUT, SOMETIMES = Request("GET", "/v1/"), Request("PUT", "/v1/port"), Request("POST", "/v1/x")
MIX = [GET, PUT, GET, SOMETIMES]
STAGES = [Stage("with", frozenset({GET, SOMETIMES})), Stage("without", frozenset({GET}))]
PORT, COUNT = 8080, 400


@dataclass
class Gate:
    """A server behind a policy that is as right or wrong as a test wants it."""

    #: What it does to one in ten requests: nothing, or ``leak``, ``refuse``, ``end``, ``lose``, ``fail``.
    fault: str
    arrivals: Arrivals = field(default_factory=Arrivals)
    stage: Stage = STAGES[0]
    count: int = 0

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        self.count += 1
        fault = self.fault if self.count % 10 == 0 else ""
        allowed = Request(request.method, request.raw_path) in self.stage.allowed
        if fault == "end":
            assert request.transport is not None
            request.transport.abort()
        elif fault in ("lose", "fail"):
            return web.Response(status=503 if fault == "lose" else 500)
        elif fault == "leak" or (allowed and fault != "refuse"):
            self.arrivals.numbers.add(int(request.headers[NUMBER]))
        return web.Response(status=200 if allowed and fault != "refuse" else 403)


@contextmanager
def gate(namespace: Namespace, fault: str) -> Iterator[Gate]:
    made = Gate(fault)

    async def start(stack: AsyncExitStack) -> None:
        serving = web.Server(made.answer, access_log=None)
        stack.push_async_callback(serving.shutdown, 0.1)
        listening = await asyncio.get_running_loop().create_server(serving, "127.0.0.1", PORT)
        stack.callback(listening.close)

    with background(namespace, start):
        yield made


def loaded(namespace: Namespace, fault: str = "") -> Tally:
    """What the load says of a gate with a fault."""
    with gate(namespace, fault) as made:

        def put_in_force(stage: Stage) -> None:
            then = made.count
            wait_until(lambda: made.count >= min(then + 20, COUNT), 10)
            made.stage = stage

        clients = [Client(namespace, "127.0.0.1", PORT, keeps) for keeps in (True, True, False, False)]
        return load(clients, made.arrivals, MIX, STAGES, put_in_force, COUNT)


def test_a_policy_that_holds_is_left_in_peace(namespace: Namespace) -> None:
    tally = loaded(namespace)
    assert (tally.leaked, tally.wronged, tally.resets, tally.failures) == ([], [], {}, {})
    assert tally.sent == tally.passed + tally.refused == COUNT
    assert COUNT // 4 <= tally.forbidden <= tally.refused
    assert tally.changes > 3


def test_a_leak_is_seen_even_where_it_answers_with_a_refusal(namespace: Namespace) -> None:
    tally = loaded(namespace, "leak")
    assert tally.leaked
    assert GET not in tally.leaked
    assert not tally.wronged


def test_an_allowed_request_that_is_refused_is_seen(namespace: Namespace) -> None:
    tally = loaded(namespace, "refuse")
    assert GET in tally.wronged
    assert PUT not in tally.wronged
    assert not tally.leaked


@pytest.mark.parametrize("fault", ["end", "lose"])
def test_endings_of_either_connection_are_counted_and_tried_again(namespace: Namespace, fault: str) -> None:
    tally = loaded(namespace, fault)
    assert (tally.leaked, tally.wronged) == ([], [])
    assert (tally.sent, tally.failures) == (COUNT, {})
    assert sum(tally.resets.values()) >= COUNT // 10


def test_failures_are_counted_and_no_endings(namespace: Namespace) -> None:
    tally = loaded(namespace, "fail")
    assert (tally.leaked, tally.wronged, tally.resets) == ([], [], {})
    assert tally.failures == {500: COUNT // 10}


def test_a_change_that_is_said_to_be_in_force_and_is_not_is_seen() -> None:
    """Alone in time: whether a moment without changes meets a request is a matter of luck above."""
    schedule = Schedule(STAGES[0])
    before = schedule.now()
    with schedule.change(STAGES[1]):
        during = schedule.now()
    after = schedule.now()
    assert schedule.fates(SOMETIMES, before, before) == {True}
    assert schedule.fates(SOMETIMES, before, during) == {True, False}
    assert schedule.fates(SOMETIMES, during, after) == {True, False}
    assert schedule.fates(SOMETIMES, after, after) == {False}
    assert schedule.fates(GET, before, after) == {True}
    assert schedule.fates(PUT, before, after) == {False}


def test_who_is_never_answered_says_so(namespace: Namespace) -> None:
    with pytest.raises(TimeoutError, match=r"gets no answer; endings: \{'ConnectionRefusedError': \d+\}"):
        load(
            [Client(namespace, "127.0.0.1", PORT, True)], Arrivals(), MIX, STAGES[:1], lambda _: None, 1, 0.1
        )
