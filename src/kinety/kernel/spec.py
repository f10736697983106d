"""What an ELF object of the compiler says is to be loaded; the same on every machine, no system call.

``CollectionSpec`` is read once, ``kinety.kernel.collection`` makes live objects of it.
"""

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from struct import error as StructError
from typing import Self

from .btf import KERNEL_FUNCTIONS, Btf, Kind, repair_sections
from .btf_ext import BtfExt
from .definition import MapSpec, map_definitions, variable_map
from .elf import ElfObject, Section
from .linker import SYMBOL_SECTION, KernelCall, Linker, Reference, SymbolUse
from .uapi import AttachType, ProgramType, section_meaning

__all__ = [
    "CollectionSpec",
    "Constant",
    "KernelCall",
    "MapSpec",
    "ProgramSpec",
    "Reference",
    "SymbolUse",
    "Variable",
]

_BYTE_ORDER = sys.byteorder
CONTRACT_SECTION = "contract"
_LIBRARY_SECTION = ".text"
_VARIABLES = (".rodata", ".data", ".bss")
_SCALAR_BYTES = {1, 2, 4, 8}
_SCALARS = {Kind.INT, Kind.ENUM, Kind.ENUM64}


@dataclass(frozen=True, slots=True)
class Constant:
    """A variable of one number, in a section of variables or of symbols. Sizes and offsets in bytes.

    Those of ``.rodata`` and the symbols are fixed by loading; others start with ``default``.
    """

    name: str
    section: str
    offset: int
    size: int
    default: int
    signed: bool = False

    def pack(self, value: int) -> bytes:
        """The bytes of a value. Raises ValueError when it does not fit."""
        try:
            return value.to_bytes(self.size, _BYTE_ORDER, signed=self.signed)
        except OverflowError as error:
            low = -(1 << (8 * self.size - 1)) if self.signed else 0
            high = (1 << (8 * self.size - self.signed)) - 1
            raise ValueError(f"constant {self.name} = {value} is outside {low}..{high}") from error


@dataclass(frozen=True, slots=True)
class Variable:
    """Where a global variable lies in its section's row, in bytes."""

    section: str
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class ProgramSpec:
    """A program, linked but for its maps. ``functions`` and ``lines`` are records for the kernel.

    ``symbols`` are the instructions that load a symbol's value, ``kernel_calls`` those that call a
    function of the kernel.
    """

    name: str
    section: str
    type: ProgramType
    attach_type: AttachType | None
    instructions: bytes
    references: tuple[Reference, ...]
    functions: bytes
    lines: bytes
    license: str
    symbols: tuple[SymbolUse, ...] = ()
    kernel_calls: tuple[KernelCall, ...] = ()


@dataclass(frozen=True, slots=True)
class CollectionSpec:
    """Maps, programs and constants of one object. ``btf`` is ready for the kernel, empty when there is none.

    ``contract_hash`` is the number the object was compiled with, None when it has none. ``symbols`` are
    numbers that stand in instructions and need no map; ``variables`` lie in ``.data`` and ``.bss``, where
    programs change them and user space may look.
    """

    maps: Mapping[str, MapSpec]
    programs: Mapping[str, ProgramSpec]
    constants: Mapping[str, Constant]
    contract_hash: int | None
    btf: bytes
    symbols: Mapping[str, Constant] = field(default_factory=dict)
    variables: Mapping[str, Variable] = field(default_factory=dict)

    @classmethod
    def parse(cls, elf: bytes) -> Self:
        """Read an object. Raises ValueError that says what is wrong with it."""
        try:
            return cls._parse(ElfObject.parse(elf))
        except (IndexError, KeyError, OverflowError, RecursionError, StructError) as error:
            raise ValueError(f"BPF object is malformed: {error}") from error

    @classmethod
    def _parse(cls, elf_object: ElfObject) -> Self:
        section = elf_object.section(".BTF")
        if section is None:
            raise ValueError("BPF object without .BTF; compile it with -g")
        btf = Btf.parse(section.data)
        variables = [s for s in elf_object.sections if s.size and s.name.startswith(_VARIABLES)]
        maps = {spec.name: spec for spec in map_definitions(btf)}
        maps.update((s.name, variable_map(btf, s.name, s.data)) for s in variables)
        offsets = _offsets(elf_object)
        ext_section = elf_object.section(".BTF.ext")
        kernel_functions = btf.section(KERNEL_FUNCTIONS)
        linker = Linker(
            elf_object,
            BtfExt.parse(ext_section.data, btf) if ext_section else None,
            _map_places(elf_object, maps),
            [member.name for member in kernel_functions.members] if kernel_functions else (),
        )
        constants = {
            c.name: c for s in variables if s.name.startswith(".rodata") for c in _constants(btf, s, offsets)
        }
        symbol_section = elf_object.section(SYMBOL_SECTION)
        symbols = {c.name: c for c in _constants(btf, symbol_section, offsets)} if symbol_section else {}
        contract = elf_object.section(CONTRACT_SECTION)
        sizes = {s.name: s.size for s in elf_object.sections}
        found = cls(
            maps,
            {program.name: program for program in _programs(elf_object, linker)},
            constants,
            int.from_bytes(contract.data, _BYTE_ORDER) if contract else None,
            repair_sections(section.data, btf, sizes, offsets),
            symbols,
            _variables(elf_object),
        )
        for use in (use for program in found.programs.values() for use in program.symbols):
            if use.symbol not in symbols:
                raise ValueError(
                    f"{use.symbol} in section {SYMBOL_SECTION!r} is no number of 1, 2, 4 or 8 bytes"
                )
        return found.with_symbols({name: symbol.default for name, symbol in symbols.items()})

    def with_constants(self, values: Mapping[str, int]) -> Self:
        """The same with these numbers in the contents of ``.rodata``; the others keep their defaults.

        Raises ValueError for a constant that the object does not have and a number that does not fit.
        """
        _require("constant", values, self.constants)
        maps = dict(self.maps)
        for name, value in values.items():
            constant = self.constants[name]
            packed = constant.pack(value)
            section = maps[constant.section]
            contents = bytearray(section.contents or b"")
            contents[constant.offset : constant.offset + constant.size] = packed
            maps[constant.section] = replace(section, contents=bytes(contents))
        return replace(self, maps=maps)

    def with_symbols(self, values: Mapping[str, int]) -> Self:
        """The same with these symbols' values in the instructions; the others keep theirs.

        Raises ValueError for a symbol that the object does not have and a number that does not fit.
        """
        _require("symbol", values, self.symbols)
        numbers = {
            name: int.from_bytes(self.symbols[name].pack(value), _BYTE_ORDER)
            for name, value in values.items()
        }
        programs = {name: _with_symbols(program, numbers) for name, program in self.programs.items()}
        return replace(self, programs=programs)

    def require_contract(self, contract_hash: int) -> None:
        """Raise ValueError unless the object was compiled with this contract."""
        if self.contract_hash != contract_hash:
            found = "none" if self.contract_hash is None else f"{self.contract_hash:#018x}"
            raise ValueError(
                f"BPF object was compiled with contract {found}, this Kinety speaks {contract_hash:#018x}; "
                "compile it again (make bpf)"
            )


