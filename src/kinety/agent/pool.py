"""One prefix that endpoints get addresses from, and which of its addresses is next.

Addresses are given in turn, so that one is used again as late as possible: first those that nobody had
since the agent started, from low to high, and when all have had their turn, the one that is free the
longest. Both are found without looking at the others, whatever the prefix's size.
"""

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_network
from itertools import pairwise

from kinety.model.address import IPAddress

Network = IPv4Network | IPv6Network

#: Seconds for which nobody gets an address that was given up; docs/decisions/0005 says why so long.
DEFAULT_QUARANTINE = 30.0


class AddressPool:
    """Addresses of one prefix, each of them free, held, in quarantine, or never given.

    Never given are the first address (and of IPv4 the last), which other systems take for the network or
    for broadcast, and all of reserved prefixes.
    """

    def __init__(self, prefix: Network, reserved: Iterable[Network] = ()) -> None:
        """Raises ValueError for a prefix that has no address to give."""
        self.prefix = prefix
        self._first = int(prefix.network_address)
        last = prefix.num_addresses - (1 if prefix.version == 4 else 0)
        #: What is never given, as offsets: where each stretch begins and where it has ended, in order.
        self._gaps = _gaps(prefix, reserved, last)
        self._size = prefix.num_addresses - sum(end - begin for begin, end in self._gaps)
        if self._size <= 0:
            raise ValueError(f"pool {prefix} has no address to give; use a shorter prefix, or reserve less")
        self._held: set[int] = set()
        self._quarantined: set[int] = set()
        #: Free ones that had their turn, the longest free first.
        self._free: OrderedDict[int, None] = OrderedDict()
        self._start = 0
        #: How many offsets have had their turn since ``_start``.
        self._passed = 0

    @classmethod
    def parse(cls, text: str) -> "AddressPool":
        """A pool from ``address/bits``. Raises ValueError for anything else."""
        return cls(ip_network(text))

    @property
    def size(self) -> int:
        """How many addresses there are to give."""
        return self._size

    @property
    def held(self) -> int:
        """How many endpoints have."""
        return len(self._held)

    @property
    def quarantined(self) -> int:
        """How many nobody has, and nobody gets yet."""
        return len(self._quarantined)

    def begin_after(self, addresses: Iterable[IPAddress]) -> None:
        """Let the turn begin behind the highest of these; others than the pool's are nothing to it."""
        known = (self._offset(each) for each in addresses if each in self.prefix)
        self._start, self._passed = max(known, default=-1) + 1, 0

    def next(self, avoid: Callable[[IPAddress], bool] = lambda address: False) -> IPAddress | None:
        """The address whose turn it is, or None when none is free. It stays free until it is held.

        Addresses to ``avoid`` are passed over and tried again when their turn comes round.
        """
        while not self._all_passed:
            offset = (self._start + self._passed) % self.prefix.num_addresses
            if gap := self._gap(offset):
                self._passed += gap
                continue
            if self._is_free(offset):
                if not avoid(found := self.prefix[offset]):
                    return found
                self._free[offset] = None
            self._passed += 1
        for _ in range(len(self._free)):
            offset = next(iter(self._free))
            if not avoid(found := self.prefix[offset]):
                return found
            self._free.move_to_end(offset)
        return None

    def gives(self, address: IPAddress) -> bool:
        """Whether the address is one of the pool's that are not kept back."""
        return address in self.prefix and not self._gap(self._offset(address))

    def hold(self, address: IPAddress) -> None:
        """An endpoint has an address that the pool gives."""
        offset = self._offset(address)
        self._quarantined.discard(offset)
        self._free.pop(offset, None)
        self._held.add(offset)
        if offset == (self._start + self._passed) % self.prefix.num_addresses and not self._all_passed:
            self._passed += 1

    def quarantine(self, address: IPAddress) -> None:
        """Nobody has the address, and nobody gets it yet."""
        offset = self._offset(address)
        self._held.discard(offset)
        self._free.pop(offset, None)
        self._quarantined.add(offset)

    def free(self, address: IPAddress) -> None:
        """Nobody has the address; it may be given when its turn comes."""
        offset = self._offset(address)
        self._held.discard(offset)
        self._quarantined.discard(offset)
        if self._had_its_turn(offset):
            self._free[offset] = None
            self._free.move_to_end(offset)

    @property
    def _all_passed(self) -> bool:
        return self._passed >= self.prefix.num_addresses

    def _offset(self, address: IPAddress) -> int:
        return int(address) - self._first

    def _is_free(self, offset: int) -> bool:
        return offset not in self._held and offset not in self._quarantined

    def _had_its_turn(self, offset: int) -> bool:
        return (offset - self._start) % self.prefix.num_addresses < self._passed

    def _gap(self, offset: int) -> int:
        """How many addresses from this one on are never given."""
        at = bisect_right(self._gaps, offset, key=lambda gap: gap[0]) - 1
        return max(0, self._gaps[at][1] - offset) if at >= 0 else 0


def overlap(networks: Sequence[Network]) -> tuple[Network, Network] | None:
    """Two of the networks that have addresses in common."""
    ordered = sorted(networks, key=lambda each: (each.version, int(each.network_address), each.prefixlen))
    for low, high in pairwise(ordered):
        if low.version == high.version and low.overlaps(high):
            return low, high
    return None


def _gaps(prefix: Network, reserved: Iterable[Network], last: int) -> list[tuple[int, int]]:
    first = int(prefix.network_address)
    size = prefix.num_addresses
    stretches = [(0, 1), (last, size)]
    for each in reserved:
        if each.version == prefix.version and each.overlaps(prefix):
            begin = int(each.network_address) - first
            stretches.append((max(0, begin), min(size, begin + each.num_addresses)))
    merged: list[tuple[int, int]] = []
    for begin, end in sorted(stretches):
        if merged and begin <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        elif begin < end:
            merged.append((begin, end))
    return merged
