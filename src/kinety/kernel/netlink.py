"""Links, addresses, routes, neighbours and filters over rtnetlink. Source: rtnetlink(7).

The kernel takes many messages in one send and answers each, so changes are collected in a `Batch`.
"""

import contextlib
import socket
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from types import TracebackType
from typing import Self

from kinety.kernel import netlink_message as wire
from kinety.kernel import netlink_route as route
from kinety.kernel.namespace import Namespace

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network

_NEWLINK, _DELLINK, _GETLINK = 16, 17, 18
_NEWADDR, _GETADDR = 20, 22
_NEWROUTE, _DELROUTE, _GETROUTE = 24, 25, 26
_NEWNEIGH = 28
_NEWQDISC, _GETQDISC = 36, 38
_NEWTFILTER = 44
_EXCL, _CREATE, _REPLACE = 0x200, 0x400, 0x100
_SOL_NETLINK, _CAP_ACK, _EXT_ACK = 270, 10, 11

_LINK = struct.Struct("=BxHiII")
_LINK_ADDRESS, _LINK_NAME, _LINK_MTU, _LINK_MASTER = 1, 3, 4, 10
_LINK_OPERATION, _LINK_INFO, _LINK_FAMILIES, _LINK_NAMESPACE_FD = 16, 18, 26, 28
_INFO_KIND, _INFO_DATA, _VETH_PEER = 1, 2, 1
_INET6_ADDRESS_GENERATION, _NO_GENERATION = 8, b"\1"
_UP = 1
_OPERATION_UNKNOWN, _OPERATION_UP = 0, 6
_POLL_SECONDS = 0.0005

_ADDRESS = struct.Struct("=BBBBI")
_ADDRESS_ADDRESS, _ADDRESS_LOCAL = 1, 2
_NO_DUPLICATE_DETECTION = 0x02

_NEIGHBOUR = struct.Struct("=BxxxiHBB")
_NEIGHBOUR_DESTINATION, _NEIGHBOUR_MAC, _PERMANENT = 1, 2, 0x80

_TC = struct.Struct("=BxxxiIII")
_TC_KIND, _TC_OPTIONS = 1, 2
_CLSACT_HANDLE, _CLSACT_PARENT = 0xFFFF0000, 0xFFFFFFF1
_INGRESS_PARENT, _EGRESS_PARENT = 0xFFFFFFF2, 0xFFFFFFF3
_FILTER_INFO = 1 << 16 | socket.htons(3)
_BPF_FD, _BPF_NAME, _BPF_FLAGS, _DIRECT_ACTION = 6, 7, 8, 1
_FILTER_HANDLE = 1
#: The kernel's answers are never longer than 32 KiB; a buffer of a megabyte costs 50 µs to map, each time.
_RECEIVE_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class LinkInfo:
    """An interface as the kernel lists it. ``mac`` is empty where there is none.

    ``operational``: it sends and receives (RFC 2863, ifOperStatus up, or nothing known against it).
    """

    index: int
    name: str
    mtu: int
    up: bool
    mac: bytes
    operational: bool


@dataclass(frozen=True, slots=True)
class AddressInfo:
    """An address of an interface; ``bits`` is its prefix length."""

    index: int
    address: IPAddress
    bits: int


