"""What the running kernel says of its own BPF interface, in its BTF."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path

from kinety.kernel.btf import Btf, Kind, Type

ENUMS = {Kind.ENUM, Kind.ENUM64}
STRUCTURES = {Kind.STRUCT, Kind.UNION}


@functools.cache
def btf() -> Btf:
    """The kernel's types; some 130 000 of them, so they are read once."""
    return Btf.parse(Path("/sys/kernel/btf/vmlinux").read_bytes())


@functools.cache
def enumerators() -> dict[str, int]:
    """Every enumerator that begins with BPF_."""
    return {
        member.name: member.value
        for each in btf().types
        if each.kind in ENUMS
        for member in each.members
        if member.name.startswith("BPF_")
    }


def fields(structure: Type, base: int = 0) -> Iterator[tuple[str, int, int]]:
    """Name, offset and size in bytes of every field, those of anonymous members included."""
    for member in structure.members:
        offset = base + member.value // 8
        if member.name:
            yield member.name, offset, btf().size_of(member.type_id)
        kind = btf().resolve(member.type_id)
        if kind.kind in STRUCTURES and (not member.name or kind.kind is Kind.UNION or not kind.name):
            yield from fields(kind, offset)


def alternatives() -> Iterator[dict[str, set[tuple[int, int]]]]:
    """What union bpf_attr may be: of each of its structures, offsets and sizes by field.

    A field has several where a structure ends in alternatives of its own.
    """
    for member in btf().find(Kind.UNION, "bpf_attr").members:
        kind = btf().resolve(member.type_id)
        if kind.kind in STRUCTURES:
            found: dict[str, set[tuple[int, int]]] = {}
            for name, offset, size in fields(kind):
                found.setdefault(name, set()).add((offset, size))
            yield found
