"""The ELF reader, on objects no compiler writes: refused by name, never read past their end."""

from __future__ import annotations

import io
import struct
import sys
import tracemalloc

import pytest
from elftools.elf.elffile import ELFFile
from elftools.elf.relocation import RelocationSection
from elftools.elf.sections import SymbolTableSection

from kinety.kernel.elf import ElfObject, Symbol
from tests.feature import ROOT

from .assembly import ALLOC, EXECUTABLE, FUNCTION, NOBITS, SECTION, Part, Reloc, Sym, elf, leave, load_address

CODE = Part("tc", load_address() + leave(), flags=ALLOC | EXECUTABLE, relocations=[Reloc(0, 2)])
DATA = Part(".data", bytes(range(16)))
SYMBOLS = (Sym("entry", 1, 0, 32, FUNCTION), Sym("variable", 2, 8, 4), Sym("elsewhere", 0))
OTHER_ORDER = "big" if sys.byteorder == "little" else "little"
EM_X86_64, ET_EXEC = 62, 2


def test_sections_symbols_and_relocations_are_read() -> None:
    found = ElfObject.parse(elf([CODE, DATA], SYMBOLS))
    assert [(each.name, each.size, each.executable) for each in found.sections[1:3]] == [
        ("tc", 32, True),
        (".data", 16, False),
    ]
    assert found.section(".data") == found.sections[2]
    assert found.section(".bss") is None
    entry, variable, elsewhere = found.symbols[1:]
    assert variable == Symbol("variable", 2, 8, 4, "STT_OBJECT", local=False)
    assert (entry.kind, elsewhere.section) == ("STT_FUNC", None)
    (relocation,) = found.relocations[1]
    assert (relocation.offset, relocation.type, relocation.symbol) == (0, 1, variable)


@pytest.mark.needs("objects")
@pytest.mark.parametrize("name", ["endpoint.o", "endpoint-symbols.o", "endpoint-rodata.o"])
def test_another_reader_finds_the_same_in_our_objects(name: str) -> None:
    blob = (ROOT / "src/kinety/bpf" / name).read_bytes()
    ours, theirs = ElfObject.parse(blob), ELFFile(io.BytesIO(blob))
    sections = list(theirs.iter_sections())
    assert [(each.name, each.size) for each in ours.sections] == [
        (each.name, each["sh_size"]) for each in sections
    ]
    assert all(ours.sections[i].data == each.data() for i, each in enumerate(sections) if i)
    (table,) = (each for each in sections if isinstance(each, SymbolTableSection))
    assert [(each.offset, each.size, each.kind) for each in ours.symbols] == [
        (each["st_value"], each["st_size"], each["st_info"]["type"]) for each in table.iter_symbols()
    ]
    named = [(each.name, each.section) for each in ours.symbols if each.kind != "STT_SECTION"]
    assert (
        named[1:]
        == [
            (each.name, each["st_shndx"] if isinstance(each["st_shndx"], int) else None)
            for each in table.iter_symbols()
            if each["st_info"]["type"] != "STT_SECTION"
        ][1:]
    )
    code = [each for each in sections if isinstance(each, RelocationSection) and "BTF" not in each.name]
    assert code
    assert {
        section: [(each.offset, each.type, each.symbol) for each in found]
        for section, found in ours.relocations.items()
    } == {
        section["sh_info"]: [
            (each["r_offset"], each["r_info_type"], ours.symbols[each["r_info_sym"]])
            for each in section.iter_relocations()
        ]
        for section in code
    }


def test_a_section_symbol_has_the_sections_name() -> None:
    found = ElfObject.parse(elf([DATA], [Sym("", 1, 0, 0, SECTION, bind=0)]))
    assert (found.symbols[1].name, found.symbols[1].local) == (".data", True)


def test_zeros_that_the_file_does_not_hold_are_zeros() -> None:
    found = ElfObject.parse(elf([Part(".bss", kind=NOBITS, size=4096)]))
    assert found.sections[1].data == bytes(4096)


