"""Specs: what is read from an object without a system call, and every way an object can be wrong."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kinety.kernel.spec import CollectionSpec, MapSpec
from kinety.kernel.uapi import AttachType, MapFlag, MapType, ProgramType

from .conftest import Compiler

pytestmark = pytest.mark.needs("clang")

PASS = 'SEC("tc") int pass(struct __sk_buff *skb) { return TC_ACT_OK; }'


def test_maps_are_as_c_defines_them(door: CollectionSpec) -> None:
    rows, tables = door.maps["rows"], door.maps["tables"]
    assert (rows.type, rows.key_size, rows.value_size, rows.max_entries) == (MapType.HASH, 4, 16, 1024)
    assert rows.flags == MapFlag.NO_PREALLOC
    assert (tables.type, tables.value_size, tables.max_entries) == (MapType.ARRAY_OF_MAPS, 4, 16)
    assert tables.inner == MapSpec("tables.inner", MapType.LPM_TRIE, 8, 4, 256, MapFlag.NO_PREALLOC)
    assert door.maps["events"].max_entries == 1 << 16
    assert door.maps[".rodata.config"].frozen
    assert not door.maps[".bss"].frozen
    assert door.maps[".data"].contents == (77).to_bytes(4, "little")


def test_programs_are_linked_with_what_they_call(door: CollectionSpec) -> None:
    judge, tell, connect = (door.programs[name] for name in ("judge", "tell", "connect"))
    assert (judge.type, judge.attach_type) == (ProgramType.SCHED_CLS, None)
    assert (connect.type, connect.attach_type) == (
        ProgramType.CGROUP_SOCK_ADDR,
        AttachType.CGROUP_INET4_CONNECT,
    )
    assert len(judge.functions) // 8 == 4, "judge, middle, leaf and the loop's body"
    assert len(tell.functions) // 8 == 2, "tell and leaf"
    assert {reference.map for reference in connect.references} == {".rodata.config"}
    assert judge.license == "Dual BSD/GPL"


def test_constants_have_their_defaults(door: CollectionSpec) -> None:
    found = {name: (constant.size, constant.default) for name, constant in door.constants.items()}
    assert found == {
        "config_step": (4, 3),
        "config_small": (1, 1),
        "wide": (8, 1 << 40),
        "negative": (2, -5),
    }


@pytest.mark.parametrize(
    ("name", "value", "limits"),
    [
        ("config_small", 256, "0..255"),
        ("config_step", -1, "0..4294967295"),
        ("negative", 1 << 15, "-32768..32767"),
    ],
)
def test_a_constant_out_of_range_is_refused(door: CollectionSpec, name: str, value: int, limits: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"constant {name} = {value} is outside {limits}")):
        door.constants[name].pack(value)


def test_a_truncated_object_is_refused_at_every_length(door_elf: bytes) -> None:
    for length in range(0, len(door_elf), 53):
        with pytest.raises(ValueError, match="ELF object"):
            CollectionSpec.parse(door_elf[:length])


def test_foreign_files_are_refused() -> None:
    with pytest.raises(ValueError, match=r"not a BPF object: an ELF file for [\w-]+, (executable|shared)"):
        CollectionSpec.parse(Path("/bin/true").read_bytes())
    with pytest.raises(ValueError, match="not a readable ELF object"):
        CollectionSpec.parse(b"#!/bin/sh\n" * 99)


def test_the_contract_is_read_and_both_numbers_are_told(compile_c: Compiler, door: CollectionSpec) -> None:
    number = 'const volatile __attribute__((section("contract"), used)) __u64 hash = 0x1234ULL;'
    spec = CollectionSpec.parse(compile_c(f"{number}\n{PASS}"))
    assert spec.contract_hash == 0x1234
    assert "contract" not in spec.maps
    spec.require_contract(0x1234)
    with pytest.raises(ValueError, match=r"0x0000000000001234.*0x00000000000000ff"):
        spec.require_contract(0xFF)
    with pytest.raises(ValueError, match="contract none"):
        door.require_contract(0xFF)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('SEC("nonsense/x") int f(void *c) { return 0; }', "section 'nonsense/x' are of no known type"),
        (
            'extern int elsewhere(int);SEC("tc") int f(struct __sk_buff *s) { return elsewhere(s->len); }',
            "program f: elsewhere is declared but not defined",
        ),
        (
            f'struct {{ __uint(type, 2); __uint(colour, 3); }} m SEC(".maps");\n{PASS}',
            r"map m: not a map definition \(unknown: colour\)",
        ),
        (
            f'struct {{ __uint(type, 12); __type(key, int); }} m SEC(".maps");\n{PASS}',
            "map m: a map of maps needs __array",
        ),
    ],
)
def test_what_the_loader_does_not_understand_is_named(compile_c: Compiler, text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        CollectionSpec.parse(compile_c(text))
