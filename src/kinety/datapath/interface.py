"""The wiring of an endpoint: veth pair, filters, addresses, routes, neighbours.

The host side's interface index is chosen, so that a packet's index is its row's number. The other
end is made directly in the endpoint's network namespace: moving it there later waits 16 ms for a
grace period. Both ends stay down until the filters are in place, and the row behind them drops
until its policy is published.

The host's side goes up first and the endpoint's last. Whoever comes up second finds its carrier there
and works at once; the other drops what it is to send until the kernel's link watch has run. That must
not be the endpoint, whose first packet would be lost (measured: in 4 of 100 attaches the first ARP
request, and then a second passes until the next); for the host's side it is waited for.
"""

import errno
import os
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from ipaddress import IPv6Address, ip_address, ip_network
from pathlib import Path
from typing import Self

from kinety import abi
from kinety.kernel.link_removal import LinkRemoval
from kinety.kernel.namespace import Namespace
from kinety.kernel.netlink import Netlink
from kinety.model.address import IPAddress, unpack_address
from kinety.model.bandwidth import Bandwidth
from kinety.model.endpoint import EndpointId

from .endpoint_table import FIRST_SLOT
from .replacement import Programs, Step, filter_by, replace_filters
from .settings import INTERFACE_PREFIX, Settings

#: Every endpoint's gateway; the program answers for it with the host side's MAC.
GATEWAY_IPV4 = ip_address("169.254.0.1")
GATEWAY_IPV6 = ip_address("fe80::1")
#: Some address of the world, of each family; nothing is sent there.
_ANYWHERE = (ip_address("1.1.1.1"), ip_address("2606:4700:4700::1111"))
#: Of a node without a way out: Ethernet's.
_USUAL_MTU = 1500
#: Source: RFC 8200, 5. Below it the kernel switches IPv6 off on an interface.
IPV6_LEAST_MTU = 1280
_LOOPBACK = 1
_PATIENCE_SECONDS = 2.0
_NO_ADDRESS = bytes(16)
_MAC_TAIL_BYTES = 5
#: First byte of a MAC that is unicast and locally administered (IEEE 802, 8.2).
_LOCAL_MAC = b"\x02"


@dataclass(frozen=True, slots=True)
class Shape:
    """What an endpoint's interface is to be like; None is whatever others are. ``mac`` is 6 bytes."""

    mtu: int | None = None
    mac: bytes | None = None
    bandwidth: Bandwidth = field(default_factory=Bandwidth)


#: An interface as any other.
PLAIN = Shape()


@dataclass(frozen=True, slots=True)
class HostLink:
    """A host-side interface as the kernel lists it."""

    index: int
    name: str
    mtu: int


@dataclass(frozen=True, slots=True)
class Interface:
    """Facts of an attached endpoint. MACs are 6 bytes; ``name`` and ``index`` are the host side's."""

    endpoint: EndpointId
    slot: int
    index: int
    name: str
    host_mac: bytes
    container_mac: bytes
    mtu: int

    @classmethod
    def of(cls, slot: int, row: abi.Endpoint, link: HostLink) -> Self:
        """From a row and its interface."""
        return cls(
            endpoint=EndpointId(row.id),
            slot=slot,
            index=row.interface,
            name=link.name,
            host_mac=row.host_mac,
            container_mac=row.container_mac,
            mtu=link.mtu,
        )


