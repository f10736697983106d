"""The ELF reader, on objects no compiler writes: refused by name, never read past their end."""

from __future__ import annotations

import random
import sys

import pytest

from kinety.kernel.elf import ElfObject, Symbol

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


def test_a_section_symbol_has_the_sections_name() -> None:
    found = ElfObject.parse(elf([DATA], [Sym("", 1, 0, 0, SECTION, bind=0)]))
    assert (found.symbols[1].name, found.symbols[1].local) == (".data", True)


def test_zeros_that_the_file_does_not_hold_are_zeros() -> None:
    found = ElfObject.parse(elf([Part(".bss", kind=NOBITS, size=4096)]))
    assert found.sections[1].data == bytes(4096)


@pytest.mark.parametrize(
    ("blob", "complaint"),
    [
        (elf([DATA], machine=EM_X86_64), "machine EM_X86_64, type ET_REL, 64 bits; wanted EM_BPF"),
        (elf([DATA], kind=ET_EXEC), "type ET_EXEC"),
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


def test_garbage_after_a_good_start_is_refused_or_read_and_nothing_else() -> None:
    good = elf([CODE, DATA], SYMBOLS)
    chance = random.Random(3)
    refused = 0
    for _ in range(500):
        damaged = bytearray(good)
        start = chance.randrange(16, len(good))
        damaged[start : start + 8] = chance.randbytes(len(damaged[start : start + 8]))
        try:
            ElfObject.parse(bytes(damaged))
        except ValueError:
            refused += 1
    assert 0 < refused < 500
    for length in range(len(good)):
        with pytest.raises(ValueError, match="ELF"):
            ElfObject.parse(good[:length])
