"""The ring buffer, read while a program writes it."""

from __future__ import annotations

import select
import struct
from collections.abc import Iterator

import pytest

from kinety.kernel.collection import Collection
from kinety.kernel.ring import RingBuffer
from kinety.kernel.spec import CollectionSpec

pytestmark = pytest.mark.needs("clang", "bpf")

RECORD = 24  # 16 bytes and their header
PACKET = bytes(64)


@pytest.fixture
def loaded(door: CollectionSpec) -> Iterator[Collection]:
    with Collection.load(door, max_entries={"events": 4096}) as collection:
        yield collection


def tell(loaded: Collection, *marks: int) -> list[int]:
    return [loaded.programs["tell"].test_run(PACKET, mark=mark).retval for mark in marks]


def marks(records: list[bytes]) -> list[int]:
    return [int(struct.unpack_from("=Q", record)[0]) for record in records]


def test_records_come_in_order_and_once(loaded: Collection) -> None:
    with RingBuffer(loaded.maps["events"]) as ring:
        assert ring.read() == []
        tell(loaded, 1, 2, 3)
        assert marks(ring.read(2)) == [1, 2]
        tell(loaded, 4)
        assert marks(ring.read()) == [3, 4]
        assert ring.read() == []


def test_it_becomes_readable(loaded: Collection) -> None:
    with RingBuffer(loaded.maps["events"]) as ring:
        poll = select.poll()
        poll.register(ring.fileno(), select.POLLIN)
        assert poll.poll(0) == []
        tell(loaded, 9)
        assert poll.poll(1000) == [(ring.fileno(), select.POLLIN)]
        assert marks(ring.read()) == [9]
        assert poll.poll(0) == []


def test_a_full_ring_loses_new_records_and_goes_on_after_reading(loaded: Collection) -> None:
    with RingBuffer(loaded.maps["events"]) as ring:
        verdicts = tell(loaded, *range(300))
        room = verdicts.count(0)
        assert room == 4096 // RECORD
        assert marks(ring.read()) == list(range(room))
        tell(loaded, 7)
        assert marks(ring.read()) == [7]


def test_records_survive_the_end_of_the_memory(loaded: Collection) -> None:
    with RingBuffer(loaded.maps["events"]) as ring:
        for start in range(0, 1000, 100):
            numbers = list(range(start, start + 100))
            tell(loaded, *numbers)
            assert marks(ring.read()) == numbers
