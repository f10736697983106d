"""A container runtime of values: knows what it is given, tells what it is told to, and may be silent."""

import asyncio
from collections.abc import AsyncIterator

from kinety.source.runtime import Container, News


class FakeRuntime:
    """``kinety.source.runtime.Runtime``."""

    def __init__(self, name: str = "fake", *containers: Container) -> None:
        self.name = name
        self.address = f"/run/{name}.sock"
        self.problem: str | None = None
        self.known = {each.id: each for each in containers}
        #: What it answers with instead, if anything.
        self.failure: Exception | None = None
        self.asked: list[str] = []
        self._news: asyncio.Queue[News | Exception] = asyncio.Queue()

    async def find(self, container: str) -> Container | None:
        self.asked.append(container)
        await asyncio.sleep(0)
        if self.failure is not None:
            raise self.failure
        return self.known.get(container)

    async def watch(self) -> AsyncIterator[News]:
        for each in list(self.known.values()):
            yield each
        while True:
            news = await self._news.get()
            if isinstance(news, Exception):
                raise news
            yield news

    def tell(self, news: News | Exception) -> None:
        """The watch yields this, or breaks with it."""
        if isinstance(news, Container):
            self.known[news.id] = news
        self._news.put_nowait(news)
