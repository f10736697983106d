"""The datapath's object, broken in ways that only a reader or the kernel notices."""

from __future__ import annotations

import struct
import sys

from kinety import abi
from kinety.kernel.elf import ElfObject

_MOVE_REGISTER = 0xBF


def with_code(elf: bytes, program: str, beginning: bytes) -> bytes:
    """The object with other instructions where a program begins."""
    found = ElfObject.parse(elf)
    symbol = next(each for each in found.symbols if each.name == program)
    assert symbol.section is not None
    code = found.sections[symbol.section].data
    assert elf.count(code) == 1
    at = elf.index(code) + symbol.offset
    return elf[:at] + beginning + elf[at + len(beginning) :]


def refused_by_the_verifier(elf: bytes, program: str = "to_endpoint") -> bytes:
    """The program begins with a register that nobody set: r0 = r9."""
    return with_code(elf, program, struct.pack("=BBhi", _MOVE_REGISTER, 9 << 4, 0, 0))


def of_the_other_byte_order(elf: bytes) -> bytes:
    """As if from another machine: the mark, the type and the machine."""
    return elf[:5] + bytes([3 - elf[5]]) + elf[6:16] + elf[17:15:-1] + elf[19:17:-1] + elf[20:]


def stale(elf: bytes) -> bytes:
    """Compiled with contract 0."""
    return elf.replace(abi.CONTRACT_HASH.to_bytes(8, sys.byteorder), bytes(8))
