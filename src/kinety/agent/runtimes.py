"""Container runtimes that the agent asks for labels, and whose changes it follows."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager

from kinety.api import overview
from kinety.api.errors import refuse
from kinety.source.runtime import Container, Runtime

log = logging.getLogger(__name__)

#: Until what could not be done is tried again, in seconds.
_PAUSE = 2.0

Relabel = Callable[[Container], Awaitable[None]]


class Runtimes:
    """The runtimes of this node, asked as one. Lives on the event loop."""

    def __init__(self, runtimes: Sequence[Runtime] = ()) -> None:
        self._runtimes = runtimes
        #: Containers that are being attached, and what was told of them meanwhile.
        self._attaching: dict[str, list[Container]] = {}
        #: Containers whose labels could not be put in force, and who told of them.
        self._behind: dict[str, tuple[Runtime, Container]] = {}

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
        return None

    @contextmanager
    def attaching(self, container: str) -> Iterator[list[Container]]:
        """What is told of a container while the block runs, in which it has no endpoint yet."""
        told = self._attaching[container] = []
        try:
            yield told
        finally:
            if self._attaching.get(container) is told:
                del self._attaching[container]

    async def follow(self, relabel: Relabel) -> None:
        """Pass on what runtimes tell, and try again what fails. Does not end while there is a runtime."""
        async with asyncio.TaskGroup() as group:
            for runtime in self._runtimes:
                group.create_task(self._follow(runtime, relabel))
            if self._runtimes:
                group.create_task(self._catch_up(relabel))

    def statuses(self) -> tuple[overview.Runtime, ...]:
        """How each runtime is, and what is not done that it told."""
        return tuple(
            overview.Runtime(each.name, each.address, each.problem or self._late(each))
            for each in self._runtimes
        )

    def _late(self, runtime: Runtime) -> str | None:
        count = sum(teller is runtime for teller, _ in self._behind.values())
        return f"labels of {count} containers are not in force and tried again" if count else None

    async def _follow(self, runtime: Runtime, relabel: Relabel) -> None:
        while True:
            try:
                async for container in runtime.watch():
                    if container.id in self._attaching:
                        self._attaching[container.id].append(container)
                    await self._pass_on(runtime, container, relabel)
            except Exception:
                log.exception("could not follow %s, and try again", runtime.name)
            await asyncio.sleep(_PAUSE)

    async def _catch_up(self, relabel: Relabel) -> None:
        while True:
            await asyncio.sleep(_PAUSE)
            for key in tuple(self._behind):
                if key in self._behind:
                    await self._pass_on(*self._behind[key], relabel)

    async def _pass_on(self, runtime: Runtime, container: Container, relabel: Relabel) -> None:
        try:
            await relabel(container)
            self._behind.pop(container.id, None)
        except Exception as error:
            log.error("labels of container %s are not in force: %s", container.id, error)
            self._behind[container.id] = (runtime, container)
