"""Blocks of addresses that managed addresses carry labels of.

A label comes with the block's first rule, in the same change and before any endpoint's rules are flipped.
It goes one change later than the last rule: until endpoints have been flipped, the old rules still ask for
it (`kinety.identity.classes` keeps classes for the same reason).
"""

from kinety.identity.journal import Journal
from kinety.identity.multimap import Multimap
from kinety.identity.prefix_index import LengthTable, selects
from kinety.identity.registry import Registry
from kinety.model.address import Prefix
from kinety.model.label import Labels
from kinety.model.selector import BlockSelector


class LiveBlocks:
    """The blocks that there are labels for."""

    def __init__(self, journal: Journal, registry: Registry) -> None:
        self._journal = journal
        self._registry = registry
        self._blocks: Multimap[Prefix, BlockSelector] = Multimap()
        self._lengths = LengthTable()
        self._known: dict[BlockSelector, BlockSelector] = {}
        self._fading: dict[BlockSelector, None] = {}
        #: Prefixes of blocks whose labels come or go with this change.
        self.changed: list[Prefix] = []

    @property
    def unsettled(self) -> bool:
        """Whether the next change takes labels away."""
        return bool(self._fading)

    def settle(self) -> None:
        """Take up the blocks that this change made live, and drop those that a former one ended."""
        added = self._registry.blocks_added
        for block in added:
            if block not in self._known:
                self._enter(block)
                self._journal.did(self._leave, block)
        for block in [each for each in self._fading if each not in added]:
            self._leave(block)
            self._journal.did(self._enter, block)
        self.changed = [block.prefix for block in (*added, *self._fading)]
        for block in tuple(self._fading):
            self._journal.pop(self._fading, block)

    def retire(self) -> None:
        """Remember which blocks this change ended."""
        for block in self._registry.blocks_removed:
            self._journal.put(self._fading, block, None)

    def around(self, prefix: Prefix) -> Labels:
        """Labels of the blocks that hold all of a prefix."""
        return frozenset(
            block.label
            for outer in self._lengths.around(prefix.packed, prefix.length)
            for block in self._blocks.of(outer)
            if selects(block, prefix)
        )

    def _enter(self, block: BlockSelector) -> None:
        # The map compares by what a value is: the same object comes and goes.
        block = self._known.setdefault(block, block)
        self._blocks.add(block.prefix, block)
        self._lengths.add(block.prefix.length)

    def _leave(self, block: BlockSelector) -> None:
        block = self._known.pop(block)
        self._blocks.discard(block.prefix, block)
        self._lengths.remove(block.prefix.length)
