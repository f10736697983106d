"""Which endpoint has which address, and from when on somebody else may have it.

An address that was given up is kept from others for a while: those who talked to its endpoint, and tables
that name it (connections, names, neighbours), would take the next one for the last. What is known here is
in the store too, in an order that a kill cannot break::

    claim      the address is written down as given up just now, and nobody gets it meanwhile
    keep       inside the endpoint's transaction: it is the endpoint's
    release    inside the transaction that removes the endpoint: it was given up at that moment

So an agent that dies while it attaches an endpoint leaves an address in quarantine, not a free one that
somebody has seen, and not one that nobody can have. Runs on the worker thread.
"""

import logging
import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from kinety.agent.lease import Lease, LeaseTable, Moment
from kinety.agent.pool import DEFAULT_QUARANTINE, AddressPool
from kinety.agent.store import Store, StoreError
from kinety.model.address import IPAddress, pack_address, unpack_address
from kinety.model.endpoint import Endpoint

log = logging.getLogger(__name__)


class PoolExhausted(Exception):
    """No pool of a family has a free address; the message says how many are held and how many wait."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A lease, the pool it is of, and for how many seconds nobody else gets the address; None: it is held."""

    lease: Lease
    pool: AddressPool | None
    seconds_left: float | None


class Claim:
    """Addresses that an endpoint is about to have."""

    def __init__(self, leases: Iterable[Lease], table: LeaseTable) -> None:
        self._leases = tuple(leases)
        self._table = table
        #: Whether somebody may have met the endpoint by its addresses.
        self.seen = False

    def keep(self) -> None:
        """Write them down as the endpoint's, inside the transaction that adds it."""
        self._table.put(self._leases)


