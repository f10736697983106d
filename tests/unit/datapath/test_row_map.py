"""Packed rows of one map: written and erased in batches, and only where something differs."""

from collections.abc import Callable

import pytest

from kinety.datapath.row_map import RowMap
from kinety.kernel.map import Map
from tests.unit.datapath.conftest import SIZE

pytestmark = pytest.mark.needs("root", "bpf", "objects")

#: A hash and a trie: their batches stop at a missing row in different ways.
KINDS = {"ipcache_hosts": 16, "ipcache_prefixes": 20}


@pytest.fixture(params=sorted(KINDS))
def rows(request: pytest.FixtureRequest, make: Callable[[str], Map]) -> RowMap:
    return RowMap(make(request.param))


def key(rows: RowMap, number: int) -> bytes:
    """A key of the map's kind: of a trie, the whole address."""
    size = rows._map.info.key_size
    address = bytes(15) + bytes([number])
    return address if size == 16 else (128).to_bytes(4, "little") + address


def value(number: int) -> bytes:
    return number.to_bytes(4, "little") + bytes(4)


def table(rows: RowMap, *numbers: int) -> dict[bytes, bytes]:
    return {key(rows, number): value(number) for number in numbers}


def test_what_is_written_is_there_and_counted(rows: RowMap) -> None:
    rows.write(table(rows, 1, 2, 3))
    assert rows.rows() == table(rows, 1, 2, 3)
    assert rows.value(key(rows, 2)) == value(2)
    assert rows.value(key(rows, 4)) is None
    assert rows.writes == 3
    rows.write({key(rows, 2): value(7)})
    assert (rows.value(key(rows, 2)), rows.writes) == (value(7), 4)


def test_nothing_costs_nothing(rows: RowMap) -> None:
    rows.write({})
    rows.erase(())
    assert rows.write_differences({}) == set()
    assert (rows.writes, rows.rows()) == (0, {})


@pytest.mark.parametrize("doomed", [(1, 2), (9, 1, 2), (1, 9, 2), (1, 2, 9), (9, 8)])
def test_erasing_what_is_not_there_does_not_spare_the_rest(rows: RowMap, doomed: tuple[int, ...]) -> None:
    rows.write(table(rows, 1, 2, 3))
    rows.erase(key(rows, number) for number in doomed)
    assert rows.rows() == table(rows, *({1, 2, 3} - set(doomed)))


def test_only_differences_are_written_and_nothing_is_erased_yet(rows: RowMap) -> None:
    rows.write(table(rows, 1, 2, 3))
    before = rows.writes
    wanted = table(rows, 2, 4) | {key(rows, 3): value(30)}
    assert rows.write_differences(wanted) == {key(rows, 1)}
    assert rows.writes - before == 2, "one is new, one is different, one was right"
    assert rows.rows() == wanted | table(rows, 1)
    rows.erase(rows.write_differences(wanted))
    assert rows.rows() == wanted
    after = rows.writes
    assert rows.write_differences(wanted) == set()
    assert rows.writes == after


def test_more_rows_than_there_is_room_for_are_an_error_that_says_how_many_went(rows: RowMap) -> None:
    with pytest.raises(OSError, match=f"{SIZE + 1} rows of map") as caught:
        rows.write(table(rows, *range(SIZE + 1)))
    assert f"{SIZE} of {SIZE + 1} rows were done" in caught.value.__notes__
