"""Envoy's process: whose words and binary say when another one has to be started."""

import asyncio
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from kinety.proxy.envoy.process import prepare
from kinety.proxy.envoy.process import process as envoy
from kinety.proxy.envoy.settings import EnvoySettings
from kinety.proxy.process import Process

SECONDS = 10.0


@pytest.fixture
def settings(tmp_path: Path) -> EnvoySettings:
    """A program that takes Envoy's options, and stays."""
    found = EnvoySettings(str(tmp_path / "envoy"), tmp_path / "run", user=0)
    install(tmp_path / "envoy")
    prepare(found)
    return found


def install(program: Path, *more: str) -> None:
    """Put a file in the place of another, as package managers do."""
    new = program.with_suffix(".new")
    new.write_text("\n".join(("#!/bin/sh", "exec sleep 600", *more, "")))
    new.chmod(0o755)
    new.replace(program)


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
        first = envoy(settings)
        task = asyncio.create_task(first.supervise())
        pid = await running(first)
        assert os.getsid(pid) == pid
        await left(task)
        assert first.pid == pid
        second = envoy(settings)
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
        process = envoy(settings)
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
        first = envoy(settings)
        task = asyncio.create_task(first.supervise())
        pid = await running(first)
        await left(task)
        os.unlink(settings.binary)
        second = envoy(settings)
        task = asyncio.create_task(second.supervise())
        await until(lambda: second.problem is None)
        os.kill(pid, signal.SIGKILL)
        await until(lambda: second.problem is not None and "no program" in second.problem)
        assert (second.pid, second.starts) == (None, 0)
        await left(task)

    asyncio.run(main())


@pytest.mark.needs("root")
def test_a_program_that_ends_at_once_is_not_started_all_the_time(settings: EnvoySettings) -> None:
    Path(settings.binary).write_text("#!/bin/sh\nexit 1\n")

    async def main() -> None:
        process = envoy(settings)
        task = asyncio.create_task(process.supervise())
        began = time.monotonic()
        await until(lambda: process.starts >= 3 and process.problem is not None)
        # Pauses double: 0.1 and 0.2 seconds, so far.
        assert time.monotonic() - began >= 0.3
        assert process.problem is not None
        assert str(settings.log) in process.problem
        await left(task)

    asyncio.run(main())


@pytest.mark.needs("root")
def test_one_whose_program_was_replaced_is_started_anew(settings: EnvoySettings) -> None:
    async def main() -> None:
        first = envoy(settings)
        task = asyncio.create_task(first.supervise())
        pid = await running(first)
        await left(task)
        install(Path(settings.binary), "# a newer one")
        second = envoy(settings)
        task = asyncio.create_task(second.supervise())
        assert await running(second) != pid
        await left(task)
        await second.end()

    asyncio.run(main())
