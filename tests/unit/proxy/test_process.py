"""A process that outlives whoever started it, is found again, and is started again."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from kinety.proxy.process import Process, shorten

SOON = 5.0


@contextlib.asynccontextmanager
async def supervised(directory: Path, seconds: str = "1000") -> AsyncIterator[Process]:
    """Somebody who supervises, and is gone at the end; the process is not."""
    process = Process("sleeper", directory, lambda: ["sleep", seconds])
    task = asyncio.create_task(process.supervise())
    try:
        yield process
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def until(condition: Callable[[], object]) -> float:
    """How many seconds it took until something was so."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() < began + SOON
        await asyncio.sleep(0.005)
    return time.monotonic() - began


async def story(directory: Path) -> None:
    async with supervised(directory) as first:
        await until(lambda: first.pid)
        pid = first.pid
        assert os.getsid(pid or 0) == pid
    async with supervised(directory) as second:
        await until(lambda: second.problem is None)
        assert (second.pid, second.starts) == (pid, 0), "it is adopted"
        os.kill(pid or 0, signal.SIGKILL)
        assert await until(lambda: second.pid not in (None, pid)) < 1
        assert second.starts == 1
        pid = second.pid
    async with supervised(directory, "1001") as third:
        await until(lambda: third.starts)
        await until(lambda: third.pid not in (None, pid))
        with pytest.raises(ProcessLookupError):
            os.kill(pid or 0, 0)
    await third.end()
    assert third.pid is None


def test_it_is_adopted_started_again_and_replaced_when_its_command_is_another(tmp_path: Path) -> None:
    asyncio.run(story(tmp_path))


async def failing(directory: Path) -> tuple[str | None, int]:
    process = Process("sleeper", directory, lambda: ["false"])
    task = asyncio.create_task(process.supervise())
    await until(lambda: process.starts >= 3 and process.problem)
    task.cancel()
    return process.problem, process.starts


def test_one_that_ends_at_once_is_tried_again_with_pauses(tmp_path: Path) -> None:
    began = time.monotonic()
    problem, starts = asyncio.run(failing(tmp_path))
    assert problem is not None
    assert "sleeper.log" in problem
    assert starts == 3
    assert time.monotonic() - began > 0.3


def test_a_number_that_somebody_else_has_now_is_not_taken_for_ours(tmp_path: Path) -> None:
    process = Process("sleeper", tmp_path, lambda: ["sleep", "1"])
    (tmp_path / "sleeper.process").write_text(f"{os.getpid()} 1 digest")
    assert process.pid is None
    (tmp_path / "sleeper.process").write_text("no record")
    assert process.pid is None


def test_a_log_stays_short_and_keeps_what_was_last(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    with log.open("a") as other:
        other.write("a" * 100)
        other.flush()
        shorten(log, 100)
        assert log.stat().st_size == 100
        other.write("b")
        other.flush()
        shorten(log, 100)
        other.write("c")
    assert (log.read_text(), (tmp_path / "x.log.1").read_text()) == ("c", "a" * 100 + "b")
    shorten(tmp_path / "none", 1)
