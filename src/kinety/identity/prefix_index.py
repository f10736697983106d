"""Prefixes that live selectors mention, and the identities that stand for them.

Every prefix of a CIDR selector has an identity, its excepts' included. The longest prefix that holds
an address then says exactly which selectors hold it: a selector's prefixes nest around that one or
are disjoint from it. The two prefixes of length zero are not entries but the world identities, which
is what an address gets that no entry holds.

The address space is split by family although addresses are 16 bytes: ``::/0`` does not hold
``::ffff:10.0.0.1``.
"""

from bisect import bisect_left, bisect_right, insort
from collections import Counter
from collections.abc import Iterator
from operator import attrgetter

from pyroaring import BitMap

from kinety.identity.journal import Journal
from kinety.model.address import Prefix
from kinety.model.identity import Identity, ReservedIdentity
from kinety.model.label import CIDR, Label, Labels
from kinety.model.selector import BlockSelector, CidrSelector

IPV4_WORLD = Prefix.parse("0.0.0.0/0")
IPV6_WORLD = Prefix.parse("::/0")

_ALL_ONES = (1 << 128) - 1


def selects(selector: CidrSelector | BlockSelector, prefix: Prefix) -> bool:
    """Whether a prefix is inside a CIDR selector. Its excepts are all or nothing of it."""
    return selector.prefix.covers(prefix) and not any(hole.covers(prefix) for hole in selector.except_)


def world_of(prefix: Prefix) -> ReservedIdentity:
    """The world of a prefix's family: what label selectors and entities take the prefix for."""
    return ReservedIdentity.WORLD_IPV4 if prefix.is_ipv4 else ReservedIdentity.WORLD_IPV6


def labels_of(prefix: Prefix) -> Labels:
    """Labels of a prefix's identity: its own, and the world of its family."""
    world = world_of(prefix)
    if prefix in (IPV4_WORLD, IPV6_WORLD):
        return world.labels
    return world.labels | {Label(CIDR, str(prefix))}


class LengthTable:
    """Prefix lengths in use; finds the keys under which prefixes around an address may be filed."""

    def __init__(self) -> None:
        self._lengths: Counter[int] = Counter()
        self._descending: tuple[int, ...] = ()

    def add(self, length: int) -> None:
        """One more prefix has this length."""
        self._lengths[length] += 1
        if self._lengths[length] == 1:
            self._descending = tuple(sorted(self._lengths, reverse=True))

    def remove(self, length: int) -> None:
        """One prefix of this length less."""
        self._lengths[length] -= 1
        if not self._lengths[length]:
            del self._lengths[length]
            self._descending = tuple(sorted(self._lengths, reverse=True))

    def around(self, packed: bytes, length: int = 128) -> list[Prefix]:
        """Prefixes that hold a prefix, longest first, of the lengths in use; families not told apart."""
        number = int.from_bytes(packed, "big")
        return [
            Prefix((number & (_ALL_ONES << (128 - size)) & _ALL_ONES).to_bytes(16, "big"), size)
            for size in self._descending
            if size <= length
        ]


class SortedPrefixes:
    """Prefixes in order, to find those inside another."""

    def __init__(self) -> None:
        self._sorted: list[Prefix] = []

    def add(self, prefix: Prefix) -> None:
        """A prefix that was not there."""
        insort(self._sorted, prefix, key=_place)

    def remove(self, prefix: Prefix) -> None:
        """A prefix that was there."""
        del self._sorted[bisect_left(self._sorted, _place(prefix), key=_place)]

    def inside(self, outer: Prefix) -> Iterator[Prefix]:
        """Prefixes that another covers."""
        last = int.from_bytes(outer.packed, "big") | (_ALL_ONES >> outer.length)
        start = bisect_left(self._sorted, _place(outer), key=_place)
        stop = bisect_right(self._sorted, (last.to_bytes(16, "big"), 128), key=_place)
        return filter(outer.covers, self._sorted[start:stop])


class PrefixIndex:
    """Prefixes with identities, both ways; and identities that are told from a prefix's by more than that."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._identity: dict[Prefix, Identity] = {}
        self._prefix: dict[Identity, Prefix] = {}
        #: Identities of parts of a prefix, which may have lost its own.
        self._parts: dict[Prefix, BitMap] = {}
        self._sorted = SortedPrefixes()
        self._lengths = LengthTable()
        self._insert(IPV4_WORLD, Identity(ReservedIdentity.WORLD_IPV4))
        self._insert(IPV6_WORLD, Identity(ReservedIdentity.WORLD_IPV6))

    def identity(self, prefix: Prefix) -> Identity | None:
        """The identity of exactly this prefix."""
        return self._identity.get(prefix)

    def prefix(self, identity: Identity) -> Prefix | None:
        """The prefix that CIDR selectors take an identity for."""
        return self._prefix.get(identity)

    def longest_around(self, address: Prefix) -> Prefix:
        """The longest prefix with an identity that covers an address."""
        around = self._lengths.around(address.packed)
        return next(each for each in around if each in self._identity and each.covers(address))

    def add(self, prefix: Prefix, identity: Identity) -> None:
        """A prefix is mentioned for the first time."""
        self._insert(prefix, identity)
        self._journal.did(self._erase, prefix)

    def remove(self, prefix: Prefix) -> None:
        """Nobody mentions the prefix any more."""
        identity = self._identity[prefix]
        self._erase(prefix)
        self._journal.did(self._insert, prefix, identity)

    def add_part(self, prefix: Prefix, identity: Identity) -> None:
        """Some addresses of a prefix have this identity, not the prefix's own."""
        self._insert_part(prefix, identity)
        self._journal.did(self._erase_part, prefix, identity)

    def remove_part(self, identity: Identity) -> None:
        """No addresses of its prefix have this identity any more."""
        prefix = self._prefix[identity]
        self._erase_part(prefix, identity)
        self._journal.did(self._insert_part, prefix, identity)

    def select(self, selector: CidrSelector | BlockSelector) -> BitMap:
        """Identities of prefixes inside a selector; a bitmap of the caller's own."""
        found = self._inside(selector.prefix)
        for hole in selector.except_:
            found -= self._inside(hole)
        return found

    def _inside(self, outer: Prefix) -> BitMap:
        found = BitMap(self._identity[prefix] for prefix in self._sorted.inside(outer))
        parts = [each for prefix, each in self._parts.items() if outer.covers(prefix)]
        return found.union(*parts) if parts else found

    def _insert(self, prefix: Prefix, identity: Identity) -> None:
        self._identity[prefix] = identity
        self._prefix[identity] = prefix
        self._sorted.add(prefix)
        self._lengths.add(prefix.length)

    def _erase(self, prefix: Prefix) -> None:
        del self._prefix[self._identity.pop(prefix)]
        self._sorted.remove(prefix)
        self._lengths.remove(prefix.length)

    def _insert_part(self, prefix: Prefix, identity: Identity) -> None:
        self._prefix[identity] = prefix
        self._parts.setdefault(prefix, BitMap()).add(identity)

    def _erase_part(self, prefix: Prefix, identity: Identity) -> None:
        del self._prefix[identity]
        self._parts[prefix].discard(identity)
        if not self._parts[prefix]:
            del self._parts[prefix]


#: Where a prefix is in the order of prefixes; a tuple of each one's own would take 4 MiB of sixty thousand.
_place = attrgetter("packed", "length")
