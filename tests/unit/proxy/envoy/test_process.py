"""A process that is found again: by its number, and by when it started."""

import asyncio
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from kinety.proxy.envoy.process import Process, prepare, shorten
from kinety.proxy.envoy.settings import EnvoySettings

SECONDS = 10.0


@pytest.fixture
def settings(tmp_path: Path) -> EnvoySettings:
    """A program that takes Envoy's options, and stays."""
    program = tmp_path / "envoy"
    program.write_text("#!/bin/sh\nexec sleep 600\n")
    program.chmod(0o755)
    found = EnvoySettings(str(program), tmp_path / "run", user=0)
    prepare(found)
    return found


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(SECONDS):
        while not holds():  # noqa: ASYNC110 - processes set no events
            await asyncio.sleep(0.005)


async def running(process: Process, *, starts: int = 1) -> int:
    await until(lambda: process.starts == starts and process.pid is not None)
    pid = process.pid
    assert pid is not None
    # It has been a shell before.
    await until(lambda: Path(f"/proc/{pid}/comm").read_text() == "sleep\n")
    return pid


async def left(task: "asyncio.Task[None]") -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.needs("root")
def test_it_outlives_its_starter_and_is_adopted(settings: EnvoySettings) -> None:
    async def main() -> None:
        first = Process(settings)
        task = asyncio.create_task(first.supervise())
        pid = await running(first)
        assert os.getsid(pid) == pid
        await left(task)
        assert first.pid == pid
        second = Process(settings)
        task = asyncio.create_task(second.supervise())
        await until(lambda: second.problem is None)
        assert (second.pid, second.starts) == (pid, 0)
        await left(task)
        await second.end()
        assert second.pid is None
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)

    asyncio.run(main())


@pytest.mark.needs("root")
def test_it_is_started_anew_when_it_ends(settings: EnvoySettings) -> None:
    async def main() -> None:
        process = Process(settings)
        task = asyncio.create_task(process.supervise())
        pid = await running(process)
        os.kill(pid, signal.SIGKILL)
        assert await running(process, starts=2) != pid
        await left(task)
        await process.end()

    asyncio.run(main())


@pytest.mark.needs("root")
def test_one_whose_program_is_gone_is_adopted_all_the_same(settings: EnvoySettings) -> None:
    async def main() -> None:
        first = Process(settings)
        task = asyncio.create_task(first.supervise())
        pid = await running(first)
        await left(task)
        os.unlink(settings.binary)
        second = Process(settings)
        task = asyncio.create_task(second.supervise())
        await until(lambda: second.problem is None)
        os.kill(pid, signal.SIGKILL)
        await until(lambda: second.problem is not None and "no program" in second.problem)
        assert (second.pid, second.starts) == (None, 0)
        await left(task)

    asyncio.run(main())


@pytest.mark.needs("root")
def test_somebody_elses_number_is_left_alone(settings: EnvoySettings) -> None:
    """The record names a process that lives, but started at another time: this very one."""
    settings.record.write_text(f"{os.getpid()} 1 digest\n")

    async def main() -> None:
        process = Process(settings)
        assert process.pid is None
        await process.end()

    asyncio.run(main())
    assert not settings.record.exists()


@pytest.mark.parametrize("record", ["", "nonsense", "1 2", "x 1 d", "99999999 1 d"])
def test_a_record_that_says_nothing_is_nobody(settings: EnvoySettings, record: str) -> None:
    settings.record.write_text(record)
    assert Process(settings).pid is None


@pytest.mark.needs("root")
def test_a_program_that_ends_at_once_is_not_started_all_the_time(settings: EnvoySettings) -> None:
    Path(settings.binary).write_text("#!/bin/sh\nexit 1\n")

    async def main() -> None:
        process = Process(settings)
        task = asyncio.create_task(process.supervise())
        began = time.monotonic()
        await until(lambda: process.starts >= 3 and process.problem is not None)
        # Pauses double: 0.1 and 0.2 seconds, so far.
        assert time.monotonic() - began >= 0.3
        assert process.problem is not None
        assert str(settings.log) in process.problem
        await left(task)

    asyncio.run(main())


def test_a_log_does_not_grow_for_ever(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    shorten(path, 10)
    path.write_text("123456789")
    shorten(path, 10)
    assert path.read_text() == "123456789"
    with path.open("a") as writing:
        writing.write("0123")
        writing.flush()
        shorten(path, 10)
        writing.write("new")
    assert path.read_text() == "new"
    assert (tmp_path / "a.log.1").read_text() == "1234567890123"
