"""One change at a time, until Envoy has it; whatever comes meanwhile is the next one, all together.

A change that Envoy refuses leaves what was in force. Where several went together, each is tried by itself, so
that none has to pay for another.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field

from kinety.proxy.envoy.discovery import Discovery
from kinety.proxy.envoy.resource import TYPES, Resource
from kinety.proxy.error import ProxyError

#: Seconds that each of many listeners may take longer.
_EACH = 0.01
#: What is wanted of names, by type; None where nothing is.
Change = Mapping[str, Mapping[str, Resource | None]]


@dataclass(slots=True, eq=False)
class _Waiting:
    change: Change
    done: bool = False
    error: ProxyError | None = field(default=None)

    def finish(self, error: ProxyError | None = None) -> None:
        self.done, self.error = True, error


class Delivery:
    """Brings changes to Envoy by way of a `Discovery`."""

    def __init__(
        self,
        discovery: Discovery,
        patience: float,
        served: Callable[[Collection[str]], Awaitable[None]],
        absence: Callable[[], str],
    ) -> None:
        """``served`` returns when listeners of these names can be connected to.

        ``absence`` says why Envoy is not there. ``patience`` is in seconds, for one change.
        """
        self._discovery = discovery
        self._patience = patience
        self._served = served
        self._absence = absence
        self._turn = asyncio.Lock()
        self._waiting: list[_Waiting] = []

    async def deliver(self, change: Change) -> None:
        """Return when Envoy has the change and serves it. Raises ProxyError when it does not come to that."""
        mine = _Waiting(change)
        self._waiting.append(mine)
        try:
            async with self._turn:
                if not mine.done:
                    together = list(self._waiting)
                    await self._together(together)
        finally:
            self._waiting = [each for each in self._waiting if each is not mine and not each.done]
        if mine.error is not None:
            raise mine.error

    async def _together(self, waiting: Collection[_Waiting]) -> None:
        try:
            await self._attempt([each.change for each in waiting])
        except ProxyError as error:
            if len(waiting) == 1:
                for each in waiting:
                    each.finish(error)
                return
            for each in waiting:
                await self._together([each])
        else:
            for each in waiting:
                each.finish()

    async def _attempt(self, changes: Collection[Change]) -> None:
        """Raises ProxyError when it comes to nothing; then the former state is wanted again."""
        former = self._want(changes)
        names = {name for change in changes for resources in change.values() for name in resources}
        try:
            async with asyncio.timeout(self._patience + _EACH * len(names)):
                await self._discovery.tell()
                await self._discovery.confirmed(names)
                await self._served(names)
        except BaseException as error:
            self._want([former])
            await self._discovery.tell()
            if isinstance(error, ValueError):
                raise ProxyError(f"Envoy refuses: {error}") from error
            if isinstance(error, TimeoutError):
                raise ProxyError(self._lateness()) from error
            raise

    def _want(self, changes: Collection[Change]) -> Change:
        """Want changes from now on. Returns what was wanted before."""
        former: dict[str, dict[str, Resource | None]] = {type: {} for type in TYPES}
        for change in changes:
            for type, resources in change.items():
                for name in resources:
                    former[type].setdefault(name, self._discovery.wanted(type, name))
                self._discovery.want(type, resources)
        return former

    def _lateness(self) -> str:
        if self._discovery.connected:
            return f"Envoy did not take the change within {self._patience:g} s"
        return f"Envoy is not there: {self._absence()}"
