"""The kernel agrees: what we call dead is gone in the program, and letting go of its maps changes nothing.

It is asked about programs of the compiler, with all combinations of their constants, and about some
hundreds that no compiler would write.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path
from struct import iter_unpack

import pytest

from kinety.abi import EventLevel, Redirect
from kinety.datapath.template import PROGRAMS, packaged_object
from kinety.kernel.btf_ext import LINE_RECORD
from kinety.kernel.collection import Collection
from kinety.kernel.program import Program
from kinety.kernel.reachability import pruned, reachable
from kinety.kernel.spec import CollectionSpec, MapSpec, ProgramSpec
from kinety.kernel.uapi import MapType
from tests.feature import ROOT

from .conftest import compiled
from .instructions import (
    JUMPS,
    OPERATIONS,
    Code,
    address,
    assembled,
    calculate,
    constants,
    exit_,
    helper,
    jump,
    load,
    map_,
    object_of,
)

pytestmark = pytest.mark.needs("root", "bpf")

LOAD_IMMEDIATE_64, MAP_ID = 0x18, 1
COLUMN_BITS = 10
#: Every value of the constants that tell a node's code apart.
SWITCHES = {
    "config_ipv4": (0, 1),
    "config_ipv6": (0, 1),
    "config_event_level": tuple(EventLevel),
    "config_shadow": (0, 1),
    "config_fragments": (0, 1),
    "config_bandwidth": (0, 1),
    "config_redirect": (Redirect.NONE, Redirect.SK_ASSIGN),
}
COMBINATIONS = [dict(zip(SWITCHES, values, strict=True)) for values in product(*SWITCHES.values())]
EXTREMES = [COMBINATIONS[0], COMBINATIONS[-1], *(dict.fromkeys((name,), 0) for name in SWITCHES)]
SMALL = {"conntrack": 1024, "endpoints": 16, "rule_sets": 16, "rule_counters": 64, "events": 4096}

Masked = list[tuple[int, int, int, int]]


def masked(program: Program) -> tuple[Masked, frozenset[int]]:
    """Instructions that are left without the numbers of maps; and these numbers."""
    instructions, maps = [], set()
    for code, registers, offset, immediate in iter_unpack("=BBhi", program.translated()):
        loads_map = code == LOAD_IMMEDIATE_64 and registers >> 4
        if loads_map == MAP_ID:
            maps.add(immediate)
        instructions.append((code, registers, offset, 0 if loads_map else immediate))
    return instructions, frozenset(maps)


def lines(program: ProgramSpec, alive: frozenset[int]) -> frozenset[tuple[int, int]]:
    """Source lines (file, number) of instructions: a record is about all until the next."""
    records = sorted(LINE_RECORD.iter_unpack(program.lines))
    ends = [*(record[0] for record in records[1:]), len(program.instructions) // 8]
    return frozenset(
        (file, line >> COLUMN_BITS)
        for (start, file, _, line), end in zip(records, ends, strict=True)
        if not alive.isdisjoint(range(start, end))
    )


def require_agreement(spec: CollectionSpec, sizes: Mapping[str, int]) -> frozenset[str]:
    """Load an object whole and pruned, and demand the same programs; the maps that were let go of."""
    less = pruned(spec)
    frozen = {name: each.contents for name, each in spec.maps.items() if each.frozen and each.contents}
    sizes = {name: size for name, size in sizes.items() if name in spec.maps}
    few = {name: size for name, size in sizes.items() if name in less.maps}
    used: set[str] = set()
    with (
        Collection.load(spec, max_entries=sizes) as whole,
        Collection.load(less, max_entries=few) as rest,
    ):
        names = {each.id: name for name, each in whole.maps.items()}
        for name, program in whole.programs.items():
            instructions, maps = masked(program)
            assert masked(rest.programs[name])[0] == instructions, name
            used |= {names[each] for each in maps}
            described, alive = spec.programs[name], reachable(spec.programs[name], frozen)
            assert frozenset(program.lines()) <= lines(described, alive), f"{name}: alive in the kernel"
            named = {each.map for each in described.references if each.instruction in alive}
            assert {names[each] for each in maps} <= named
    assert used <= less.maps.keys()
    return frozenset(spec.maps.keys() - less.maps.keys())


def with_values(spec: CollectionSpec, values: Mapping[str, int]) -> CollectionSpec:
    return spec.with_symbols(values) if spec.symbols else spec.with_constants(values)


def dropped(values: Mapping[str, int]) -> set[str]:
    """Maps that a node with these constants has no use for."""
    gone: set[str] = set()
    if values.get("config_event_level") == EventLevel.NONE:
        gone |= {"events", "lost_events"}
    if not values.get("config_shadow", 1):
        gone |= {"shadow_counters", "shadow_scratch", "lost_shadows"}
    families = values.get("config_ipv4", 1) or values.get("config_ipv6", 1)
    if not values.get("config_fragments", 1) or not families:
        gone |= {"fragments"}
    if not values.get("config_bandwidth", 1):
        gone |= {"rates"}
    if values.get("config_redirect", 1) in (Redirect.NONE, Redirect.TPROXY):
        gone |= {"listeners", "lookups"}
    if values.get("config_redirect", 1) != Redirect.NAT:
        gone |= {"proxy"}
    return gone


@pytest.mark.needs("objects")
@pytest.mark.parametrize(
    ("name", "values"),
    [
        *(("endpoint.o", values) for values in COMBINATIONS),
        *product(("endpoint-symbols.o", "endpoint-rodata.o"), [*EXTREMES, {"config_event_level": 2}]),
    ],
    ids=str,
)
def test_of_the_datapath(name: str, values: Mapping[str, int]) -> None:
    spec = CollectionSpec.parse(packaged_object(name))
    assert spec.programs.keys() == set(PROGRAMS)
    assert require_agreement(with_values(spec, values), SMALL) == dropped(values)


@pytest.mark.needs("clang")
def test_of_the_doors_programs(door: CollectionSpec) -> None:
    for value in (0, 1, 255):
        require_agreement(door.with_constants({"config_small": value}), {})


@pytest.mark.needs("clang")
@pytest.mark.parametrize("name", ["addresses", "driver"])
def test_of_the_benchmarks_programs(name: str, tmp_path: Path) -> None:
    source = ROOT / f"bench/bpf/{name}.bpf.c"
    spec = CollectionSpec.parse(compiled(source, tmp_path / "bench.o", f"-I{ROOT / 'bpf'}"))
    named = {each.map for program in spec.programs.values() for each in program.references}
    assert require_agreement(spec, SMALL) == spec.maps.keys() - named - {".rodata.config"}


SECTION = bytes.fromhex("00000000 01000000 ffffffff 07000000")
MAPS = {f"map_{number}": MapSpec(f"map_{number}", MapType.ARRAY, 4, 8, 1) for number in range(4)}
PROGRAMS_WRITTEN = 400


def written(draw: random.Random) -> list[Code]:
    """A program that jumps forward only, as its constants and some unknown words say."""
    codes: list[Code] = [
        calculate("mov", 6, 1, register=True),
        *(calculate("mov", register, draw.choice((0, 1, -1, 7))) for register in (0, 7, 8, 9)),
    ]
    for _ in range(draw.randrange(4, 24)):
        codes += draw.choice((_constant, _constant, _unknown, _calculation, _skip, _skip, _use))(draw)
    return [*codes, calculate("mov", 0, 7, register=True), exit_()]


def _constant(draw: random.Random) -> Iterator[Code]:
    size = draw.choice((1, 2, 4))
    yield address(1, draw.randrange(0, 16, size))
    yield load(draw.randrange(7, 10), 1, size)


def _unknown(draw: random.Random) -> Iterator[Code]:
    yield load(draw.randrange(7, 10), 6, 4)  # the packet's length


def _calculation(draw: random.Random) -> Iterator[Code]:
    register = draw.random() < 0.5
    operation = draw.choice(sorted(OPERATIONS.keys() - {"div", "mod", "lsh", "rsh", "arsh", "neg"}))
    right = draw.randrange(7, 10) if register else draw.choice((0, 1, -1, 7, 1 << 20))
    yield calculate(operation, draw.randrange(7, 10), right, register=register, wide=draw.random() < 0.5)


def _skip(draw: random.Random) -> Iterator[Code]:
    register = draw.random() < 0.5
    how = draw.choice(sorted(JUMPS.keys() - {"ja"}))
    right = draw.randrange(7, 10) if register else draw.choice((0, 1, -1, 7))
    body = [code for _ in range(draw.randrange(1, 3)) for code in draw.choice((_use, _calculation))(draw)]
    length = sum(len(code) // 8 if isinstance(code, bytes) else 2 for code in body)
    yield jump(how, draw.randrange(7, 10), right, length, register=register, wide=draw.random() < 0.5)
    yield from body


def _use(draw: random.Random) -> Iterator[Code]:
    """Look something up in a map and keep whether it was found."""
    yield calculate("mov", 2, 10, register=True)
    yield calculate("add", 2, -8)
    yield b"\x7a\x02" + bytes(6)  # *(u64 *)r2 = 0
    yield map_(1, draw.choice(sorted(MAPS)))
    yield helper(1)
    yield jump("!=", 0, 0, 1)
    yield calculate("mov", 7, draw.choice((3, 4, 5)))


def test_of_programs_that_no_compiler_writes() -> None:
    """Both load, are the same, and give the same answer."""
    draw = random.Random(20261127)
    let_go = 0
    for number in range(PROGRAMS_WRITTEN):
        spec = object_of(assembled(written(draw)), {**MAPS, ".rodata": constants(SECTION)})
        less = pruned(spec)
        with Collection.load(spec) as whole, Collection.load(less) as rest:
            names = {each.id: name for name, each in whole.maps.items()}
            before, after = whole.programs["written"], rest.programs["written"]
            instructions, maps = masked(before)
            assert masked(after)[0] == instructions, number
            assert {names[each] for each in maps} <= less.maps.keys()
            packet = bytes(64)
            assert before.test_run(packet).retval == after.test_run(packet).retval
        let_go += len(spec.maps) - len(less.maps)
    assert let_go > PROGRAMS_WRITTEN // 4, "hardly anything was dead"
