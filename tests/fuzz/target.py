"""Readers that must survive any bytes: an answer or ValueError with a message, soon, and nothing else.

Each target takes bytes. It raises ValueError for what its reader refuses; any other exception is a
finding. What is read is read a second time, and must be the same.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Mapping

from kinety import abi
from kinety.kernel import netlink_message as wire
from kinety.kernel.btf import KERNEL_FUNCTIONS, Btf, Kind, repair_sections
from kinety.kernel.btf_ext import BtfExt
from kinety.kernel.definition import map_definitions
from kinety.kernel.elf import ElfObject
from kinety.kernel.spec import CollectionSpec, Constant
from kinety.proxy.dns.answer import read as read_answer
from kinety.proxy.dns.question import HEADER, Question, ResponseCode

#: What the answers are to.
ASKED = Question("www.example.com", 1, 1, b"\3www\7example\3com\0\0\1\0\1", 0x0100)

Target = Callable[[bytes], None]

#: Types for the reader of ``.BTF.ext``, which only wants strings: wherever a record points, there is one.
NAMES = b"\0tc\0.text\0from.c" * (1 << 13) + b"\0"
STRINGS = Btf.parse(struct.pack("=HBBIIIII", 0xEB9F, 1, 0, 24, 0, 0, 0, len(NAMES)) + NAMES)


def elf(data: bytes) -> None:
    """Sections, symbols, relocations."""
    found = ElfObject.parse(data)
    assert found == ElfObject.parse(data)
    assert sum(len(section.data) for section in found.sections) <= len(data) + (1 << 26)
    assert all(symbol.section is None or symbol.section < len(found.sections) for symbol in found.symbols)


def btf(data: bytes) -> None:
    """Types, what lies behind them, and the repair."""
    found = Btf.parse(data)
    assert found == Btf.parse(data)
    for number in range(len(found.types)):
        refused(lambda number=number: found.size_of(number))  # type: ignore[misc]
    sizes = {each.name: 64 for each in found.types if each.kind is Kind.DATASEC}
    places = {(each.name, member.name): 4 for each in found.types for member in each.members}
    repaired = Btf.parse(repair_sections(data, found, sizes, places))
    # What is declared to be the kernel's is no section any more, and has no name.
    theirs = found.section(KERNEL_FUNCTIONS)
    names = ["" if each is theirs else each.name for each in found.types]
    assert [each.name for each in repaired.types] == names
    assert all(each.size == 64 for each in repaired.types if each.kind is Kind.DATASEC)


def btf_ext(data: bytes) -> None:
    """Function and line records."""
    assert BtfExt.parse(data, STRINGS) == BtfExt.parse(data, STRINGS)


def definitions(data: bytes) -> None:
    """Maps as C defines them."""
    types = Btf.parse(data)
    found = list(map_definitions(types))
    assert found == list(map_definitions(types))
    for each in found:
        sizes = (each.key_size, each.value_size, each.max_entries, each.flags)
        assert all(0 <= size < 1 << 32 for size in sizes), "the kernel takes 32 bits"


def collection(data: bytes) -> None:
    """A whole object, and other numbers in it."""
    found = CollectionSpec.parse(data)
    assert found == CollectionSpec.parse(data)
    for program in found.programs.values():
        assert len(program.instructions) % 8 == 0
        assert all(use.instruction * 8 + 16 <= len(program.instructions) for use in program.symbols)
        assert all(each.instruction * 8 + 16 <= len(program.instructions) for each in program.references)
        assert all(each.map in found.maps for each in program.references)
    assert found.with_constants(defaults(found.constants)).maps == found.maps
    assert found.with_symbols(defaults(found.symbols)) == found
    for name, constant in found.constants.items():
        assert refused(lambda name=name: found.with_constants({name: 1 << 64}))  # type: ignore[misc]
        most = (1 << (8 * constant.size - constant.signed)) - 1
        assert found.with_constants({name: most}).maps.keys() == found.maps.keys()
    for name in found.symbols:
        assert refused(lambda name=name: found.with_symbols({name: 1 << 64}))  # type: ignore[misc]
    assert refused(lambda: found.with_constants({"no such constant": 1}))


def netlink(data: bytes) -> None:
    """What a socket gave: messages, attributes, and what an acknowledgement complains of."""
    messages = list(wire.split(data))
    assert sum(len(each.body) for each in messages) <= len(data)
    for message in messages:
        nested = wire.attributes(message.body, 0)
        assert sum(len(value) for value in nested.values()) <= len(message.body)
        wire.failure(message, "ask")


def rows(data: bytes) -> None:
    """Keys and values of the maps, and records of the ring. Their length is the map's, which is known."""
    for structure in (each for each in vars(abi).values() if hasattr(each, "unpack")):
        size = structure.SIZE
        row = data[:size].ljust(size, b"\0")
        found = structure.unpack(row)
        assert structure.unpack(found.pack()) == found


def dns_question(data: bytes) -> None:
    """What clients send to the DNS proxy."""
    found = Question.parse(data)
    assert found == Question.parse(data)
    assert found.wire == data[HEADER.size : HEADER.size + len(found.wire)]
    assert re.fullmatch(r"[!-~]{1,1020}", found.name)
    assert found.name == found.name.lower()
    assert found.name == "." or found.name.count(".") == label_count(found.wire) - 1
    for code in ResponseCode:
        repeated = Question.parse(data[:2] + b"\0" + found.answered(code)[1:])
        assert (repeated.name, repeated.wire, bool(repeated.edns)) == (
            found.name,
            found.wire,
            bool(found.edns),
        )


def dns_answer(data: bytes) -> None:
    """What servers send to it."""
    first, second = (read_answer(ASKED, data) for _ in range(2))
    assert (first.chain, first.found, first.every) == (second.chain, second.found, second.every)
    assert first.is_of(data)
    addresses = first.addresses(data)
    assert {address for address, _ in addresses} <= first.every
    assert all(0 <= seconds < 1 << 31 for _, seconds in addresses)


def label_count(wire: bytes) -> int:
    count = at = 0
    while wire[at]:
        count, at = count + 1, at + 1 + wire[at]
    return count


def refused(question: Callable[[], object]) -> bool:
    """Whether the answer is ValueError; it must have a message."""
    try:
        question()
    except ValueError as error:
        said = str(error)
    else:
        return False
    assert said, "a refusal without a word"
    return True


def defaults(constants: Mapping[str, Constant]) -> dict[str, int]:
    return {name: constant.default for name, constant in constants.items()}


TARGETS: Mapping[str, Target] = {
    each.__name__: each
    for each in (elf, btf, btf_ext, definitions, collection, netlink, rows, dns_question, dns_answer)
}
