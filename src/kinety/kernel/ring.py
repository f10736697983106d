"""Reading a BPF ring buffer through shared memory.

The kernel appends records and moves the producer's position; we read them in place and move the
consumer's. The data is mapped twice in a row, so a record never wraps. A record that is still
being written carries the busy bit and ends the batch. Source: kernel doc, bpf/ringbuf.
"""

import mmap
from types import TracebackType
from typing import Self

from kinety.kernel.map import Map

_BUSY = 1 << 31
_DISCARD = 1 << 30
_HEADER_BYTES = 8


class RingBuffer:
    """The consumer of a ring buffer map. There must be only one."""

    def __init__(self, ring: Map) -> None:
        self._map = ring
        page = mmap.PAGESIZE
        size = ring.info.max_entries
        self._mask = size - 1
        self._consumer = mmap.mmap(ring.fd, page, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        self._producer = mmap.mmap(ring.fd, page + 2 * size, mmap.MAP_SHARED, mmap.PROT_READ, offset=page)
        self._consumed = memoryview(self._consumer)[:8].cast("Q")
        self._produced = memoryview(self._producer)[:8].cast("Q")
        self._data = memoryview(self._producer)[page:]
        self._words = self._data.cast("I")

    def fileno(self) -> int:
        """Readable, for poll(2) and event loops, while there are records."""
        return self._map.fd

    def read(self, limit: int = 4096) -> list[bytes]:
        """Take up to ``limit`` records, oldest first; never waits."""
        records: list[bytes] = []
        position = self._consumed[0]
        end = self._produced[0]
        while position < end and len(records) < limit:
            offset = position & self._mask
            header = self._words[offset >> 2]
            if header & _BUSY:
                break
            length = header & ~_DISCARD
            if not header & _DISCARD:
                start = offset + _HEADER_BYTES
                records.append(bytes(self._data[start : start + length]))
            position += (length + _HEADER_BYTES + 7) & ~7
        self._consumed[0] = position
        return records

    def close(self) -> None:
        """Unmap the memory; the map itself belongs to whoever opened it."""
        for view in (self._words, self._data, self._produced, self._consumed):
            view.release()
        self._producer.close()
        self._consumer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
