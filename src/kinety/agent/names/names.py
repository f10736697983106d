"""What DNS said, put into the plan before whoever asked may act on it, and taken out when it is over.

Answers that arrive while the worker is busy are taken as one step. An address of a name that is known costs
the kernel nothing. A mapping that expired stays while the kernel has an open flow with its address: who
talks goes on talking, and whom the mapping lets in may begin to.

The DNS proxy passes answers without asking as long as it takes the kernel to have their addresses. So it
hears of what goes before it goes, and nothing is learnt between its hearing and the going: who asks again
meanwhile is answered when the kernel has it again. What was learnt before, and is confirmed after it heard,
the proxy does not take for an answer (``kinety.proxy.dns.gate``).
"""

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from kinety.agent.control import Control
from kinety.agent.names.cache import Lesson, NameCache, Pair
from kinety.agent.names.queue import NameQueue
from kinety.agent.names.seldom import Seldom
from kinety.agent.store import StoreError
from kinety.agent.worker import Worker
from kinety.api.errors import ApiError
from kinety.model.address import IPAddress, Prefix, unpack_address
from kinety.model.name import Answer
from kinety.plan.change import CapacityError
from kinety.plan.fact import NamesLearnt

log = logging.getLogger(__name__)

#: Seconds between looks for mappings that have expired.
_PAUSE = 5.0
_ADDRESS_BITS = 128

#: A name, and an address that it has.
Mapped = tuple[str, IPAddress]


async def nobody(_: Collection[Mapped]) -> None:
    """Where no proxy passes answers on."""


@dataclass(frozen=True, slots=True)
class NameStatistics:
    """Mappings, those of them that expired and stay for open flows, and what did not stay or did not come.

    ``evicted`` went before their time: their names had too many addresses. ``refused`` answers were not
    taken: there was no room, or store or kernel failed; ``crowded`` ones because who asked had brought as
    many mappings as were free. These three count from the agent's start.
    """

    mappings: int
    held: int
    evicted: int
    refused: int
    crowded: int


