"""Who has which address: endpoints of this node, and everybody else's identity.

The ipcache is two maps: an exact hash for single addresses and a trie for prefixes. Why, with
figures: docs/decisions.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from kinety import abi
from kinety.kernel.map import Map
from kinety.model.address import Prefix, unpack_address
from kinety.model.identity import Identity

from .node_state import NodeState
from .row_map import RowMap

_HOST_LENGTH = 128


class LocalAddresses:
    """``local_addresses``: address of an endpoint of this node to its slot."""

    def __init__(self, local_addresses: Map) -> None:
        self._rows = RowMap(local_addresses)

    @property
    def writes(self) -> int:
        """Rows written or erased."""
        return self._rows.writes

    def check_free(self, address: bytes) -> None:
        """Raise ValueError when the address is an endpoint's already."""
        if self._rows.value(address) is not None:
            raise ValueError(f"address {unpack_address(address)} is another endpoint's of this node")

    def add(self, slot: int, addresses: Iterable[bytes]) -> None:
        """Let a slot receive what is sent to these addresses (16 bytes each)."""
        value = abi.LocalAddress(slot=slot, flags=0).pack()
        self._rows.write(dict.fromkeys(addresses, value))

    def remove(self, slot: int, addresses: Iterable[bytes]) -> None:
        """Take addresses from a slot; an address that another slot has by now stays."""
        value = abi.LocalAddress(slot=slot, flags=0).pack()
        self._rows.erase([address for address in addresses if self._rows.value(address) == value])

    def restore(self, slots: Mapping[int, Iterable[bytes]]) -> None:
        """Make the map hold exactly these addresses."""
        wanted = {
            address: abi.LocalAddress(slot=slot, flags=0).pack()
            for slot, addresses in slots.items()
            for address in addresses
        }
        self._rows.erase(self._rows.write_differences(wanted))


@dataclass(frozen=True, slots=True)
class _IpcacheExcess:
    hosts: frozenset[bytes]
    prefixes: frozenset[bytes]


class Ipcache:
    """``ipcache_hosts`` and ``ipcache_prefixes``; every change raises the generation afterwards."""

    def __init__(self, hosts: Map, prefixes: Map, node_state: NodeState) -> None:
        self._hosts = RowMap(hosts)
        self._prefixes = RowMap(prefixes)
        self._node_state = node_state

    @property
    def writes(self) -> int:
        """Rows written or erased."""
        return self._hosts.writes + self._prefixes.writes

    def update(self, identities: Mapping[Prefix, Identity]) -> None:
        """Add prefixes or change their identities."""
        if not identities:
            return
        hosts, prefixes = _split(identities)
        self._hosts.write(hosts)
        self._prefixes.write(prefixes)
        self._node_state.raise_generation()

    def remove(self, removed: Iterable[Prefix]) -> None:
        """Forget prefixes."""
        hosts, prefixes = _split(dict.fromkeys(removed, Identity(0)))
        if hosts or prefixes:
            self._hosts.erase(hosts)
            self._prefixes.erase(prefixes)
            self._node_state.raise_generation()

    def write_differences(self, identities: Mapping[Prefix, Identity]) -> _IpcacheExcess:
        """Write what is missing or different; what is too many is returned, for ``erase``."""
        before = self.writes
        hosts, prefixes = _split(identities)
        excess = _IpcacheExcess(
            frozenset(self._hosts.write_differences(hosts)),
            frozenset(self._prefixes.write_differences(prefixes)),
        )
        if self.writes != before:
            self._node_state.raise_generation()
        return excess

    def erase(self, excess: _IpcacheExcess) -> None:
        """Erase what ``write_differences`` found too many."""
        if excess.hosts or excess.prefixes:
            self._hosts.erase(excess.hosts)
            self._prefixes.erase(excess.prefixes)
            self._node_state.raise_generation()


def _split(identities: Mapping[Prefix, Identity]) -> tuple[dict[bytes, bytes], dict[bytes, bytes]]:
    """Packed rows for the two maps: single addresses, and the rest."""
    hosts: dict[bytes, bytes] = {}
    prefixes: dict[bytes, bytes] = {}
    values: dict[Identity, bytes] = {}
    for prefix, identity in identities.items():
        value = values.get(identity)
        if value is None:
            value = values[identity] = abi.IpcacheEntry(identity=identity, node=0).pack()
        if prefix.length == _HOST_LENGTH:
            hosts[prefix.packed] = value
        else:
            prefixes[abi.IpcachePrefixKey(prefix.length, prefix.packed).pack()] = value
    return hosts, prefixes
