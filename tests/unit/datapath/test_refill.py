"""Fresh tables on their way into slots: made once, on whatever thread."""

import errno
import threading
from collections.abc import Callable
from unittest.mock import patch

import pytest

from kinety.datapath.refill import Refill
from kinety.kernel.map import Map
from kinety.kernel.spec import MapSpec

pytestmark = pytest.mark.needs("objects")


@pytest.fixture
def outer(make: Callable[[str], Map]) -> Map:
    return make("rule_sets")


@pytest.fixture
def refill(outer: Map, specs: dict[str, MapSpec]) -> Refill:
    inner = specs["rule_sets"].inner
    assert inner is not None
    return Refill(outer, inner, [3, 5])


def test_each_slot_gets_a_table_of_its_own(refill: Refill, outer: Map) -> None:
    made = refill.map_ids()
    assert {slot: outer.lookup(slot.to_bytes(4, "little")) for slot in (3, 5)} == {
        slot: number.to_bytes(4, "little") for slot, number in made.items()
    }
    assert made[3] != made[5]
    assert refill.map_ids() == made, "once"


def test_whoever_comes_second_waits_and_makes_nothing(refill: Refill, outer: Map) -> None:
    real = Map.update_batch
    began, go_on = threading.Event(), threading.Event()
    calls: list[str] = []

    def slow(self: Map, keys: bytes, values: bytes, count: int) -> None:
        calls.append(threading.current_thread().name)
        began.set()
        assert go_on.wait(10)
        real(self, keys, values, count)

    found: list[int] = []
    first = threading.Thread(target=refill.run, name="first")
    second = threading.Thread(target=lambda: found.append(len(refill.map_ids())), name="second")
    with patch.object(Map, "update_batch", slow):
        first.start()
        assert began.wait(10)
        second.start()
        assert (found, second.is_alive()) == ([], True)
        go_on.set()
        first.join()
        second.join()
    assert (calls, found) == (["first"], [2])


def test_what_goes_wrong_is_told_to_who_asks_for_the_tables(refill: Refill) -> None:
    with patch.object(Map, "update_batch", side_effect=OSError(errno.ENOMEM, "no memory")):
        refill.run()
    for _ in range(2):
        with pytest.raises(OSError, match="no memory"):
            refill.map_ids()
