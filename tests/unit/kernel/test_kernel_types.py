"""The running kernel's types: found by name as a reader of everything finds them, and missed by name."""

from __future__ import annotations

import struct

import pytest

from kinety.kernel.btf import Kind
from kinety.kernel.kernel_types import KernelTypes

from . import vmlinux

HEADER = struct.Struct("=HBBIIIII")


def encoded(types: bytes, strings: bytes) -> bytes:
    return HEADER.pack(0xEB9F, 1, 0, 24, 0, len(types), len(types), len(strings)) + types + strings


def small() -> KernelTypes:
    """An int, a structure with two fields, a prototype, and two functions."""
    strings = b"\0int\0pair\0left\0right\0first\0second\0"
    at = {name: strings.index(b"\0" + name + b"\0") + 1 for name in strings.split(b"\0") if name}
    types = (
        struct.pack("=IIII", at[b"int"], Kind.INT << 24, 4, 32)
        + struct.pack("=III", at[b"pair"], Kind.STRUCT << 24 | 2, 8)
        + struct.pack("=III", at[b"left"], 1, 0)
        + struct.pack("=III", at[b"right"], 1, 32)
        + struct.pack("=III", 0, Kind.FUNC_PROTO << 24, 1)
        + struct.pack("=III", at[b"first"], Kind.FUNC << 24, 3)
        + struct.pack("=III", at[b"second"], Kind.FUNC << 24, 3)
    )
    return KernelTypes(encoded(types, strings))


def test_functions_are_numbered_by_their_order() -> None:
    assert small().functions(["second", "first"]) == {"first": 4, "second": 5}


def test_fields_have_places_in_bytes() -> None:
    assert (small().field_offset("pair", "left"), small().field_offset("pair", "right")) == (0, 4)


def test_fields_of_parts_without_a_name_are_the_structures() -> None:
    """As ``mark`` is one of ``struct sk_buff``: in a union in a structure in a union."""
    strings = b"\0int\0whole\0first\0deep\0"
    at = {name: strings.index(b"\0" + name + b"\0") + 1 for name in strings.split(b"\0") if name}
    types = (
        struct.pack("=IIII", at[b"int"], Kind.INT << 24, 4, 32)
        + struct.pack("=III", 0, Kind.UNION << 24 | 1, 4)
        + struct.pack("=III", at[b"deep"], 1, 0)
        + struct.pack("=III", 0, Kind.STRUCT << 24 | 2, 8)
        + struct.pack("=III", at[b"first"], 1, 0)
        + struct.pack("=III", 0, 2, 32)
        + struct.pack("=III", at[b"whole"], Kind.STRUCT << 24 | 2, 16)
        + struct.pack("=III", at[b"int"], 1, 0)
        + struct.pack("=III", 0, 3, 64)
    )
    whole = KernelTypes(encoded(types, strings))
    assert (whole.field_offset("whole", "first"), whole.field_offset("whole", "deep")) == (8, 12)


def test_what_is_missing_is_named() -> None:
    with pytest.raises(FileNotFoundError, match="has no function third"):
        small().functions(["first", "third"])
    with pytest.raises(FileNotFoundError, match="has no function pair"):  # it is no function
        small().functions(["pair"])
    for structure, field in (("pair", "middle"), ("triple", "left")):
        with pytest.raises(FileNotFoundError, match=f"no field {field} of a structure {structure}"):
            small().field_offset(structure, field)


def test_what_is_no_btf_is_refused() -> None:
    for blob in (b"", bytes(24), encoded(b"", b"\0")[:20]):
        with pytest.raises(ValueError, match="the kernel's BTF"):
            KernelTypes(blob)


@pytest.mark.needs("btf")
def test_the_running_kernels_are_what_a_reader_of_all_of_them_finds() -> None:
    types, found = KernelTypes.running(), vmlinux.btf()
    numbers = types.functions(["bpf_dynptr_from_skb", "bpf_dynptr_slice"])
    for name, number in numbers.items():
        assert (found[number].kind, found[number].name) == (Kind.FUNC, name)
    device = found.find(Kind.STRUCT, "net_device")
    places = {member.name: member.value // 8 for member in device.members}
    for field in ("ifindex", "mtu"):
        assert types.field_offset("net_device", field) == places[field]
