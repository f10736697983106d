"""All or none: what was made is taken back in the opposite order, and what cannot be is told."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest

from kinety.datapath.replacement import PutBackError, Step, all_or_none, unless_gone


class Places:
    """Numbered places that are old or new; what ``fails`` raises, once for each mention."""

    def __init__(self, count: int) -> None:
        self.state = ["old"] * count
        self.order: list[tuple[int, str]] = []
        self.fails: dict[tuple[int, str], BaseException] = {}

    def put(self, number: int, what: str) -> Callable[[], None]:
        def change() -> None:
            self.order.append((number, what))
            if error := self.fails.get((number, what)):
                raise error
            self.state[number] = what

        return change

    def steps(self) -> list[Step]:
        return [Step(self.put(number, "new"), self.put(number, "old")) for number in range(len(self.state))]


def test_every_step_is_made() -> None:
    places = Places(3)
    all_or_none(places.steps())
    assert places.state == ["new"] * 3
    all_or_none([])


@pytest.mark.parametrize("failing", range(4))
@pytest.mark.parametrize("error", [OSError(errno.ENOMEM, "no memory"), KeyboardInterrupt()])
def test_a_failure_takes_back_what_was_made_last_first(failing: int, error: BaseException) -> None:
    places = Places(4)
    places.fails[failing, "new"] = error
    with pytest.raises(type(error)):
        all_or_none(places.steps())
    assert places.state == ["old"] * 4
    assert places.order[failing + 1 :] == [(number, "old") for number in reversed(range(failing))]


def test_what_cannot_be_taken_back_is_told_and_the_others_are() -> None:
    places = Places(4)
    places.fails[3, "new"] = OSError(errno.EIO, "broken")
    places.fails[1, "old"] = OSError(errno.ENOMEM, "no memory")
    with pytest.raises(PutBackError, match="1 of 3 places could not be put back") as told:
        all_or_none(places.steps())
    assert told.value.errno == errno.ENOMEM
    assert told.value.__notes__ == ["[Errno 12] no memory"]
    assert told.value.__cause__ is places.fails[3, "new"]
    assert places.state == ["old", "new", "old", "old"]


@pytest.mark.parametrize("number", [errno.ENODEV, errno.ENOLINK])
def test_a_place_that_is_gone_needs_no_way_back(number: int) -> None:
    places = Places(3)
    places.fails[2, "new"] = OSError(errno.EIO, "broken")
    places.fails[1, "old"] = OSError(number, "gone")
    with pytest.raises(OSError, match="broken"):
        all_or_none(places.steps())


def test_gone_is_told_from_refused() -> None:
    places = Places(2)
    places.fails[0, "new"] = OSError(errno.ENOLINK, "gone")
    places.fails[1, "new"] = OSError(errno.ENOENT, "no such filter")
    assert not unless_gone(places.put(0, "new"))
    assert unless_gone(places.put(0, "old"))
    with pytest.raises(OSError, match="no such filter"):
        unless_gone(places.put(1, "new"))
