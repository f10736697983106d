"""Loading whole objects: the same as libbpf, all or nothing, and nothing left behind."""

from __future__ import annotations

import errno
import os
import struct
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import pytest

from kinety.datapath.settings import Settings
from kinety.datapath.template import OBJECT, PROGRAMS, map_sizes, node_constants
from kinety.kernel.collection import Collection
from kinety.kernel.map import Map
from kinety.kernel.program import Program
from kinety.kernel.spec import CollectionSpec
from kinety.plan.change import Capacity
from tests.feature import ROOT

from . import libbpf
from .conftest import Compiler

pytestmark = pytest.mark.needs("clang", "bpf")

LOAD_IMMEDIATE_64 = 0x18
MAP_ID, MAP_VALUE = 1, 2
CONFIG = ".rodata.config"


def masked(program: Program) -> list[tuple[int, int, int, int]]:
    """Translated instructions, with the numbers of maps replaced by the order in which they appear."""
    order: dict[int, int] = {}
    instructions = []
    for code, registers, offset, immediate in struct.iter_unpack("=BBhi", program.translated()):
        if code == LOAD_IMMEDIATE_64 and registers >> 4 in (MAP_ID, MAP_VALUE):
            immediate = order.setdefault(immediate, len(order))  # noqa: PLW2901
        instructions.append((code, registers, offset, immediate))
    return instructions


def compare_with_libbpf(
    path: Path,
    constants: Mapping[str, int] = MappingProxyType({}),
    max_entries: Mapping[str, int] = MappingProxyType({}),
) -> dict[str, list[tuple[int, int, int, int]]]:
    """Load an object twice and demand the same; what both made of it."""
    spec = CollectionSpec.parse(path.read_bytes())
    contents = {CONFIG: patched(path, constants)} if constants else {}
    with (
        Collection.load(spec, constants=constants, max_entries=max_entries) as ours,
        libbpf.loaded(path, list(spec.programs), contents, max_entries) as theirs,
    ):
        assert ours.programs.keys() == theirs.keys()
        for name, program in ours.programs.items():
            assert masked(program) == masked(theirs[name]), name
            assert program.info.verified_instructions == theirs[name].info.verified_instructions
            assert program.info.jited_bytes == theirs[name].info.jited_bytes
        return {name: masked(program) for name, program in ours.programs.items()}


def patched(path: Path, constants: Mapping[str, int]) -> bytes:
    """The section of 32-bit constants with other values, where the compiler's own tools say they are."""
    with tempfile.NamedTemporaryFile() as section:
        subprocess.run(
            ["llvm-objcopy-14", "-O", "binary", f"--only-section={CONFIG}", str(path), section.name],
            check=True,
        )
        contents = bytearray(Path(section.name).read_bytes())
    listed = subprocess.run(["llvm-nm-14", str(path)], check=True, capture_output=True, text=True).stdout
    places = {words[2]: int(words[0], 16) for line in listed.splitlines() if len(words := line.split()) == 3}
    for name, value in constants.items():
        struct.pack_into("=I", contents, places[name], value)
    return bytes(contents)


@pytest.mark.needs("libbpf")
def test_the_same_object_gives_the_same_instructions_as_libbpf(door_path: Path) -> None:
    compare_with_libbpf(door_path)


@pytest.mark.needs("libbpf", "objects")
@pytest.mark.parametrize("name", ["endpoint.o", "endpoint-rodata.o"])  # libbpf knows no symbols with values
def test_our_own_objects_give_the_same_instructions_as_libbpf(name: str) -> None:
    compare_with_libbpf(ROOT / "src/kinety/bpf" / name)


@pytest.mark.needs("libbpf", "objects")
def test_the_resident_programs_with_a_nodes_constants_and_sizes_are_libbpfs(tmp_path: Path) -> None:
    path = ROOT / "src/kinety/bpf" / OBJECT
    one = Settings(pins=tmp_path, interface_base=1 << 20, event_level=0, capacity=Capacity(endpoints=64))
    programs = [
        compare_with_libbpf(path, node_constants(settings), map_sizes(settings))
        for settings in (one, replace(one, ipv4=False), replace(one, ipv6=False), replace(one, event_level=1))
    ]
    for name in PROGRAMS:
        made = [each[name] for each in programs]
        assert all(made[0] != other for other in made[1:]), f"{name}: a constant that changes nothing"
        assert all(len(other) < len(made[0]) for other in made[1:3]), (
            f"{name}: code of an unused family stays"
        )


