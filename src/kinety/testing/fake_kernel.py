"""A kernel's maps in this process: bpf(2) answered without a kernel, for tests without privileges.

What is faked is the system call, not `kinety.kernel.map.Map`: whatever is written for the real one,
batches, pins, shared memory and adoption after a restart included, runs on this one unchanged. It is a
verified fake: tests/unit/kernel/test_map.py is one contract that both kernels keep.

A descriptor is a real one, of a file in memory, so it is closed, counted and mapped like any other.
Its inode says which map it is. A map lives while a descriptor, a pin or a slot of another map holds it.

There are no programs: a verifier cannot be faked. What they would write is put into maps by tests, and
into a ring by `FakeKernel.tell`.
"""

import ctypes
import errno
import mmap
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

from kinety.kernel import syscall
from kinety.kernel.map import possible_cpus
from kinety.kernel.uapi import PER_CPU_MAPS, Command, MapType
from kinety.testing.fake_map import ArrayRows, HashRows, Rows, Shape, SlotRows, TrieRows, check

_INFO_NUMBERS = ctypes.c_uint32 * 6
_NAME_BYTES = 16
_WORD = 4
_RING_HEADER = 8
_PIN = b"map of a fake kernel: "


@dataclass(slots=True)
class _Object:
    """A live map: content, and the descriptor by which this kernel itself holds its memory."""

    number: int
    name: bytes
    shape: Shape
    fd: int
    inode: tuple[int, int]
    rows: Rows | None
    memory: memoryview | None = None
    inner: Shape | None = None
    frozen: bool = False
    pins: set[Path] = field(default_factory=set)


