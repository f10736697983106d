"""Linking: what a program consists of, and every reference that leads nowhere is refused by name."""

from __future__ import annotations

import struct

import pytest

from kinety.kernel.elf import ElfObject
from kinety.kernel.linker import INSTRUCTION, Function, KernelCall, Linked, Linker, Reference

from .assembly import ALLOC, EXECUTABLE, FUNCTION, Part, Reloc, Sym, call, elf, leave, load_address

R_64_64, R_64_ABS64, R_64_32 = 1, 2, 10
MAP, VARIABLE, FOREIGN, LEAF, EXTERN = range(2, 7)
LEAVE = len(leave())


def linker(code: bytes, *relocations: Reloc, size: int | None = None) -> tuple[Linker, Function]:
    """An object with a program ``entry``, a map, a variable, a section that is no map, and a function."""
    parts = [
        Part("tc", code, flags=ALLOC | EXECUTABLE, relocations=relocations),
        Part(".text", leave() + leave(), flags=ALLOC | EXECUTABLE),
        Part(".maps", bytes(64)),
        Part(".rodata", bytes(16)),
        Part("foreign", bytes(8)),
    ]
    symbols = [
        Sym("entry", 1, 0, len(code) if size is None else size, FUNCTION),
        Sym("rows", 3, 32, 32),
        Sym("level", 4, 4, 4),
        Sym("stray", 5, 0, 8),
        Sym("leaf", 2, LEAVE, LEAVE, FUNCTION),
        Sym("elsewhere", 0),
    ]
    found = ElfObject.parse(elf(parts, symbols))
    places = {(3, 32): "rows", (4, 0): ".rodata"}
    made = Linker(found, None, places)
    return made, next(each for each in made.functions if each.name == "entry")


def link(code: bytes, *relocations: Reloc, size: int | None = None) -> Linked:
    made, entry = linker(code, *relocations, size=size)
    return made.link(entry)


def immediates(linked: Linked) -> list[int]:
    return [row[3] for row in INSTRUCTION.iter_unpack(bytes(linked.instructions))]


def test_maps_and_variables_stay_open_until_they_exist() -> None:
    code = load_address() + load_address(4) + leave()
    linked = link(code, Reloc(0, MAP, R_64_64), Reloc(16, VARIABLE, R_64_64))
    assert linked.references == [Reference(0, "rows"), Reference(2, ".rodata", 8)]


def test_a_function_is_appended_once_however_often_it_is_called() -> None:
    code = call() + call() + leave()
    linked = link(code, Reloc(0, LEAF, R_64_32), Reloc(8, LEAF, R_64_32))
    assert bytes(linked.instructions[len(code) :]) == leave()
    assert immediates(linked)[:2] == [3, 2], "both go to the fifth instruction"


def test_a_call_without_relocation_is_found_by_its_distance() -> None:
    made, entry = linker(call(0) + leave())
    with pytest.raises(ValueError, match="program entry: calls byte 8 of section 'tc', where no function"):
        made.link(entry)
    assert bytes(link(call(-1) + leave()).instructions)[:8] == call(-1), "entry calls itself"


def test_the_address_of_a_function_is_a_pseudo_function() -> None:
    linked = link(load_address() + leave(), Reloc(0, LEAF, R_64_64))
    assert linked.instructions[1] >> 4 == 4
    assert immediates(linked)[0] == 3


