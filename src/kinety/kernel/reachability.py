"""Which instructions of a program can run, now that its constants are fixed; and the object without the rest.

The kernel removes code that cannot run, but takes hold of every map that an instruction names before it
looks which: a feature that is off would cost its maps all the same. So dead code is found here, and lets go
of its maps: they need not be created.

A program is walked once for all packets. Of each register is known a number, the address of a variable in
a section that nobody can change, or nothing: what the stack, other memory, arguments and helpers give. Where
ways meet, only what they agree upon is kept. Calculations are followed as far as the verifier of Linux 5.19
follows them and no further: what is called dead here must be dead to the verifier too.

Nothing depends on this being right but memory. A dead instruction that named a map loads the number 0
instead; if it were alive after all, the verifier would meet a number where a map is wanted and refuse the
program.

Source: Documentation/bpf/standardization/instruction-set.rst.
"""

import operator
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import NamedTuple

from .definition import MapSpec
from .linker import INSTRUCTION, Reference
from .spec import CollectionSpec, ProgramSpec

__all__ = ["pruned", "reachable"]

#: Classes of instructions: the lowest three bits of the code.
_LD, _LDX, _STX, _ALU, _JMP, _JMP32, _ALU64 = 0, 1, 3, 4, 5, 6, 7
_CLASS, _OPERATION, _BY_REGISTER = 0x07, 0xF0, 0x08
_LOAD_IMMEDIATE_64 = 0x18
_MODE, _PLAIN, _ATOMIC = 0xE0, 0x60, 0xC0
_SIZE, _SIZES = 0x18, {0x00: 4, 0x08: 2, 0x10: 1, 0x18: 8}
_ALWAYS, _CALL, _EXIT = 0x00, 0x80, 0x90
#: Meanings of the source register's number in a call, and in a load of 64 bits.
_OF_PROGRAM, _NUMBER, _FUNCTION = 1, 0, 4
_REGISTERS = 11
#: Registers that a call may change: the answer and the arguments.
_SCRATCH = 6
_WIDE, _NARROW = (1 << 64) - 1, (1 << 32) - 1


class _Address(NamedTuple):
    """Of a byte in a section of constants."""

    section: str
    offset: int


#: Numbers are not negative: the bits of the register.
_Value = int | _Address | None
_State = tuple[_Value, ...]
_NOTHING_KNOWN: _State = (None,) * _REGISTERS

_ADD, _SUBTRACT, _SHIFT_LEFT, _SHIFT_RIGHT, _MOVE = 0x00, 0x10, 0x60, 0x70, 0xB0
_CALCULATIONS: dict[int, Callable[[int, int], int]] = {
    _ADD: operator.add,
    _SUBTRACT: operator.sub,
    0x20: operator.mul,
    0x40: operator.or_,
    0x50: operator.and_,
    _SHIFT_LEFT: operator.lshift,
    _SHIFT_RIGHT: operator.rshift,
    0xA0: operator.xor,
    _MOVE: lambda _, right: right,
}
_COMPARISONS: dict[int, Callable[[int, int], bool]] = {
    0x10: operator.eq,
    0x20: operator.gt,
    0x30: operator.ge,
    0x40: lambda left, right: bool(left & right),
    0x50: operator.ne,
    0xA0: operator.lt,
    0xB0: operator.le,
}
_SIGNED_COMPARISONS: dict[int, Callable[[int, int], bool]] = {
    0x60: operator.gt,
    0x70: operator.ge,
    0xC0: operator.lt,
    0xD0: operator.le,
}


class _Instruction(NamedTuple):
    """Fields as in the program; ``kind`` is the class, ``into`` the destination register."""

    code: int
    kind: int
    operation: int
    into: int
    source: int
    offset: int
    immediate: int


class _MalformedError(Exception):
    """Nothing can be said of the program."""


