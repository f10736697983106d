"""Which address an endpoint gets: the next free one of a prefix."""

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_network

from kinety.model.address import IPAddress

Network = IPv4Network | IPv6Network


class PoolExhausted(Exception):
    """Every address of the pool is in use."""


class AddressPool:
    """Addresses of one prefix. They are given in turn, so that one is used again as late as possible.

    The first address (and of IPv4 the last) is never given: other systems take it for the network
    or for broadcast.
    """

    def __init__(self, prefix: Network, used: Iterable[IPAddress] = ()) -> None:
        """Raises ValueError for a prefix that has no address to give."""
        first = int(prefix.network_address) + 1
        last = int(prefix.broadcast_address) - (1 if prefix.version == 4 else 0)
        if last < first:
            raise ValueError(f"pool {prefix} has no address to give; use a shorter prefix")
        self.prefix = prefix
        self._first = first
        self._size = last - first + 1
        self._used = {int(address) - first for address in used if address in prefix}
        self._next = max(self._used, default=-1) + 1

    @classmethod
    def parse(cls, text: str) -> "AddressPool":
        """A pool from ``address/bits``. Raises ValueError for anything else."""
        return cls(ip_network(text))

    @property
    def size(self) -> int:
        """How many addresses there are to give."""
        return self._size

    @property
    def used(self) -> int:
        """How many are taken."""
        return len(self._used)

    def take(self) -> IPAddress:
        """The next free address, taken. Raises PoolExhausted."""
        if len(self._used) >= self._size:
            raise PoolExhausted(
                f"address pool {self.prefix} is exhausted: {self._size} of {self._size} in use"
            )
        offset = self._next % self._size
        while offset in self._used:
            offset = (offset + 1) % self._size
        self._used.add(offset)
        self._next = offset + 1
        return self.prefix[offset + 1]

    def reserve(self, address: IPAddress) -> None:
        """Take a certain address; one outside of the prefix is nothing to the pool."""
        if address in self.prefix:
            self._used.add(int(address) - self._first)

    def release(self, address: IPAddress) -> None:
        """Give an address back."""
        if address in self.prefix:
            self._used.discard(int(address) - self._first)
