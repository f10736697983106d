"""Instructions written one by one, and programs of them."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

from kinety.kernel.spec import CollectionSpec, MapSpec, ProgramSpec, Reference
from kinety.kernel.uapi import MapFlag, MapType, ProgramType

__all__ = [
    "address",
    "assembled",
    "call",
    "constants",
    "exit_",
    "far",
    "instruction",
    "load",
    "long",
    "object_of",
]
__all__ += ["JUMPS", "OPERATIONS", "calculate", "helper", "jump", "map_"]

OPERATIONS = {"add": 0x00, "sub": 0x10, "mul": 0x20, "div": 0x30, "or": 0x40, "and": 0x50, "lsh": 0x60}
OPERATIONS |= {"rsh": 0x70, "neg": 0x80, "mod": 0x90, "xor": 0xA0, "mov": 0xB0, "arsh": 0xC0}
JUMPS = {"ja": 0x00, "==": 0x10, ">": 0x20, ">=": 0x30, "&": 0x40, "!=": 0x50, "s>": 0x60, "s>=": 0x70}
JUMPS |= {"<": 0xA0, "<=": 0xB0, "s<": 0xC0, "s<=": 0xD0}
_SIZES = {1: 0x10, 2: 0x08, 4: 0x00, 8: 0x18}
_BY_REGISTER = 0x08

#: One instruction, or the two halves of one; a name asks for the address of a map or of a row's byte.
Code = bytes | tuple[int, str, int | None]


def instruction(code: int, into: int = 0, source: int = 0, offset: int = 0, immediate: int = 0) -> bytes:
    return struct.pack("=BBhi", code, source << 4 | into, offset, immediate)


def calculate(operation: str, into: int, right: int, *, register: bool = False, wide: bool = True) -> bytes:
    """``into = into operation right``; of 32 bits unless ``wide``."""
    code = OPERATIONS[operation] | (0x07 if wide else 0x04)
    if register:
        return instruction(code | _BY_REGISTER, into, right)
    return instruction(code, into, immediate=right)


def jump(
    comparison: str, left: int, right: int, offset: int, *, register: bool = False, wide: bool = True
) -> bytes:
    """Skip ``offset`` instructions if so."""
    code = JUMPS[comparison] | (0x05 if wide else 0x06)
    if register:
        return instruction(code | _BY_REGISTER, left, right, offset)
    return instruction(code, left, 0, offset, right)


def far(offset: int) -> bytes:
    """A jump of 32 bits' reach."""
    return instruction(0x06, immediate=offset)


def load(into: int, source: int, size: int, offset: int = 0) -> bytes:
    """``into = *(source + offset)``."""
    return instruction(0x61 | _SIZES[size], into, source, offset)


def long(into: int, number: int, source: int = 0) -> bytes:
    """A number of 64 bits, two slots."""
    low, high = struct.unpack("=ii", struct.pack("=Q", number))
    return instruction(0x18, into, source, 0, low) + instruction(0, immediate=high)


def address(into: int, offset: int, section: str = ".rodata") -> Code:
    """The address of a variable, two slots."""
    return into, section, offset


def map_(into: int, name: str) -> Code:
    """A map, two slots."""
    return into, name, None


def call(offset: int) -> bytes:
    """Of a function that starts ``offset`` instructions on."""
    return instruction(0x85, 0, 1, 0, offset)


def helper(number: int) -> bytes:
    return instruction(0x85, immediate=number)


def exit_() -> bytes:
    return instruction(0x95)


def assembled(codes: Sequence[Code], name: str = "written") -> ProgramSpec:
    """A program, with references where maps and addresses are asked for."""
    instructions = bytearray()
    references = []
    for code in codes:
        if isinstance(code, bytes):
            instructions += code
        else:
            into, where, offset = code
            references.append(Reference(len(instructions) // 8, where, offset))
            instructions += long(into, 0)
    return ProgramSpec(
        name, "tc", ProgramType.SCHED_CLS, None, bytes(instructions), tuple(references), b"", b"", "GPL"
    )


def constants(contents: bytes) -> MapSpec:
    """A section nobody can change."""
    flags = MapFlag.MMAPABLE | MapFlag.RDONLY_PROG
    return MapSpec(".rodata", MapType.ARRAY, 4, len(contents), 1, flags, contents=contents, frozen=True)


def object_of(program: ProgramSpec, maps: Mapping[str, MapSpec]) -> CollectionSpec:
    """An object of one program."""
    return CollectionSpec(maps, {program.name: program}, {}, None, b"")
