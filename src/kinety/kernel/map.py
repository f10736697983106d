"""BPF maps: rows that programs and user space share. Source: bpf(2), kernel doc bpf/maps.

Keys and values are ``bytes``. A hash, a trie or an array is read and written in batches; everything that
costs a system call per row says so.
"""

import ctypes
import errno
import mmap
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Self

from . import syscall
from .definition import MapSpec
from .syscall import Batch, BatchOut, Element, ElementOut
from .uapi import MAPS_OF_MAPS, PER_CPU_MAPS, SOCKET_MAPS, Command, MapType, UpdateFlag

__all__ = ["Map", "MapInfo", "MapSpec", "UpdateFlag"]

_LOOKUP = ctypes.c_int(Command.MAP_LOOKUP_ELEM)
_UPDATE = ctypes.c_int(Command.MAP_UPDATE_ELEM)
_DELETE = ctypes.c_int(Command.MAP_DELETE_ELEM)
_NEXT = ctypes.c_int(Command.MAP_GET_NEXT_KEY)
_BATCH_ROWS = 4096
_TOKEN_BYTES = 64
_NOT_SUPPORTED = 524


@dataclass(frozen=True, slots=True)
class MapInfo:
    """What the kernel says a map is. Sizes in bytes; ``max_entries`` in rows (bytes for a ring)."""

    type: MapType
    id: int
    key_size: int
    value_size: int
    max_entries: int
    flags: int
    name: str


class _Info(ctypes.Structure):
    _fields_ = (
        ("numbers", ctypes.c_uint32 * 6),
        ("name", ctypes.c_char * 16),
        ("rest", ctypes.c_char * 56),
    )


@cache
def possible_cpus() -> int:
    """How many CPUs per-CPU maps have room for. Source: Documentation/admin-guide/cputopology.rst."""
    text = Path("/sys/devices/system/cpu/possible").read_text().strip()
    return int(text.replace(",", "-").rpartition("-")[2]) + 1


