import gc
import weakref
from collections.abc import Iterator

import pytest

from kinety.agent import garbage
from kinety.agent.garbage import Garbage


@pytest.fixture(autouse=True)
def collector_as_it_was() -> Iterator[None]:
    threshold = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*threshold)


class Ring:
    """An object that only the collector can free."""

    def __init__(self) -> None:
        self.me = self


def lost() -> "weakref.ref[Ring]":
    return weakref.ref(Ring())


def test_what_was_set_aside_is_not_walked_through() -> None:
    kept = Garbage()
    ring = lost()
    kept.set_aside()
    gc.collect()
    assert ring() is not None
    assert gc.get_freeze_count() > 1000


def test_everything_is_looked_through_when_it_was_long_ago(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(garbage.time, "monotonic", lambda: now)
    kept = Garbage()
    ring = lost()
    kept.set_aside()
    now += 599
    kept.look()
    assert ring() is not None
    now += 2
    kept.look()
    assert ring() is None
    ring = lost()
    gc.freeze()
    now += 2000
    kept.look()
    assert ring() is not None, "nothing was changed since"
