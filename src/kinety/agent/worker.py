"""One thread for everything that changes the plan, the store or the kernel.

The event loop stays free for requests and events. There is one such thread and it takes work in
order, so nothing behind it needs a lock. Background work only gets a turn after nothing was asked
for a while: a piece of it may take 30 ms, which no request should wait for. What has nothing to do but wait
for the kernel or the disk does so on a second thread.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

_P = ParamSpec("_P")
_T = TypeVar("_T")

#: Seconds without a request before background work begins, and when it is urgent.
QUIET, HURRY = 0.2, 0.002


class Worker:
    """Runs functions one after another on its thread."""

    def __init__(self, after: Callable[[], None] = lambda: None) -> None:
        """``after`` is called on the thread after each function."""
        self._after = after
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="kinety-worker")
        self._patient = ThreadPoolExecutor(1, thread_name_prefix="kinety-patient")
        self._waiting = 0
        self._last = 0.0
        self._active = asyncio.Event()

    async def run(self, function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """The result of a function, run when all that came before has been."""
        loop = asyncio.get_running_loop()

        def job() -> _T:
            try:
                return function(*args, **kwargs)
            finally:
                self._after()

        self._waiting += 1
        try:
            return await loop.run_in_executor(self._executor, job)
        finally:
            self._waiting -= 1
            self._last = loop.time()
            self._active.set()

    async def aside(self, function: Callable[[], _T]) -> _T:
        """The result of a short function that changes nothing; background work need not wait for it."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, function)

    async def maintain(
        self, piece: Callable[[], bool], urgent: Callable[[], bool], linger: Callable[[], None] = lambda: None
    ) -> None:
        """Run pieces of background work whenever it is quiet; ``piece`` says whether there is more.

        ``urgent`` is asked whether a shorter quiet will do. ``linger`` does after each piece what has to be
        waited for, on another thread: requests go on meanwhile.
        """
        loop = asyncio.get_running_loop()
        more = True
        while True:
            if not more:
                await self._active.wait()
            await self._quiet(urgent)
            self._active.clear()
            more = await loop.run_in_executor(self._executor, piece)
            await loop.run_in_executor(self._patient, linger)

    async def _quiet(self, urgent: Callable[[], bool]) -> None:
        loop = asyncio.get_running_loop()
        while True:
            quiet = HURRY if urgent() else QUIET
            rest = self._last + quiet - loop.time()
            if not self._waiting and rest <= 0:
                return
            await asyncio.sleep(quiet if self._waiting else rest)

    def close(self) -> None:
        """Finish what is running and end the threads."""
        self._executor.shutdown(wait=True, cancel_futures=True)
        self._patient.shutdown(wait=True, cancel_futures=True)