class Map:
    """A live map: a file descriptor. The map lives on while anything else in the kernel holds it."""

    __slots__ = ("_buffer_type", "_fd", "_name", "_quick", "_row_bytes", "info")

    def __init__(self, fd: int, name: str = "") -> None:
        """Take over a descriptor of a map; it is closed when this fails."""
        answer = _Info()
        try:
            syscall.info(fd, answer, f"map {name}".rstrip())
        except OSError:
            os.close(fd)
            raise
        numbers = list(answer.numbers)
        self._fd = fd
        self._name = name or answer.name.decode()
        #: Facts that never change.
        self.info = MapInfo(
            MapType(numbers[0]),
            id=numbers[1],
            key_size=numbers[2],
            value_size=numbers[3],
            max_entries=numbers[4],
            flags=numbers[5],
            name=answer.name.decode(),
        )
        self._row_bytes = self._row_size()
        self._buffer_type = ctypes.c_char * self._row_bytes
        self._quick = self.info.type not in MAPS_OF_MAPS

    def _row_size(self) -> int:
        if self.info.type in PER_CPU_MAPS:
            return self._stride() * possible_cpus()
        return self.info.value_size

    def _stride(self) -> int:
        return (self.info.value_size + 7) & ~7

    @classmethod
    def create(cls, spec: MapSpec, *, btf_fd: int = 0) -> Self:
        """Make a map, and the template of its inner maps; fill and freeze it when the spec says so.

        Raises OSError when the kernel refuses.
        """
        if spec.inner is None:
            return cls._create(spec, btf_fd, 0)
        with Map.create(spec.inner) as template:
            return cls._create(spec, btf_fd, template.fd)

    @classmethod
    def _create(cls, spec: MapSpec, btf_fd: int, inner_fd: int) -> Self:
        attributes = syscall.CreateMap(
            spec.type, spec.key_size, spec.value_size, spec.max_entries, spec.flags, inner_fd
        )
        attributes.map_name = syscall.object_name(spec.name)
        attributes.map_extra = spec.extra
        if btf_fd and spec.value_type_id and spec.type not in MAPS_OF_MAPS | SOCKET_MAPS:
            attributes.btf_fd = btf_fd
            attributes.btf_key_type_id = spec.key_type_id
            attributes.btf_value_type_id = spec.value_type_id
        action = (
            f"create map {spec.name} ({spec.type.name.lower()}, key {spec.key_size}, "
            f"value {spec.value_size}, {spec.max_entries} entries)"
        )
        made = cls(syscall.checked(Command.MAP_CREATE, attributes, action), spec.name)
        try:
            if spec.contents is not None:
                made.update(bytes(spec.key_size), spec.contents)
            if spec.frozen:
                made.freeze()
        except OSError:
            made.close()
            raise
        return made

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Self:
        """Open a pinned map. Raises FileNotFoundError, or OSError when it is no map."""
        return cls(syscall.open_pinned(path, "map"), os.path.basename(path))

    @classmethod
    def from_id(cls, map_id: int) -> Self:
        """Open a map by the number the kernel gave it. Raises OSError when it is gone."""
        attributes = syscall.Identifier(map_id)
        return cls(syscall.checked(Command.MAP_GET_FD_BY_ID, attributes, f"open map {map_id}"))

    @property
    def fd(self) -> int:
        """File descriptor; -1 after ``close``."""
        return self._fd

    @property
    def id(self) -> int:
        """The kernel's number."""
        return self.info.id

    @property
    def name(self) -> str:
        """Name in the object it came from, or the last part of its path."""
        return self._name

    def memory(self) -> int:
        """Bytes of kernel memory the map takes, as the kernel estimates it."""
        return syscall.locked_memory(self._fd)

    def fits(self, spec: MapSpec) -> str | None:
        """None when the map is what a spec asks for, else a sentence about the difference."""
        for what, held, wanted in (
            ("type", self.info.type, spec.type),
            ("key size", self.info.key_size, spec.key_size),
            ("value size", self.info.value_size, spec.value_size),
            ("number of entries", self.info.max_entries, spec.max_entries),
            ("flags", self.info.flags, spec.flags),
        ):
            if held != wanted:
                return f"map {self._name}: {what} is {held}, wanted {wanted}"
        return None

    def pin(self, path: str | os.PathLike[str]) -> None:
        """Give the map a name in the BPF file system. Raises FileExistsError when it is taken."""
        syscall.pin(self._fd, path, f"map {self._name}")

    def freeze(self) -> None:
        """Forbid user space to change it ever again."""
        syscall.checked(Command.MAP_FREEZE, Element(self._fd), f"freeze map {self._name}")

    def lookup(self, key: bytes) -> bytes | None:
        """The value of a row, None when there is none. One system call."""
        self._check(key)
        buffer = self._buffer_type()
        element = ElementOut(self._fd, 0, key, ctypes.addressof(buffer), 0)
        if syscall.call_quickly(_LOOKUP, element) < 0:
            if ctypes.get_errno() == errno.ENOENT:
                return None
            raise self._failure("look up", key)
        return buffer.raw

    def lookup_per_cpu(self, key: bytes) -> list[bytes] | None:
        """The values of a per-CPU row, one for each possible CPU; None when there is no such row."""
        row = self.lookup(key)
        return None if row is None else self._per_cpu(row)

    def update(self, key: bytes, value: bytes, flags: UpdateFlag = UpdateFlag.ANY) -> None:
        """Write a row. One system call. The value of a map of maps is the inner map's descriptor.

        Raises OSError: E2BIG when the map is full, EEXIST or ENOENT as the flags ask.
        """
        self._check(key, value)
        element = Element(self._fd, 0, key, value, flags)
        if self._quick:
            answer = syscall.call_quickly(_UPDATE, element)
        else:
            answer = syscall.call(Command.MAP_UPDATE_ELEM, element)
        if answer < 0:
            raise self._failure("update", key)

    def delete(self, key: bytes) -> bool:
        """Remove a row; False when there was none. One system call."""
        self._check(key)
        element = Element(self._fd, 0, key)
        if self._quick:
            answer = syscall.call_quickly(_DELETE, element)
        else:
            answer = syscall.call(Command.MAP_DELETE_ELEM, element)
        if answer < 0:
            if ctypes.get_errno() == errno.ENOENT:
                return False
            raise self._failure("delete", key)
        return True

    def keys(self) -> Iterator[bytes]:
        """Every key, one system call each. Rows that come and go meanwhile may be missed or repeated."""
        following = (ctypes.c_char * self.info.key_size)()
        key: bytes | None = None
        while True:
            element = ElementOut(self._fd, 0, key, ctypes.addressof(following), 0)
            if syscall.call_quickly(_NEXT, element) < 0:
                if ctypes.get_errno() == errno.ENOENT:
                    return
                raise self._failure("walk", key or b"")
            key = following.raw
            yield key

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Every row, a few thousand a system call. A map of maps gives the ids of its inner maps.

        Rows that come and go meanwhile may be missed. A kernel that cannot read this kind of map in
        batches costs two system calls a row.
        """
        key_size, value_size = self.info.key_size, self._row_bytes
        for keys, values in self.blocks():
            for index in range(len(keys) // key_size):
                yield (
                    keys[index * key_size : (index + 1) * key_size],
                    values[index * value_size : (index + 1) * value_size],
                )

    def blocks(self) -> Iterator[tuple[bytes, bytes]]:
        """Every row as ``items``, but many at a time: their keys one after the other, and their values.

        A byte of all of them is a slice with a step then, which costs next to nothing a row.
        """
        batches = self._blocks_in_batches()
        try:
            # Older kernels give up (EINTR) at the first empty slot of an array of maps, wherever it is.
            first = list(islice(batches, 1 if self._quick else None))
        except OSError as error:
            if error.errno not in (_NOT_SUPPORTED, errno.EINVAL, errno.EINTR):
                raise
            yield from self._items_one_by_one()
            return
        yield from first
        yield from batches

    def items_per_cpu(self) -> Iterator[tuple[bytes, list[bytes]]]:
        """Every row of a per-CPU map, with one value for each possible CPU."""
        for key, row in self.items():
            yield key, self._per_cpu(row)

    def update_batch(
        self, keys: bytes, values: bytes, count: int, flags: UpdateFlag = UpdateFlag.ANY
    ) -> None:
        """Write ``count`` rows, given one after the other, in one system call.

        Raises OSError; a note says how many rows were written before it.
        """
        self._batch(Command.MAP_UPDATE_BATCH, keys, values, count, flags)

    def delete_batch(self, keys: bytes, count: int) -> None:
        """Remove ``count`` rows in one system call.

        Raises OSError, ENOENT at the first row that is not there; a note says how many went before it.
        """
        self._batch(Command.MAP_DELETE_BATCH, keys, None, count, UpdateFlag.ANY)

    def mmap(self) -> memoryview:
        """The rows of an array in memory, shared with programs; each is padded to 8 bytes.

        Writable, of format ``B``. It stays valid after ``close`` and until it is released.
        """
        length = self._stride() * self.info.max_entries
        pages = -(-length // mmap.PAGESIZE) * mmap.PAGESIZE
        return memoryview(mmap.mmap(self._fd, pages))[:length]

    def close(self) -> None:
        """Let go of the descriptor; idempotent."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Map({self._name!r}, id {self.info.id}, fd {self._fd})"

    def _check(self, key: bytes, value: bytes | None = None) -> None:
        """The kernel reads as many bytes as the map says, whatever it is given."""
        if len(key) != self.info.key_size:
            raise ValueError(f"map {self._name}: key of {len(key)} bytes, wanted {self.info.key_size}")
        if value is not None and len(value) != self._row_bytes:
            raise ValueError(f"map {self._name}: value of {len(value)} bytes, wanted {self._row_bytes}")

    def _failure(self, action: str, key: bytes) -> OSError:
        return syscall.failure(f"{action} row {key.hex()} of map {self._name}")

    def _per_cpu(self, row: bytes) -> list[bytes]:
        stride, size = self._stride(), self.info.value_size
        return [row[at : at + size] for at in range(0, len(row), stride)]

    def _batch(
        self, command: Command, keys: bytes, values: bytes | None, count: int, flags: UpdateFlag
    ) -> None:
        if len(keys) != count * self.info.key_size:
            raise ValueError(f"map {self._name}: {len(keys)} bytes are not {count} keys")
        if values is not None and len(values) != count * self._row_bytes:
            raise ValueError(f"map {self._name}: {len(values)} bytes are not {count} values")
        if not count:
            return
        attributes = Batch(None, None, keys, values, count, self._fd, flags)
        if syscall.call(command, attributes) < 0:
            error = syscall.failure(f"{command.name.split('_')[1].lower()} {count} rows of map {self._name}")
            error.add_note(f"{attributes.count} of {count} rows were done")
            raise error

    def _blocks_in_batches(self) -> Iterator[tuple[bytes, bytes]]:
        rows = min(_BATCH_ROWS, max(self.info.max_entries, 1))
        tokens = [ctypes.create_string_buffer(max(_TOKEN_BYTES, self.info.key_size)) for _ in range(2)]
        token = None
        sizes = self.info.key_size, self._row_bytes
        keys, values = (ctypes.create_string_buffer(rows * size) for size in sizes)
        while True:
            attributes = BatchOut(token, ctypes.addressof(tokens[0]), count=rows, map_fd=self._fd)
            attributes.keys, attributes.values = ctypes.addressof(keys), ctypes.addressof(values)
            ended = False
            if syscall.call(Command.MAP_LOOKUP_BATCH, attributes) < 0:
                number = ctypes.get_errno()
                if number == errno.ENOSPC and rows < self.info.max_entries:
                    rows = min(rows * 2, self.info.max_entries)
                    keys, values = (ctypes.create_string_buffer(rows * size) for size in sizes)
                    continue
                if number != errno.ENOENT:
                    raise syscall.failure(f"read map {self._name}")
                ended = True
            if count := attributes.count:
                yield ctypes.string_at(keys, count * sizes[0]), ctypes.string_at(values, count * sizes[1])
            if ended or not count:
                return
            token = ctypes.addressof(tokens[0])
            tokens.reverse()

    def _items_one_by_one(self) -> Iterator[tuple[bytes, bytes]]:
        for key in self.keys():
            value = self.lookup(key)
            if value is not None:
                yield key, value
