"""BTF, the kernel's type format: a reader, and the one repair that a compiled object needs.

Source: Documentation/bpf/btf.rst of the kernel.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from struct import Struct
from struct import error as StructError
from typing import Self

_HEADER = Struct("=HBBIIIII")
_TYPE = Struct("=III")
_WORD = Struct("=I")
_MAGIC = 0xEB9F


class Kind(IntEnum):
    """What a BTF type is."""

    VOID = 0
    INT = 1
    PTR = 2
    ARRAY = 3
    STRUCT = 4
    UNION = 5
    ENUM = 6
    FWD = 7
    TYPEDEF = 8
    VOLATILE = 9
    CONST = 10
    RESTRICT = 11
    FUNC = 12
    FUNC_PROTO = 13
    VAR = 14
    DATASEC = 15
    FLOAT = 16
    DECL_TAG = 17
    TYPE_TAG = 18
    ENUM64 = 19


_SIZED = {Kind.INT, Kind.ENUM, Kind.STRUCT, Kind.UNION, Kind.DATASEC, Kind.FLOAT, Kind.ENUM64}
_ALIASES = {Kind.TYPEDEF, Kind.VOLATILE, Kind.CONST, Kind.RESTRICT, Kind.TYPE_TAG}
_MEMBER_WORDS = {
    Kind.STRUCT: 3,
    Kind.UNION: 3,
    Kind.ENUM: 2,
    Kind.ENUM64: 3,
    Kind.FUNC_PROTO: 2,
    Kind.DATASEC: 3,
}
_TAIL_WORDS = {Kind.INT: 1, Kind.ARRAY: 3, Kind.VAR: 1, Kind.DECL_TAG: 1}
_INT_SIGNED = 1
#: Functions that an object declares to be the kernel's (``__ksym``).
KERNEL_FUNCTIONS = ".ksyms"
_ALIAS_DEPTH = 64
_ARRAY_DEPTH = 64
_POINTER_BYTES = 8
_ENUM64_BYTES = 8
_SIZE_LIMIT = (1 << 32) - 1
#: Bytes; a table in which every string is long would otherwise be read once for each type.
_STRING_LIMIT = 4096


@dataclass(frozen=True, slots=True)
class Member:
    """A part of a type: a field, an enumerator, a parameter or a variable of a section.

    ``value`` is a field's offset in bits, an enumerator's number, or a variable's offset in bytes.
    """

    name: str
    type_id: int
    value: int
    size: int = 0


@dataclass(frozen=True, slots=True)
class Type:
    """One BTF type. ``size`` is in bytes; ``target`` is the type that is pointed at, aliased or repeated."""

    kind: Kind
    name: str
    size: int = 0
    target: int = 0
    count: int = 0
    signed: bool = False
    members: tuple[Member, ...] = ()
    #: Where the type starts in the blob; for repairs.
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Btf:
    """All types of one object. Type 0 is void."""

    types: tuple[Type, ...]
    strings: bytes

    @classmethod
    def parse(cls, blob: bytes) -> Self:
        """Read a ``.BTF`` section. Raises ValueError when it is not one, or is cut off."""
        try:
            magic, version, _, header_size, type_at, type_size, string_at, string_size = _HEADER.unpack_from(
                blob
            )
        except StructError as error:
            raise ValueError(f".BTF of {len(blob)} bytes is shorter than its header") from error
        if magic != _MAGIC or version != 1:
            raise ValueError(f".BTF has magic {magic:#x} and version {version}, not {_MAGIC:#x} and 1")
        end, string_end = type_at + type_size, string_at + string_size
        if header_size + max(end, string_end) > len(blob):
            raise ValueError(f".BTF is cut off at {len(blob)} bytes")
        if header_size < _HEADER.size or (type_at < string_end and string_at < end):
            raise ValueError(".BTF is malformed: its header, types and strings overlap")
        strings = blob[header_size + string_at : header_size + string_end]
        try:
            types = (
                Type(Kind.VOID, "void"),
                *_types(blob[: header_size + end], header_size + type_at, strings),
            )
            _check_references(types)
        except (StructError, ValueError, IndexError) as error:
            raise ValueError(f".BTF is malformed: {error}") from error
        return cls(types, strings)

    def __getitem__(self, type_id: int) -> Type:
        return self.types[type_id]

    def string(self, offset: int) -> str:
        """A name or source line from the string table. Raises ValueError when none is there."""
        return _string(self.strings, offset)

    def resolve(self, type_id: int) -> Type:
        """The type behind typedefs and qualifiers. Raises ValueError when there is none."""
        found = self.types[type_id]
        for _ in range(_ALIAS_DEPTH):
            if found.kind not in _ALIASES:
                return found
            found = self.types[found.target]
        raise ValueError(f"type {type_id} is an alias of itself")

    def size_of(self, type_id: int) -> int:
        """Size in bytes, as C's sizeof. Raises ValueError for arrays larger than 32 bits can tell."""
        found, count = self.resolve(type_id), 1
        for _ in range(_ARRAY_DEPTH):
            if found.kind is not Kind.ARRAY:
                size = count * (_POINTER_BYTES if found.kind is Kind.PTR else found.size)
                if size > _SIZE_LIMIT:
                    raise ValueError(f"type {type_id} has {size} bytes, at most {_SIZE_LIMIT} are possible")
                return size
            found, count = self.resolve(found.target), count * found.count
        raise ValueError(f"type {type_id} is an array of more than {_ARRAY_DEPTH} dimensions")

    def find(self, kind: Kind, name: str) -> Type:
        """The type of that kind and name. Raises KeyError."""
        for candidate in self.types:
            if candidate.kind is kind and candidate.name == name:
                return candidate
        raise KeyError(f"no {kind.name} {name} in BTF")

    def section(self, name: str) -> Type | None:
        """The DATASEC of that name: the variables of one ELF section."""
        try:
            return self.find(Kind.DATASEC, name)
        except KeyError:
            return None


