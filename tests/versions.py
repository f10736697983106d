"""Versions of the agent's object that nobody compiled: of the same contract, with other code."""

import sys

from kinety.datapath.template import TO_ENDPOINT, packaged_object
from kinety.kernel.elf import ElfObject
from kinety.kernel.spec import CollectionSpec

#: ``r6 = r9``, at whose place the verifier knows nothing of r9.
READ_UNSET = bytes([0xBF, 0x96, 0, 0, 0, 0, 0, 0])


def another_version(seconds: int = 61) -> bytes:
    """The object with another default of a constant: how long an unanswered UDP flow is remembered."""
    elf = packaged_object()
    constant = CollectionSpec.parse(elf).constants["config_udp_idle"]
    assert constant.default != seconds
    return _patched(elf, constant.section, constant.offset, constant.pack(seconds))


def refused_version(program: str = TO_ENDPOINT) -> bytes:
    """The object with a program that begins by reading a register nobody has set."""
    elf = packaged_object()
    (symbol,) = [each for each in ElfObject.parse(elf).symbols if each.name == program]
    assert symbol.section is not None
    section = ElfObject.parse(elf).sections[symbol.section].name
    return _patched(elf, section, symbol.offset, READ_UNSET)


def of_contract(number: int) -> bytes:
    """The object as if it had been compiled with another contract."""
    return _patched(packaged_object(), "contract", 0, number.to_bytes(8, sys.byteorder))


def without_program(program: str) -> bytes:
    """The object with another name for a program."""
    name = program.encode()
    return packaged_object().replace(name, name[::-1])


def _patched(elf: bytes, section: str, offset: int, replacement: bytes) -> bytes:
    found = ElfObject.parse(elf).section(section)
    assert found is not None
    assert elf.count(found.data) == 1
    at = elf.index(found.data) + offset
    return elf[:at] + replacement + elf[at + len(replacement) :]