@pytest.mark.parametrize(
    ("code", "relocation", "complaint"),
    [
        (call() + leave(), Reloc(0, EXTERN, R_64_32), "elsewhere is declared but not defined"),
        (call(0) + leave(), Reloc(0, LEAF, R_64_32), "calls byte 24 of section '.text', where no function"),
        (call() + leave(), Reloc(0, VARIABLE, R_64_32), "calls byte 4 of section '.rodata', where no func"),
        (load_address(8) + leave(), Reloc(0, MAP, R_64_64), r"rows\+8 in \.maps is no map"),
        (load_address() + leave(), Reloc(0, FOREIGN, R_64_64), "stray is in section 'foreign', which is no"),
        (load_address() + leave(), Reloc(0, VARIABLE, R_64_ABS64), "relocation 2 against level is not supp"),
        (leave() + leave(), Reloc(0, VARIABLE, R_64_64), "relocation 1 against level is not supported"),
        (
            load_address(12) + leave(),
            Reloc(0, VARIABLE, R_64_64),
            r"level\+12 lies outside section '.rodata'",
        ),
        (load_address(-5) + leave(), Reloc(0, VARIABLE, R_64_64), r"level-5 lies outside section '.rodata'"),
        (
            load_address((1 << 31) - 1) + leave(),
            Reloc(0, VARIABLE, R_64_64),
            r"level\+2147483647 lies outside section '.rodata' of 16 bytes",
        ),
        (
            load_address() + leave(),
            Reloc(4, MAP, R_64_64),
            "relocation against rows at byte 4 of section 'tc'",
        ),
        (
            load_address() + leave(),
            Reloc(8, MAP, R_64_64),
            "relocation against rows at byte 8 of section 'tc'",
        ),
    ],
)
def test_a_reference_that_leads_nowhere_is_refused(code: bytes, relocation: Reloc, complaint: str) -> None:
    with pytest.raises(ValueError, match=f"program entry: {complaint}"):
        link(code, relocation)


@pytest.mark.parametrize("size", [0, 7, 12])
def test_a_function_is_whole_instructions(size: int) -> None:
    with pytest.raises(ValueError, match=f"program entry: function entry has {size} bytes, not whole instr"):
        link(leave(), size=size)


def test_a_load_that_is_cut_in_half_is_refused() -> None:
    half = load_address()[:8]
    with pytest.raises(ValueError, match="program entry: function entry ends inside an instruction"):
        link(half, Reloc(0, MAP, R_64_64))


def test_instructions_without_relocations_are_left_as_they_are() -> None:
    code = struct.pack("=BBhi", 0x85, 0, 0, 5) + leave()
    linked = link(code)
    assert bytes(linked.instructions) == code, "a helper's number is no distance"
    assert linked.references == []


def calls(count: int) -> tuple[Linker, Function]:
    """A program that calls a function, which calls the next, ``count`` in all with itself."""
    size = 3 * INSTRUCTION.size
    code = (call() + leave()) * (count - 1) + leave() + bytes(INSTRUCTION.size)
    functions = [Sym(f"f{i}", 1, i * size, size, FUNCTION) for i in range(count)]
    relocations = [Reloc(i * size, i + 2, R_64_32) for i in range(count - 1)]
    part = Part("tc", code, flags=ALLOC | EXECUTABLE, relocations=relocations)
    made = Linker(ElfObject.parse(elf([part], functions)), None, {})
    return made, next(iter(made.functions))


def test_a_program_of_more_functions_than_the_kernel_takes_is_refused() -> None:
    made, entry = calls(256)
    assert len(made.link(entry).placed) == 256
    made, entry = calls(257)
    with pytest.raises(ValueError, match="program f0: more than 256 functions, the most the kernel takes"):
        made.link(entry)


def test_functions_that_overlap_are_refused() -> None:
    part = Part("tc", leave() + leave(), flags=ALLOC | EXECUTABLE)
    functions = [Sym("first", 1, 0, 24, FUNCTION), Sym("second", 1, 16, 16, FUNCTION)]
    with pytest.raises(ValueError, match="functions first and second of section 'tc' overlap"):
        Linker(ElfObject.parse(elf([part], functions)), None, {})


def test_a_call_of_the_kernels_stays_open_until_the_kernel_is_known() -> None:
    code = call() + leave()
    parts = [Part("tc", code, flags=ALLOC | EXECUTABLE, relocations=(Reloc(0, 2, R_64_32),))]
    symbols = [Sym("entry", 1, 0, len(code), FUNCTION), Sym("elsewhere", 0)]
    made = Linker(ElfObject.parse(elf(parts, symbols)), None, {}, ["elsewhere"])
    linked = made.link(next(iter(made.functions)))
    assert linked.kernel_calls == [KernelCall(0, "elsewhere")]
    linked.kernel_calls[0].write(linked.instructions, 4711)
    operation, registers, offset, number = INSTRUCTION.unpack_from(linked.instructions)
    assert (operation, registers >> 4, offset, number) == (0x85, 2, 0, 4711)
