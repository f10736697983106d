"""What the fake kernel has beyond the contract of maps: an end, and rings that tests write to."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kinety.kernel import syscall
from kinety.kernel.map import Map, MapSpec
from kinety.kernel.ring import RingBuffer
from kinety.kernel.uapi import MapFlag, MapType
from kinety.testing.fake.kernel import FakeKernel

ROWS = MapSpec("rows", MapType.HASH, 4, 4, 8)
ARRAY = MapSpec("array", MapType.ARRAY, 4, 4, 8, MapFlag.MMAPABLE)
RING = MapSpec("ring", MapType.RINGBUF, 0, 0, 4096)


def descriptors() -> set[str]:
    found = set()
    for name in os.listdir("/proc/self/fd"):
        if Path(f"/proc/self/fd/{name}").is_symlink():
            found.add(f"{name} {os.readlink(f'/proc/self/fd/{name}')}")
    return {each for each in found if "bpf-map" in each}


def test_it_takes_the_kernels_place_only_meanwhile() -> None:
    real = syscall.call, syscall.call_quickly
    before = descriptors()
    with FakeKernel().installed(), Map.create(ROWS) as rows, Map.create(ARRAY):
        assert syscall.call is not real[0]
        rows.update(b"abcd", b"1234")
        assert len(descriptors() - before) > 2
    assert (syscall.call, syscall.call_quickly) == real
    assert descriptors() == before


def test_one_fake_knows_nothing_of_another(tmp_path: Path) -> None:
    with FakeKernel().installed():
        with Map.create(ROWS) as rows:
            rows.pin(tmp_path / "rows")
        with Map.open(tmp_path / "rows") as again:
            assert again.id == rows.id
    with FakeKernel().installed(), pytest.raises(FileNotFoundError):
        Map.open(tmp_path / "rows")


def test_what_is_no_map_is_refused(tmp_path: Path) -> None:
    with FakeKernel().installed():
        with pytest.raises(OSError, match="Bad file descriptor"):
            Map(os.open(tmp_path, os.O_RDONLY))
        with pytest.raises(OSError, match="load BTF: Invalid argument"):
            syscall.load_btf(b"no programs here")


def test_a_ring_is_read_as_the_kernels_is() -> None:
    with FakeKernel().installed() as fake, Map.create(RING) as held, RingBuffer(held) as ring:
        assert ring.read() == []
        for number in range(3):
            fake.tell(held.fd, bytes([number]) * 5)
        assert ring.read(2) == [b"\0" * 5, b"\1" * 5]
        room = (4096 - 16) // 24
        for _ in range(room):
            fake.tell(held.fd, b"0123456789abcdef")
        with pytest.raises(OSError, match="full"):
            fake.tell(held.fd, b"0123456789abcdef")
        assert ring.read() == [b"\2" * 5, *[b"0123456789abcdef"] * room]
        for number in range(500):  # past the end of the memory, several times
            fake.tell(held.fd, number.to_bytes(20, "big"))
            assert ring.read() == [number.to_bytes(20, "big")]