class Batch:
    """Messages that go to the kernel in one send, in order, when the ``with`` block ends.

    The kernel answers each one. When any failed, the first failure is raised as OSError, with a
    note for each further one; the messages after a failed one were carried out all the same.
    """

    def __init__(self) -> None:
        self.messages: list[bytes] = []
        self.actions: list[str] = []

    def veth(
        self,
        index: int,
        name: str,
        mac: bytes,
        *,
        peer: str,
        peer_mac: bytes,
        peer_namespace: Namespace,
        mtu: int,
    ) -> None:
        """A veth pair whose other end is made in another namespace; both ends are down.

        ``index`` is this end's interface index, 0 to let the kernel choose.
        """
        other = (
            _LINK.pack(0, 0, 0, 0, 0),
            wire.text(_LINK_NAME, peer),
            wire.attribute(_LINK_ADDRESS, peer_mac),
            wire.number(_LINK_MTU, mtu),
            wire.number(_LINK_NAMESPACE_FD, peer_namespace.fd),
        )
        kind = wire.text(_INFO_KIND, "veth"), wire.attribute(_INFO_DATA, wire.attribute(_VETH_PEER, *other))
        self.add(
            f"make veth {name} with {peer}",
            _NEWLINK,
            _CREATE | _EXCL,
            _LINK.pack(0, 0, index, 0, 0),
            wire.text(_LINK_NAME, name),
            wire.attribute(_LINK_ADDRESS, mac),
            wire.number(_LINK_MTU, mtu),
            wire.attribute(_LINK_INFO, *kind),
        )

    def link(self, name: str, kind: str) -> None:
        """An interface of a kind that needs no further facts, such as ``bridge``; it is down."""
        info = wire.attribute(_LINK_INFO, wire.text(_INFO_KIND, kind))
        fixed = _LINK.pack(0, 0, 0, 0, 0)
        self.add(f"make {kind} {name}", _NEWLINK, _CREATE | _EXCL, fixed, wire.text(_LINK_NAME, name), info)

    def link_set(
        self,
        link: int | str,
        *,
        up: bool | None = None,
        mtu: int | None = None,
        master: int | None = None,
        link_local: bool = True,
    ) -> None:
        """Change an interface, named by index or name.

        Without ``link_local`` it gets no IPv6 link-local address of its own when it comes up.
        """
        index, name = (link, []) if isinstance(link, int) else (0, [wire.text(_LINK_NAME, link)])
        if not link_local:
            # A message of its own, because within one message the kernel brings the link up first,
            # and for an interface that exists: in the message that makes it, it is refused.
            mode = wire.attribute(_INET6_ADDRESS_GENERATION, _NO_GENERATION)
            families = wire.attribute(_LINK_FAMILIES, wire.attribute(socket.AF_INET6, mode))
            action = f"switch off link-local addresses of interface {link}"
            self.add(action, _NEWLINK, 0, _LINK.pack(0, 0, index, 0, 0), *name, families)
        flags, change = (0, 0) if up is None else (_UP if up else 0, _UP)
        changes = [] if mtu is None else [wire.number(_LINK_MTU, mtu)]
        changes += [] if master is None else [wire.number(_LINK_MASTER, master)]
        fixed = _LINK.pack(0, 0, index, flags, change)
        self.add(f"change interface {link}", _NEWLINK, 0, fixed, *name, *changes)

    def link_delete(self, index: int) -> None:
        """Remove an interface; a veth's other end goes with it."""
        self.add(f"remove interface {index}", _DELLINK, 0, _LINK.pack(0, 0, index, 0, 0))

    def address_add(self, index: int, address: IPAddress, bits: int | None = None) -> None:
        """Give an interface an address, without duplicate detection; no ``bits``: alone on its link."""
        bits = address.max_prefixlen if bits is None else bits
        flags = _NO_DUPLICATE_DETECTION if address.version == 6 else 0
        self.add(
            f"add address {address} to interface {index}",
            _NEWADDR,
            _CREATE | _REPLACE,
            _ADDRESS.pack(_family(address), bits, flags, 0, index),
            wire.attribute(_ADDRESS_LOCAL, address.packed),
            wire.attribute(_ADDRESS_ADDRESS, address.packed),
        )

    def route_add(
        self, destination: IPNetwork, index: int, *, via: IPAddress | None = None, replace: bool = True
    ) -> None:
        """Route through an interface: to a gateway (taken to be on the link) or directly; else EEXIST."""
        flags = _CREATE | (_REPLACE if replace else _EXCL)
        self.add(f"add route to {destination}", _NEWROUTE, flags, *route.message(destination, index, via))

    def route_delete(self, destination: IPNetwork, index: int) -> None:
        """Remove a route that has no gateway."""
        self.add(f"remove route to {destination}", _DELROUTE, 0, *route.message(destination, index))

    def neighbour_add(self, index: int, address: IPAddress, mac: bytes) -> None:
        """Say for good which MAC an address on an interface has."""
        self.add(
            f"add neighbour {address} to interface {index}",
            _NEWNEIGH,
            _CREATE | _REPLACE,
            _NEIGHBOUR.pack(_family(address), index, _PERMANENT, 0, 0),
            wire.attribute(_NEIGHBOUR_DESTINATION, address.packed),
            wire.attribute(_NEIGHBOUR_MAC, mac),
        )

    def clsact_attach(self, index: int, *, ingress: int, egress: int, name: str = "kinety") -> None:
        """Judge an interface's packets by two programs (file descriptors), in both directions."""
        qdisc = _TC.pack(0, index, _CLSACT_HANDLE, _CLSACT_PARENT, 0)
        action = f"add clsact to interface {index}"
        self.add(action, _NEWQDISC, _CREATE | _REPLACE, qdisc, wire.text(_TC_KIND, "clsact"))
        for place, parent, program in (
            ("ingress", _INGRESS_PARENT, ingress),
            ("egress", _EGRESS_PARENT, egress),
        ):
            options = (
                wire.number(_BPF_FD, program),
                wire.text(_BPF_NAME, name),
                wire.number(_BPF_FLAGS, _DIRECT_ACTION),
            )
            self.add(
                f"filter {place} of interface {index}",
                _NEWTFILTER,
                _CREATE | _REPLACE,
                _TC.pack(0, index, _FILTER_HANDLE, parent, _FILTER_INFO),
                wire.text(_TC_KIND, "bpf"),
                wire.attribute(_TC_OPTIONS, *options),
            )

    def add(self, action: str, kind: int, flags: int, fixed: bytes, *attributes: bytes) -> None:
        """One message; ``action`` says what it does, for whoever reads that it failed."""
        self.actions.append(action)
        self.messages.append(wire.encode(kind, flags, len(self.actions), fixed, *attributes))


