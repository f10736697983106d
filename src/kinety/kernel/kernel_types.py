"""What a program has to know of the running kernel's types: numbers of functions, places of fields.

The kernel's BTF has some 150 000 types in 5 MB. Types are numbered by their order and have no index, so
somebody has to count them; but only those asked for are looked at. It takes about a tenth of a second.

Source: Documentation/bpf/btf.rst and Documentation/bpf/kfuncs.rst of the kernel.
"""

import errno
from collections.abc import Collection, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from struct import Struct
from struct import error as StructError

from .btf import Kind

_KERNEL = Path("/sys/kernel/btf/vmlinux")
_HEADER = Struct("=HBBIIIII")
_MAGIC = 0xEB9F
_WORD_BYTES = 4
_TYPE_WORDS = 3
#: Where the first of the strings is, which is empty.
_NO_NAME = 0
_MEMBER_WORDS = 3
_BITS_OF_OFFSET = 0xFFFFFF
_BYTE_BITS = 8
#: Words behind a type's three: for the kind itself, and for each of its members.
_TAIL = {Kind.INT: 1, Kind.ARRAY: 3, Kind.VAR: 1, Kind.DECL_TAG: 1}
_EACH = {Kind.STRUCT: 3, Kind.UNION: 3, Kind.ENUM: 2, Kind.FUNC_PROTO: 2, Kind.DATASEC: 3, Kind.ENUM64: 3}


class KernelTypes:
    """The types of a kernel, in its BTF."""

    def __init__(self, blob: bytes) -> None:
        """Raises ValueError when it is no BTF of this machine's byte order."""
        try:
            magic, version, _, header, type_at, type_size, string_at, string_size = _HEADER.unpack_from(blob)
            self._words = memoryview(blob)[header + type_at : header + type_at + type_size].cast("I")
        except (StructError, TypeError) as error:
            raise ValueError(f"the kernel's BTF of {len(blob)} bytes is cut off") from error
        if (magic, version) != (_MAGIC, 1):
            raise ValueError(f"the kernel's BTF has magic {magic:#x} and version {version}")
        self._strings = blob[header + string_at : header + string_at + string_size]

    @classmethod
    def running(cls) -> "KernelTypes":
        """Those of this kernel. Raises OSError when it was built without (CONFIG_DEBUG_INFO_BTF)."""
        try:
            return cls(_KERNEL.read_bytes())
        except FileNotFoundError as error:
            error.add_note("the kernel was built without CONFIG_DEBUG_INFO_BTF")
            raise

    def functions(self, names: Collection[str]) -> Mapping[str, int]:
        """Numbers of functions. Raises OSError (ENOENT) for one that the kernel does not have."""
        wanted = {self._name_at(name): name for name in names}
        found = {wanted[name]: number for number, _, name in self._find(Kind.FUNC, wanted)}
        if missing := sorted(set(names) - found.keys()):
            raise FileNotFoundError(errno.ENOENT, f"the kernel has no function {', '.join(missing)}")
        return found

    def field_offset(self, structure: str, field: str) -> int:
        """Where a structure has a field, in bytes: its own, or one of a part without a name.

        Raises OSError (ENOENT).
        """
        name_at = self._name_at(field)
        for _, at, _ in self._find(Kind.STRUCT, {self._name_at(structure)}):
            if (bits := self._bit_offset(at, name_at)) is not None:
                return bits // _BYTE_BITS
        raise FileNotFoundError(errno.ENOENT, f"the kernel has no field {field} of a structure {structure}")

    def _bit_offset(self, at: int, name_at: int) -> int | None:
        """Where the structure or union at a place has the field of a name."""
        words = self._words
        count = words[at + 1] & 0xFFFF
        for member in range(at + _TYPE_WORDS, at + _TYPE_WORDS + _MEMBER_WORDS * count, _MEMBER_WORDS):
            offset = words[member + 2] & _BITS_OF_OFFSET
            if words[member] == name_at:
                return offset
            if not words[member] and (part := self._parts.get(words[member + 1])) is not None:
                inside = self._bit_offset(part, name_at)
                if inside is not None:
                    return offset + inside
        return None

    @cached_property
    def _parts(self) -> Mapping[int, int]:
        """Structures and unions without a name: where they are, by number."""
        return {
            number: at for kind in (Kind.STRUCT, Kind.UNION) for number, at, _ in self._find(kind, {_NO_NAME})
        }

    def _name_at(self, name: str) -> int:
        """Where a name is among the strings, each of which is there once; -1 when it is not."""
        return self._strings.find(b"\0" + name.encode() + b"\0") + 1 or -1

    def _find(self, kind: Kind, names: Collection[int]) -> Iterator[tuple[int, int, int]]:
        """Number, place (in words) and name of the types of one kind that have one of these names."""
        words, tail, each = self._words, _sizes(_TAIL), _sizes(_EACH)
        at, number, end = 0, 1, len(words)
        while at < end:
            info = words[at + 1]
            found = info >> 24 & 0x1F
            if found == kind and words[at] in names:
                yield number, at, words[at]
            at += _TYPE_WORDS + tail[found] + each[found] * (info & 0xFFFF)
            number += 1


def _sizes(words: Mapping[Kind, int]) -> list[int]:
    return [words.get(Kind(kind), 0) if kind in set(Kind) else 0 for kind in range(32)]
