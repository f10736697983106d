"""Container runtimes that the agent asks for labels, and whose changes it follows."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager

from kinety.api import overview
from kinety.api.errors import refuse
from kinety.source.runtime import Container, News, Runtime

log = logging.getLogger(__name__)

#: Until what could not be done is tried again, in seconds.
_PAUSE = 2.0

#: What a runtime told.
Told = tuple[Runtime, News]
Heed = Callable[[News], Awaitable[None]]


class Runtimes:
    """The runtimes of this node, asked as one. Lives on the event loop."""

    def __init__(self, runtimes: Sequence[Runtime] = ()) -> None:
        self._runtimes = runtimes
        #: Containers that are being attached, once for each interface, and what was told of them meanwhile.
        self._attaching: list[tuple[str, list[Told]]] = []
        #: What could not be put in force, by container.
        self._behind: dict[str, Told] = {}

    async def find(self, container: str) -> Container | None:
        """What a runtime knows of a container; None when it is nobody's.

        Raises ApiError when one does not answer and no other knows the container: its labels are unknown.
        """
        asked = (runtime.find(container) for runtime in self._runtimes)
        answers = await asyncio.gather(*asked, return_exceptions=True)
        for answer in answers:
            if isinstance(answer, Container):
                return answer
        for runtime, answer in zip(self._runtimes, answers, strict=True):
            if isinstance(answer, OSError):
                message = f"{runtime.name} does not say what labels container {container} has"
                raise refuse(503, f"{message}: {answer}") from answer
            if isinstance(answer, BaseException):
                raise answer
        if self._runtimes:
            log.info("no runtime knows container %s; it has the labels of its network alone", container)
        return None

    @contextmanager
    def attaching(self, container: str) -> Iterator[list[Told]]:
        """What is told of a container while the block runs, in which it has no endpoint yet.

        The last of it is to be passed on at once after the block.
        """
        told: list[Told] = []
        self._attaching.append((container, told))
        try:
            yield told
        finally:
            self._attaching = [each for each in self._attaching if each[1] is not told]

    async def pass_on(self, runtime: Runtime, news: News, heed: Heed) -> None:
        """Put what is told in force; what cannot be is tried again, and shown until then."""
        try:
            await heed(news)
            self._behind.pop(news.id, None)
        except Exception as error:
            if news.id not in self._behind:
                log.error("what is told of container %s is not in force: %s", news.id, error)
            self._behind[news.id] = runtime, news

    async def follow(self, heed: Heed) -> None:
        """Pass on what runtimes tell, and try again what fails. Does not end while there is a runtime."""
        async with asyncio.TaskGroup() as group:
            for runtime in self._runtimes:
                group.create_task(self._follow(runtime, heed))
            if self._runtimes:
                group.create_task(self._catch_up(heed))

    def statuses(self) -> tuple[overview.Runtime, ...]:
        """How each runtime is, and what is not done that it told."""
        return tuple(
            overview.Runtime(each.name, each.address, each.problem or self._late(each))
            for each in self._runtimes
        )

    def _late(self, runtime: Runtime) -> str | None:
        count = sum(teller is runtime for teller, _ in self._behind.values())
        return f"news of {count} containers are not in force and tried again" if count else None

    async def _follow(self, runtime: Runtime, heed: Heed) -> None:
        while True:
            try:
                async for news in runtime.watch():
                    for container, told in self._attaching:
                        if container == news.id:
                            told.append((runtime, news))
                    await self.pass_on(runtime, news, heed)
            except Exception:
                log.exception("could not follow %s, and try again", runtime.name)
            await asyncio.sleep(_PAUSE)

    async def _catch_up(self, heed: Heed) -> None:
        while True:
            await asyncio.sleep(_PAUSE)
            for key in tuple(self._behind):
                if key in self._behind:
                    await self.pass_on(*self._behind[key], heed)
