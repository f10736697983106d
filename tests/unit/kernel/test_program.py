"""Running programs on packets, asking about them, and reading the verifier's log."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from kinety.kernel.collection import Collection
from kinety.kernel.map import Map
from kinety.kernel.namespace import Namespace
from kinety.kernel.program import Program, run_time_counted, telling_lines
from kinety.kernel.spec import CollectionSpec
from kinety.kernel.uapi import ProgramType

from .conftest import Compiler

PACKET = bytes(12) + b"\x08\0" + b"\x0a\0\0\x01" + bytes(40)
SHOT, OK = 2, 0


@pytest.fixture
def loaded(door: CollectionSpec) -> Iterator[Collection]:
    with Collection.load(door) as collection:
        yield collection


@pytest.mark.needs("clang", "bpf")
def test_a_run_gives_the_verdict_the_packet_and_the_mark(loaded: Collection) -> None:
    judge = loaded.programs["judge"]
    run = judge.test_run(PACKET, mark=3, repeat=10)
    assert (run.retval, run.data) == (OK, PACKET)
    assert run.mark != 3
    assert judge.test_run(bytes(16)).retval == SHOT
    count = loaded.maps["counters"].lookup_per_cpu(bytes(4))
    assert count is not None
    assert sum(int.from_bytes(value, "little") for value in count) == 10


@pytest.mark.needs("clang", "bpf")
def test_a_program_sees_inner_maps_by_ingress_interface(loaded: Collection, door: CollectionSpec) -> None:
    judge, tables = loaded.programs["judge"], loaded.maps["tables"]
    template = door.maps["tables"].inner
    assert template is not None
    with Map.create(template) as table:
        table.update((32).to_bytes(4, "little") + b"\x0a\0\0\x01", (7).to_bytes(4, "little"))
        tables.update((2).to_bytes(4, "little"), table.fd.to_bytes(4, "little"))
    assert judge.test_run(PACKET, ingress_ifindex=2).retval == SHOT
    assert judge.test_run(PACKET, ingress_ifindex=3).retval == OK


@pytest.mark.needs("clang", "bpf", "netns")
def test_an_interface_is_looked_up_where_the_thread_is(compile_c: Compiler, namespace: Namespace) -> None:
    text = 'SEC("tc") int where(struct __sk_buff *skb) { return skb->ifindex; }'
    with Collection.load(CollectionSpec.parse(compile_c(text))) as loaded:
        program = loaded.programs["where"]
        assert namespace.call(program.test_run, PACKET).retval == 1
        with pytest.raises(OSError, match="run program where on 58 bytes"):
            namespace.call(program.test_run, PACKET, ifindex=54321)


@pytest.mark.needs("clang", "bpf")
def test_facts_of_a_program(loaded: Collection) -> None:
    connect = loaded.programs["connect"]
    assert connect.info.type is ProgramType.CGROUP_SOCK_ADDR
    assert connect.info.verified_instructions > 0
    assert len(connect.translated()) == connect.info.translated_bytes
    assert connect.map_ids() == (loaded.maps[".rodata.config"].id,)
    with Program.from_id(connect.id) as again:
        assert again.info.tag == connect.info.tag


@pytest.mark.needs("clang", "bpf", "bpffs")
def test_a_pinned_program_is_found_again_and_a_map_is_none(loaded: Collection, pins: Path) -> None:
    loaded.programs["tell"].pin(pins / "tell")
    loaded.maps["rows"].pin(pins / "rows")
    with Program.open(pins / "tell") as again:
        assert again.id == loaded.programs["tell"].id
        assert again.name == "tell"
    with pytest.raises(OSError, match=r"open pinned .*/rows: it is a map, not a program"):
        Program.open(pins / "rows")
    with pytest.raises(OSError, match=r"open pinned .*/tell: it is a program, not a map"):
        Map.open(pins / "tell")


def test_telling_lines_are_the_verdict_and_the_last_source_line() -> None:
    log = (
        "; first(); @ a.c:1\n0: (85) call\n; second(); @ a.c:2\n1: (61) r0\nR0 invalid mem access 'scalar'\n"
    )
    ending = "processed 2 insns (limit 1000000) max_states_per_insn 0\n"
    assert telling_lines(log + ending) == [
        "verifier: R0 invalid mem access 'scalar'",
        "at: second(); @ a.c:2",
    ]
    assert telling_lines(ending) == []


@pytest.mark.needs("clang", "bpf")
def test_run_time_is_counted_when_asked(loaded: Collection) -> None:
    judge = loaded.programs["judge"]
    judge.test_run(PACKET, repeat=5)
    before = judge.statistics()
    with run_time_counted():
        judge.test_run(PACKET, repeat=7)
    after = judge.statistics()
    judge.test_run(PACKET, repeat=5)
    assert after.runs - before.runs == 7
    assert after.run_time > before.run_time
    assert judge.statistics().runs == after.runs


@pytest.mark.needs("clang", "bpf", "bpftool")
def test_bpftool_knows_names_and_source_lines(loaded: Collection) -> None:
    loaded.maps["rows"].update((5).to_bytes(4, "little"), bytes(16))
    dump = bpftool("map", "dump", "id", str(loaded.maps["rows"].id))
    assert json.loads(dump)[0]["formatted"] == {
        "key": 5,
        "value": {"packets": 0, "verdict": 0, "reserved": 0},
    }
    constants = json.loads(bpftool("map", "dump", "id", str(loaded.maps[".rodata.config"].id)))
    assert {"config_step": 3} in constants[0]["formatted"]["value"][".rodata.config"]
    listing = bpftool("prog", "dump", "xlated", "id", str(loaded.programs["judge"].id), "linum")
    assert "bpf_loop(4, add_up, &total, 0);" in listing


def bpftool(*words: str) -> str:
    done = subprocess.run(["bpftool", "--json", *words], check=True, capture_output=True, text=True)
    return done.stdout