class Wiring:
    """Makes and removes what connects an endpoint, in as few netlink sends as can be."""

    def __init__(self, settings: Settings, programs: Programs | None = None) -> None:
        """Without ``programs`` it can only look and remove."""
        #: Those that filters are made of.
        self.programs: Programs = programs or {}
        self._base = settings.interface_base
        self._slots = range(FIRST_SLOT, settings.capacity.endpoints + FIRST_SLOT)
        self._netlink = Netlink()
        self._removal = LinkRemoval()
        #: Interfaces made or removed and filters changed since this object was made.
        self.writes = 0

    @staticmethod
    def new_macs() -> tuple[bytes, bytes]:
        """Two random MACs, for the host's and the endpoint's side."""
        return _LOCAL_MAC + os.urandom(_MAC_TAIL_BYTES), _LOCAL_MAC + os.urandom(_MAC_TAIL_BYTES)

    def interfaces(self) -> dict[int, HostLink]:
        """Host-side interfaces that are Kinety's, by index: in the range of slots, and named so."""
        return {
            link.index: HostLink(link.index, link.name, link.mtu)
            for link in self._netlink.links()
            if link.index - self._base in self._slots and link.name == _name(link.index - self._base)
        }

    def filtered(self) -> frozenset[int]:
        """Indexes of Kinety's interfaces that have clsact filters."""
        return self._netlink.clsact_interfaces() & self.interfaces().keys()

    def add_filters(self, index: int) -> None:
        """Judge an interface by clsact filters. Raises OSError."""
        self._replace(index, self.programs, None)

    def refiltering(self, index: int, programs: Programs) -> Step:
        """The step that points an interface's filters at other programs; ``use`` says it is made."""
        former = self.programs
        return Step(
            partial(self._replace, index, programs, former), partial(self._replace, index, former, programs)
        )

    def use(self, programs: Programs) -> None:
        """Make filters of these programs from now on."""
        self.programs = programs

    def remove(self, index: int) -> None:
        """Remove an endpoint's interface, both ends; no error when it is gone. Raises OSError."""
        self._removal.remove(index)
        self.writes += 1

    def mtu(self) -> int:
        """What fits through the node's uplinks now, in bytes: those that the default routes lead to.

        An uplink that is too narrow for IPv6 would take endpoints theirs; they are not narrower than that.
        """
        uplinks = (self._netlink.link_to(each) for each in _ANYWHERE)
        return max(min((each.mtu for each in uplinks if each), default=_USUAL_MTU), IPV6_LEAST_MTU)

    def create(self, slot: int, row: abi.Endpoint, namespace: Namespace, name: str, mtu: int) -> Interface:
        """Connect a namespace: filters first, then the host's side, then the endpoint's; both work at return.

        Raises OSError; what was made until then is the caller's to remove.
        """
        host = HostLink(row.interface, _name(slot), mtu)
        addresses = tuple(unpack_address(each) for each in (row.ipv4, row.ipv6) if each != _NO_ADDRESS)
        with self._netlink.batch() as batch:
            batch.veth(
                host.index,
                host.name,
                row.host_mac,
                peer=name,
                peer_mac=row.container_mac,
                peer_namespace=namespace,
                mtu=mtu,
            )
            filter_by(batch, host.index, self.programs)
            # On a narrow one there is no IPv6 that could be told anything.
            batch.link_set(host.index, up=True, link_local=mtu < IPV6_LEAST_MTU)
            for address in addresses:
                batch.route_add(ip_network(address), host.index)
                batch.neighbour_add(host.index, address, row.container_mac)
        _wire_endpoint(namespace, name, addresses)
        self._netlink.wait_operational(host.index, _PATIENCE_SECONDS)
        self.writes += 1
        return Interface.of(slot, row, host)

    def close(self) -> None:
        """Close the netlink socket; waits until the kernel is done with interfaces that were removed."""
        self._netlink.close()
        self._removal.close()

    def _replace(self, index: int, programs: Programs, former: Programs | None) -> None:
        replace_filters(self._netlink, index, programs, former)
        self.writes += 1


def _wire_endpoint(namespace: Namespace, name: str, addresses: tuple[IPAddress, ...]) -> None:
    """Addresses and default routes in the endpoint's namespace; its gateway is on the link.

    A default route that is there stays: it is of an interface that the namespace had before, whose
    packets would not be let through with its address on another way.
    """
    with Netlink(namespace) as inside:
        link = inside.link_named(name)
        if link is None:
            raise OSError(errno.ENODEV, f"interface {name} went away while it was being set up")
        try:
            _address_endpoint(inside, link.index, addresses)
        except PermissionError:
            # Container runtimes switch IPv6 off in the namespaces they make; an endpoint with an IPv6
            # address is to have it all the same, on this interface only.
            namespace.call(_disable_ipv6(name).write_text, "0")
            _address_endpoint(inside, link.index, addresses)
        # Before there is a way out: a look-up that takes it would ask for the gateway in vain.
        for address in addresses:
            if isinstance(address, IPv6Address):
                inside.wait_local(address, _PATIENCE_SECONDS)
        for address in addresses:
            anywhere, gateway = _DEFAULT_ROUTES[address.version]
            with suppress(FileExistsError), inside.batch() as batch:
                batch.route_add(anywhere, link.index, via=gateway, replace=False)


def _address_endpoint(inside: Netlink, index: int, addresses: tuple[IPAddress, ...]) -> None:
    with inside.batch() as batch:
        batch.link_set(_LOOPBACK, up=True)
        batch.link_set(index, up=True)
        for address in addresses:
            batch.address_add(index, address)


def _disable_ipv6(name: str) -> Path:
    return Path("/proc/sys/net/ipv6/conf", name, "disable_ipv6")


def _name(slot: int) -> str:
    return f"{INTERFACE_PREFIX}{slot}"


_DEFAULT_ROUTES = {4: (ip_network("0.0.0.0/0"), GATEWAY_IPV4), 6: (ip_network("::/0"), GATEWAY_IPV6)}