def repair_sections(
    blob: bytes, btf: Btf, sizes: Mapping[str, int], offsets: Mapping[tuple[str, str], int]
) -> bytes:
    """Write sizes of sections and offsets of their variables, which the compiler leaves to the loader.

    ``sizes`` is by section name, ``offsets`` by section and variable name, both in bytes. The kernel
    refuses BTF whose sections have size 0 or whose variables overlap, and functions that are not there.
    """
    repaired = bytearray(blob)
    _repair_kernel_functions(repaired, btf)
    for section in btf.types:
        if section.kind is not Kind.DATASEC or section.name not in sizes:
            continue
        _WORD.pack_into(repaired, section.offset + 8, sizes[section.name])
        rows = []
        for member in section.members:
            place = offsets.get((section.name, member.name), member.value)
            rows.append((place, member.type_id, member.size))
        for index, row in enumerate(sorted(rows)):
            at = section.offset + _TYPE.size + index * 12
            type_id, offset, size = row[1], row[0], row[2]
            _TYPE.pack_into(repaired, at, type_id, offset, size)
    return bytes(repaired)


def _repair_kernel_functions(blob: bytearray, btf: Btf) -> None:
    """Make what is declared to be the kernel's something that the kernel takes from others.

    Each function becomes a typedef of its prototype, their section an enumeration (of 64 bits) of their
    names: types of the same length, so no other moves.
    """
    section = btf.section(KERNEL_FUNCTIONS)
    if section is None:
        return
    info = Kind.ENUM64 << 24 | len(section.members)
    _TYPE.pack_into(blob, section.offset, 0, info, _ENUM64_BYTES)
    for index, member in enumerate(section.members):
        function = btf[member.type_id]
        if function.kind is not Kind.FUNC:
            raise ValueError(f"{member.name} is declared to be the kernel's; only functions can be")
        name_at, _, prototype = _TYPE.unpack_from(blob, function.offset)
        _TYPE.pack_into(blob, function.offset, name_at, Kind.TYPEDEF << 24, prototype)
        _TYPE.pack_into(blob, section.offset + _TYPE.size * (index + 1), name_at, index, 0)


def _string(strings: bytes, offset: int) -> str:
    end = strings.find(0, offset, offset + _STRING_LIMIT)
    if end < 0:
        raise ValueError(f"no string of less than {_STRING_LIMIT} bytes at {offset} of {len(strings)}")
    return strings[offset:end].decode()


def _check_references(types: tuple[Type, ...]) -> None:
    for number, each in enumerate(types):
        if each.target >= len(types) or any(member.type_id >= len(types) for member in each.members):
            raise ValueError(
                f"type {number} ({each.name!r}) refers to a type behind the last, {len(types) - 1}"
            )


def _types(blob: bytes, offset: int, strings: bytes) -> Iterator[Type]:
    names: list[str] = ["void"]
    while offset < len(blob):
        name_at, info, size_or_type = _TYPE.unpack_from(blob, offset)
        kind = Kind((info >> 24) & 0x1F)
        count = info & 0xFFFF
        words = _MEMBER_WORDS.get(kind, 0) * count + _TAIL_WORDS.get(kind, 0)
        tail = Struct(f"={words}I").unpack_from(blob, offset + _TYPE.size)
        name = _string(strings, name_at)
        yield _type(kind, name, size_or_type, info, tail, offset, strings, names)
        names.append(name)
        offset += _TYPE.size + 4 * words


def _type(
    kind: Kind,
    name: str,
    size_or_type: int,
    info: int,
    tail: tuple[int, ...],
    offset: int,
    strings: bytes,
    names: list[str],
) -> Type:
    size, target = (size_or_type, 0) if kind in _SIZED else (0, size_or_type)
    if kind is Kind.ARRAY:
        return Type(kind, name, target=tail[0], count=tail[2], offset=offset)
    if kind is Kind.INT:
        return Type(kind, name, size, signed=bool(tail[0] >> 24 & _INT_SIGNED), offset=offset)
    words = _MEMBER_WORDS.get(kind)
    rows = zip(*[iter(tail)] * words, strict=True) if words else ()
    flag = bool(info >> 31)
    members = tuple(_member(kind, row, flag, strings, names) for row in rows)
    return Type(kind, name, size, target, signed=flag, members=members, offset=offset)


def _member(kind: Kind, row: tuple[int, ...], flag: bool, strings: bytes, names: list[str]) -> Member:
    if kind is Kind.DATASEC:
        return Member(names[row[0]], row[0], row[1], row[2])
    name = _string(strings, row[0])
    if kind is Kind.ENUM:
        return Member(name, 0, row[1] - (1 << 32) if flag and row[1] >> 31 else row[1])
    if kind is Kind.ENUM64:
        value = row[1] | row[2] << 32
        return Member(name, 0, value - (1 << 64) if flag and value >> 63 else value)
    if kind is Kind.FUNC_PROTO:
        return Member(name, row[1], 0)
    bit_offset = row[2] & 0xFFFFFF if flag else row[2]
    return Member(name, row[1], bit_offset)
