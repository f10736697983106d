"""Whose an address is that is no endpoint of this node: four sources, one map.

The node's own addresses win over peers elsewhere, those over what DNS calls an address, and that over
prefixes that policies mention. An
IPv6 prefix short enough to hold the mapped IPv4 range would also catch IPv4 addresses, because both
families are 16 bytes; while there is one, a fence entry says that IPv4 is world.
"""

from collections import ChainMap
from collections.abc import Iterable, Mapping
from enum import IntEnum

from kinety.identity.journal import Journal
from kinety.identity.prefix_index import IPV4_WORLD, LengthTable
from kinety.model.address import Prefix
from kinety.model.identity import Identity, ReservedIdentity


class Source(IntEnum):
    """Who says whose an address is; the lowest wins."""

    HOST = 0
    PEER = 1
    NAME = 2
    POLICY = 3
    FENCE = 4


class Ipcache:
    """Prefix -> identity as all sources together have it."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._said: tuple[dict[Prefix, Identity], ...] = tuple({} for _ in Source)
        self._lengths = LengthTable()
        self._wide = 0
        #: Prefixes that this change has touched, and whose they were before.
        self._touched: dict[Prefix, Identity | None] = {}
        self._size = 0
        self.hosts = 0
        #: Entries that this change added or changed, and those it ended.
        self.updated: dict[Prefix, Identity] = {}
        self.removed: set[Prefix] = set()

    def begin(self) -> None:
        """A change begins."""
        self._touched = {}
        self.updated = {}
        self.removed = set()

    def __len__(self) -> int:
        """How many entries the map holds."""
        return self._size

    def entries(self) -> Mapping[Prefix, Identity]:
        """What the map holds; read-only."""
        return ChainMap(*self._said)

    def said(self, source: Source) -> Mapping[Prefix, Identity]:
        """What one source says; read-only."""
        return self._said[source]

    def say(self, source: Source, prefix: Prefix, identity: Identity) -> None:
        """A source says whose a prefix is."""
        if prefix not in self._said[source]:
            self._widen(source, prefix, 1)
        self._touched.setdefault(prefix, self._holder(prefix))
        self._journal.put(self._said[source], prefix, identity)

    def tell(self, source: Source, prefix: Prefix, identity: Identity | None) -> None:
        """A source says whose a prefix is, or that it knows no more."""
        if identity is not None:
            self.say(source, prefix, identity)
        elif prefix in self._said[source]:
            self.unsay(source, (prefix,))

    def say_hosts(self, addresses: Iterable[bytes]) -> None:
        """The node's own addresses are these, and no others any more."""
        known = self._said[Source.HOST].keys()
        wanted = {Prefix(address, 128) for address in addresses}
        for prefix in wanted - known:
            self.say(Source.HOST, prefix, Identity(ReservedIdentity.HOST))
        self.unsay(Source.HOST, known - wanted)

    def unsay(self, sources: Source, prefixes: Iterable[Prefix]) -> None:
        """A source knows these prefixes no more."""
        for prefix in prefixes:
            self._touched.setdefault(prefix, self._holder(prefix))
            self._journal.pop(self._said[sources], prefix)
            self._widen(sources, prefix, -1)

    def settle(self) -> None:
        """Work out what the map must hold now."""
        for prefix, held in self._touched.items():
            wanted = self._holder(prefix)
            if wanted == held:
                continue
            if wanted is None:
                self.removed.add(prefix)
                self._count(prefix, -1)
            else:
                self.updated[prefix] = wanted
                if held is None:
                    self._count(prefix, 1)

    def identity(self, packed: bytes) -> Identity:
        """What the kernel finds for an address: the longest prefix, else world of its family."""
        for prefix in self._lengths.around(packed):
            found = self._holder(prefix)
            if found is not None:
                return found
        is_ipv4 = Prefix(packed, 128).is_ipv4
        return Identity(ReservedIdentity.WORLD_IPV4 if is_ipv4 else ReservedIdentity.WORLD_IPV6)

    def _holder(self, prefix: Prefix) -> Identity | None:
        """Whose a prefix is, as the first source that speaks of it says."""
        # By one operation on each: another thread may ask in the middle of a change.
        return next((found for said in self._said if (found := said.get(prefix)) is not None), None)

    def _count(self, prefix: Prefix, number: int) -> None:
        """An entry more, or one less."""
        self._add(prefix, number)
        self._journal.did(self._add, prefix, -number)

    def _add(self, prefix: Prefix, number: int) -> None:
        self._size += number
        self.hosts += number if prefix.length == 128 else 0
        (self._lengths.add if number > 0 else self._lengths.remove)(prefix.length)

    def _widen(self, source: Source, prefix: Prefix, count: int) -> None:
        """Put up the fence with the first prefix that needs one, take it down with the last."""
        if source is Source.FENCE or prefix.length >= IPV4_WORLD.length or not prefix.contains(IPV4_WORLD):
            return
        self._journal.did(setattr, self, "_wide", self._wide)
        self._wide += count
        if self._wide == 1 and count == 1:
            self.say(Source.FENCE, IPV4_WORLD, Identity(ReservedIdentity.WORLD_IPV4))
        elif not self._wide:
            self.unsay(Source.FENCE, (IPV4_WORLD,))
