"""What a loader needs of an ELF file of the compiler: sections, symbols and relocations.

Why this is not pyelftools, which is what the tests compare it with: it was made for debuggers, which trust
their files. It takes a section's word for the size of its entries, unpacks what is compressed, and reads one
piece of the file as often as headers name it, so that a few kilobytes could cost a loader minutes or
gigabytes. Here work and memory stay in proportion to the file. Source: System V ABI, chapter 4 (ELF).
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from struct import Struct
from struct import error as StructError
from typing import Self

_MAGIC = b"\x7fELF"
_IDENTITY_BYTES = 16
_WIDTHS = {1: 32, 2: 64}
_ORDERS = {1: "little", 2: "big"}
_KIND = {"little": Struct("<HH"), "big": Struct(">HH")}
#: Behind identity, type and machine: where the sections' headers are, their size, number, and names.
_HEADER = Struct("=IQQQIHHHHHH")
_HEADER_AT = 20
_SECTION = Struct("=IIQQQQIIQQ")
_SYMBOL = Struct("=IBBHQQ")
_RELOCATION = Struct("=QQ")

_BPF, _RELOCATABLE = 247, 1
_MACHINES = {0: "none", 3: "i386", 40: "ARM", 62: "x86-64", 183: "AArch64", 243: "RISC-V", _BPF: "BPF"}
_TYPES = {_RELOCATABLE: "relocatable", 2: "executable", 3: "shared", 4: "core"}
_NULL, _SYMBOLS, _WITH_ADDENDS, _ZEROS, _RELOCATIONS = 0, 2, 4, 8, 9
_EXECUTABLE, _COMPRESSED = 1 << 2, 1 << 11
#: From here on, the number of a symbol's section means something else.
_RESERVED = 0xFF00
_KINDS = {0: "STT_NOTYPE", 1: "STT_OBJECT", 2: "STT_FUNC", 3: "STT_SECTION", 4: "STT_FILE"}
#: Relocations of what only debuggers and the kernel's types need.
_NOT_CODE = (".rel.debug", ".rel.BTF", ".rela.debug")
_ZEROS_LIMIT = 1 << 26
_NAME_LIMIT = 4096


@dataclass(frozen=True, slots=True)
class Section:
    """One section. ``data`` is all zero for those the file holds no bytes of; ``size`` is in bytes."""

    index: int
    name: str
    data: bytes
    executable: bool

    @property
    def size(self) -> int:
        """Bytes."""
        return len(self.data)


@dataclass(frozen=True, slots=True)
class Symbol:
    """One symbol. ``section`` is an index, None when another file should have defined it."""

    name: str
    section: int | None
    offset: int
    size: int
    kind: str
    local: bool


@dataclass(frozen=True, slots=True)
class Relocation:
    """A place in a section, in bytes, that refers to a symbol. ``type`` is R_BPF_*."""

    offset: int
    type: int
    symbol: Symbol


@dataclass(frozen=True, slots=True)
class ElfObject:
    """A relocatable BPF object, read and checked."""

    sections: tuple[Section, ...]
    symbols: tuple[Symbol, ...]
    relocations: dict[int, tuple[Relocation, ...]]

    @classmethod
    def parse(cls, elf: bytes) -> Self:
        """Read an object. Raises ValueError when it is no BPF object, of the other byte order, or cut off."""
        try:
            _check(elf)
            return cls(*_read(elf))
        except (StructError, UnicodeDecodeError) as error:
            raise ValueError(f"not a readable ELF object ({len(elf)} bytes): {error}") from error

    def section(self, name: str) -> Section | None:
        """The section of that name."""
        return next((section for section in self.sections if section.name == name), None)


@dataclass(frozen=True, slots=True)
class _Header:
    """A section's header: ``link`` and ``info`` are numbers of other sections, ``entry`` is in bytes."""

    name: int
    type: int
    flags: int
    address: int
    offset: int
    size: int
    link: int
    info: int
    alignment: int
    entry: int


def _check(elf: bytes) -> None:
    width, order = (_WIDTHS.get(elf[4]), _ORDERS.get(elf[5])) if len(elf) >= _IDENTITY_BYTES else (None, None)
    if not elf.startswith(_MAGIC) or width is None or order is None:
        raise ValueError(f"not a readable ELF object ({len(elf)} bytes): it does not start as one")
    kind, machine = _KIND[order].unpack_from(elf, _IDENTITY_BYTES)
    if (machine, kind, width) != (_BPF, _RELOCATABLE, 64):
        raise ValueError(
            f"not a BPF object: an ELF file for {_MACHINES.get(machine, f'machine {machine}')}, "
            f"{_TYPES.get(kind, f'type {kind}')}, {width} bits; wanted BPF, relocatable, 64 bits"
        )
    if order != sys.byteorder:
        raise ValueError(f"BPF object of the other byte order than this machine's ({sys.byteorder})")


def _read(elf: bytes) -> tuple[tuple[Section, ...], tuple[Symbol, ...], dict[int, tuple[Relocation, ...]]]:
    headers, names = _headers(elf)
    sections = _sections(elf, headers, names)
    tables = [index for index, header in enumerate(headers) if header.type == _SYMBOLS]
    if not tables:
        raise ValueError("BPF object without a symbol table; it was stripped too far")
    if len(tables) > 1:
        raise ValueError(f"BPF object with {len(tables)} symbol tables; ELF has one")
    symbols = _symbols(headers[tables[0]], sections, tables[0])
    return sections, symbols, _relocations(headers, sections, symbols, tables[0])


