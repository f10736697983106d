"""Reasons of drops that no rule decided, looked up in the plan for those who watch.

The plan belongs to the worker's thread, so it is asked there, in between requests and without holding up the
event loop. A reason is remembered until the plan changes. Somebody who tries every port makes a new question
with each packet: only so many are asked in a second, and the other drops go without a reason.
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

from kinety import abi
from kinety.agent.worker import Worker
from kinety.api.insight import Denial
from kinety.explain.traffic import ECHO
from kinety.model.endpoint import EndpointId
from kinety.model.identity import Identity
from kinety.model.rule import DEFAULT_RULE, Direction

#: Questions in a second, and reasons that are remembered.
PER_SECOND, REMEMBERED = 25, 1024
#: Seconds that events wait for their reasons while the worker is busy with something long.
_PATIENCE = 0.2


class Denied(NamedTuple):
    """A flow that an endpoint denied; ``port`` is the message type for ICMP."""

    endpoint: EndpointId
    direction: Direction
    peer: Identity
    protocol: int
    port: int


def denied(event: abi.Event) -> Denied | None:
    """What to ask about an event; None when a rule decided, or something else than policy."""
    if event.kind != abi.EventKind.DROP or event.reason != abi.Reason.POLICY_DENIED:
        return None
    if event.rule != DEFAULT_RULE:
        return None
    port = event.destination_port
    if event.protocol in ECHO:
        if not event.source_port:  # no echo: events do not say which message it was
            return None
        port = ECHO[event.protocol]
    direction = Direction(event.direction)
    peer = Identity(event.remote_identity)
    return Denied(EndpointId(event.endpoint), direction, peer, event.protocol, port)


class Denials:
    """Reasons by flow. ``answer`` runs on the worker's thread; ``steps`` counts the plan's changes."""

    def __init__(
        self,
        worker: Worker,
        answer: Callable[[Denied], Denial | None],
        steps: Callable[[], int],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._worker = worker
        self._answer = answer
        self._steps = steps
        self._clock = clock
        self._known: dict[Denied, Denial | None] = {}
        self._as_of = steps()
        self._second = clock()
        self._left = PER_SECOND

    def reason(self, flow: Denied) -> Denial | None:
        """The reason, if it has been learnt."""
        return self._known.get(flow)

    async def learn(self, flows: Iterable[Denied]) -> None:
        """Look up reasons, as many as there is time for. Nothing is lost when this is cancelled."""
        if self._as_of != self._steps() or len(self._known) >= REMEMBERED:
            self._known = {}
            self._as_of = self._steps()
        known = self._known
        wanted = self._admitted([flow for flow in dict.fromkeys(flows) if flow not in known])
        if not wanted:
            return

        def look() -> None:
            for flow in wanted:
                if flow not in known:  # another watcher may have asked meanwhile
                    known[flow] = self._answer(flow)

        done, _ = await asyncio.wait([asyncio.ensure_future(self._worker.aside(look))], timeout=_PATIENCE)
        for each in done:
            each.result()

    def _admitted(self, flows: list[Denied]) -> list[Denied]:
        now = self._clock()
        if now - self._second >= 1.0:
            self._second, self._left = now, PER_SECOND
        admitted = flows[: self._left]
        self._left -= len(admitted)
        return admitted