@pytest.mark.parametrize(
    ("blob", "complaint"),
    [
        (
            elf([DATA], machine=EM_X86_64),
            "ELF file for x86-64, relocatable, 64 bits; wanted BPF, relocatable",
        ),
        (elf([DATA], kind=ET_EXEC), "for BPF, executable, 64 bits"),
        (elf([DATA], order=OTHER_ORDER), f"other byte order than this machine's \\({sys.byteorder}\\)"),
        (elf([DATA], None), "without a symbol table"),
        (elf([Part(".bss", kind=NOBITS, size=1 << 40)]), r"section '\.bss' wants 1099511627776 bytes"),
        (elf([Part(".data", bytes(8), size=1 << 20)]), r"cut off at \d+ bytes, inside section '\.data'"),
        (elf([DATA], [Sym("long", 1, 8, 9)]), "symbol 'long' lies outside its section"),
        (elf([DATA], [Sym("lost", 40, 0, 0)]), "symbol 'lost' lies outside its section 40"),
        (elf([DATA], [Sym("huge", 1, (1 << 64) - 8, 8)]), "symbol 'huge' lies outside its section"),
        (
            elf([Part("tc", leave(), relocations=[Reloc(8, 77)])], SYMBOLS[2:]),
            r"section 'tc': relocation at byte 8 against symbol 77, of 2",
        ),
    ],
)
def test_what_is_wrong_is_named(blob: bytes, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        ElfObject.parse(blob)


def header_of(blob: bytes, section: int) -> int:
    """Where a section's header lies."""
    return int(struct.unpack_from("<Q", blob, 40)[0]) + 64 * section


def with_numbers(blob: bytes, at: int, form: str, *numbers: int) -> bytes:
    """The same with numbers at a place."""
    changed = bytearray(blob)
    struct.pack_into(form, changed, at, *numbers)
    return bytes(changed)


GOOD = elf([CODE, DATA], SYMBOLS)
TABLE, NAMES = 4, 5  # behind the null section, code, data and the code's relocations
COUNT_AT = 60


@pytest.mark.parametrize(
    ("blob", "complaint"),
    [
        (b"", r"not a readable ELF object \(0 bytes\): it does not start as one"),
        (b"\x7fELF\x07\x01" + bytes(60), "it does not start as one"),
        (GOOD[:4] + b"\x01" + GOOD[5:], "for BPF, relocatable, 32 bits"),
        (with_numbers(GOOD, 40, "<Q", 1 << 60), "before the headers of its 7 sections end"),
        (with_numbers(GOOD, COUNT_AT, "<H", 0xFFFF), "before the headers of its 65535 sections end"),
        (with_numbers(GOOD, COUNT_AT, "<H", 0), "0 sections, their names in 6"),
        (with_numbers(GOOD, COUNT_AT - 2, "<H", 0), "headers of 0 bytes"),
        (with_numbers(GOOD, header_of(GOOD, 2) + 24, "<QQ", 0, len(GOOD)), "sections have more: .* overlaps"),
        (
            with_numbers(GOOD, header_of(GOOD, 2) + 8, "<Q", 1 << 11),
            r"'\.data' of the ELF object is compressed",
        ),
        (with_numbers(GOOD, header_of(GOOD, TABLE) + 56, "<Q", 1), r"in entries of 1: not whole ones of 24"),
        (with_numbers(GOOD, header_of(GOOD, TABLE) + 32, "<Q", 95), "of 95 bytes, in entries of 24"),
        (with_numbers(GOOD, header_of(GOOD, TABLE) + 40, "<I", 99), "names in section 99, of 7"),
        (with_numbers(GOOD, header_of(GOOD, 2) + 4, "<I", 2), "2 symbol tables"),
        (with_numbers(GOOD, header_of(GOOD, 3) + 4, "<I", 4), r"'\.reltc': relocations with addends"),
        (with_numbers(GOOD, header_of(GOOD, 3) + 44, "<I", 77), "relocations of section 77"),
        (with_numbers(GOOD, header_of(GOOD, 3) + 40, "<I", 1), "against symbols of 1; .* symbols of 4"),
        (elf([Part("x" * 5000)]), r"a name at byte 1 of \d+ that does not end"),
        (elf([Part(".bss", kind=NOBITS, size=1 << 25)] * 3), "wants 33554432 bytes of zeros"),
    ],
)
def test_no_number_is_believed_that_costs_more_than_the_file(blob: bytes, complaint: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=complaint):
            ElfObject.parse(blob)
        assert tracemalloc.get_traced_memory()[1] < 1 << 27
    finally:
        tracemalloc.stop()


def test_a_file_that_ends_early_is_refused_at_every_length() -> None:
    for length in range(len(GOOD)):
        with pytest.raises(ValueError, match="ELF"):
            ElfObject.parse(GOOD[:length])