class Names:
    """The names of a node. Coroutines and ``mappings`` are for the event loop, all else for the worker."""

    def __init__(
        self,
        control: Control,
        worker: Worker,
        cache: NameCache,
        forget: Callable[[Collection[Mapped]], Awaitable[None]] = nobody,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """``cache`` is what the plan knows already. ``wall``: seconds since 1970.

        ``forget`` tells whoever passes answers on which mappings are about to go; it does not raise.
        """
        self.cache = cache
        self._forget = forget
        self._lock = threading.Lock()
        self._control = control
        self._worker = worker
        self._wall = wall
        self._waiting = NameQueue()
        self._taking: asyncio.Task[None] | None = None
        self._held: frozenset[Pair] = frozenset()
        #: Mappings come or go, one step at a time: from telling the proxy to the kernel.
        self._changing = asyncio.Lock()
        #: What goes in the step that is being taken; a proxy that comes is not told of it.
        self._leaving: frozenset[Pair] = frozenset()
        self._evicted = 0
        self._refused = 0
        self._crowded = 0
        self._tell_refused, self._tell_crowded = Seldom(), Seldom()

    async def learn(self, answer: Answer) -> bool:
        """Take an answer; returns when the kernel knows its addresses.

        False: it does not know them all, and the reason is logged.
        """
        done = self._waiting.put(answer)
        if self._taking is None:
            self._taking = asyncio.create_task(self._take_waiting())
        return await done

    async def run(self) -> None:
        """Let go of what has expired, until cancelled."""
        while True:
            await asyncio.sleep(_PAUSE)
            try:
                await self.let_go()
            except (CapacityError, StoreError, OSError, ApiError) as error:
                log.warning("names that expired stay for now: %s", error)

    async def let_go(self) -> None:
        """Forget what has expired and nobody talks to. Raises as `Control.learn`; then nothing changed."""
        async with self._changing:
            over = await self._worker.run(self._over)
            if over:
                async with self._withheld(over):
                    await self._worker.run(lambda: self._realise(self.cache.forget(over)))

    async def clean(self, name: str | None) -> int:
        """Forget a name, or all of them; open flows are judged anew. Returns how many mappings went.

        Raises as ``let_go``.
        """
        async with self._changing:
            pairs = await self._worker.run(lambda: frozenset(self._pairs(name)))
            async with self._withheld(pairs):
                return await self._worker.run(lambda: self._realise(self.cache.forget(pairs)))

    def mappings(self) -> dict[Mapped, float]:
        """What the kernel knows where rules ask for it, and for how many seconds; not what is held."""
        now = self._wall()
        with self._lock:
            return {
                _mapped(pair): when - now
                for pair, when in self.cache.mappings().items()
                if when > now and pair not in self._leaving
            }

    def held(self, pair: Pair) -> bool:
        """Whether a mapping has expired and stays for open flows, as far as was looked."""
        return pair in self._held

    def seconds_left(self, expires: float) -> float:
        """Seconds for which a mapping lasts; 0 for one that has expired."""
        return max(0.0, expires - self._wall())

    def statistics(self) -> NameStatistics:
        """How much there is of it."""
        return NameStatistics(len(self.cache), len(self._held), self._evicted, self._refused, self._crowded)

    async def _take_waiting(self) -> None:
        """Take answers until none is left."""
        while self._waiting:
            async with self._changing:
                batch = self._waiting.take()
                results = await self._take_what_fits([each.answer for each in batch])
            for each, result in zip(batch, results, strict=True):
                if not each.done.done():
                    each.done.set_result(result)
        self._taking = None

    async def _take_what_fits(self, answers: Sequence[Answer]) -> list[bool]:
        """Which answers the kernel has now; clients that have brought enough bring no more."""
        fit = self.cache.fit(answers)
        results = iter(await self._take([answer for answer, fits in zip(answers, fit, strict=True) if fits]))
        self._turn_away([answer for answer, fits in zip(answers, fit, strict=True) if not fits])
        return [fits and next(results) for fits in fit]

    def _turn_away(self, answers: Sequence[Answer]) -> None:
        """Count answers of clients that have brought enough, and tell now and then."""
        self._crowded += len(answers)
        for answer in answers:
            if (others := self._tell_crowded()) is not None:
                log.warning(
                    "the addresses of %s were not learnt: who asked, %s, has brought %d of the %d mappings"
                    " that there may be, and each client may have as many as are free (%d more answers since"
                    " this was last said); allow more with --map-size ipcache_hosts=N",
                    answer.name,
                    answer.client,
                    self.cache.brought(answer.client),
                    self.cache.room,
                    others,
                )

    async def _take(self, answers: Sequence[Answer]) -> list[bool]:
        """Which answers the kernel has now: all in one step, or each in its own where that cannot be."""
        if not answers:
            return []
        try:
            await self._learn(answers)
        except (CapacityError, StoreError, OSError, ApiError) as error:
            if len(answers) > 1:
                return [each for answer in answers for each in await self._take([answer])]
            self._refused += 1
            if (others := self._tell_refused()) is not None:
                log.warning(
                    "the addresses of %s were not learnt: %s (%d more answers since this was last said)",
                    answers[0].name,
                    error,
                    others,
                )
            return [False]
        except Exception:
            log.exception("answers of name servers were not taken")
            return [False] * len(answers)
        return [True] * len(answers)

    async def _learn(self, answers: Sequence[Answer]) -> None:
        """Take answers as one step; whoever passes answers on hears first of what they push out."""
        pushing = await self._worker.run(self._learn_unless_pushing, answers)
        if pushing is not None:
            async with self._withheld(pushing.gone):
                await self._worker.run(self._realise, pushing)

    def _learn_unless_pushing(self, answers: Sequence[Answer]) -> Lesson | None:
        """Take answers, unless they push others out: what would change then."""
        lesson = self.cache.learn(answers, self._wall())
        if lesson.gone:
            return lesson
        self._realise(lesson)
        return None

    @asynccontextmanager
    async def _withheld(self, pairs: frozenset[Pair]) -> AsyncIterator[None]:
        """Nobody passes answers with these mappings on, now and until they have gone."""
        self._leaving = pairs
        try:
            await self._forget(list(map(_mapped, pairs)))
            yield
        finally:
            self._leaving = frozenset()

    def _pairs(self, name: str | None) -> Collection[Pair]:
        return self.cache.mappings() if name is None else self.cache.of(name)

    def _over(self) -> frozenset[Pair]:
        """What has expired and nobody talks to."""
        expired = self.cache.expired(self._wall())
        asked = frozenset(address for _, address in expired)
        live = self._control.datapath.flows.addresses(asked) if asked else frozenset()
        self._held = frozenset(pair for pair in expired if pair[1] in live)
        return expired - self._held

    def _realise(self, lesson: Lesson) -> int:
        """Change plan, store and kernel, and then the cache. Returns how many mappings went."""
        if lesson.names:
            self._control.learn(facts(lesson.names), lambda: self._control.store.names.write(lesson))
        elif lesson.expires or lesson.gone:
            with self._control.store.transaction():
                self._control.store.names.write(lesson)
        with self._lock:
            self.cache.take(lesson)
        if lesson.evicted:
            self._evicted += lesson.evicted
            log.warning(
                "%d addresses went before their time, for a name has at most %d; allow more with"
                " --fqdn-max-addresses",
                lesson.evicted,
                self.cache.most,
            )
        return len(lesson.gone)


def _mapped(pair: Pair) -> Mapped:
    return pair[0], unpack_address(pair[1])


def facts(names: Mapping[bytes, frozenset[str]]) -> Iterator[NamesLearnt]:
    """Names of addresses, for the plan."""
    return (NamesLearnt(Prefix(address, _ADDRESS_BITS), each) for address, each in names.items())
