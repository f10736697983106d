import asyncio
import threading

import pytest

from kinety.agent.worker import Worker


def test_one_thread_in_order() -> None:
    async def story() -> None:
        worker = Worker()
        seen: list[tuple[int, int]] = []
        await asyncio.gather(
            *(
                worker.run(lambda number=number: seen.append((number, threading.get_ident())))
                for number in range(50)
            )
        )
        assert [number for number, _ in seen] == list(range(50))
        threads = {thread for _, thread in seen}
        assert len(threads) == 1
        assert threading.get_ident() not in threads
        worker.close()

    asyncio.run(story())


def test_failures_reach_the_caller_and_no_other() -> None:
    async def story() -> None:
        worker = Worker()

        def fail() -> None:
            raise OSError("no")

        with pytest.raises(OSError, match="no"):
            await worker.run(fail)
        assert await worker.run(lambda: 5) == 5
        worker.close()

    asyncio.run(story())


def test_background_work_waits_for_quiet_and_for_more_to_do() -> None:
    async def story() -> None:
        worker = Worker()
        order: list[str] = []
        pieces = iter([True, False, False])
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()

        def piece() -> bool:
            order.append("piece")
            more = next(pieces)
            if not more:
                loop.call_soon_threadsafe(ended.set)
            return more

        background = asyncio.create_task(worker.maintain(piece, lambda: False))
        for number in range(3):
            await worker.run(order.append, f"request {number}")
        await asyncio.wait_for(ended.wait(), 10)
        assert order == ["request 0", "request 1", "request 2", "piece", "piece"]
        ended.clear()
        await worker.run(order.append, "request 3")
        await asyncio.wait_for(ended.wait(), 10)
        assert order[-2:] == ["request 3", "piece"]
        background.cancel()
        worker.close()

    asyncio.run(story())


def test_requests_do_not_wait_for_what_background_work_waits_for() -> None:
    async def story() -> None:
        worker = Worker()
        waits, go_on = threading.Event(), threading.Event()
        threads: set[str] = set()
        pieces = iter([True, False])

        def linger() -> None:
            threads.add(threading.current_thread().name)
            waits.set()
            assert go_on.wait(10)

        background = asyncio.create_task(worker.maintain(lambda: next(pieces), lambda: True, linger))
        assert await asyncio.to_thread(waits.wait, 10)
        for number in range(3):
            assert await worker.run(lambda number=number: number) == number
        assert next(pieces) is False, "the next piece waits until the wait is over"
        go_on.set()
        background.cancel()
        worker.close()
        assert threads.isdisjoint({"kinety-worker_0", threading.main_thread().name})

    asyncio.run(story())
