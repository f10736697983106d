"""What DNS said, put into the plan before whoever asked may act on it, and taken out when it is over.

Answers that arrive while the worker is busy are taken as one step. An address of a name that is known costs
the kernel nothing. A mapping that expired stays while the kernel has an open flow with its address: who
talks goes on talking, and whom the mapping lets in may begin to.

The DNS proxy passes answers without asking as long as it takes the kernel to have their addresses. So it
hears of what goes before it goes; who asks again meanwhile is answered when the kernel has it again.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from kinety.agent.control import Control
from kinety.agent.name_cache import Lesson, NameCache, Pair
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
    taken: there was no room, or store or kernel failed. These two count from the agent's start.
    """

    mappings: int
    held: int
    evicted: int
    refused: int


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
        self._waiting: list[tuple[Answer, asyncio.Future[bool]]] = []
        self._taking: asyncio.Task[None] | None = None
        self._held: frozenset[Pair] = frozenset()
        #: What answers have pushed out, and nobody was told of yet.
        self._gone_early: list[Pair] = []
        self._evicted = 0
        self._refused = 0

    async def learn(self, answer: Answer) -> bool:
        """Take an answer; returns when the kernel knows its addresses.

        False: it does not know them all, and the reason is logged.
        """
        done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append((answer, done))
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
        over = await self._worker.run(self._over)
        if over:
            await self._forget(list(map(_mapped, over)))
            await self._worker.run(self._end, over)

    async def clean(self, name: str | None) -> int:
        """Forget a name, or all of them; open flows are judged anew. Returns how many mappings went.

        Raises as ``let_go``.
        """
        pairs = await self._worker.run(lambda: [*self._pairs(name)])
        await self._forget(list(map(_mapped, pairs)))
        return await self._worker.run(lambda: self._realise(self.cache.forget(pairs)))

    def mappings(self) -> dict[Mapped, float]:
        """What the kernel knows where rules ask for it, and for how many seconds; not what is held."""
        now = self._wall()
        with self._lock:
            return {_mapped(pair): when - now for pair, when in self.cache.mappings().items() if when > now}

    def held(self, pair: Pair) -> bool:
        """Whether a mapping has expired and stays for open flows, as far as was looked."""
        return pair in self._held

    def seconds_left(self, expires: float) -> float:
        """Seconds for which a mapping lasts; 0 for one that has expired."""
        return max(0.0, expires - self._wall())

    def statistics(self) -> NameStatistics:
        """How much there is of it."""
        return NameStatistics(len(self.cache), len(self._held), self._evicted, self._refused)

    async def _take_waiting(self) -> None:
        """Take answers until none is left."""
        while self._waiting:
            batch, self._waiting = self._waiting, []
            results = [False] * len(batch)
            try:
                results = await self._worker.run(self._take, [answer for answer, _ in batch])
                if self._gone_early:
                    gone, self._gone_early = self._gone_early, []
                    await self._forget(list(map(_mapped, gone)))
            except Exception:
                log.exception("answers of name servers were not taken")
            for (_, done), result in zip(batch, results, strict=True):
                if not done.done():
                    done.set_result(result)
        self._taking = None

    def _take(self, answers: Sequence[Answer]) -> list[bool]:
        """All answers in one step, or each in its own where there is no room for all."""
        try:
            self._realise(self.cache.learn(answers, self._wall()))
        except (CapacityError, StoreError, OSError, ApiError) as error:
            if len(answers) > 1:
                return [each for answer in answers for each in self._take([answer])]
            self._refused += 1
            log.warning("the addresses of %s were not learnt: %s", answers[0].name, error)
            return [False]
        return [True] * len(answers)

    def _pairs(self, name: str | None) -> Collection[Pair]:
        return self.cache.mappings() if name is None else self.cache.of(name)

    def _over(self) -> frozenset[Pair]:
        """What has expired and nobody talks to."""
        expired = self.cache.expired(self._wall())
        asked = frozenset(address for _, address in expired)
        live = self._control.datapath.flows.addresses(asked) if asked else frozenset()
        self._held = frozenset(pair for pair in expired if pair[1] in live)
        return expired - self._held

    def _end(self, over: frozenset[Pair]) -> None:
        """Forget what was over, unless an answer has renewed it since."""
        self._realise(self.cache.forget(over & self.cache.expired(self._wall())))

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
            self._gone_early += lesson.gone
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
