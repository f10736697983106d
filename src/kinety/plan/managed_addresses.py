"""Who managed addresses are to others: the identity of their holder's labels and of the blocks around them.

Most addresses are in no block, and then it is their holder's own identity. A holder with an address in a
block and another outside (IPv4 and IPv6) is two, so that a rule about the block lets only the one in.
"""

from kinety.identity.journal import Journal
from kinety.identity.prefix_index import SortedPrefixes
from kinety.identity.registry import Registry
from kinety.model.address import Prefix
from kinety.model.identity import Identity
from kinety.plan.live_blocks import LiveBlocks


class ManagedAddresses:
    """Addresses of known holders. ``settle`` works out who they are, once the blocks are known."""

    def __init__(self, journal: Journal, registry: Registry, blocks: LiveBlocks) -> None:
        self._journal = journal
        self._registry = registry
        self._blocks = blocks
        self._sorted = SortedPrefixes()
        #: Identities of the holders' own labels, which the holders keep alive.
        self._own: dict[Prefix, Identity] = {}
        #: Identities with labels of blocks, kept alive here.
        self._marked: dict[Prefix, Identity] = {}
        self._touched: dict[Prefix, Identity | None] = {}

    def begin(self) -> None:
        """A change begins."""
        self._touched = {}

    def identity(self, prefix: Prefix) -> Identity | None:
        """Who a prefix is to others; None when nobody known holds it."""
        return self._marked.get(prefix) or self._own.get(prefix)

    def other(self, packed: bytes | None) -> Identity | None:
        """Who an address is to others, where that is not simply its holder."""
        return self._marked.get(Prefix(packed, 128)) if packed is not None and self._marked else None

    def put(self, prefix: Prefix, holder: Identity) -> None:
        """A prefix is a holder's."""
        self._touch(prefix)
        if prefix not in self._own:
            self._sorted.add(prefix)
            self._journal.did(self._sorted.remove, prefix)
        self._journal.put(self._own, prefix, holder)

    def remove(self, prefix: Prefix) -> None:
        """A prefix is nobody's any more."""
        self._touch(prefix)
        self._sorted.remove(prefix)
        self._journal.did(self._sorted.add, prefix)
        self._journal.pop(self._own, prefix)

    def settle(self) -> list[Prefix]:
        """Give every prefix the labels of the blocks around it. Returns those that are others now."""
        for block in self._blocks.changed:
            for prefix in self._sorted.inside(block):
                self._touch(prefix)
        for prefix in self._touched:
            self._mark(prefix)
        return [prefix for prefix, before in self._touched.items() if self.identity(prefix) != before]

    def _touch(self, prefix: Prefix) -> None:
        self._touched.setdefault(prefix, self.identity(prefix))

    def _mark(self, prefix: Prefix) -> None:
        own, before = self._own.get(prefix), self._marked.get(prefix)
        told = frozenset() if own is None else self._blocks.around(prefix)
        if own is not None and told:
            self._journal.put(self._marked, prefix, self._registry.hold(self._registry[own], told))
        elif before is not None:
            self._journal.pop(self._marked, prefix)
        if before is not None:
            self._registry.release(before)