def _require(kind: str, names: Iterable[str], known: Iterable[str]) -> None:
    if missing := sorted(set(names) - set(known)):
        raise ValueError(
            f"the BPF object has no {kind} {', '.join(missing)}; it has {', '.join(sorted(known)) or 'none'}"
        )


def _with_symbols(program: ProgramSpec, numbers: Mapping[str, int]) -> ProgramSpec:
    instructions = bytearray(program.instructions)
    for use in program.symbols:
        if (number := numbers.get(use.symbol)) is not None:
            use.write(instructions, number)
    return replace(program, instructions=bytes(instructions))


def _variables(elf: ElfObject) -> dict[str, Variable]:
    return {
        symbol.name: Variable(elf.sections[symbol.section].name, symbol.offset, symbol.size)
        for symbol in elf.symbols
        if symbol.section is not None
        and symbol.kind == "STT_OBJECT"
        and elf.sections[symbol.section].name.startswith((".data", ".bss"))
    }


def _offsets(elf: ElfObject) -> dict[tuple[str, str], int]:
    """Offset of every global variable, by section and name. The compiler wrote those of static ones."""
    return {
        (elf.sections[symbol.section].name, symbol.name): symbol.offset
        for symbol in elf.symbols
        if symbol.section is not None and symbol.kind == "STT_OBJECT" and not symbol.local
    }


def _map_places(elf: ElfObject, maps: Mapping[str, MapSpec]) -> dict[tuple[int, int], str]:
    places = {}
    for symbol in elf.symbols:
        if symbol.section is None:
            continue
        section = elf.sections[symbol.section]
        if section.name == ".maps" and symbol.name in maps:
            places[section.index, symbol.offset] = symbol.name
        elif section.name in maps:
            places[section.index, 0] = section.name
    return places


def _programs(elf: ElfObject, linker: Linker) -> list[ProgramSpec]:
    license_section = elf.section("license")
    license_text = license_section.data.rstrip(b"\0").decode() if license_section else ""
    programs = []
    for function in linker.functions:
        if function.section.name == _LIBRARY_SECTION:
            continue
        program_type, attach_type = section_meaning(function.section.name)
        linked = linker.link(function)
        programs.append(
            ProgramSpec(
                function.name,
                function.section.name,
                program_type,
                attach_type,
                bytes(linked.instructions),
                tuple(linked.references),
                b"".join(linked.functions),
                b"".join(linked.lines),
                license_text,
                tuple(linked.symbols),
                tuple(linked.kernel_calls),
            )
        )
    return programs


def _constants(btf: Btf, section: Section, offsets: Mapping[tuple[str, str], int]) -> list[Constant]:
    types = btf.section(section.name)
    found = []
    for variable in types.members if types else ():
        kind = btf.resolve(btf[variable.type_id].target)
        if kind.kind not in _SCALARS or kind.size not in _SCALAR_BYTES:
            continue
        offset = offsets.get((section.name, variable.name), variable.value)
        if offset + kind.size > section.size:
            raise ValueError(f"constant {variable.name} lies outside section {section.name!r}")
        value = int.from_bytes(section.data[offset : offset + kind.size], _BYTE_ORDER, signed=kind.signed)
        found.append(Constant(variable.name, section.name, offset, kind.size, value, kind.signed))
    return found
