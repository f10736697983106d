"""Maps of every kind Kinety uses: one contract, kept by the kernel and by the fake one."""

from __future__ import annotations

import ctypes
import errno
import secrets
import struct
from pathlib import Path

import pytest

from kinety.kernel import syscall
from kinety.kernel.map import Map, MapSpec, UpdateFlag, possible_cpus
from kinety.kernel.uapi import Command, MapFlag, MapType
from kinety.testing.fake.kernel import FakeKernel
from tests.unit.conftest import REAL
from tests.unit.patience import wait_gone

pytestmark = pytest.mark.usefixtures("either_kernel")

HASH = MapSpec("rows", MapType.HASH, 4, 8, 10_000, MapFlag.NO_PREALLOC)
TRIE = MapSpec("trie", MapType.LPM_TRIE, 8, 4, 5_000, MapFlag.NO_PREALLOC)
ARRAY = MapSpec("array", MapType.ARRAY, 4, 12, 5, MapFlag.MMAPABLE)
TABLES = MapSpec("tables", MapType.ARRAY_OF_MAPS, 4, 4, 6_000, inner=TRIE)
WORD = struct.Struct("=I")


def key(number: int) -> bytes:
    return WORD.pack(number)


def test_rows_come_and_go() -> None:
    with Map.create(HASH) as rows:
        assert rows.lookup(key(1)) is None
        rows.update(key(1), b"12345678")
        assert rows.lookup(key(1)) == b"12345678"
        with pytest.raises(FileExistsError, match=r"update row 01000000 of map rows"):
            rows.update(key(1), bytes(8), UpdateFlag.NOEXIST)
        assert rows.delete(key(1))
        assert not rows.delete(key(1))


def test_a_full_map_says_so() -> None:
    with Map.create(MapSpec("small", MapType.HASH, 4, 4, 2)) as small:
        with pytest.raises(OSError, match="of map small") as caught:
            small.update_batch(b"".join(map(key, range(5))), bytes(20), 5)
        assert caught.value.errno == errno.E2BIG
        assert caught.value.__notes__ == ["2 of 5 rows were done"]


@pytest.mark.parametrize("spec", [HASH, TRIE], ids=["hash", "trie"])
def test_batches_write_read_and_erase_everything(spec: MapSpec) -> None:
    count = spec.max_entries
    names = [secrets.token_bytes(spec.key_size - 4) for _ in range(count)] if spec is TRIE else []
    keys = [WORD.pack(32) + name for name in names] if names else [key(number) for number in range(count)]
    wanted = {name: WORD.pack(index).ljust(spec.value_size, b"\0") for index, name in enumerate(keys)}
    with Map.create(spec) as rows:
        rows.update_batch(b"".join(wanted), b"".join(wanted.values()), len(wanted))
        assert dict(rows.items()) == wanted
        assert set(rows.keys()) == set(wanted)
        rows.delete_batch(b"".join(wanted), len(wanted))
        assert list(rows.items()) == []


def test_blocks_are_the_rows_one_after_the_other() -> None:
    names = [key(number) for number in range(HASH.max_entries)]
    with Map.create(HASH) as rows:
        assert list(rows.blocks()) == []
        rows.update_batch(b"".join(names), b"".join(name * 2 for name in names), len(names))
        blocks = list(rows.blocks())
        assert len(blocks) < len(names) / 1000
        read = [
            row for keys, values in blocks for row in zip(chunks(keys, 4), chunks(values, 8), strict=True)
        ]
        assert read == list(rows.items())
        assert dict(read) == {name: name * 2 for name in names}


