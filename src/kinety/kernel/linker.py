"""From functions in ELF sections to programs the kernel accepts.

A program is its entry function followed by every function it calls, each once, in the order of the
first call, depth first: libbpf's order, so that the translated instructions are the same. References to
maps and variables stay open (``Reference``) until the maps exist. Symbols of the section ``symbols`` are
numbers: where code asks for the address of one, its value is written into the instruction (``SymbolUse``).
Calls of the kernel's own functions stay open, too (``KernelCall``): each kernel numbers them otherwise.

Source: Documentation/bpf/llvm_reloc.rst and Documentation/bpf/standardization/instruction-set.rst.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from struct import Struct

from .btf_ext import FUNCTION_RECORD, LINE_RECORD, BtfExt
from .elf import ElfObject, Relocation, Section, Symbol

INSTRUCTION = Struct("=BBhi")
_SIZE = INSTRUCTION.size
#: The same with the immediate as bits, half of a number of 64.
_LOW = Struct("=BBhI")
_LOW_BITS = 0xFFFFFFFF
_LOAD_IMMEDIATE_64 = 0x18
_CALL = 0x85
_PSEUDO_CALL = 1
_PSEUDO_KERNEL_CALL = 2
#: BPF_MAX_SUBPROGS of the kernel, the program itself included.
_FUNCTIONS_LIMIT = 256
_PSEUDO_FUNCTION = 4
_R_BPF_64_64 = 1
#: Symbols of this section stand for numbers: the value of a symbol is the datum.
SYMBOL_SECTION = "symbols"
_R_BPF_64_32 = 10


@dataclass(frozen=True, slots=True)
class Reference:
    """An instruction (by index) that loads a map, or with ``offset`` the address of a variable in its row."""

    instruction: int
    map: str
    offset: int | None = None


@dataclass(frozen=True, slots=True)
class SymbolUse:
    """An instruction (by index) that loads the value of a symbol, 64 bits wide."""

    instruction: int
    symbol: str

    def write(self, instructions: bytearray, value: int) -> None:
        """Make the instruction load this number, not negative."""
        at = self.instruction * _SIZE
        code, registers, offset, _ = INSTRUCTION.unpack_from(instructions, at)
        _LOW.pack_into(instructions, at, code, registers & 0x0F, offset, value & _LOW_BITS)
        _LOW.pack_into(instructions, at + _SIZE, 0, 0, 0, value >> 32)


@dataclass(frozen=True, slots=True)
class KernelCall:
    """An instruction (by index) that calls a function of the kernel, by its name in the kernel's BTF."""

    instruction: int
    function: str

    def write(self, instructions: bytearray, type_id: int) -> None:
        """Make the instruction call the function that has this number in the kernel's BTF."""
        at = self.instruction * _SIZE
        code, registers, _, _ = INSTRUCTION.unpack_from(instructions, at)
        INSTRUCTION.pack_into(instructions, at, code, registers & 0x0F | _PSEUDO_KERNEL_CALL << 4, 0, type_id)


@dataclass(frozen=True, slots=True)
class Function:
    """A function's place in its section, in bytes."""

    name: str
    section: Section
    offset: int
    size: int


@dataclass(slots=True)
class Linked:
    """A program being put together."""

    instructions: bytearray = field(default_factory=bytearray)
    references: list[Reference] = field(default_factory=list)
    symbols: list[SymbolUse] = field(default_factory=list)
    kernel_calls: list[KernelCall] = field(default_factory=list)
    functions: list[bytes] = field(default_factory=list)
    lines: list[bytes] = field(default_factory=list)
    placed: dict[tuple[int, int], int] = field(default_factory=dict)


