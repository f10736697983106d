"""What maps do, in memory: the semantics of each kind that Kinety uses, errors included.

`maps` puts them behind bpf(2). A row is refused with the OSError number that the kernel has for
it; tests/unit/kernel/test_map.py holds both to one contract.
"""

import errno
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from kinety.kernel.uapi import MapFlag, MapType, UpdateFlag

_WORD = 4
_LONGEST_KEY = 512


@dataclass(frozen=True, slots=True)
class Shape:
    """What a map was created as. ``value_size`` is that of one value, ``row_size`` of a whole row."""

    type: MapType
    key_size: int
    value_size: int
    max_entries: int
    flags: int
    row_size: int

    def holds(self, other: "Shape") -> bool:
        """Whether a map of maps made for this shape takes a map of the other."""
        same = (self.type, self.key_size, self.value_size, self.flags)
        alike = same == (other.type, other.key_size, other.value_size, other.flags)
        return alike and (self.type is not MapType.ARRAY or self.max_entries == other.max_entries)


class Rows(Protocol):
    """A map's content. Every method raises OSError with the kernel's number and nothing else."""

    def lookup(self, key: bytes) -> bytes:
        """The value of a row; ENOENT when there is none."""

    def update(self, key: bytes, value: bytes, flags: int) -> None:
        """Write a row."""

    def delete(self, key: bytes) -> None:
        """Remove a row; ENOENT when there is none."""

    def keys(self) -> Iterator[bytes]:
        """Keys in the order in which the map is walked."""

    def following(self, key: bytes | None) -> bytes | None:
        """The key after another; the first after None, and after one that is not there."""


def check(shape: Shape) -> None:
    """Refuse what the kernel would not create. Raises OSError."""
    sizes = {
        MapType.HASH: shape.key_size > 0 and shape.value_size > 0,
        MapType.LRU_HASH: shape.key_size > 0
        and shape.value_size > 0
        and not shape.flags & MapFlag.NO_PREALLOC,
        MapType.ARRAY: shape.key_size == _WORD and shape.value_size > 0,
        MapType.PERCPU_ARRAY: shape.key_size == _WORD and shape.value_size > 0,
        MapType.ARRAY_OF_MAPS: shape.key_size == _WORD and shape.value_size == _WORD,
        MapType.PROG_ARRAY: shape.key_size == _WORD and shape.value_size == _WORD,
        MapType.SOCKHASH: shape.key_size > 0 and shape.value_size in (_WORD, 2 * _WORD),
        MapType.LPM_TRIE: shape.key_size > _WORD and bool(shape.flags & MapFlag.NO_PREALLOC),
        MapType.RINGBUF: not shape.key_size and not shape.value_size,
    }
    if not sizes.get(shape.type, False) or not shape.max_entries or shape.key_size > _LONGEST_KEY:
        raise OSError(errno.EINVAL, "no such map")


class _Walk:
    """The order of keys, remembered while none comes or goes."""

    def __init__(self) -> None:
        self._after: dict[bytes | None, bytes | None] | None = None

    def forget(self) -> None:
        self._after = None

    def following(self, key: bytes | None, keys: Iterator[bytes]) -> bytes | None:
        if self._after is None:
            order = [None, *keys]
            self._after = dict(zip(order, [*order[1:], None], strict=True))
        return self._after.get(key, self._after[None])


class HashRows:
    """An exact hash. With ``evicts``, a full one loses the row that was used least recently."""

    def __init__(self, shape: Shape, *, evicts: bool) -> None:
        self._rows: dict[bytes, bytes] = {}
        self._most = shape.max_entries
        self._evicts = evicts
        self._walk = _Walk()

    def lookup(self, key: bytes) -> bytes:
        value = _there(self._rows.get(key))
        if self._evicts:
            self._rows[key] = self._rows.pop(key)
        return value

    def update(self, key: bytes, value: bytes, flags: int) -> None:
        _check_flags(flags, key in self._rows)
        if key not in self._rows and len(self._rows) >= self._most:
            if not self._evicts:
                raise OSError(errno.E2BIG, "full")
            del self._rows[next(iter(self._rows))]
        if key not in self._rows:
            self._walk.forget()
        self._rows[key] = value

    def delete(self, key: bytes) -> None:
        _there(self._rows.pop(key, None))
        self._walk.forget()

    def keys(self) -> Iterator[bytes]:
        return iter(tuple(self._rows))

    def following(self, key: bytes | None) -> bytes | None:
        return self._walk.following(key, self.keys())


