import pytest

from kinety.agent.repair import LAST_PAUSE, Repair
from kinety.api.errors import ApiError


class Kernel:
    """Refuses as often as it is told to."""

    def __init__(self) -> None:
        self.refusals = 0
        self.asked = 0

    def restore(self) -> None:
        self.asked += 1
        if self.refusals:
            self.refusals -= 1
            raise OSError(12, "no memory for a map")


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_failure_is_mended_at_once() -> None:
    kernel = Kernel()
    repair = Repair(kernel.restore, Clock())
    repair.after(OSError("x"))
    assert (repair.pending, kernel.asked, repair.error) == (False, 1, None)


def test_pauses_grow_to_a_limit_and_end_with_success() -> None:
    kernel, clock = Kernel(), Clock()
    repair = Repair(kernel.restore, clock)
    kernel.refusals = 12
    repair.after(OSError("x"))
    waits = [repair.wait]
    for _ in range(11):
        clock.now += repair.wait
        assert repair.wait == 0
        repair.attempt()
        waits.append(repair.wait)
    assert waits[:3] == pytest.approx([0.1, 0.2, 0.4])
    assert waits[-1] == LAST_PAUSE
    assert repair.attempts == 12
    assert repair.error is not None
    assert "no memory for a map" in repair.error
    assert repair.attempt()
    assert (repair.pending, repair.attempts) == (False, 0)


def test_changes_are_refused_until_it_is_mended() -> None:
    kernel = Kernel()
    repair = Repair(kernel.restore, Clock())
    repair.require()
    assert kernel.asked == 0
    kernel.refusals = 2
    repair.after(OSError("x"))
    with pytest.raises(ApiError, match="no memory for a map") as raised:
        repair.require()
    assert raised.value.status == 503
    repair.require()
    assert not repair.pending


def test_a_guarded_failure_is_raised_only_while_it_lasts() -> None:
    kernel = Kernel()
    repair = Repair(kernel.restore, Clock())
    with repair.guard():
        raise OSError("forgotten, because mending worked")
    kernel.refusals = 1
    with pytest.raises(OSError, match="again"), repair.guard():
        raise OSError("again")
    assert repair.pending
