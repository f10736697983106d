"""The BTF reader, on what clang writes and on what it does not."""

from __future__ import annotations

import struct

import pytest

from kinety.kernel.btf import Btf, Kind
from kinety.kernel.elf import ElfObject


@pytest.fixture(scope="module")
def blob(door_elf: bytes) -> bytes:
    section = ElfObject.parse(door_elf).section(".BTF")
    assert section is not None
    return section.data


@pytest.mark.needs("clang")
def test_structures_have_their_layout(blob: bytes) -> None:
    btf = Btf.parse(blob)
    row = btf.find(Kind.STRUCT, "row")
    assert row.size == 16
    assert [(field.name, field.value, btf.size_of(field.type_id)) for field in row.members] == [
        ("packets", 0, 8),
        ("verdict", 64, 4),
        ("reserved", 96, 4),
    ]


@pytest.mark.needs("clang")
def test_qualifiers_and_typedefs_are_seen_through(blob: bytes) -> None:
    btf = Btf.parse(blob)
    section = btf.section(".rodata")
    assert section is not None
    wide = next(member for member in section.members if member.name == "wide")
    kind = btf.resolve(btf[wide.type_id].target)
    assert (kind.kind, kind.size, kind.signed) == (Kind.INT, 8, False)
    with pytest.raises(KeyError, match="no STRUCT nowhere"):
        btf.find(Kind.STRUCT, "nowhere")


@pytest.mark.needs("clang")
def test_cut_off_btf_is_refused(blob: bytes) -> None:
    for length in (0, 23, 24, 100, len(blob) // 2, len(blob) - 1):
        with pytest.raises(ValueError, match=r"\.BTF"):
            Btf.parse(blob[:length])


def encoded(types: bytes) -> bytes:
    """A BTF blob with the given types and one empty string."""
    return struct.pack("=HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(types), len(types), 1) + types + b"\0"


def test_a_type_that_is_an_alias_of_itself_does_not_hang_the_reader() -> None:
    alias = struct.pack("=III", 0, Kind.CONST << 24, 1)
    with pytest.raises(ValueError, match="alias of itself"):
        Btf.parse(encoded(alias)).resolve(1)


def test_sizes_multiply_and_end_somewhere() -> None:
    word = struct.pack("=IIII", 0, Kind.INT << 24, 4, 32)
    square = b"".join(struct.pack("=IIIIII", 0, Kind.ARRAY << 24, 0, of, 1, 3) for of in (1, 2))
    itself = struct.pack("=IIIIII", 0, Kind.ARRAY << 24, 0, 4, 1, 2)
    btf = Btf.parse(encoded(word + square + itself))
    assert [btf.size_of(number) for number in (1, 2, 3)] == [4, 12, 36]
    with pytest.raises(ValueError, match="type 4 is an array of more than 64 dimensions"):
        btf.size_of(4)


@pytest.mark.parametrize(
    ("types", "complaint"),
    [
        (struct.pack("=III", 0, Kind.PTR << 24, 2), r"type 1 \(''\) refers to a type behind the last, 1"),
        (struct.pack("=IIIIII", 0, Kind.STRUCT << 24 | 1, 4, 0, 9, 0), "type 1 .* behind the last, 1"),
        (struct.pack("=IIIIII", 0, Kind.DATASEC << 24 | 1, 4, 1, 0, 4), "index out of range"),
        (struct.pack("=III", 7, Kind.FWD << 24, 0), "no string of less than 4096 bytes at 7 of 1"),
        (struct.pack("=III", 0, 31 << 24, 0), "31 is not a valid Kind"),
        (struct.pack("=III", 0, Kind.STRUCT << 24 | 0xFFFF, 0), "requires a buffer"),
    ],
)
def test_types_that_lead_nowhere_are_refused(types: bytes, complaint: str) -> None:
    with pytest.raises(ValueError, match=rf"\.BTF is malformed: .*{complaint}"):
        Btf.parse(encoded(types))


@pytest.mark.parametrize("header", [(8, 0, 12, 12, 1), (24, 0, 12, 4, 9), (24, 4, 9, 0, 8)])
def test_parts_that_overlap_are_refused(header: tuple[int, ...]) -> None:
    blob = struct.pack("=HBBIIIII", 0xEB9F, 1, 0, *header) + bytes(16)
    with pytest.raises(ValueError, match="its header, types and strings overlap"):
        Btf.parse(blob)


def test_negative_and_64_bit_enumerators() -> None:
    small = struct.pack("=III", 0, 1 << 31 | Kind.ENUM << 24 | 1, 4) + struct.pack("=Ii", 0, -7)
    large = struct.pack("=III", 0, Kind.ENUM64 << 24 | 1, 8) + struct.pack("=III", 0, 5, 1)
    btf = Btf.parse(encoded(small + large))
    assert [found.members[0].value for found in btf.types[1:]] == [-7, (1 << 32) + 5]


@pytest.mark.parametrize("magic", [0, 0x9FEB])
def test_other_magic_is_refused(magic: int) -> None:
    with pytest.raises(ValueError, match="magic"):
        Btf.parse(struct.pack("=HBBIIIII", magic, 1, 0, 24, 0, 0, 0, 1) + b"\0")