class TrieRows:
    """A longest-prefix match: four bytes of length in bits, in host order, then what the bits are of."""

    def __init__(self, shape: Shape) -> None:
        self._rows: dict[tuple[int, int], tuple[bytes, bytes]] = {}
        self._bits = (shape.key_size - _WORD) * 8
        self._most = shape.max_entries
        self._walk = _Walk()

    def lookup(self, key: bytes) -> bytes:
        length = self._length(key, errno.ENOENT)
        for shorter in range(length, -1, -1):
            if found := self._rows.get(self._prefix(key, shorter)):
                return found[1]
        raise OSError(errno.ENOENT, "no row")

    def update(self, key: bytes, value: bytes, flags: int) -> None:
        prefix = self._prefix(key, self._length(key, errno.EINVAL))
        _check_flags(flags, prefix in self._rows)
        if prefix not in self._rows and len(self._rows) >= self._most:
            raise OSError(errno.ENOSPC, "full")
        self._rows[prefix] = (key, value)
        self._walk.forget()

    def delete(self, key: bytes) -> None:
        prefix = self._prefix(key, self._length(key, errno.EINVAL))
        _there(self._rows.pop(prefix, None))
        self._walk.forget()

    def keys(self) -> Iterator[bytes]:
        return iter(tuple(key for key, _ in self._rows.values()))

    def following(self, key: bytes | None) -> bytes | None:
        return self._walk.following(key, self.keys())

    def _length(self, key: bytes, too_long: int) -> int:
        length = int.from_bytes(key[:_WORD], sys.byteorder)
        if length > self._bits:
            raise OSError(too_long, "the prefix is longer than the key")
        return length

    def _prefix(self, key: bytes, length: int) -> tuple[int, int]:
        return length, int.from_bytes(key[_WORD:]) >> self._bits - length


class ArrayRows:
    """An array over memory that others may share; a row is padded to eight bytes."""

    def __init__(self, shape: Shape, memory: memoryview) -> None:
        self._memory = memory
        self._size = shape.row_size
        self._stride = (shape.row_size + 7) & ~7
        self._most = shape.max_entries

    def lookup(self, key: bytes) -> bytes:
        start = self._start(key, errno.ENOENT)
        return bytes(self._memory[start : start + self._size])

    def update(self, key: bytes, value: bytes, flags: int) -> None:
        start = self._start(key, errno.E2BIG)
        _check_flags(flags, True)
        self._memory[start : start + self._size] = value

    def delete(self, key: bytes) -> None:
        raise OSError(errno.EINVAL, "a row of an array stays")

    def keys(self) -> Iterator[bytes]:
        return (index.to_bytes(_WORD, sys.byteorder) for index in range(self._most))

    def following(self, key: bytes | None) -> bytes | None:
        return _next_index(key, self._most)

    def _start(self, key: bytes, beyond: int) -> int:
        index = int.from_bytes(key, sys.byteorder)
        if index >= self._most:
            raise OSError(beyond, "beyond the array")
        return index * self._stride


class SlotRows:
    """An array of maps, or of programs, by their numbers."""

    def __init__(self, shape: Shape) -> None:
        self._slots: dict[int, bytes] = {}
        self._most = shape.max_entries

    def lookup(self, key: bytes) -> bytes:
        return _there(self._slots.get(int.from_bytes(key, sys.byteorder)))

    def update(self, key: bytes, value: bytes, flags: int) -> None:
        if flags != UpdateFlag.ANY:
            raise OSError(errno.EINVAL, "no flags here")
        self._slots[self._slot(key)] = value

    def delete(self, key: bytes) -> None:
        _there(self._slots.pop(self._slot(key), None))

    def keys(self) -> Iterator[bytes]:
        return (index.to_bytes(_WORD, sys.byteorder) for index in range(self._most))

    def following(self, key: bytes | None) -> bytes | None:
        return _next_index(key, self._most)

    def numbers(self) -> set[bytes]:
        """Maps that are in a slot."""
        return set(self._slots.values())

    def _slot(self, key: bytes) -> int:
        slot = int.from_bytes(key, sys.byteorder)
        if slot >= self._most:
            raise OSError(errno.E2BIG, "beyond the array")
        return slot


def _next_index(key: bytes | None, most: int) -> bytes | None:
    """The index after another one, as a key."""
    index = -1 if key is None else int.from_bytes(key, sys.byteorder)
    if index >= most:
        index = -1
    return (index + 1).to_bytes(_WORD, sys.byteorder) if index + 1 < most else None


def _there(value: "bytes | tuple[bytes, bytes] | None") -> bytes:
    if value is None:
        raise OSError(errno.ENOENT, "no row")
    return value if isinstance(value, bytes) else value[1]


def _check_flags(flags: int, there: bool) -> None:
    if flags > UpdateFlag.EXIST:
        raise OSError(errno.EINVAL, "unknown flags")
    if flags == UpdateFlag.NOEXIST and there:
        raise OSError(errno.EEXIST, "there is such a row")
    if flags == UpdateFlag.EXIST and not there:
        raise OSError(errno.ENOENT, "no row")