class Linker:
    """Links programs of one object."""

    def __init__(
        self,
        elf: ElfObject,
        ext: BtfExt | None,
        maps: Mapping[tuple[int, int], str],
        kernel_functions: Collection[str] = (),
    ) -> None:
        """``maps`` names each map by the section index and offset of its symbol.

        ``kernel_functions`` are declared to be the kernel's. Raises ValueError for functions that overlap.
        """
        self._elf = elf
        self._ext = ext
        self._maps = maps
        self._kernel_functions = frozenset(kernel_functions)
        self._map_sections = {section for section, _ in maps}
        self._functions = {
            (symbol.section, symbol.offset): Function(
                symbol.name, elf.sections[symbol.section], symbol.offset, symbol.size
            )
            for symbol in elf.symbols
            if symbol.kind == "STT_FUNC" and symbol.section is not None
        }
        for (_, one), (_, other) in pairwise(sorted(self._functions.items())):
            if one.section is other.section and one.offset + one.size > other.offset:
                raise ValueError(
                    f"functions {one.name} and {other.name} of section {one.section.name!r} overlap"
                )
        self._relocations = {
            section: {relocation.offset: relocation for relocation in relocations}
            for section, relocations in elf.relocations.items()
        }

    @property
    def functions(self) -> Iterable[Function]:
        """Every function of the object."""
        return self._functions.values()

    def link(self, entry: Function) -> Linked:
        """Put a program together. Raises ValueError for a reference that leads nowhere."""
        linked = Linked()
        try:
            self._place(linked, entry)
        except ValueError as error:
            raise ValueError(f"program {entry.name}: {error}") from error
        return linked

    def _place(self, linked: Linked, function: Function) -> int:
        """Append a function and what it calls; returns the index of its first instruction."""
        start = len(linked.instructions) // _SIZE
        linked.placed[function.section.index, function.offset] = start
        if len(linked.placed) > _FUNCTIONS_LIMIT:
            raise ValueError(f"more than {_FUNCTIONS_LIMIT} functions, the most the kernel takes")
        code = function.section.data[function.offset : function.offset + function.size]
        if not code or len(code) % _SIZE:
            raise ValueError(f"function {function.name} has {len(code)} bytes, not whole instructions")
        linked.instructions += code
        self._add_records(linked, function, start)
        relocations = self._relocations_of(function)
        index = 0
        while index * _SIZE < len(code):
            relocation = relocations.pop(function.offset + index * _SIZE, None)
            self._resolve(linked, function, start, index, relocation)
            index += 2 if code[index * _SIZE] == _LOAD_IMMEDIATE_64 else 1
        if index * _SIZE > len(code):
            raise ValueError(f"function {function.name} ends inside an instruction")
        for offset, relocation in relocations.items():
            raise ValueError(
                f"relocation against {relocation.symbol.name} at byte {offset} of section "
                f"{function.section.name!r}, where no instruction starts"
            )
        return start

    def _relocations_of(self, function: Function) -> dict[int, Relocation]:
        """A function's relocations by their place in its section."""
        end = function.offset + function.size
        found = self._relocations.get(function.section.index, {})
        return {offset: each for offset, each in found.items() if function.offset <= offset < end}

    def _resolve(
        self, linked: Linked, function: Function, start: int, index: int, relocation: Relocation | None
    ) -> None:
        at = (start + index) * _SIZE
        code, registers, offset, immediate = INSTRUCTION.unpack_from(linked.instructions, at)
        source = registers >> 4
        if code == _CALL and source == _PSEUDO_CALL:
            if (kernel_call := self._kernel_call(start + index, relocation)) is not None:
                linked.kernel_calls.append(kernel_call)
                return
            target = self._call_target(function, index, immediate, relocation)
        elif relocation is None:
            return
        elif code == _LOAD_IMMEDIATE_64 and relocation.type == _R_BPF_64_64:
            symbol = _defined(relocation)
            if self._elf.sections[symbol.section or 0].name == SYMBOL_SECTION:
                linked.symbols.append(_symbol_use(start + index, symbol, immediate))
                return
            if not self._elf.sections[symbol.section or 0].executable:
                linked.references.append(self._reference(start + index, symbol, immediate))
                return
            target = self._function(symbol.section, symbol.offset + immediate)
            registers |= _PSEUDO_FUNCTION << 4
        else:
            symbol = _defined(relocation)
            raise ValueError(f"relocation {relocation.type} against {symbol.name} is not supported")
        place = linked.placed.get((target.section.index, target.offset))
        if place is None:
            place = self._place(linked, target)
        INSTRUCTION.pack_into(linked.instructions, at, code, registers, offset, place - (start + index) - 1)

    def _kernel_call(self, instruction: int, relocation: Relocation | None) -> KernelCall | None:
        if relocation is None or relocation.symbol.section is not None:
            return None
        name = relocation.symbol.name
        return KernelCall(instruction, name) if name in self._kernel_functions else None

    def _call_target(
        self, function: Function, index: int, immediate: int, relocation: Relocation | None
    ) -> Function:
        if relocation is None:
            return self._function(function.section.index, function.offset + (index + immediate + 1) * _SIZE)
        symbol = _defined(relocation)
        return self._function(symbol.section, symbol.offset + (immediate + 1) * _SIZE)

    def _function(self, section: int | None, offset: int) -> Function:
        found = self._functions.get((-1 if section is None else section, offset))
        if found is None:
            name = "none" if section is None else repr(self._elf.sections[section].name)
            raise ValueError(f"calls byte {offset} of section {name}, where no function starts")
        return found

    def _reference(self, instruction: int, symbol: Symbol, immediate: int) -> Reference:
        section = self._elf.sections[symbol.section or 0]
        name = self._maps.get((section.index, symbol.offset))
        if section.name == ".maps":
            if name is None or immediate:
                raise ValueError(f"{symbol.name}{immediate:+d} in .maps is no map")
            return Reference(instruction, name)
        if section.index not in self._map_sections:
            raise ValueError(f"{symbol.name} is in section {section.name!r}, which is no map")
        offset = symbol.offset + immediate
        if not 0 <= offset < section.size:
            raise ValueError(
                f"{symbol.name}{immediate:+d} lies outside section {section.name!r} of {section.size} bytes"
            )
        return Reference(instruction, section.name, offset)

    def _add_records(self, linked: Linked, function: Function, start: int) -> None:
        if self._ext is None:
            return
        end = function.offset + function.size
        for table, record, into in (
            (self._ext.functions, FUNCTION_RECORD, linked.functions),
            (self._ext.lines, LINE_RECORD, linked.lines),
        ):
            for offset, *rest in table.get(function.section.name, ()):
                if function.offset <= offset < end:
                    into.append(record.pack((offset - function.offset) // _SIZE + start, *rest))


def _symbol_use(instruction: int, symbol: Symbol, immediate: int) -> SymbolUse:
    if symbol.kind != "STT_OBJECT" or immediate:
        raise ValueError(f"{symbol.name}{immediate:+d} in section {SYMBOL_SECTION!r} names no symbol of it")
    return SymbolUse(instruction, symbol.name)


def _defined(relocation: Relocation) -> Symbol:
    symbol = relocation.symbol
    if symbol.section is None:
        raise ValueError(f"{symbol.name} is declared but not defined; externs are not supported")
    return symbol
