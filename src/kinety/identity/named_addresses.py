"""Addresses outside by what DNS calls them, as far as live selectors ask.

An address whose names no live pattern matches is nobody in particular. A pattern or a prefix that nobody
asks for any more still counts until the next change: until endpoints have been flipped, their old rules
ask for it (`kinety.identity.classes` keeps classes for the same reason).
"""

from collections.abc import Iterator
from typing import NamedTuple

from kinety.identity.journal import Journal
from kinety.identity.name_index import NameIndex
from kinety.identity.named_prefix import NamedPrefix
from kinety.identity.prefix_index import PrefixIndex, SortedPrefixes
from kinety.model.address import Prefix
from kinety.model.layer7 import NamePattern

_ADDRESS_BITS = 128


class Move(NamedTuple):
    """An address is somebody else, or from now on or until now nobody in particular."""

    address: Prefix
    before: NamedPrefix | None
    after: NamedPrefix | None


class NamedAddresses:
    """Who the addresses with names are. ``settle`` works it out, once prefixes and patterns are known."""

    def __init__(self, journal: Journal, prefixes: PrefixIndex) -> None:
        self._journal = journal
        self._prefixes = prefixes
        self._names = NameIndex(journal)
        self._asked: dict[NamePattern, None] = {}
        self._who: dict[Prefix, NamedPrefix] = {}
        self._sorted = SortedPrefixes()
        self._touched: dict[Prefix, None] = {}
        self._fading_patterns: dict[NamePattern, None] = {}
        self._fading_prefixes: dict[Prefix, None] = {}

    def begin(self) -> None:
        """A change begins."""
        self._touched = {}

    @property
    def unsettled(self) -> bool:
        """Whether the next change makes addresses others that nothing is told of."""
        return bool(self._fading_patterns or self._fading_prefixes)

    def asked(self) -> frozenset[NamePattern]:
        """Patterns that selectors ask for."""
        return frozenset(self._asked)

    def names(self, address: Prefix) -> frozenset[str]:
        """What DNS calls an address."""
        return self._names.of(address)

    def inside(self, prefix: Prefix) -> Iterator[tuple[Prefix, NamedPrefix]]:
        """Addresses inside a prefix that live patterns ask for, and who they are."""
        return ((address, self._who[address]) for address in self._sorted.inside(prefix))

    def learn(self, address: Prefix, names: frozenset[str]) -> None:
        """DNS gave an address for these names and no others.

        Raises ValueError for a prefix of many addresses: a prefix inside would not have the names.
        """
        if address.length != _ADDRESS_BITS:
            raise ValueError(f"DNS names are those of one address, not of {address}")
        if names != self._names.of(address):
            self._names.put(address, names)
            self._touched[address] = None

    def ask(self, pattern: NamePattern) -> None:
        """A selector asks for a pattern that none asked for."""
        self._journal.put(self._asked, pattern, None)
        if pattern in self._fading_patterns:
            self._journal.pop(self._fading_patterns, pattern)
        else:
            self._names.add(pattern)
            self._touched.update(dict.fromkeys(self._names.addresses(pattern)))

    def ask_no_more(self, pattern: NamePattern) -> None:
        """The last selector of a pattern is gone."""
        self._journal.pop(self._asked, pattern)
        self._journal.put(self._fading_patterns, pattern, None)

    def prefix_added(self, prefix: Prefix) -> None:
        """A prefix has got an identity of its own."""
        self._touched.update(dict.fromkeys(self._sorted.inside(prefix)))

    def prefix_removed(self, prefix: Prefix) -> None:
        """A prefix has lost it."""
        if any(self._who[each].prefix == prefix for each in self._sorted.inside(prefix)):
            self._journal.put(self._fading_prefixes, prefix, None)

    def settle(self) -> list[Move]:
        """Who is somebody else now, in the order in which it became known."""
        for pattern in tuple(self._fading_patterns):
            self._journal.pop(self._fading_patterns, pattern)
            self._names.remove(pattern)
            self._touched.update(dict.fromkeys(self._names.addresses(pattern)))
        for prefix in tuple(self._fading_prefixes):
            self._journal.pop(self._fading_prefixes, prefix)
            self.prefix_added(prefix)
        return [move for address in self._touched if (move := self._move(address)) is not None]

    def _move(self, address: Prefix) -> Move | None:
        patterns = self._names.patterns(address)
        before = self._who.get(address)
        after = NamedPrefix(self._prefixes.longest_around(address), patterns) if patterns else None
        if before == after:
            return None
        self._set(address, after)
        self._journal.did(self._set, address, before)
        return Move(address, before, after)

    def _set(self, address: Prefix, who: NamedPrefix | None) -> None:
        if who is None:
            del self._who[address]
            self._sorted.remove(address)
            return
        if address not in self._who:
            self._sorted.add(address)
        self._who[address] = who