def test_constants_are_fixed_before_the_verifier_looks(compile_c: Compiler) -> None:
    spec = CollectionSpec.parse(
        compile_c(
            "const volatile __u32 level = 1; volatile __u64 work;"
            'SEC("tc") int f(struct __sk_buff *s) { if (level) work += s->len; return level; }'
        )
    )
    with Collection.load(spec) as on, Collection.load(spec, constants={"level": 0}) as off:
        assert on.programs["f"].test_run(bytes(64)).retval == 1
        assert off.programs["f"].test_run(bytes(64)).retval == 0
        assert off.programs["f"].info.translated_bytes < on.programs["f"].info.translated_bytes
        with pytest.raises(PermissionError):
            off.maps[".rodata"].update(bytes(4), bytes(4))


def test_a_given_map_is_used_and_stays_the_callers(door: CollectionSpec) -> None:
    with Map.create(door.maps["shared"]) as shared:
        with Collection.load(door, maps={"shared": shared}, programs=["judge"]) as loaded:
            assert shared.id in loaded.programs["judge"].map_ids()
            loaded.programs["judge"].test_run(bytes(64))
        row = shared.lookup(bytes(4))
        assert row is not None
        assert int.from_bytes(row[:8], "little") == 1


def test_sizes_may_be_changed(door: CollectionSpec) -> None:
    with Collection.load(door, max_entries={"rows": 7}, programs=[]) as loaded:
        assert loaded.maps["rows"].info.max_entries == 7
        assert not loaded.programs


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (
            {"constants": {"config_missing": 1}},
            "no constant config_missing; it has config_small,",
        ),
        ({"constants": {"config_small": 300}}, "config_small = 300 is outside"),
        ({"max_entries": {"nowhere": 1}}, "no map nowhere"),
        ({"max_entries": {"rows": 0}}, "map rows: 0 entries are outside"),
        ({"programs": ["nothing"]}, "no program nothing"),
        ({"contract_hash": 5}, "compiled with contract none, this Kinety speaks 0x0000000000000005"),
    ],
)
def test_wrong_arguments_are_refused_before_any_system_call(
    door: CollectionSpec, arguments: dict[str, object], complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        Collection.load(door, **arguments)  # type: ignore[arg-type]


def test_a_given_map_that_does_not_fit_is_refused(door: CollectionSpec) -> None:
    other = replace(door.maps["shared"], value_size=24)
    with Map.create(other) as wrong, pytest.raises(ValueError, match="value size is 24, wanted 16"):
        Collection.load(door, maps={"shared": wrong})


REFUSED = """
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 1); __type(key, __u32); __type(value, __u32); }
	one SEC(".maps");
SEC("tc") int fine(struct __sk_buff *skb) { return 0; }
SEC("tc") int careless(struct __sk_buff *skb)
{
	__u32 zero = 0, *value = bpf_map_lookup_elem(&one, &zero);

	return *value;
}
"""


def test_a_refusal_tells_why_and_where_and_leaves_nothing(compile_c: Compiler) -> None:
    spec = CollectionSpec.parse(compile_c(REFUSED))
    before = sorted(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError, match="load program careless") as caught:
        Collection.load(spec)
    assert sorted(os.listdir("/proc/self/fd")) == before
    assert caught.value.errno == errno.EACCES
    verdict, place = caught.value.__notes__
    assert "map_value_or_null" in verdict
    assert "return *value;" in place


def test_a_map_the_kernel_does_not_make_is_named(door: CollectionSpec) -> None:
    before = sorted(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError, match=r"create map events \(ringbuf.* 5 entries\)"):
        Collection.load(door, max_entries={"events": 5})
    assert sorted(os.listdir("/proc/self/fd")) == before