class FakeKernel:
    """Maps by number. Inside `installed`, every bpf(2) of this process is answered here."""

    def __init__(self) -> None:
        self._objects: dict[int, _Object] = {}
        self._by_inode: dict[tuple[int, int], _Object] = {}
        self._last = 0
        self._answers: dict[int, Callable[[Any], int]] = {
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
            Command.OBJ_GET_INFO_BY_FD: self._inform,
            Command.OBJ_PIN: self._pin,
            Command.OBJ_GET: self._open_pin,
        }

    @contextmanager
    def installed(self) -> Iterator["FakeKernel"]:
        """Take the place of the kernel, and end with everything in it."""
        quickly = patch.object(syscall, "call_quickly", self._call_quickly)
        try:
            with patch.object(syscall, "call", self.call), quickly:
                yield self
        finally:
            for each in list(self._objects.values()):
                self._end(each)

    def call(self, command: int, attributes: ctypes.Structure) -> int:
        """What bpf(2) answers; -1 with the thread's errno set when it fails."""
        answer = self._answers.get(command)
        try:
            if answer is None:
                raise OSError(errno.EINVAL, "no such command here")
            return answer(attributes)
        except OSError as error:
            ctypes.set_errno(error.errno or errno.EINVAL)
            return -1

    def _call_quickly(self, command: ctypes.c_int, element: ctypes.Structure) -> int:
        return self.call(command.value, element)

    def tell(self, fd: int, record: bytes) -> None:
        """Put a record into a ring, as a program does. Raises OSError when it is full (ENOSPC)."""
        held = self._held(fd)
        assert held.shape.type is MapType.RINGBUF, "no ring"
        assert held.memory is not None
        page, size = mmap.PAGESIZE, held.shape.max_entries
        consumed, produced = (int.from_bytes(held.memory[at : at + 8], sys.byteorder) for at in (0, page))
        block = len(record).to_bytes(4, sys.byteorder) + bytes(4) + record
        block += bytes(-len(block) % _RING_HEADER)
        if produced + len(block) - consumed > size:
            raise OSError(errno.ENOSPC, "the ring is full")
        for index, byte in enumerate(block):
            at = 2 * page + (produced + index) % size
            held.memory[at] = held.memory[at + size] = byte
        held.memory[page : page + 8] = (produced + len(block)).to_bytes(8, sys.byteorder)

    # -- what is there

    def _held(self, fd: int) -> _Object:
        """The map behind a descriptor."""
        try:
            return self._by_inode[_inode(fd)]
        except (OSError, KeyError):
            raise OSError(errno.EBADF, "no map") from None

    def _rows(self, fd: int) -> Rows:
        rows = self._held(fd).rows
        if rows is None:
            raise OSError(524, "a ring has no rows")
        return rows

    def _numbered(self, number: int) -> _Object:
        """The map of a number, unless nobody holds it any more."""
        found = self._objects.get(number)
        if found is not None and not self._is_held(found):
            self._end(found)
            found = None
        if found is None:
            raise OSError(errno.ENOENT, "no such map")
        return found

    def _is_held(self, held: _Object) -> bool:
        if any(pin.exists() for pin in held.pins):
            return True
        number = held.number.to_bytes(_WORD, sys.byteorder)
        for outer in list(self._objects.values()):
            if isinstance(outer.rows, SlotRows) and number in outer.rows.numbers() and self._is_held(outer):
                return True
        own = 1 if held.memory is None else 2  # shared memory has a descriptor too
        return _descriptors(held.inode) > own

    def _end(self, held: _Object) -> None:
        del self._objects[held.number], self._by_inode[held.inode]
        held.rows = held.memory = None
        os.close(held.fd)

    # -- one command each

    def _create(self, asked: syscall.CreateMap) -> int:
        kind = MapType(asked.map_type)
        row_size = asked.value_size
        if kind in PER_CPU_MAPS:
            row_size = (asked.value_size + 7 & ~7) * possible_cpus()
        shape = Shape(kind, asked.key_size, asked.value_size, asked.max_entries, asked.map_flags, row_size)
        check(shape)
        inner = self._held(asked.inner_map_fd).shape if kind is MapType.ARRAY_OF_MAPS else None
        fd = os.memfd_create("bpf-map", os.MFD_CLOEXEC)
        memory = _memory(fd, shape)
        self._last += 1
        made = _Object(
            self._last, asked.map_name, shape, fd, _inode(fd), _rows_of(shape, memory), memory, inner
        )
        self._objects[made.number] = self._by_inode[made.inode] = made
        return os.dup(fd)

    def _lookup(self, asked: syscall.ElementOut) -> int:
        value = self._rows(asked.map_fd).lookup(self._key(asked))
        ctypes.memmove(asked.value, value, len(value))
        return 0

    def _update(self, asked: syscall.Element) -> int:
        held = self._written(asked.map_fd)
        value = ctypes.string_at(_address(asked, "value"), held.shape.row_size)
        self._put(held, self._key(asked), value, asked.flags)
        return 0

    def _delete(self, asked: syscall.Element) -> int:
        self._written(asked.map_fd)
        self._rows(asked.map_fd).delete(self._key(asked))
        return 0

    def _next_key(self, asked: syscall.ElementOut) -> int:
        key = self._key(asked) if _address(asked, "key") else None
        following = self._rows(asked.map_fd).following(key)
        if following is None:
            raise OSError(errno.ENOENT, "that was the last")
        ctypes.memmove(asked.value, following, len(following))
        return 0

    def _lookup_batch(self, asked: syscall.BatchOut) -> int:
        held, rows = self._held(asked.map_fd), self._rows(asked.map_fd)
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
        held, rows = self._written(asked.map_fd), self._rows(asked.map_fd)
        return self._each(held, asked, lambda index, key: rows.delete(key))

    def _each(self, held: _Object, asked: syscall.Batch, do: Callable[[int, bytes], None]) -> int:
        """One after the other; the first that fails ends the batch, and ``count`` says how far it came."""
        keys, size, wanted = _address(asked, "keys"), held.shape.key_size, asked.count
        asked.count = 0
        for index in range(wanted):
            do(index, ctypes.string_at(keys + index * size, size))
            asked.count = index + 1
        return 0

    def _put(self, held: _Object, key: bytes, value: bytes, flags: int) -> None:
        if held.inner is not None:
            inner = self._held(int.from_bytes(value, sys.byteorder))
            if not held.inner.holds(inner.shape):
                raise OSError(errno.EINVAL, "a map of another shape")
            value = inner.number.to_bytes(_WORD, sys.byteorder)
        self._rows(held.fd).update(key, value, flags)

    def _written(self, fd: int) -> _Object:
        """A map that may be written to."""
        held = self._held(fd)
        if held.frozen:
            raise OSError(errno.EPERM, "frozen")
        return held

    def _freeze(self, asked: syscall.Element) -> int:
        self._written(asked.map_fd).frozen = True
        return 0

    def _open_number(self, asked: syscall.Identifier) -> int:
        return os.dup(self._numbered(asked.id).fd)

    def _inform(self, asked: syscall.Info) -> int:
        held = self._held(asked.bpf_fd)
        shape = held.shape
        numbers = (shape.type, held.number, shape.key_size, shape.value_size, shape.max_entries, shape.flags)
        answer = bytes(_INFO_NUMBERS(*numbers)) + held.name.ljust(_NAME_BYTES, b"\0")
        ctypes.memmove(asked.info, answer, len(answer))
        return 0

    def _pin(self, asked: syscall.Path) -> int:
        held, path = self._held(asked.bpf_fd), Path(os.fsdecode(asked.pathname))
        with open(path, "xb") as pin:
            pin.write(_PIN + str(held.number).encode())
        held.pins.add(path)
        return 0

    def _open_pin(self, asked: syscall.Path) -> int:
        content = Path(os.fsdecode(asked.pathname)).read_bytes()
        if not content.startswith(_PIN):
            raise OSError(errno.EACCES, "no pin")
        return os.dup(self._numbered(int(content.removeprefix(_PIN))).fd)

    def _key(self, asked: Any) -> bytes:
        return ctypes.string_at(_address(asked, "key"), self._held(asked.map_fd).shape.key_size)


def _address(structure: ctypes.Structure, name: str) -> int:
    """Where a pointer field leads; 0 for none. A c_char_p would be read only up to a zero byte."""
    place = ctypes.addressof(structure) + getattr(type(structure), name).offset
    return ctypes.c_void_p.from_address(place).value or 0


def _inode(fd: int) -> tuple[int, int]:
    """What tells the file behind a descriptor from all others."""
    status = os.fstat(fd)
    return status.st_dev, status.st_ino


def _descriptors(inode: tuple[int, int]) -> int:
    """How many descriptors of this process are of a file."""
    count = 0
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):  # the one that lists the directory is gone
            count += _inode(int(name)) == inode
    return count


def _memory(fd: int, shape: Shape) -> memoryview | None:
    """The shared memory of an array or a ring; others have none."""
    page = mmap.PAGESIZE
    if shape.type is MapType.RINGBUF:
        if shape.max_entries % page or shape.max_entries & shape.max_entries - 1:
            os.close(fd)
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
        case MapType.HASH | MapType.LRU_HASH:
            return HashRows(shape, evicts=shape.type is MapType.LRU_HASH)
        case MapType.LPM_TRIE:
            return TrieRows(shape)
        case MapType.ARRAY_OF_MAPS:
            return SlotRows(shape)
        case MapType.ARRAY | MapType.PERCPU_ARRAY:
            assert memory is not None
            return ArrayRows(shape, memory)
        case _:
            return None
