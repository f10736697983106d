"""Objects put together by hand, byte by byte: what no compiler writes, and a loader must survive."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

__all__ = ["NOBITS", "Part", "Reloc", "Sym", "call", "elf", "leave", "load_address"]

PROGBITS, SYMTAB, STRTAB, NOBITS, REL = 1, 2, 3, 8, 9
ALLOC, EXECUTABLE = 2, 4
OBJECT, FUNCTION, SECTION = 1, 2, 3
HEADER, SECTION_HEADER = 64, 64


@dataclass(frozen=True)
class Reloc:
    """A relocation of the section it stands in: byte offset, number of the symbol (from 1), type."""

    offset: int
    symbol: int
    type: int = 1


@dataclass(frozen=True)
class Part:
    """A section. ``size`` is what its header claims, when that is not the length of its data."""

    name: str
    data: bytes = b""
    kind: int = PROGBITS
    flags: int = ALLOC
    size: int | None = None
    relocations: Sequence[Reloc] = field(default_factory=tuple)


@dataclass(frozen=True)
class Sym:
    """A symbol; ``section`` counts parts from 1, 0 is undefined."""

    name: str
    section: int
    value: int = 0
    size: int = 0
    kind: int = OBJECT
    bind: int = 1


def leave() -> bytes:
    """``return 0``, two instructions."""
    return struct.pack("=BBhiBBhi", 0xB7, 0, 0, 0, 0x95, 0, 0, 0)


def call(immediate: int = -1) -> bytes:
    """A call of another function: of the one a relocation names, or of the one so many instructions on."""
    return struct.pack("=BBhi", 0x85, 0x10, 0, immediate)


def load_address(immediate: int = 0) -> bytes:
    """``r1 = symbol + immediate``, two slots."""
    return struct.pack("=BBhiBBhi", 0x18, 1, 0, immediate, 0, 0, 0, 0)


def elf(
    parts: Sequence[Part],
    symbols: Sequence[Sym] | None = (),
    *,
    machine: int = 247,
    kind: int = 1,
    order: str = "little",
) -> bytes:
    """A relocatable object; ``symbols`` of None leaves the symbol table out."""
    mark = "<" if order == "little" else ">"
    names = _Strings()
    body = bytearray()
    headers = [struct.pack(f"{mark}IIQQQQIIQQ", *[0] * 10)]

    def add(name: str, data: bytes, *rest: int, size: int | None = None) -> None:
        section_type, flags, link, info, entry = rest
        length = len(data) if size is None else size
        at = HEADER + len(body)
        numbers = (names.add(name), section_type, flags, 0, at, length, link, info, 8, entry)
        headers.append(struct.pack(f"{mark}IIQQQQIIQQ", *numbers))
        body.extend(data + bytes(-len(data) % 8))

    for part in parts:
        add(part.name, part.data, part.kind, part.flags, 0, 0, 0, size=part.size)
    table = len(parts) + 1
    for index, part in enumerate(parts, 1):
        entries = (struct.pack(f"{mark}QQ", r.offset, r.symbol << 32 | r.type) for r in part.relocations)
        if part.relocations:
            add(f".rel{part.name}", b"".join(entries), REL, 0, 0, index, 16)
    if symbols is not None:
        words = _Strings()
        rows = [bytes(24)]
        for each in symbols:
            info = each.bind << 4 | each.kind
            numbers = (words.add(each.name), info, 0, each.section, each.value, each.size)
            rows.append(struct.pack(f"{mark}IBBHQQ", *numbers))
        table = len(headers)
        add(".symtab", b"".join(rows), SYMTAB, 0, table + 1, 1, 24)
        add(".strtab", words.blob(), STRTAB, 0, 0, 0, 0)
        for number, header in enumerate(headers):  # relocations name the symbol table, known only now
            if struct.unpack_from(f"{mark}I", header, 4)[0] == REL:
                headers[number] = header[:40] + struct.pack(f"{mark}I", table) + header[44:]
    names.add(".shstrtab")
    add(".shstrtab", names.blob(), STRTAB, 0, 0, 0, 0)
    identity = b"\x7fELF\x02" + (b"\x01" if order == "little" else b"\x02") + b"\x01" + bytes(9)
    header = struct.pack(
        f"{mark}HHIQQQIHHHHHH", kind, machine, 1, 0, 0, HEADER + len(body), 0, HEADER, 0, 0,
        SECTION_HEADER, len(headers), len(headers) - 1,
    )  # fmt: skip
    return identity + header + bytes(body) + b"".join(headers)


class _Strings:
    """A string table being filled."""

    def __init__(self) -> None:
        self._bytes = bytearray(b"\0")

    def add(self, text: str) -> int:
        word = text.encode() + b"\0"
        at = self._bytes.find(b"\0" + word)
        if at >= 0:
            return at + 1
        self._bytes += word
        return len(self._bytes) - len(word)

    def blob(self) -> bytes:
        return bytes(self._bytes)