def reachable(program: ProgramSpec, frozen: Mapping[str, bytes]) -> frozenset[int]:
    """Numbers of the instructions that may run, a load of 64 bits by its first; ``frozen`` are sections.

    What is not among them cannot run, whatever the packet. A program that is not well formed (a jump that
    leads nowhere, an end that is none) is reachable everywhere: the verifier knows better what to say.
    """
    everywhere = frozenset(range(len(program.instructions) // INSTRUCTION.size))
    if len(program.instructions) % INSTRUCTION.size:
        return everywhere
    try:
        return _Walk(program, frozen).run()
    except _MalformedError:
        return everywhere


def pruned(spec: CollectionSpec) -> CollectionSpec:
    """The same object without maps that no program can reach; fix constants and symbols before.

    Programs stay as long as they are, so their records fit. Sections of variables stay, too. With other
    constants afterwards the verifier may refuse the programs.
    """
    frozen = {name: each.contents for name, each in spec.maps.items() if each.frozen and each.contents}
    programs = {
        name: _without_dead_references(program, reachable(program, frozen), spec.maps)
        for name, program in spec.programs.items()
    }
    named = {reference.map for program in programs.values() for reference in program.references}
    maps = {name: each for name, each in spec.maps.items() if name in named or each.contents is not None}
    return replace(spec, programs=programs, maps=maps)


def _without_dead_references(
    program: ProgramSpec, alive: frozenset[int], maps: Mapping[str, MapSpec]
) -> ProgramSpec:
    kept: list[Reference] = []
    instructions = bytearray(program.instructions)
    for reference in program.references:
        if reference.instruction in alive or maps[reference.map].contents is not None:
            kept.append(reference)
            continue
        at = reference.instruction * INSTRUCTION.size
        code, registers, *_ = INSTRUCTION.unpack_from(instructions, at)
        INSTRUCTION.pack_into(instructions, at, code, registers & 0x0F, 0, 0)
        INSTRUCTION.pack_into(instructions, at + INSTRUCTION.size, 0, 0, 0, 0)
    return replace(program, instructions=bytes(instructions), references=tuple(kept))


class _Walk:
    """All ways through one program."""

    def __init__(self, program: ProgramSpec, frozen: Mapping[str, bytes]) -> None:
        self._instructions = [_decoded(*fields) for fields in INSTRUCTION.iter_unpack(program.instructions)]
        self._references = {each.instruction: each for each in program.references}
        self._frozen = frozen
        #: What every way to an instruction agrees upon, before it runs.
        self._known: dict[int, _State] = {}

    def run(self) -> frozenset[int]:
        """Every instruction that some way leads to."""
        open_ways = [(0, _NOTHING_KNOWN)]
        while open_ways:
            at, state = open_ways.pop()
            if self._arrive(at, state):
                open_ways += self._leave(at, self._instructions[at], self._known[at])
        return frozenset(self._known)

    def _arrive(self, at: int, state: _State) -> bool:
        """Whether this way to an instruction may show something new."""
        if not 0 <= at < len(self._instructions) or not self._instructions[at].code:
            raise _MalformedError  # the second half of a load has no code
        known = self._known.get(at)
        if known is not None:
            state = tuple(a if a == b else None for a, b in zip(known, state, strict=True))
        self._known[at] = state
        return state != known

    def _leave(self, at: int, instruction: _Instruction, state: _State) -> list[tuple[int, _State]]:
        """Where an instruction leads to, and what is known there."""
        following = at + 1
        if instruction.into >= _REGISTERS or instruction.source >= _REGISTERS:
            raise _MalformedError
        if instruction.kind in (_JMP, _JMP32):
            return _jumps(following, instruction, state)
        if instruction.code == _LOAD_IMMEDIATE_64:
            if following == len(self._instructions):
                raise _MalformedError
            loaded = _with(state, instruction.into, self._immediate(at, instruction))
            calls = instruction.source == _FUNCTION
            function = [(following + instruction.immediate, _NOTHING_KNOWN)] if calls else []
            return [(following + 1, loaded), *function]
        if instruction.kind in (_ALU, _ALU64):
            state = _with(state, instruction.into, _calculated(instruction, state))
        elif instruction.kind == _LDX:
            state = _with(state, instruction.into, self._loaded(instruction, state))
        elif instruction.kind == _LD:
            state = _after_call(state)  # reads the packet, and is a call inside
        elif instruction.kind == _STX and instruction.code & _MODE == _ATOMIC:
            for register in (0, instruction.into, instruction.source):
                state = _with(state, register, None)
        return [(following, state)]

    def _immediate(self, at: int, instruction: _Instruction) -> _Value:
        reference = self._references.get(at)
        if reference is None:
            high = self._instructions[at + 1].immediate
            number = (high & _NARROW) << 32 | instruction.immediate & _NARROW
            return number if instruction.source == _NUMBER else None
        if reference.offset is None or reference.map not in self._frozen:
            return None
        return _Address(reference.map, reference.offset)

    def _loaded(self, instruction: _Instruction, state: _State) -> _Value:
        address = state[instruction.source]
        if not isinstance(address, _Address) or instruction.code & _MODE != _PLAIN:
            return None
        start, size = address.offset + instruction.offset, _SIZES[instruction.code & _SIZE]
        contents = self._frozen[address.section]
        if not 0 <= start <= len(contents) - size:
            return None
        return int.from_bytes(contents[start : start + size], sys.byteorder)


def _decoded(code: int, registers: int, offset: int, immediate: int) -> _Instruction:
    return _Instruction(
        code, code & _CLASS, code & _OPERATION, registers & 0x0F, registers >> 4, offset, immediate
    )


def _with(state: _State, register: int, value: _Value) -> _State:
    return (*state[:register], value, *state[register + 1 :])


def _after_call(state: _State) -> _State:
    return (*_NOTHING_KNOWN[:_SCRATCH], *state[_SCRATCH:])


def _jumps(following: int, instruction: _Instruction, state: _State) -> list[tuple[int, _State]]:
    if instruction.operation == _EXIT:
        return []
    if instruction.operation == _CALL:
        inside = instruction.source == _OF_PROGRAM
        function = [(following + instruction.immediate, _NOTHING_KNOWN)] if inside else []
        return [(following, _after_call(state)), *function]
    if instruction.operation == _ALWAYS:
        far = instruction.kind == _JMP32
        return [(following + (instruction.immediate if far else instruction.offset), state)]
    taken = _compared(instruction, state)
    ways = [(following, state)] if taken is not True else []
    return ways if taken is False else [*ways, (following + instruction.offset, state)]


def _operands(instruction: _Instruction, state: _State) -> tuple[_Value, _Value]:
    by_register = instruction.code & _BY_REGISTER
    right = state[instruction.source] if by_register else instruction.immediate & _WIDE
    return state[instruction.into], right


def _calculated(instruction: _Instruction, state: _State) -> _Value:
    left, right = _operands(instruction, state)
    operation, wide = instruction.operation, instruction.kind == _ALU64
    calculate = _CALCULATIONS.get(operation)
    if calculate is None or instruction.offset:  # other meanings, of later kernels
        return None
    if operation == _MOVE and wide:
        return right
    if operation == _MOVE and isinstance(right, int):
        return right & _NARROW
    if wide and operation in (_ADD, _SUBTRACT) and isinstance(left, _Address) and isinstance(right, int):
        return left._replace(offset=calculate(left.offset, _signed(right, 64)))
    if not isinstance(left, int) or not isinstance(right, int):
        return None
    bits = 64 if wide else 32
    mask = (1 << bits) - 1
    if operation in (_SHIFT_LEFT, _SHIFT_RIGHT) and right & mask >= bits:
        return None
    return calculate(left & mask, right & mask) & mask


def _compared(instruction: _Instruction, state: _State) -> bool | None:
    """Whether a conditional jump is taken; None when it may be, or not."""
    left, right = _operands(instruction, state)
    if not isinstance(left, int) or not isinstance(right, int):
        return None
    bits = 64 if instruction.kind == _JMP else 32
    mask = (1 << bits) - 1
    if compare := _COMPARISONS.get(instruction.operation):
        return compare(left & mask, right & mask)
    if compare := _SIGNED_COMPARISONS.get(instruction.operation):
        return compare(_signed(left & mask, bits), _signed(right & mask, bits))
    return None


def _signed(bits: int, width: int) -> int:
    return bits - (1 << width) if bits >> (width - 1) else bits
