"""Damage that knows what it damages: bytes anywhere, and numbers where a reader believes them.

Blind damage to an object of 140 kB nearly always hits code or line records, which no reader of ours
looks at. So half of it is aimed: at the headers of sections, at symbols and relocations, and at types.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable

Chance = random.Random
Span = tuple[int, int]

ELF_HEADER, SECTION_HEADER = 64, 64
SYMTAB, REL = 2, 9
#: What sizes, offsets, counts and numbers of types go wrong with.
TELLING = (0, 1, 2, 3, 7, 8, 0x7F, 0xFF, 0xFFF1, 0xFFFF, 1 << 16, 1 << 24, 1 << 31, (1 << 32) - 1)
LARGE = (1 << 32, 1 << 60, (1 << 63) - 1, 1 << 63, (1 << 64) - 8, (1 << 64) - 1)


def damaged(data: bytes, chance: Chance, blows: int = 4) -> bytes:
    """The same with one to ``blows`` things wrong."""
    found = bytearray(data)
    for _ in range(chance.randint(1, blows)):
        if not found:
            break
        aims = spans(found) or [(0, len(found))]
        start, end = chance.choice(aims) if chance.random() < 0.75 else (0, len(found))
        chance.choices(BLOWS, WEIGHTS)[0](found, start, min(end, len(found)), chance)
    return bytes(found)


def spans(data: bytes | bytearray) -> list[Span]:
    """The parts of an object that steer its reader; of something else, its first bytes."""
    head = (0, min(len(data), ELF_HEADER))
    if not data.startswith(b"\x7fELF") or len(data) < ELF_HEADER:
        return [head]
    (table,) = struct.unpack_from("<Q", data, 40)
    (count,) = struct.unpack_from("<H", data, 60)
    found = [head]
    for index in range(min(count, 64)):
        at = table + index * SECTION_HEADER
        if at + SECTION_HEADER > len(data):
            break
        found.append((at, at + SECTION_HEADER))
        kind, offset, size = (struct.unpack_from(form, data, at + to)[0] for form, to in FIELDS)
        if offset + size <= len(data) and size and (kind in (SYMTAB, REL) or is_types(data, offset)):
            found += [(offset, offset + size)] * 3
    return found


FIELDS = (("<I", 4), ("<Q", 24), ("<Q", 32))


def is_types(data: bytes | bytearray, offset: int) -> bool:
    """Whether ``.BTF`` or ``.BTF.ext`` starts there."""
    return data[offset : offset + 2] == b"\x9f\xeb"


def flip(data: bytearray, start: int, end: int, chance: Chance) -> None:
    if start < end:
        data[chance.randrange(start, end)] ^= 1 << chance.randrange(8)


def number(data: bytearray, start: int, end: int, chance: Chance) -> None:
    """A telling number over an aligned one."""
    width = chance.choice((2, 4, 8))
    places = (end - start) // width
    if places < 1:
        return
    at = start + width * chance.randrange(places)
    value = chance.choice(TELLING + LARGE if width == 8 else TELLING)
    data[at : at + width] = (value & ((1 << 8 * width) - 1)).to_bytes(width, "little")


def nudge(data: bytearray, start: int, end: int, chance: Chance) -> None:
    """A number that is nearly right."""
    places = (end - start) // 4
    if places < 1:
        return
    at = start + 4 * chance.randrange(places)
    value = int.from_bytes(data[at : at + 4], "little") + chance.choice((-8, -1, 1, 8))
    data[at : at + 4] = (value & 0xFFFFFFFF).to_bytes(4, "little")


def copy(data: bytearray, start: int, end: int, chance: Chance) -> None:
    """Some words over others of the same part."""
    length = 4 * chance.randint(1, 16)
    places = (end - start - length) // 4
    if places < 1:
        return
    source, target = (start + 4 * chance.randrange(places) for _ in range(2))
    data[target : target + length] = data[source : source + length]


def drop(data: bytearray, start: int, end: int, chance: Chance) -> None:
    """A piece is missing; what follows moves up."""
    if start < end:
        at = chance.randrange(start, end)
        del data[at : at + chance.choice((1, 4, 8, 64))]


def cut(data: bytearray, _start: int, _end: int, chance: Chance) -> None:
    """The end is missing."""
    del data[chance.randrange(len(data)) :]


Blow = Callable[[bytearray, int, int, Chance], None]
BLOWS: tuple[Blow, ...] = (flip, number, nudge, copy, drop, cut)
WEIGHTS = (6, 8, 6, 4, 1, 1)