def _headers(elf: bytes) -> tuple[list[_Header], int]:
    """The headers of all sections, and the number of the section with their names."""
    _, _, _, at, _, _, _, _, size, count, names = _HEADER.unpack_from(elf, _HEADER_AT)
    if at + count * _SECTION.size > len(elf):
        raise ValueError(
            f"ELF object cut off at {len(elf)} bytes, before the headers of its {count} sections end"
        )
    if size != _SECTION.size or names >= count:
        raise ValueError(f"ELF object with {count} sections, their names in {names}, headers of {size} bytes")
    return [_Header(*_SECTION.unpack_from(elf, at + i * _SECTION.size)) for i in range(count)], names


def _sections(elf: bytes, headers: list[_Header], names: int) -> tuple[Section, ...]:
    table = _contents(elf, headers[names], "of the sections' names")
    found = []
    left, zeros_left = len(elf), _ZEROS_LIMIT
    for index, header in enumerate(headers):
        name = _text(table, header.name) if header.type != _NULL else ""
        if header.type == _ZEROS:
            zeros_left -= header.size
            if zeros_left < 0:
                raise ValueError(
                    f"section {name!r} wants {header.size} bytes of zeros; all may have {_ZEROS_LIMIT}"
                )
            data = bytes(header.size)
        else:
            data = _contents(elf, header, repr(name)) if header.type != _NULL else b""
            left -= len(data)
            if left < 0:
                raise ValueError(
                    f"ELF object of {len(elf)} bytes, whose sections have more: {name!r} overlaps"
                )
        found.append(Section(index, name, data, bool(header.flags & _EXECUTABLE)))
    return tuple(found)


def _contents(elf: bytes, header: _Header, which: str) -> bytes:
    if header.flags & _COMPRESSED:
        raise ValueError(f"section {which} of the ELF object is compressed, which no loader of BPF reads")
    if header.offset + header.size > len(elf):
        raise ValueError(f"ELF object cut off at {len(elf)} bytes, inside section {which}")
    return elf[header.offset : header.offset + header.size]


def _entries(header: _Header, section: Section, entry: Struct) -> Iterator[tuple[int, ...]]:
    if header.entry != entry.size or section.size % entry.size:
        raise ValueError(
            f"section {section.name!r} of {section.size} bytes, in entries of {header.entry}: "
            f"not whole ones of {entry.size}"
        )
    return entry.iter_unpack(section.data)


def _text(table: bytes, offset: int) -> str:
    end = table.find(0, offset, offset + _NAME_LIMIT)
    if end < 0:
        raise ValueError(f"ELF object with a name at byte {offset} of {len(table)} that does not end")
    return table[offset:end].decode()


def _symbols(header: _Header, sections: tuple[Section, ...], index: int) -> tuple[Symbol, ...]:
    if header.link >= len(sections):
        raise ValueError(f"symbols have their names in section {header.link}, of {len(sections)}")
    names = sections[header.link].data
    return tuple(_symbol(row, names, sections) for row in _entries(header, sections[index], _SYMBOL))


def _symbol(row: tuple[int, ...], names: bytes, sections: tuple[Section, ...]) -> Symbol:
    name_at, info, _, number, value, size = row
    name = _text(names, name_at) if name_at else ""
    section = number if 0 < number < _RESERVED else None
    if section is not None and (section >= len(sections) or value + size > sections[section].size):
        raise ValueError(f"symbol {name!r} lies outside its section {section}")
    kind = _KINDS.get(info & 0xF, f"STT_{info & 0xF}")
    if not name and kind == "STT_SECTION" and section is not None:
        name = sections[section].name
    return Symbol(name, section, value, size, kind, info >> 4 == 0)


def _relocations(
    headers: list[_Header], sections: tuple[Section, ...], symbols: tuple[Symbol, ...], table: int
) -> dict[int, tuple[Relocation, ...]]:
    found: dict[int, tuple[Relocation, ...]] = {}
    for section, header in zip(sections, headers, strict=True):
        if header.type not in (_RELOCATIONS, _WITH_ADDENDS) or section.name.startswith(_NOT_CODE):
            continue
        if header.type == _WITH_ADDENDS:
            raise ValueError(f"section {section.name!r}: relocations with addends, which BPF has none of")
        if header.link != table or header.info >= len(sections) or header.info in found:
            raise ValueError(
                f"section {section.name!r}: relocations of section {header.info} against symbols of "
                f"{header.link}; wanted one section of each, and symbols of {table}"
            )
        target = sections[header.info].name
        rows = _entries(header, section, _RELOCATION)
        found[header.info] = tuple(_relocation(target, row, symbols) for row in rows)
    return found


def _relocation(section: str, row: tuple[int, ...], symbols: tuple[Symbol, ...]) -> Relocation:
    offset, info = row
    number = info >> 32
    if number >= len(symbols):
        raise ValueError(
            f"section {section!r}: relocation at byte {offset} against symbol {number}, of {len(symbols)}"
        )
    return Relocation(offset, info & 0xFFFFFFFF, symbols[number])
