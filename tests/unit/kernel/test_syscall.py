"""bpf(2): arguments lie where the kernel reads them, and a refusal says what was asked of what."""

from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path

import pytest

from kinety.kernel import syscall
from kinety.kernel.definition import MapSpec
from kinety.kernel.map import Map
from kinety.kernel.uapi import Command, MapType

from . import vmlinux

#: Names of ours where the kernel has several for one place.
ALIASES = {"target": "target_fd", "id": "map_id"}
PADDING = {"reserved"}
ARRAY = MapSpec("one", MapType.ARRAY, 4, 8, 1)


@pytest.mark.needs("btf")
@pytest.mark.parametrize(
    "structure",
    [
        syscall.CreateMap,
        syscall.Element,
        syscall.ElementOut,
        syscall.Batch,
        syscall.BatchOut,
        syscall.LoadProgram,
        syscall.LoadBtf,
        syscall.Path,
        syscall.Identifier,
        syscall.Info,
        syscall.TestRun,
        syscall.CreateLink,
        syscall.EnableStatistics,
        syscall.UpdateLink,
    ],
    ids=lambda value: value.__name__,
)
def test_arguments_lie_where_the_kernel_reads_them(structure: type[ctypes.Structure]) -> None:
    mine = {}
    for name, *_ in structure._fields_:
        place = getattr(structure, name)
        if name not in PADDING:
            mine[ALIASES.get(name, name)] = (place.offset, place.size)
    candidates = [each for each in vmlinux.alternatives() if mine.keys() <= each.keys()]
    assert candidates, f"no structure of union bpf_attr has all of {sorted(mine)}"
    assert any(all(mine[name] in each[name] for name in mine) for each in candidates), (mine, candidates)


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("rule_sets", b"rule_sets"),
        (".rodata.config", b".rodata.config"),
        ("a-name with/others", b"a_name_with_oth"),
        ("Ünïcode", b"_n_code"),
        ("fifteen_letters_and_more", b"fifteen_letters"),
    ],
)
def test_object_names_are_what_the_kernel_takes(name: str, kept: bytes) -> None:
    assert syscall.object_name(name) == kept


@pytest.mark.needs("bpf")
def test_a_refusal_names_the_action_and_keeps_the_number() -> None:
    with pytest.raises(OSError, match="open map 4294967295: No such file") as caught:
        syscall.checked(Command.MAP_GET_FD_BY_ID, syscall.Identifier(0xFFFFFFFF), "open map 4294967295")
    assert caught.value.errno == errno.ENOENT


@pytest.mark.needs("bpf")
def test_both_ways_in_give_the_same_answer() -> None:
    lookup = ctypes.c_int(Command.MAP_LOOKUP_ELEM)
    with Map.create(ARRAY) as held:
        value = ctypes.create_string_buffer(8)
        held.update(bytes(4), b"\1\2\3\4\5\6\7\x08")
        for row, answer in ((0, 0), (1, -1)):
            key = row.to_bytes(4, "little")
            element = syscall.ElementOut(held.fd, 0, key, ctypes.addressof(value), 0)
            assert syscall.call(Command.MAP_LOOKUP_ELEM, element) == answer
            first = ctypes.get_errno() if answer else 0
            assert syscall.call_quickly(lookup, element) == answer
            assert (ctypes.get_errno() if answer else 0) == first
        assert value.raw == b"\1\2\3\4\5\6\7\x08"


@pytest.mark.needs("root", "bpffs")
def test_what_is_pinned_is_opened_only_as_what_it_is(pins: Path) -> None:
    with Map.create(ARRAY) as held:
        syscall.pin(held.fd, pins / "one", "map one")
        with pytest.raises(FileExistsError, match=f"pin map one as {pins}/one"):
            syscall.pin(held.fd, pins / "one", "map one")
    fd = syscall.open_pinned(pins / "one", "map")
    os.close(fd)
    before = sorted(os.listdir("/proc/self/fd"))
    for wanted in ("program", "link"):
        with pytest.raises(OSError, match=f"one: it is a map, not a {wanted}") as caught:
            syscall.open_pinned(pins / "one", wanted)
        assert caught.value.errno == errno.EINVAL
    assert sorted(os.listdir("/proc/self/fd")) == before
    with pytest.raises(FileNotFoundError, match=f"open pinned {pins}/two"):
        syscall.open_pinned(pins / "two", "map")


@pytest.mark.needs("bpf")
def test_btf_that_is_refused_comes_with_the_kernels_complaint() -> None:
    header = (0x9FEB, 1, 0, 24, 0, 0, 0, 1)
    blob = b"".join(
        value.to_bytes(size, "little") for value, size in zip(header, (2, 1, 1, 4, 4, 4, 4, 4), strict=True)
    )
    with pytest.raises(OSError, match="load BTF: Invalid argument") as caught:
        syscall.load_btf(blob + b"\0")
    assert any("magic" in note.lower() or "btf" in note.lower() for note in caught.value.__notes__)


def test_a_hint_comes_with_what_only_root_may_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "get_errno", lambda: errno.EPERM)
    error = syscall.failure("create map x")
    assert isinstance(error, PermissionError)
    assert "run as root" in error.__notes__[0]
