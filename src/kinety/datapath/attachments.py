"""Endpoints from attach to detach: a row, its addresses, an interface, and what judges its packets.

The order is what makes every interruption harmless. Attaching writes the row first (not ready: it
drops), then addresses, then the interface. Detaching disarms the row, takes the interface down, then
unpins its links and clears the row: a link must not go before the interface whose packets it judges.
So a half of an endpoint is either a row without its interface or an interface without its row, and
``restore`` removes both.
"""

import errno
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from functools import partial
from operator import itemgetter

from kinety import abi
from kinety.kernel.namespace import Namespace
from kinety.model.endpoint import Endpoint, EndpointId

from .address_maps import LocalAddresses
from .endpoint_table import EndpointTable
from .interface import PLAIN, Interface, Shape, Wiring
from .promotion import Links
from .rates import Rates
from .replacement import Programs, PutBackError, Step, all_or_none, unless_gone
from .settings import Settings

_NO_ADDRESS = bytes(16)
_EMPTY_ROW = abi.Endpoint.unpack(bytes(abi.Endpoint.SIZE))
#: What a kernel without tcx answers to a request for a link.
_NO_TCX = (errno.EINVAL, errno.EOPNOTSUPP)


class Attachments:
    """The attached endpoints of the node."""

    def __init__(
        self,
        settings: Settings,
        table: EndpointTable,
        addresses: LocalAddresses,
        wiring: Wiring,
        links: Links,
        rates: Rates,
    ) -> None:
        self._settings = settings
        self._table = table
        self._addresses = addresses
        self._wiring = wiring
        self._links = links
        self._rates = rates
        self._interfaces: dict[EndpointId, Interface] = {}
        self._on_clsact: set[int] = set()
        #: Whether some endpoints are judged by programs that were to replace these, and could not.
        self._astray = False
        #: Whether endpoints get links.
        self.tcx = not settings.clsact_only

    def __len__(self) -> int:
        return len(self._interfaces)

    def __iter__(self) -> Iterator[Interface]:
        return iter(self._interfaces.values())

    def get(self, endpoint: EndpointId) -> Interface | None:
        """Facts of an attached endpoint."""
        return self._interfaces.get(endpoint)

    def attach(
        self, endpoint: Endpoint, namespace: Namespace, interface: str, shape: Shape = PLAIN
    ) -> Interface:
        """Give a network namespace its interface; its row stays not ready. Undoes itself on failure.

        Where neither ``shape`` nor the settings say an MTU, it is that of the node's uplinks.
        Raises OSError, CapacityError (no free slot) or ValueError (attached already, or an address is
        another endpoint's, or the node does without the bandwidth).
        """
        if endpoint.id in self._interfaces:
            raise ValueError(f"endpoint {endpoint} is attached already")
        host_mac, container_mac = self._wiring.new_macs()
        row = replace(
            _EMPTY_ROW,
            id=endpoint.id,
            host_mac=host_mac,
            container_mac=shape.mac or container_mac,
            ipv4=endpoint.ipv4 or _NO_ADDRESS,
            ipv6=endpoint.ipv6 or _NO_ADDRESS,
        )
        for address in _addresses(row):
            self._addresses.check_free(address)
        slot = self._table.reserve(row, self._settings.interface_base)
        try:
            self._table.limit(slot, self._rates.limit(slot, shape.bandwidth))
            self._addresses.add(slot, _addresses(row))
            mtu = shape.mtu or self._settings.mtu or self._wiring.mtu()
            attached = self._wiring.create(slot, self._table.row(slot), namespace, interface, mtu)
        except BaseException:
            self._remove(slot)
            raise
        self._interfaces[endpoint.id] = attached
        self._on_clsact.add(slot)
        return attached

    def detach(self, endpoint: EndpointId) -> bool:
        """Remove an endpoint's interface and row; False when it had none."""
        interface = self._interfaces.pop(endpoint, None)
        if interface is None:
            return False
        self._remove(interface.slot)
        return True

    def _remove(self, slot: int) -> None:
        row = self._table.row(slot)
        self._table.disarm(slot)
        self._wiring.remove(row.interface)
        self._links.remove(slot)
        self._addresses.remove(slot, _addresses(row))
        self._table.clear(slot)
        self._on_clsact.discard(slot)

    def vanished(self) -> frozenset[EndpointId]:
        """Endpoints whose interface went away with their network namespace."""
        found = self._wiring.interfaces()
        return frozenset(each.endpoint for each in self if each.index not in found)

    def restore(self, endpoints: Collection[EndpointId]) -> tuple[str, ...]:
        """Keep rows that have their interface and a known endpoint; remove the other halves.

        A row that is not ready is an attach that was cut short, unless this process attached it.
        Returns the names of the interfaces that were removed.
        """
        if self._astray:
            self.replace_programs(self._wiring.programs)
            self._astray = False
        found = self._wiring.interfaces()
        kept: dict[EndpointId, Interface] = {}
        for slot, row in self._table.rows():
            endpoint = EndpointId(row.id)
            mine = self._interfaces.get(endpoint)
            whole = self._table.ready(slot) or (mine is not None and mine.slot == slot)
            if whole and endpoint in endpoints and row.interface in found and endpoint not in kept:
                kept[endpoint] = Interface.of(slot, row, found[row.interface])
            else:
                self._table.disarm(slot)
        indexes = {interface.index for interface in kept.values()}
        stray = [link for index, link in found.items() if index not in indexes]
        for link in stray:
            self._wiring.remove(link.index)
        slots = {interface.slot for interface in kept.values()}
        self._links.remove_others(slots)
        for slot in set(self._table.slots()) - slots:
            self._table.clear(slot)
        self._interfaces = kept
        self._addresses.restore({slot: _addresses(row) for slot, row in self._table.rows()})
        self._restore_hooks()
        return tuple(link.name for link in stray)

    def _restore_hooks(self) -> None:
        """Give filters back to an interface that has neither links nor filters."""
        filtered = self._wiring.filtered()
        self._on_clsact = {interface.slot for interface in self if not self._links.has(interface.slot)}
        for interface in self:
            if interface.slot in self._on_clsact and interface.index not in filtered:
                self._wiring.add_filters(interface.index)

    def replace_programs(self, programs: Programs) -> int:
        """Judge every interface by other programs, or all of them by those they have.

        Returns how many interfaces there were; one that vanished meanwhile is none. Raises OSError;
        PutBackError when some of them are judged by the new programs all the same: ``restore`` mends that.
        """
        found: set[int] = set()

        def note(index: int, change: Callable[[], None]) -> None:
            if unless_gone(change):
                found.add(index)

        steps = [Step(partial(note, index, step.do), step.undo) for index, step in self._moves(programs)]
        try:
            all_or_none(steps)
        except PutBackError:
            self._astray = True
            raise
        self._links.use(programs)
        self._wiring.use(programs)
        return len(found)

    def _moves(self, programs: Programs) -> list[tuple[int, Step]]:
        """Interface by interface, its links and its filters."""
        base = self._settings.interface_base
        links = [
            (base + slot, step) for slot in self._links.placed() for step in self._links.moves(slot, programs)
        ]
        filters = [(index, self._wiring.refiltering(index, programs)) for index in self._wiring.filtered()]
        return sorted(links + filters, key=itemgetter(0))

    def promote_one(self) -> bool:
        """Put links before one endpoint's filters; False when none is left or the kernel has no tcx."""
        if not self.tcx or not self._on_clsact:
            return False
        slot = min(self._on_clsact)
        index = self._settings.interface_base + slot
        try:
            self._links.promote(slot, index)
        except OSError as error:
            if error.errno in _NO_TCX:
                self.tcx = False
                return False
            if error.errno != errno.ENODEV:  # it went away with its namespace
                raise
        self._on_clsact.discard(slot)
        return True


def _addresses(row: abi.Endpoint) -> tuple[bytes, ...]:
    """Addresses of a row that are set."""
    return tuple(address for address in (row.ipv4, row.ipv6) if address != _NO_ADDRESS)
