"""The reader of .BTF.ext: records by section, and a section that lies about its sizes."""

from __future__ import annotations

import struct

import pytest

from kinety.kernel.btf import Btf
from kinety.kernel.btf_ext import BtfExt
from kinety.kernel.elf import ElfObject

STRINGS = b"\0tc\0.text\0"
TC, TEXT = 1, 4
HEADER = 24


def btf() -> Btf:
    return Btf.parse(struct.pack("=HBBIIIII", 0xEB9F, 1, 0, 24, 0, 0, 0, len(STRINGS)) + STRINGS)


def records(size: int, *sections: tuple[int, list[tuple[int, ...]]], count: int | None = None) -> bytes:
    """A table: the size of a record, then sections of records, each claiming ``count`` of them."""
    table = struct.pack("=I", size)
    for name, rows in sections:
        table += struct.pack("=II", name, len(rows) if count is None else count)
        for row in rows:
            table += struct.pack(f"={len(row)}I", *row).ljust(size, b"\xee")
    return table


FUNCTIONS = records(8, (TC, [(0, 5), (40, 6)]), (TEXT, [(8, 7)]))
LINES = records(16, (TC, [(0, 1, 4, 1 << 10 | 3)]))


def section(
    functions: bytes = FUNCTIONS, lines: bytes = LINES, magic: int = 0xEB9F, version: int = 1, core: int = 0
) -> bytes:
    tables = (0, len(functions), len(functions), len(lines), len(functions) + len(lines), core)
    return (
        struct.pack("=HBBIIIIIII", magic, version, 0, HEADER + 8, *tables) + functions + lines + bytes(core)
    )


def test_records_are_found_by_section() -> None:
    found = BtfExt.parse(section(), btf())
    assert found.functions == {"tc": [(0, 5), (40, 6)], ".text": [(8, 7)]}
    assert found.lines == {"tc": [(0, 1, 4, 1 << 10 | 3)]}


def test_a_newer_compilers_longer_records_are_read_as_far_as_they_are_known() -> None:
    longer = records(20, (TC, [(0, 5), (40, 6)]), (TEXT, [(8, 7)]))
    assert BtfExt.parse(section(longer), btf()).functions == BtfExt.parse(section(), btf()).functions


def test_an_empty_section_has_no_records() -> None:
    assert BtfExt.parse(section(b"", b""), btf()) == BtfExt({}, {})


@pytest.mark.parametrize(
    ("blob", "complaint"),
    [
        (b"", "requires a buffer"),
        (section(magic=0x9FEB), "magic 0x9feb, version 1"),
        (section(version=2), "magic 0xeb9f, version 2"),
        (section(core=8), r"relocations against kernel types \(CO-RE\) are not supported"),
        (section(records(4, (TC, [(0,)]))), "records of 4 bytes, wanted 8"),
        (section(records(0, (TC, []))), "records of 0 bytes, wanted 8"),
        (section(FUNCTIONS, b"")[:-9], "requires a buffer"),
        (section(b"", records(16, (TC, []), count=1 << 31)), "requires a buffer"),
        (section(records(8, (9999, [(0, 5)]))), "no string of less than 4096 bytes at 9999 of 10"),
    ],
)
def test_what_is_malformed_is_refused(blob: bytes, complaint: str) -> None:
    with pytest.raises(ValueError, match=rf"\.BTF\.ext is malformed: .*({complaint})"):
        BtfExt.parse(blob, btf())


@pytest.mark.needs("objects")
def test_every_program_of_the_resident_object_has_its_records(resident: ElfObject) -> None:
    types, ext = resident.section(".BTF"), resident.section(".BTF.ext")
    assert types is not None
    assert ext is not None
    kinds = Btf.parse(types.data)
    found = BtfExt.parse(ext.data, kinds)
    starts = {(name, row[0]): kinds[row[1]].name for name, rows in found.functions.items() for row in rows}
    functions = {
        (resident.sections[each.section].name, each.offset): each.name
        for each in resident.symbols
        if each.kind == "STT_FUNC" and each.section is not None
    }
    assert starts == functions
    assert all(offset < resident.section(name).size for name, offset in starts)  # type: ignore[union-attr]
    assert all(rows == sorted(rows) for rows in found.lines.values())