class AddressBook:
    """The leases of a node and the pools they are taken from, in the order in which pools are tried."""

    def __init__(
        self,
        store: Store,
        pools: Sequence[AddressPool] = (),
        quarantine: float = DEFAULT_QUARANTINE,
        now: Callable[[], Moment] = Moment.now,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """``quarantine`` is in seconds; with 0 an address is free as soon as it was given up."""
        self._pools = tuple(pools)
        self._store = store
        self._seconds = quarantine
        self._now = now
        self._wall = wall
        self._leases: dict[bytes, Lease] = {}
        #: Leases by the up time at which their quarantine ends; some have been taken again since.
        self._waiting: deque[tuple[float, Lease]] = deque()
        #: Addresses that endpoints have and no pool gives.
        self._outside: set[bytes] = set()
        #: Addresses that are free and still in the store.
        self._ended: set[bytes] = set()

    def start(self, endpoints: Iterable[Endpoint]) -> None:
        """Take up the store's leases, so that they are those of its endpoints. Raises StoreError."""
        now = self._now()
        stored = {each.address: each for each in self._store.leases.all()}
        leases = {
            address: _of_owner(stored.get(address), Lease(address, str(endpoint), self._wall()))
            for endpoint in endpoints
            for address in _addresses(endpoint)
        }
        released = [_given_up(each, now) for each in stored.values() if each.address not in leases]
        leases |= {each.address: each for each in released if not self._is_over(each, now)}
        with self._store.transaction():
            self._store.leases.delete(stored.keys() - leases.keys())
            self._store.leases.put(each for each in leases.values() if stored.get(each.address) != each)
        for pool in self._pools:
            pool.begin_after(map(unpack_address, leases))
        for lease in sorted(leases.values(), key=lambda each: each.released.uptime if each.released else 0):
            self._note(lease)

    # Giving

    @property
    def pools(self) -> tuple[AddressPool, ...]:
        """The pools, in their order, with what is held and in quarantine now."""
        self._end_quarantines()
        return self._pools

    @property
    def families(self) -> tuple[int, ...]:
        """IP versions that there is a pool of."""
        return tuple(dict.fromkeys(pool.prefix.version for pool in self._pools))

    def next(self, version: int, avoid: Callable[[IPAddress], bool]) -> IPAddress:
        """The free address of a family whose turn it is; it is nobody's before it is claimed.

        Raises PoolExhausted.
        """
        self._end_quarantines()
        pools = [pool for pool in self._pools if pool.prefix.version == version]
        for pool in pools:
            if (address := pool.next(avoid)) is not None:
                return address
        raise PoolExhausted(self._exhausted(pools))

    def refusal(self, address: IPAddress, owner: str) -> str | None:
        """Why an endpoint cannot have an address that it asks for by name; None when it can.

        Of addresses in quarantine an endpoint can have the one that was its own: whoever still knows it
        by that address is right.
        """
        self._end_quarantines()
        lease = self._leases.get(pack_address(address))
        if lease is not None and lease.released is None:
            return f"address {address} is in use by endpoint {lease.owner}"
        if lease is None or lease.owner == owner or not self._waits(lease.address):
            return None
        return (
            f"address {address} was endpoint {lease.owner}'s and is in quarantine"
            f" for another {_seconds(self._left(lease))}; ask again then, or for another address"
        )

    @contextmanager
    def claim(self, endpoint: Endpoint) -> Iterator[Claim]:
        """The endpoint's addresses are its own; when the block fails, they are given up.

        Raises ValueError when another endpoint has one of them, StoreError.
        """
        self._end_quarantines()
        now, since, owner = self._now(), self._wall(), str(endpoint)
        addresses = _addresses(endpoint)
        former = [self._leases[each] for each in addresses if each in self._leases]
        for lease in former:
            if lease.released is None:
                raise ValueError(f"address {unpack_address(lease.address)} is endpoint {lease.owner}'s")
        with self._store.transaction():
            self._store.leases.delete(self._ended)
            self._store.leases.put(Lease(each, owner, since, now) for each in addresses)
        self._ended.clear()
        leases = [Lease(each, owner, since) for each in addresses]
        for lease in leases:
            self._note(lease)
        claim = Claim(leases, self._store.leases)
        try:
            yield claim
        except BaseException:
            self._give_up(endpoint, seen=claim.seen or bool(former))
            raise

    def _give_up(self, endpoint: Endpoint, seen: bool) -> None:
        now = self._now()
        try:
            with self._store.transaction():
                if seen:
                    self._write_released(endpoint, now)
                else:
                    self._store.leases.delete(_addresses(endpoint))
        except StoreError as error:
            log.warning("addresses of %s stay in quarantine after a restart: %s", endpoint, error)
        for address in _addresses(endpoint):
            if seen:
                self._note_released(address, now)
            else:
                self._forget(address)

    # Giving up

    def write_release(self, endpoint: Endpoint) -> Moment:
        """Write down, inside the transaction that removes an endpoint, that it gives its addresses up.

        Returns when: for `release`, after the transaction.
        """
        now = self._now()
        self._write_released(endpoint, now)
        return now

    def release(self, endpoint: Endpoint, at: Moment) -> None:
        """The endpoint is gone: nobody has its addresses, and nobody gets them before their time."""
        for address in _addresses(endpoint):
            self._note_released(address, at)

    def _write_released(self, endpoint: Endpoint, at: Moment) -> None:
        leases = [self._leases[each] for each in _addresses(endpoint)]
        waiting = [each for each in leases if self._waits(each.address)]
        self._store.leases.put(replace(each, released=at) for each in waiting)
        self._store.leases.delete(each.address for each in leases if each not in waiting)

    def _note_released(self, address: bytes, at: Moment) -> None:
        if self._waits(address):
            self._note(replace(self._leases[address], released=at))
        else:
            self._forget(address)

    def _waits(self, address: bytes) -> bool:
        """Whether nobody gets an address at once: of others than the pools' we are not the one to say."""
        return self._seconds > 0 and self._pool_of(address) is not None

    # Looking

    def entries(self) -> tuple[Entry, ...]:
        """Every address that is held or in quarantine, IPv4 first, in order."""
        self._end_quarantines()
        leases = sorted(self._leases.values(), key=lambda each: _order(unpack_address(each.address)))
        return tuple(
            Entry(each, self._pool_of(each.address), None if each.released is None else self._left(each))
            for each in leases
        )

    def outside(self) -> int:
        """How many addresses endpoints have that no pool gives: they were asked for, or pools changed."""
        return len(self._outside)

    def _exhausted(self, pools: Sequence[AddressPool]) -> str:
        names = ", ".join(str(pool.prefix) for pool in pools)
        size, held = sum(pool.size for pool in pools), sum(pool.held for pool in pools)
        waiting = sum(pool.quarantined for pool in pools)
        what = "address pools {} are" if len(pools) > 1 else "address pool {} is"
        told = f"{what.format(names)} exhausted: {held} of {size} in use"
        if own := size - held - waiting:
            told += f", {own} the node's own"
        if not waiting:
            return f"{told}; detach endpoints, or give the agent a larger or a further pool"
        left = next(self._left(each) for _, each in self._waiting if self._waits_in(each, pools))
        return f"{told}, {waiting} in quarantine; the next is free in {_seconds(left)}"

    def _waits_in(self, lease: Lease, pools: Sequence[AddressPool]) -> bool:
        address = unpack_address(lease.address)
        return self._leases.get(lease.address) is lease and any(pool.gives(address) for pool in pools)

    # Time

    def _left(self, lease: Lease) -> float:
        assert lease.released is not None
        return max(0.0, lease.released.uptime + self._seconds - self._now().uptime)

    def _is_over(self, lease: Lease, now: Moment) -> bool:
        return lease.released is not None and lease.released.uptime + self._seconds <= now.uptime

    def _end_quarantines(self) -> None:
        now = self._now().uptime
        while self._waiting and self._waiting[0][0] <= now:
            _, lease = self._waiting.popleft()
            if self._leases.get(lease.address) is lease:
                self._forget(lease.address)
                self._ended.add(lease.address)

    # What is known

    def _note(self, lease: Lease) -> None:
        self._leases[lease.address] = lease
        if lease.released is not None:
            self._waiting.append((lease.released.uptime + self._seconds, lease))
        pool, address = self._pool_of(lease.address), unpack_address(lease.address)
        if pool is not None and pool.gives(address):
            pool.hold(address) if lease.released is None else pool.quarantine(address)
        elif lease.released is None:
            self._outside.add(lease.address)
        else:
            self._outside.discard(lease.address)

    def _forget(self, address: bytes) -> None:
        del self._leases[address]
        self._outside.discard(address)
        pool, unpacked = self._pool_of(address), unpack_address(address)
        if pool is not None and pool.gives(unpacked):
            pool.free(unpacked)

    def _pool_of(self, packed: bytes) -> AddressPool | None:
        address = unpack_address(packed)
        return next((pool for pool in self._pools if address in pool.prefix), None)


def _addresses(endpoint: Endpoint) -> list[bytes]:
    return [address for address in (endpoint.ipv4, endpoint.ipv6) if address is not None]


def _of_owner(stored: Lease | None, new: Lease) -> Lease:
    """The lease of an address that an endpoint has; a store of an older version knows of none."""
    if stored is None or stored.owner != new.owner:
        return new
    return replace(stored, released=None)


def _given_up(lease: Lease, now: Moment) -> Lease:
    """The lease of an address that no endpoint has: given up now, unless it was before."""
    at = lease.released
    known = at is not None and at.boot == now.boot and at.uptime <= now.uptime
    return lease if known else replace(lease, released=now)


def _order(address: IPAddress) -> tuple[int, int]:
    return address.version, int(address)


def _seconds(number: float) -> str:
    return f"{math.ceil(number)} s"
