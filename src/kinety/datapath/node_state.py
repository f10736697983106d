"""The node's single row in shared memory: ipcache generation, epochs, slots with an operator's filter."""

from dataclasses import replace
from typing import Any

from kinety import abi
from kinety.kernel.map import Map

_WORD = 4
_WORD_LIMIT = 1 << 32


def word_index(structure: Any, field: str, value: Any) -> int:
    """Index of the 32-bit word in which ``field`` of a contract structure starts.

    Found by packing the structure with only that field set to ``value`` (all ones), so that the
    layout stays written in one place.
    """
    zero = structure.unpack(bytes(structure.SIZE))
    packed: bytes = replace(zero, **{field: value}).pack()
    return next(index for index, byte in enumerate(packed) if byte) // _WORD


class NodeState:
    """Changes the numbers of ``node_state``, each by a single aligned 32-bit store."""

    def __init__(self, node_state: Map) -> None:
        self._words = node_state.mmap().cast("I")
        self._generation = word_index(abi.NodeState, "ipcache_generation", 0xFFFFFFFF)
        self._last_epoch = word_index(abi.NodeState, "last_epoch", 0xFFFFFFFF)
        self._hooks = word_index(abi.NodeState, "hooks", 0xFFFFFFFF)
        self.writes = 0
        if self.ipcache_generation == 0:
            self.raise_generation()

    @property
    def ipcache_generation(self) -> int:
        """What identity look-ups are stamped with; never 0, which stands for "not looked up"."""
        return self._words[self._generation]

    @property
    def last_epoch(self) -> int:
        """The highest epoch any row ever had."""
        return self._words[self._last_epoch]

    @property
    def hooks(self) -> int:
        """A bit for each slot whose filter is asked (bpf/lib/hook.h)."""
        return self._words[self._hooks]

    def change_hooks(self, *, add: int = 0, clear: int = 0) -> None:
        """Have filters asked, and others not any more."""
        bits = (self.hooks | add) & ~clear
        if bits != self.hooks:
            self._words[self._hooks] = bits
            self.writes += 1

    def raise_generation(self) -> None:
        """Make every remembered identity look-up be done again."""
        self._words[self._generation] = (self.ipcache_generation + 1) % _WORD_LIMIT or 1
        self.writes += 1

    def next_epoch(self) -> int:
        """An epoch that no row has had; remembered before anyone can use it.

        Raises OverflowError after 2**32 - 1 of them, rather than reuse one.
        """
        epoch = self.last_epoch + 1
        if epoch == _WORD_LIMIT:
            raise OverflowError("node_state: all 32-bit epochs are used; restart with fresh maps")
        self._words[self._last_epoch] = epoch
        self.writes += 1
        return epoch

    def close(self) -> None:
        """Unmap the row."""
        self._words.release()
