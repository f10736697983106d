"""Reasons are asked for on the worker's thread, once, and not too often."""

import asyncio
import threading
from collections.abc import Awaitable, Callable

import pytest

from kinety import abi
from kinety.agent.denial import PER_SECOND, REMEMBERED, Denials, Denied, denied
from kinety.agent.worker import Worker
from kinety.api.insight import Denial
from kinety.model.endpoint import EndpointId
from kinety.model.identity import Identity
from kinety.model.rule import Direction
from tests.unit.agent.conftest import Clock
from tests.unit.agent.test_stream import event

REASON = Denial(("CiliumNetworkPolicy/default/rule1",), None)


def flow(port: int) -> Denied:
    return Denied(EndpointId(1), Direction.INGRESS, Identity(258), 6, port)


class Plan:
    """Answers, and what was asked on which thread."""

    def __init__(self) -> None:
        self.steps = 0
        self.asked: list[int] = []
        self.threads: set[int] = set()
        self.clock = Clock()
        self.answered = threading.Event()
        self.answered.set()

    def answer(self, asked: Denied) -> Denial | None:
        self.asked.append(asked.port)
        self.threads.add(threading.get_ident())
        self.answered.wait(10)
        return REASON

    def tell(self, story: Callable[[Denials], Awaitable[None]]) -> None:
        async def run() -> None:
            worker = Worker()
            try:
                await story(Denials(worker, self.answer, lambda: self.steps, self.clock))
            finally:
                self.answered.set()
                worker.close()

        asyncio.run(run())


def test_a_reason_is_asked_for_once_and_not_on_the_event_loop() -> None:
    plan = Plan()

    async def story(denials: Denials) -> None:
        assert denials.reason(flow(80)) is None
        await asyncio.gather(*(denials.learn([flow(80), flow(81), flow(80)]) for _ in range(3)))
        assert denials.reason(flow(80)) == denials.reason(flow(81)) == REASON

    plan.tell(story)
    assert plan.asked == [80, 81]
    assert threading.get_ident() not in plan.threads


def test_it_is_forgotten_when_the_plan_changes() -> None:
    plan = Plan()

    async def story(denials: Denials) -> None:
        await denials.learn([flow(80)])
        plan.steps += 1
        await denials.learn([flow(81)])
        assert denials.reason(flow(80)) is None
        assert denials.reason(flow(81)) == REASON

    plan.tell(story)


def test_so_many_a_second() -> None:
    plan = Plan()

    async def story(denials: Denials) -> None:
        for first in (0, 1000):
            await denials.learn(flow(first + port) for port in range(PER_SECOND + 5))
        assert plan.asked == list(range(PER_SECOND))
        assert denials.reason(flow(PER_SECOND)) is None
        plan.clock.now += 1.0
        await denials.learn([flow(2000)])
        assert plan.asked[-1] == 2000

    plan.tell(story)


def test_so_many_are_remembered() -> None:
    plan = Plan()

    async def story(denials: Denials) -> None:
        for port in range(0, REMEMBERED, PER_SECOND):
            await denials.learn(flow(port + each) for each in range(PER_SECOND))
            plan.clock.now += 1.0
        assert denials.reason(flow(0)) == REASON
        await denials.learn([flow(60_000)])
        assert denials.reason(flow(0)) is None
        assert denials.reason(flow(60_000)) == REASON

    plan.tell(story)


def test_events_do_not_wait_for_a_busy_worker() -> None:
    plan = Plan()

    async def story(denials: Denials) -> None:
        plan.answered.clear()
        await asyncio.wait_for(denials.learn([flow(80)]), 5)
        assert denials.reason(flow(80)) is None

    plan.tell(story)


ECHO_REQUEST = {"protocol": 1, "source_port": 77, "destination_port": 0}


@pytest.mark.parametrize(
    ("fields", "asked"),
    [
        ({"rule": 0}, flow(80)),
        ({"rule": 7}, None),
        ({"rule": 0, "kind": int(abi.EventKind.NEW_FLOW)}, None),
        ({"rule": 0, "reason": int(abi.Reason.MULTICAST)}, None),
        ({"rule": 0, **ECHO_REQUEST}, flow(8)._replace(protocol=1)),
        ({"rule": 0, **ECHO_REQUEST, "source_port": 0}, None),
    ],
)
def test_what_is_asked_about_an_event(fields: dict[str, int], asked: Denied | None) -> None:
    assert denied(event(**fields)) == asked
