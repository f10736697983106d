"""Rows of ``endpoints``, changed through shared memory. Slot 0 is the node's own row.

A live row is changed by single 32-bit stores in the order identities, rule-set slots, epoch, flags.
Programs read the epoch before the rule-set slot, so a verdict is never kept under an epoch newer
than the table it came from: at worst it is kept under an older one and the next packet judges
again. On processors that reorder stores, taking and releasing a lock between them is the barrier.
"""

import threading
from collections.abc import Iterator
from dataclasses import replace

from kinety import abi
from kinety.kernel.map import Map
from kinety.plan.change import CapacityError

from .node_state import NodeState, word_index

_ALL_ONES = 0xFFFFFFFF
#: The node's own row; interfaces have those behind it.
HOST_SLOT = int(abi.EndpointSlot.HOST)
#: The first that an interface has.
FIRST_SLOT = int(abi.EndpointSlot.FIRST)


class EndpointTable:
    """The node's endpoint rows. A row is in use when it names an interface."""

    def __init__(self, endpoints: Map, node_state: NodeState, max_entries: int) -> None:
        self._bytes = endpoints.mmap()
        self._words = self._bytes.cast("I")
        self._node_state = node_state
        self._size = max_entries
        self._barrier = threading.Lock()
        self._used = {
            slot for slot in range(FIRST_SLOT, max_entries) if self._words[self._at(slot, _INTERFACE)]
        }
        self._next = max(self._used, default=HOST_SLOT) + 1
        #: 32-bit words stored since this object was made.
        self.writes = 0

    def __len__(self) -> int:
        return len(self._used)

    def slots(self) -> tuple[int, ...]:
        """Slots in use, ascending."""
        return tuple(sorted(self._used))

    def row(self, slot: int) -> abi.Endpoint:
        """A copy of a row."""
        start = slot * abi.Endpoint.SIZE
        return abi.Endpoint.unpack(self._bytes[start : start + abi.Endpoint.SIZE])

    def rows(self) -> Iterator[tuple[int, abi.Endpoint]]:
        """Slots in use with copies of their rows."""
        for slot in self.slots():
            yield slot, self.row(slot)

    def ready(self, slot: int) -> bool:
        """Whether the row judges packets instead of dropping them."""
        return bool(self._words[self._at(slot, _FLAGS)] & abi.EndpointFlag.READY)

    def rule_set_slots(self) -> set[int]:
        """Slots of rule sets that any row points at, those that are judged beside included."""
        words = self._words
        fields = (_RULE_SET, _RULE_SET + 1, _SHADOW, _SHADOW + 1)
        return {words[self._at(slot, field)] for slot in (HOST_SLOT, *self._used) for field in fields}

    def reserve(self, row: abi.Endpoint, interface_base: int) -> int:
        """Take a free slot and fill its row, not ready: it drops. The row's interface index is set here.

        Slots are handed out in turn, so that one just left is not at once someone else's.
        Raises CapacityError when all are taken.
        """
        slot = self._free_slot()
        words = replace(row, flags=0, epoch=0, interface=interface_base + slot).pack()
        start = slot * abi.Endpoint.SIZE
        self._bytes[start : start + abi.Endpoint.SIZE] = words
        self._used.add(slot)
        self._next = slot + 1
        self.writes += len(words) // 4
        return slot

    def identify(self, slot: int, ipv4: int, ipv6: int) -> None:
        """Say who the endpoint is to others in either family, from the next packet on."""
        self._store(slot, _IDENTITY, ipv4)
        self._store(slot, _IDENTITY + 1, ipv6)

    def publish(self, slot: int, egress: int, ingress: int, shadow: tuple[int, int] = (0, 0)) -> None:
        """Flip a row to rule-set slots under a new epoch, and make it ready.

        ``shadow`` are those judged beside egress and ingress; 0: none is.
        """
        self._store(slot, _RULE_SET, egress)
        self._store(slot, _RULE_SET + 1, ingress)
        self._store(slot, _SHADOW, shadow[0])
        self._store(slot, _SHADOW + 1, shadow[1])
        with self._barrier:
            epoch = self._node_state.next_epoch()
        self._store(slot, _EPOCH, epoch)
        with self._barrier:
            ready = self._words[self._at(slot, _FLAGS)] | abi.EndpointFlag.READY
        self._store(slot, _FLAGS, ready)

    def limit(self, slot: int, flags: abi.EndpointFlag) -> None:
        """Say that a row that is not ready has limits in `Rates`."""
        self._store(slot, _FLAGS, flags)

    def disarm(self, slot: int) -> None:
        """Make a row drop every packet."""
        self._store(slot, _FLAGS, 0)

    def clear(self, slot: int) -> None:
        """Give a slot back; its row drops first. One that is empty costs nothing."""
        if not any(self._words[self._at(slot, 0) : self._at(slot + 1, 0)]):
            return
        self.disarm(slot)
        with self._barrier:
            start = slot * abi.Endpoint.SIZE
        self._bytes[start : start + abi.Endpoint.SIZE] = bytes(abi.Endpoint.SIZE)
        self._used.discard(slot)
        self.writes += abi.Endpoint.SIZE // 4

    def close(self) -> None:
        """Unmap the rows."""
        self._words.release()
        self._bytes.release()

    def _free_slot(self) -> int:
        room = self._size - FIRST_SLOT
        if len(self._used) >= room:
            raise CapacityError("endpoints", len(self._used) + 1, room)
        slot = self._next if self._next < self._size else FIRST_SLOT
        while slot in self._used:
            slot = slot + 1 if slot + 1 < self._size else FIRST_SLOT
        return slot

    def _store(self, slot: int, word: int, value: int) -> None:
        """Store one word, unless it is already that: an equal row costs nothing."""
        index = self._at(slot, word)
        if self._words[index] != value:
            self._words[index] = value
            self.writes += 1

    @staticmethod
    def _at(slot: int, word: int) -> int:
        return slot * _ROW_WORDS + word


_ROW_WORDS = abi.Endpoint.SIZE // 4
_FLAGS = word_index(abi.Endpoint, "flags", _ALL_ONES)
_EPOCH = word_index(abi.Endpoint, "epoch", _ALL_ONES)
_RULE_SET = word_index(abi.Endpoint, "rule_set", (_ALL_ONES, _ALL_ONES))
_SHADOW = word_index(abi.Endpoint, "shadow_rule_set", (_ALL_ONES, _ALL_ONES))
_IDENTITY = word_index(abi.Endpoint, "identity", (_ALL_ONES, _ALL_ONES))
_INTERFACE = word_index(abi.Endpoint, "interface", _ALL_ONES)
