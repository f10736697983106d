"""The commands about maps: from the arguments in memory to rows, and back."""

import ctypes
import errno
import mmap
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from kinety.kernel import syscall
from kinety.kernel.map import possible_cpus
from kinety.kernel.uapi import PER_CPU_MAPS, Command, MapType
from kinety.testing.fake.held import Held, Kind, Objects
from kinety.testing.fake.rows import ArrayRows, HashRows, Rows, Shape, SlotRows, TrieRows, check

_INFO_NUMBERS = ctypes.c_uint32 * 6
_NAME_BYTES = 16
_WORD = 4
_NOT_SUPPORTED = 524


@dataclass(slots=True)
class Content:
    """What a map is. ``memory`` is shared, of arrays and rings; ``inner`` is of a map of maps."""

    name: bytes
    shape: Shape
    rows: Rows | None
    memory: memoryview | None
    inner: Shape | None
    frozen: bool = False


class Maps:
    """Every command that has to do with maps."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    def answers(self) -> dict[int, Callable[[Any], int]]:
        """Commands with what answers them."""
        return {
            Command.MAP_CREATE: self._create,
            Command.MAP_LOOKUP_ELEM: self._lookup,
            Command.MAP_UPDATE_ELEM: self._update,
            Command.MAP_DELETE_ELEM: self._delete,
            Command.MAP_GET_NEXT_KEY: self._next_key,
            Command.MAP_LOOKUP_BATCH: self._lookup_batch,
            Command.MAP_UPDATE_BATCH: self._update_batch,
            Command.MAP_DELETE_BATCH: self._delete_batch,
            Command.MAP_GET_FD_BY_ID: self._open_number,
            Command.MAP_FREEZE: self._freeze,
        }

    def information(self, held: Held) -> bytes:
        """What the kernel says of a map."""
        shape = held.content.shape
        numbers = (shape.type, held.number, shape.key_size, shape.value_size, shape.max_entries, shape.flags)
        name: bytes = held.content.name
        return bytes(_INFO_NUMBERS(*numbers)) + name.ljust(_NAME_BYTES, b"\0")

    def _content(self, fd: int) -> Content:
        content: Content = self._objects.at(fd, Kind.MAP).content
        return content

    def _written(self, fd: int) -> Content:
        """A map that may be written to."""
        content = self._content(fd)
        if content.frozen:
            raise OSError(errno.EPERM, "frozen")
        return content

    def _create(self, asked: syscall.CreateMap) -> int:
        kind = MapType(asked.map_type)
        row_size = asked.value_size
        if kind in PER_CPU_MAPS:
            row_size = (asked.value_size + 7 & ~7) * possible_cpus()
        shape = Shape(kind, asked.key_size, asked.value_size, asked.max_entries, asked.map_flags, row_size)
        check(shape)
        inner = self._content(asked.inner_map_fd).shape if kind is MapType.ARRAY_OF_MAPS else None
        made = self._objects.add(Kind.MAP)
        memory = _memory(made.fd, shape)
        rows = _rows_of(shape, memory)
        made.content = Content(asked.map_name, shape, rows, memory, inner)
        made.own_descriptors = 1 if memory is None else 2
        if isinstance(rows, SlotRows):
            made.holds = lambda: self._in_slots(rows)
        return os.dup(made.fd)

    def _in_slots(self, rows: SlotRows) -> list[Held]:
        numbers = (int.from_bytes(number, sys.byteorder) for number in rows.numbers())
        return [held for number in numbers if (held := self._objects.find(Kind.MAP, number))]

    def _lookup(self, asked: syscall.ElementOut) -> int:
        value = _rows(self._content(asked.map_fd)).lookup(self._key(asked))
        ctypes.memmove(asked.value, value, len(value))
        return 0

    def _update(self, asked: syscall.Element) -> int:
        held = self._written(asked.map_fd)
        value = ctypes.string_at(_address(asked, "value"), held.shape.row_size)
        self._put(held, self._key(asked), value, asked.flags)
        return 0

    def _delete(self, asked: syscall.Element) -> int:
        _rows(self._written(asked.map_fd)).delete(self._key(asked))
        return 0

    def _next_key(self, asked: syscall.ElementOut) -> int:
        key = self._key(asked) if _address(asked, "key") else None
        following = _rows(self._content(asked.map_fd)).following(key)
        if following is None:
            raise OSError(errno.ENOENT, "that was the last")
        ctypes.memmove(asked.value, following, len(following))
        return 0

    def _lookup_batch(self, asked: syscall.BatchOut) -> int:
        held = self._content(asked.map_fd)
        rows = _rows(held)
        found = []
        for key in rows.keys():  # noqa: SIM118 (no dictionary)
            with suppress(OSError):  # an empty slot of an array of maps
                found.append((key, rows.lookup(key)))
        start = ctypes.c_uint32.from_address(asked.in_batch).value if asked.in_batch else 0
        taken = found[start : start + asked.count]
        for index, (key, value) in enumerate(taken):
            ctypes.memmove(asked.keys + index * held.shape.key_size, key, len(key))
            ctypes.memmove(asked.values + index * len(value), value, len(value))
        ended = start + asked.count >= len(found)
        asked.count = len(taken)
        ctypes.c_uint32.from_address(asked.out_batch).value = start + len(taken)
        if ended:
            raise OSError(errno.ENOENT, "that was the last")
        return 0

    def _update_batch(self, asked: syscall.Batch) -> int:
        held = self._written(asked.map_fd)
        size = held.shape.row_size
        values = _address(asked, "values")

        def put(index: int, key: bytes) -> None:
            self._put(held, key, ctypes.string_at(values + index * size, size), asked.elem_flags)

        return self._each(held, asked, put)

    def _delete_batch(self, asked: syscall.Batch) -> int:
        held = self._written(asked.map_fd)
        rows = _rows(held)
        return self._each(held, asked, lambda index, key: rows.delete(key))

    def _each(self, held: Content, asked: syscall.Batch, do: Callable[[int, bytes], None]) -> int:
        """One after the other; the first that fails ends the batch, and ``count`` says how far it came."""
        keys, size, wanted = _address(asked, "keys"), held.shape.key_size, asked.count
        asked.count = 0
        for index in range(wanted):
            do(index, ctypes.string_at(keys + index * size, size))
            asked.count = index + 1
        return 0

    def _put(self, held: Content, key: bytes, value: bytes, flags: int) -> None:
        if held.shape.type is MapType.PROG_ARRAY:
            raise OSError(errno.EBADF, "there are no programs here")
        if held.inner is not None:
            inner = self._objects.at(int.from_bytes(value, sys.byteorder), Kind.MAP)
            if not held.inner.holds(inner.content.shape):
                raise OSError(errno.EINVAL, "a map of another shape")
            value = inner.number.to_bytes(_WORD, sys.byteorder)
        _rows(held).update(key, value, flags)

    def _freeze(self, asked: syscall.Element) -> int:
        self._written(asked.map_fd).frozen = True
        return 0

    def _open_number(self, asked: syscall.Identifier) -> int:
        return os.dup(self._objects.numbered(Kind.MAP, asked.id).fd)

    def _key(self, asked: Any) -> bytes:
        return ctypes.string_at(_address(asked, "key"), self._content(asked.map_fd).shape.key_size)


def _rows(content: Content) -> Rows:
    if content.rows is None:
        raise OSError(_NOT_SUPPORTED, "a ring has no rows")
    return content.rows


def _address(structure: ctypes.Structure, name: str) -> int:
    """Where a pointer field leads; 0 for none. A c_char_p would be read only up to a zero byte."""
    place = ctypes.addressof(structure) + getattr(type(structure), name).offset
    return ctypes.c_void_p.from_address(place).value or 0


def _memory(fd: int, shape: Shape) -> memoryview | None:
    """The shared memory of an array or a ring; others have none."""
    page = mmap.PAGESIZE
    if shape.type is MapType.RINGBUF:
        if shape.max_entries % page or shape.max_entries & shape.max_entries - 1:
            raise OSError(errno.EINVAL, "no size of a ring")
        length = 2 * page + 2 * shape.max_entries
    elif shape.type in (MapType.ARRAY, MapType.PERCPU_ARRAY):
        length = -(-(shape.row_size + 7 & ~7) * shape.max_entries // page) * page
    else:
        return None
    os.ftruncate(fd, length)
    return memoryview(mmap.mmap(fd, length))


def _rows_of(shape: Shape, memory: memoryview | None) -> Rows | None:
    match shape.type:
        case MapType.HASH | MapType.LRU_HASH | MapType.SOCKHASH:
            return HashRows(shape, evicts=shape.type is MapType.LRU_HASH)
        case MapType.LPM_TRIE:
            return TrieRows(shape)
        case MapType.ARRAY_OF_MAPS | MapType.PROG_ARRAY:
            return SlotRows(shape)
        case MapType.ARRAY | MapType.PERCPU_ARRAY:
            assert memory is not None
            return ArrayRows(shape, memory)
        case _:
            return None
