import os
import signal
from collections.abc import Callable, Iterator

import pytest

from kinety.testing.interruption import SIGNALS, interruptible


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Known handlers, those of the test run afterwards."""
    former = {number: signal.signal(number, signal.SIG_DFL) for number in SIGNALS}
    yield
    for number, handler in former.items():
        signal.signal(number, handler)


def kill(number: int = signal.SIGINT) -> None:
    """Send this process a signal; Python handles it before the next statement."""
    os.kill(os.getpid(), number)


def interrupted(block: Callable[[], None]) -> BaseException | None:
    """Run a block that must be interrupted; what else had gone wrong by then."""
    with pytest.raises(KeyboardInterrupt) as caught:
        block()
    return caught.value.__context__


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_interrupts_where_that_is_allowed(number: int) -> None:
    steps = []

    def block() -> None:
        with interruptible() as interruption, interruption.allowed():
            steps.append("before")
            kill(number)
            steps.append("after")

    interrupted(block)
    assert steps == ["before"]


def test_what_is_held_is_finished_first() -> None:
    steps = []

    def block() -> None:
        with interruptible() as interruption, interruption.allowed():
            with interruption.held():
                kill()
                steps.append("made")
                with interruption.held():
                    steps.append("and named")
                steps.append("and kept")
            steps.append("never")

    interrupted(block)
    assert steps == ["made", "and named", "and kept"]


def test_a_second_signal_does_not_cut_the_clean_up_short() -> None:
    steps = []

    def block() -> None:
        with interruptible() as interruption:
            try:
                with interruption.allowed():
                    kill()
            finally:
                for number in SIGNALS:
                    kill(number)
                    steps.append("taken down")

    interrupted(block)
    assert steps == ["taken down"] * len(SIGNALS)


def test_a_signal_before_the_block_interrupts_it_at_its_start() -> None:
    steps = []

    def block() -> None:
        with interruptible() as interruption:
            kill()
            steps.append("set up")
            with interruption.allowed():
                steps.append("never")

    interrupted(block)
    assert steps == ["set up"]


def test_a_signal_that_nothing_let_through_is_answered_at_the_end() -> None:
    steps = []

    def block() -> None:
        with interruptible():
            kill()
            steps.append("finished")

    interrupted(block)
    assert steps == ["finished"]


def test_an_error_in_a_held_block_gives_way_to_the_interrupt_and_is_kept_as_its_context() -> None:
    def block() -> None:
        with interruptible() as interruption, interruption.allowed(), interruption.held():
            kill()
            raise OSError("meanwhile")

    assert isinstance(interrupted(block), OSError)


def test_handlers_are_put_back_and_ignored_signals_stay_ignored() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with interruptible() as interruption, interruption.allowed():
        kill(signal.SIGHUP)
        assert signal.getsignal(signal.SIGTERM) == interruption.arrive
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