class Netlink:
    """A connection to one namespace's networking; the calling thread's own without an argument."""

    def __init__(self, namespace: Namespace | None = None) -> None:
        kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
        make = namespace.socket if namespace else socket.socket
        self._socket = make(socket.AF_NETLINK, kind, socket.NETLINK_ROUTE)
        self._socket.setsockopt(_SOL_NETLINK, _CAP_ACK, 1)
        self._socket.setsockopt(_SOL_NETLINK, _EXT_ACK, 1)
        self._socket.bind((0, 0))

    @contextlib.contextmanager
    def batch(self) -> Iterator[Batch]:
        """Collect messages and send them together. Raises OSError, see `Batch`."""
        batch = Batch()
        yield batch
        if batch.messages:
            self._send(batch)

    def links(self) -> list[LinkInfo]:
        """Every interface of the namespace."""
        return [_link_info(body) for body in self._list(_GETLINK, _LINK.pack(0, 0, 0, 0, 0))]

    def link_named(self, name: str) -> LinkInfo | None:
        """The interface of a name, if there is one."""
        return next((link for link in self.links() if link.name == name), None)

    def link_to(self, address: IPAddress) -> LinkInfo | None:
        """The interface that packets to an address leave by; None when there is no way. Nothing is sent."""
        way = self._way(address)
        if way is None or not way.index:
            return None
        asked = (_GETLINK, f"ask for interface {way.index}", _LINK.pack(0, 0, way.index, 0, 0))
        return _link_info(self._ask(*asked))

    def wait_operational(self, index: int, seconds: float) -> None:
        """Until an interface that was set up, and whose other end was, sends what it is given.

        A device that comes up before its carrier drops everything until the kernel's link watch has run.
        Since Linux commit facd15dfd691 ("net: core: synchronize link-watch when carrier is queried") (in
        v6.8) asking makes it run; before, it may take a second. Raises TimeoutError.
        """
        asked = (_GETLINK, f"ask for interface {index}", _LINK.pack(0, 0, index, 0, 0))
        _wait(lambda: _link_info(self._ask(*asked)).operational, seconds, f"interface {index} to work")

    def wait_local(self, address: IPv6Address, seconds: float) -> None:
        """Until an address that was added is delivered to.

        The kernel gives an IPv6 address its local route in a work of its own, even without duplicate
        detection (addrconf_dad_work in net/ipv6/addrconf.c). Until then the address already sends, and
        what comes back to it is lost. Raises TimeoutError.
        """

        def local() -> bool:
            way = self._way(address)
            return way is not None and way.local

        _wait(local, seconds, f"address {address} to be local")

    def addresses(self) -> list[AddressInfo]:
        """Every address of every interface of the namespace."""
        return [_address_info(body) for body in self._list(_GETADDR, _ADDRESS.pack(0, 0, 0, 0, 0))]

    def clsact_interfaces(self) -> frozenset[int]:
        """Indexes of the interfaces that have a clsact qdisc."""
        return frozenset(
            _TC.unpack_from(body)[1]
            for body in self._list(_GETQDISC, _TC.pack(0, 0, 0, 0, 0))
            if wire.attributes(body, _TC.size).get(_TC_KIND) == b"clsact\0"
        )

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _send(self, batch: Batch) -> None:
        self._socket.send(b"".join(batch.messages))
        failures: list[OSError] = []
        answered = 0
        while answered < len(batch.messages):
            for message in wire.split(self._socket.recv(_RECEIVE_BYTES)):
                if message.kind == wire.ERROR:
                    answered += 1
                    if failure := wire.failure(message, batch.actions[message.sequence - 1]):
                        failures.append(failure)
        if failures:
            for further in failures[1:]:
                failures[0].add_note(str(further))
            raise failures[0]

    def _way(self, address: IPAddress) -> route.Way | None:
        try:
            found = self._ask(_GETROUTE, f"ask for the way to {address}", *route.question(address))
        except OSError as error:
            if error.errno in route.NO_WAY:
                return None
            raise
        return route.Way.read(found)

    def _ask(self, kind: int, action: str, fixed: bytes, *attributes: bytes) -> bytes:
        """The one object that a question is about."""
        self._socket.send(wire.encode(kind, 0, 1, fixed, *attributes))
        body = b""
        while True:
            for message in wire.split(self._socket.recv(_RECEIVE_BYTES)):
                if message.kind != wire.ERROR:
                    body = message.body
                elif failure := wire.failure(message, action):
                    raise failure
                else:
                    return body

    def _list(self, kind: int, fixed: bytes) -> list[bytes]:
        self._socket.send(wire.encode_dump(kind, fixed))
        found: list[bytes] = []
        while True:
            for message in wire.split(self._socket.recv(_RECEIVE_BYTES)):
                if message.kind == wire.DONE:
                    return found
                if message.kind == wire.ERROR:
                    raise wire.failure(message, "list") or OSError("netlink ended a list early")
                found.append(message.body)


def _wait(holds: Callable[[], bool], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds} s in vain for {what}")
        time.sleep(_POLL_SECONDS)


def _link_info(body: bytes) -> LinkInfo:
    _, _, index, flags, _ = _LINK.unpack_from(body)
    found = wire.attributes(body, _LINK.size)
    name = found[_LINK_NAME].rstrip(b"\0").decode()
    mtu = int.from_bytes(found[_LINK_MTU], "little")
    operational = found[_LINK_OPERATION][0] in (_OPERATION_UNKNOWN, _OPERATION_UP)
    return LinkInfo(index, name, mtu, bool(flags & _UP), found.get(_LINK_ADDRESS, b""), operational)


def _address_info(body: bytes) -> AddressInfo:
    _, bits, _, _, index = _ADDRESS.unpack_from(body)
    found = wire.attributes(body, _ADDRESS.size)
    return AddressInfo(index, ip_address(found.get(_ADDRESS_LOCAL) or found[_ADDRESS_ADDRESS]), bits)


def _family(address: IPAddress) -> int:
    return int(socket.AF_INET if address.version == 4 else socket.AF_INET6)