def chunks(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


def test_a_batch_that_misses_a_row_stops_there() -> None:
    with Map.create(HASH) as rows:
        rows.update_batch(key(1) + key(2), bytes(16), 2)
        with pytest.raises(FileNotFoundError) as caught:
            rows.delete_batch(key(1) + key(9) + key(2), 3)
        assert caught.value.__notes__ == ["1 of 3 rows were done"]
        assert [row for row, _ in rows.items()] == [key(2)]


def test_a_small_map_with_crowded_buckets_is_read_whole() -> None:
    with Map.create(MapSpec("crowd", MapType.HASH, 4, 4, 9)) as crowd:
        crowd.update_batch(b"".join(map(key, range(9))), bytes(36), 9)
        assert sorted(crowd.items()) == sorted((key(number), bytes(4)) for number in range(9))


def test_per_cpu_rows_have_a_value_for_each_cpu() -> None:
    with Map.create(MapSpec("counters", MapType.PERCPU_ARRAY, 4, 4, 3)) as counters:
        values = [WORD.pack(7 + cpu) for cpu in range(possible_cpus())]
        counters.update(key(2), b"".join(value.ljust(8, b"\0") for value in values))
        assert counters.lookup_per_cpu(key(2)) == values
        assert dict(counters.items_per_cpu())[key(2)] == values
        assert counters.lookup_per_cpu(key(3)) is None


def test_inner_maps_are_written_by_descriptor_and_read_by_number() -> None:
    with Map.create(TABLES) as tables, Map.create(TRIE) as one, Map.create(TRIE) as two:
        tables.update_batch(key(5) + key(5_999), key(one.fd) + key(two.fd), 2)
        assert dict(tables.items()) == {key(5): key(one.id), key(5_999): key(two.id)}
        assert tables.lookup(key(4)) is None
        with Map.from_id(two.id) as again:
            again.update(WORD.pack(32) + b"abcd", key(9))
        assert two.lookup(WORD.pack(32) + b"abcd") == key(9)
        assert tables.delete(key(5))
        assert dict(tables.items()) == {key(5_999): key(two.id)}


def test_an_inner_map_of_another_shape_is_refused() -> None:
    with (
        Map.create(TABLES) as tables,
        Map.create(HASH) as wrong,
        pytest.raises(OSError, match="of map tables"),
    ):
        tables.update(key(0), key(wrong.fd))


def test_an_array_in_memory_is_the_kernels_array() -> None:
    with Map.create(ARRAY) as array:
        memory = array.mmap()
        memory[16:28] = b"abcdefghijkl"
        assert array.lookup(key(1)) == b"abcdefghijkl"
        array.update(key(4), b"ABCDEFGHIJKL")
        assert bytes(memory[64:76]) == b"ABCDEFGHIJKL"
        assert len(memory) == 5 * 16
        array.close()
        assert bytes(memory[16:20]) == b"abcd"
        memory.release()


def test_wrong_sizes_never_reach_the_kernel() -> None:
    with Map.create(HASH) as rows:
        with pytest.raises(ValueError, match="map rows: key of 3 bytes, wanted 4"):
            rows.lookup(b"abc")
        with pytest.raises(ValueError, match="value of 4 bytes, wanted 8"):
            rows.update(key(1), b"1234")
        with pytest.raises(ValueError, match="7 bytes are not 2 keys"):
            rows.update_batch(bytes(7), bytes(16), 2)


def test_contents_are_written_and_frozen() -> None:
    spec = MapSpec("constants", MapType.ARRAY, 4, 4, 1, MapFlag.RDONLY_PROG, contents=b"once", frozen=True)
    with Map.create(spec) as constants:
        assert constants.lookup(key(0)) == b"once"
        with pytest.raises(PermissionError):
            constants.update(key(0), b"more")
        with pytest.raises(PermissionError, match="freeze map constants"):
            constants.freeze()


@pytest.fixture
def pin_directory(either_kernel: FakeKernel | None, request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path if either_kernel else request.getfixturevalue("pins")


@pytest.mark.needs("bpffs")
def test_a_pinned_map_is_found_again(pin_directory: Path) -> None:
    with Map.create(HASH) as rows:
        rows.update(key(3), b"whatever")
        rows.pin(pin_directory / "rows")
        with pytest.raises(FileExistsError, match="pin map rows as"):
            rows.pin(pin_directory / "rows")
        number = rows.id
    with Map.open(pin_directory / "rows") as again:
        assert (again.id, again.lookup(key(3))) == (number, b"whatever")
        assert again.fits(HASH) is None
        assert again.fits(TRIE) == "map rows: type is 1, wanted 11"
    with pytest.raises(FileNotFoundError):
        Map.open(pin_directory / "nothing")
    (pin_directory / "rows").unlink()
    wait_gone(lambda: Map.from_id(number))


def test_a_map_that_nobody_holds_is_gone() -> None:
    with Map.create(HASH) as rows, Map.create(TABLES) as tables, Map.create(ARRAY) as array:
        memory, numbers = array.mmap(), (rows.id, array.id)
        with Map.create(TRIE) as inner:
            tables.update(key(0), key(inner.fd))
        with Map.from_id(inner.id) as again:
            assert again.name == "trie"
        tables.delete(key(0))
    with Map.from_id(numbers[1]) as again:
        memory[0:4] = b"kept"
        assert again.lookup(key(0)) == b"kept" + bytes(8)
    memory.release()
    with pytest.raises(FileNotFoundError, match=f"open map {numbers[0]}"):
        Map.from_id(numbers[0])


def test_flags_say_whether_a_row_may_be_new() -> None:
    row = WORD.pack(32) + b"abcd"
    for spec, name in ((HASH, key(1)), (TRIE, row)):
        with Map.create(spec) as rows:
            value = bytes(spec.value_size)
            with pytest.raises(FileNotFoundError):
                rows.update(name, value, UpdateFlag.EXIST)
            rows.update(name, value, UpdateFlag.NOEXIST)
            with pytest.raises(FileExistsError):
                rows.update(name, value, UpdateFlag.NOEXIST)
            rows.update(name, value, UpdateFlag.EXIST)


def test_a_full_map_takes_new_values_of_old_rows() -> None:
    with Map.create(MapSpec("small", MapType.HASH, 4, 4, 2, MapFlag.NO_PREALLOC)) as small:
        small.update(key(1), key(1))
        small.update(key(2), key(2))
        with pytest.raises(OSError, match="update row 03000000 of map small") as caught:
            small.update(key(3), key(3))
        assert caught.value.errno == errno.E2BIG
        small.update(key(2), key(9))
        assert dict(small.items()) == {key(1): key(1), key(2): key(9)}
        assert small.delete(key(1))
        small.update(key(3), key(3))


def prefix(bits: int, *octets: int) -> bytes:
    return WORD.pack(bits) + bytes(octets).ljust(4, b"\0")


def test_the_longest_prefix_that_holds_a_key_answers() -> None:
    with Map.create(TRIE) as trie:
        for bits, octets in ((0, ()), (8, (10,)), (16, (10, 1)), (32, (10, 1, 2, 3))):
            trie.update(prefix(bits, *octets), WORD.pack(bits))
        asked = {
            (32, 10, 1, 2, 3): 32,
            (32, 10, 1, 2, 4): 16,
            (32, 10, 2, 0, 0): 8,
            (32, 11): 0,
            (16, 10, 1): 16,
            (12, 10, 1): 8,
        }
        for (bits, *octets), longest in asked.items():
            assert trie.lookup(prefix(bits, *octets)) == WORD.pack(longest), (bits, octets)
        assert trie.delete(prefix(0))
        assert trie.lookup(prefix(32, 11)) is None
        assert not trie.delete(prefix(24, 10, 1, 2)), "a key is deleted as it was written, not as it matches"
        trie.update(prefix(8, 10, 99), WORD.pack(99))
        assert trie.lookup(prefix(32, 10, 2)) == WORD.pack(99), "what is beyond the prefix does not count"
        assert len(set(trie.keys())) == 3


def test_a_full_trie_and_a_prefix_that_is_too_long() -> None:
    with Map.create(MapSpec("tiny", MapType.LPM_TRIE, 8, 4, 1, MapFlag.NO_PREALLOC)) as tiny:
        tiny.update(prefix(8, 10), key(1))
        with pytest.raises(OSError, match="of map tiny") as caught:
            tiny.update(prefix(8, 11), key(2))
        assert caught.value.errno == errno.ENOSPC
        with pytest.raises(OSError, match="of map tiny") as caught:
            tiny.update(prefix(33, 10), key(2))
        assert caught.value.errno == errno.EINVAL
        assert tiny.lookup(prefix(33, 10)) is None


def test_an_array_has_all_its_rows_and_no_others() -> None:
    with Map.create(ARRAY) as array:
        assert dict(array.items()) == {key(number): bytes(12) for number in range(5)}
        assert list(array.keys()) == [key(number) for number in range(5)]
        assert array.lookup(key(5)) is None
        with pytest.raises(OSError, match="update row 05000000") as caught:
            array.update(key(5), bytes(12))
        assert caught.value.errno == errno.E2BIG
        with pytest.raises(FileExistsError):
            array.update(key(0), bytes(12), UpdateFlag.NOEXIST)
        with pytest.raises(OSError, match="delete row 00000000") as caught:
            array.delete(key(0))
        assert caught.value.errno == errno.EINVAL


def test_slots_for_maps_end_where_they_end() -> None:
    with Map.create(TABLES) as tables, Map.create(TRIE) as trie:
        with pytest.raises(OSError, match="of map tables") as caught:
            tables.update(key(6_000), key(trie.fd))
        assert caught.value.errno == errno.E2BIG
        with pytest.raises(OSError, match="of map tables") as caught:
            tables.update(key(0), key(0xFFFF))
        assert caught.value.errno == errno.EBADF
        assert not tables.delete(key(7))
        assert len(list(tables.keys())) == 6_000


def test_a_map_that_evicts_is_never_full() -> None:
    with Map.create(MapSpec("recent", MapType.LRU_HASH, 4, 4, 64)) as recent:
        for number in range(1000):
            recent.update(key(number), key(number))
        assert recent.lookup(key(999)) == key(999)
        assert recent.lookup(key(0)) is None
        assert 0 < len(list(recent.items())) <= 64


IMPOSSIBLE = {
    "no rows": MapSpec("bad", MapType.HASH, 4, 4, 0),
    "no key": MapSpec("bad", MapType.HASH, 0, 4, 1),
    "a wide array": MapSpec("bad", MapType.ARRAY, 8, 4, 1),
    "a trie in advance": MapSpec("bad", MapType.LPM_TRIE, 8, 4, 1),
    "a trie of nothing": MapSpec("bad", MapType.LPM_TRIE, 4, 4, 1, MapFlag.NO_PREALLOC),
    "a lazy evicting map": MapSpec("bad", MapType.LRU_HASH, 4, 4, 1, MapFlag.NO_PREALLOC),
    "an odd ring": MapSpec("bad", MapType.RINGBUF, 0, 0, 5000),
}


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_impossible_maps_are_refused(name: str) -> None:
    with pytest.raises(OSError, match="create map bad") as caught:
        Map.create(IMPOSSIBLE[name])
    assert caught.value.errno in (errno.EINVAL, 524)


@pytest.mark.parametrize("either_kernel", [REAL], indirect=True)
def test_memory_is_what_the_kernel_says() -> None:
    with Map.create(ARRAY) as small, Map.create(MapSpec("big", MapType.ARRAY, 4, 4096, 1000)) as big:
        assert big.memory() >= 4_096_000 > small.memory() > 0


@pytest.mark.parametrize("number", [524, errno.EINTR], ids=["not supported", "gave up"])
def test_without_batches_rows_are_read_one_by_one(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    real = syscall.call

    def call(command: Command, attributes: syscall.Attributes) -> int:
        if command is not Command.MAP_LOOKUP_BATCH:
            return real(command, attributes)
        ctypes.set_errno(number)
        return -1

    monkeypatch.setattr(syscall, "call", call)
    with Map.create(HASH) as rows, Map.create(TABLES) as tables, Map.create(TRIE) as table:
        rows.update(key(1), b"12345678")
        tables.update(key(7), key(table.fd))
        assert list(rows.items()) == list(rows.blocks()) == [(key(1), b"12345678")]
        assert list(tables.items()) == [(key(7), key(table.id))]
