"""Servers of tests: each on a loop and a thread of its own, inside a network namespace."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future
from contextlib import AsyncExitStack, contextmanager

from kinety.kernel.namespace import Namespace

_SOON = 20.0
#: Puts a server up and on the stack what takes it down.
Start = Callable[[AsyncExitStack], Awaitable[None]]


@contextmanager
def background(namespace: Namespace, start: Start) -> Iterator[None]:
    """Serve while the block runs; returns when the server listens. Raises what ``start`` raises."""
    ready: Future[Callable[[], object]] = Future()

    async def serve() -> None:
        ended = asyncio.Event()
        async with AsyncExitStack() as stack:
            try:
                await start(stack)
            except BaseException as error:
                ready.set_exception(error)
                return
            loop = asyncio.get_running_loop()
            ready.set_result(lambda: loop.call_soon_threadsafe(ended.set))
            await ended.wait()

    thread = threading.Thread(target=lambda: namespace.call(asyncio.run, serve()), name="server", daemon=True)
    thread.start()
    end = ready.result(_SOON)
    try:
        yield
    finally:
        end()
        thread.join(_SOON)
