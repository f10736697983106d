import asyncio
from collections.abc import Awaitable, Callable

import pytest

from kinety.agent import runtimes
from kinety.agent.runtimes import Runtimes
from kinety.api.errors import ApiError, refuse
from kinety.source.runtime import Container, News, Removed
from tests.unit.agent.fake_runtime import FakeRuntime

WEB = Container("c1", "web", {"app": "web"})
DB = Container("c1", "web", {"app": "db"})
OTHER = Container("c2", "other", {})
GONE = Removed("c1")


def test_the_runtime_that_knows_a_container_answers() -> None:
    first, second = FakeRuntime("first"), FakeRuntime("second", WEB)
    both = Runtimes([first, second])
    assert asyncio.run(both.find("c1")) == WEB
    assert asyncio.run(both.find("c2")) is None
    assert first.asked == ["c1", "c2"]
    first.failure = OSError("silent")
    assert asyncio.run(both.find("c1")) == WEB, "nobody else can have a container of the id"


def test_without_an_answer_nothing_is_known() -> None:
    silent = FakeRuntime("silent")
    silent.failure = TimeoutError("no answer within 2 s")
    with pytest.raises(ApiError, match=r"silent .* what labels container c1 has: no answer") as raised:
        asyncio.run(Runtimes([FakeRuntime(), silent]).find("c1"))
    assert raised.value.status == 503
    silent.failure = KeyError("a mistake of ours")
    with pytest.raises(KeyError):
        asyncio.run(Runtimes([silent]).find("c1"))


def test_who_has_no_runtime_asks_nobody() -> None:
    async def use() -> None:
        assert await Runtimes().find("c1") is None
        await asyncio.wait_for(Runtimes().follow(lambda container: asyncio.sleep(0)), 1)

    asyncio.run(use())


class Following:
    """What is passed on of what runtimes tell."""

    def __init__(self, *told_by: FakeRuntime) -> None:
        self.runtimes = Runtimes(told_by)
        self.heeded: list[News] = []
        #: Containers of which nothing can be put in force.
        self.refused: set[str] = set()
        self._changed = asyncio.Event()

    async def heed(self, news: News) -> None:
        if news.id in self.refused:
            raise refuse(507, "a map is full")
        self.heeded.append(news)
        self._changed.set()

    async def until(self, *expected: News) -> None:
        async with asyncio.timeout(5):
            while tuple(self.heeded) != expected:
                self._changed.clear()
                await self._changed.wait()

    def run(self, use: Callable[[], Awaitable[None]]) -> None:
        async def both() -> None:
            task = asyncio.create_task(self.runtimes.follow(self.heed))
            try:
                await use()
            finally:
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task

        asyncio.run(both())


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtimes, "_PAUSE", 0.001)


def test_what_every_runtime_tells_is_passed_on() -> None:
    async def use() -> None:
        await following.until(WEB, OTHER)
        second.tell(DB)
        second.tell(GONE)
        await following.until(WEB, OTHER, DB, GONE)

    first, second = FakeRuntime("first", WEB), FakeRuntime("second", OTHER)
    following = Following(first, second)
    following.run(use)


@pytest.mark.usefixtures("soon")
def test_what_fails_is_tried_again_and_shown_meanwhile() -> None:
    async def use() -> None:
        await following.until(OTHER)
        (shown,) = following.runtimes.statuses()
        assert shown.problem == "news of 1 containers are not in force and tried again"
        following.refused.clear()
        await following.until(OTHER, WEB)
        assert following.runtimes.statuses()[0].problem is None

    following = Following(FakeRuntime("fake", WEB, OTHER))
    following.refused.add("c1")
    following.run(use)


@pytest.mark.usefixtures("soon")
def test_a_watch_that_breaks_begins_again() -> None:
    async def use() -> None:
        await following.until(WEB)
        fake.tell(RuntimeError("a mistake of ours"))
        await following.until(WEB, WEB)

    fake = FakeRuntime("fake", WEB)
    following = Following(fake)
    following.run(use)


def test_what_is_told_during_an_attach_is_not_lost() -> None:
    async def use() -> None:
        await following.until(WEB)
        with following.runtimes.attaching("c1") as told, following.runtimes.attaching("c1") as other:
            fake.tell(DB)
            fake.tell(OTHER)
            fake.tell(GONE)
            await following.until(WEB, DB, OTHER, GONE)
        assert told == other == [(fake, DB), (fake, GONE)]
        fake.tell(WEB)
        await following.until(WEB, DB, OTHER, GONE, WEB)
        assert told == [(fake, DB), (fake, GONE)]

    fake = FakeRuntime("fake", WEB)
    following = Following(fake)
    following.run(use)


def test_a_status_says_why_a_runtime_is_not_followed() -> None:
    well, ill = FakeRuntime("well"), FakeRuntime("ill")
    ill.problem = "nobody there"
    shown = Runtimes([well, ill]).statuses()
    assert [(each.name, each.address, each.problem) for each in shown] == [
        ("well", "/run/well.sock", None),
        ("ill", "/run/ill.sock", "nobody there"),
    ]
