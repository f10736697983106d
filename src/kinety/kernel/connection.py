"""The kernel's own connections (nf_conntrack), which keep a translated address as long as packets come.

Source: linux/netfilter/nfnetlink_conntrack.h; net/netfilter/nf_conntrack_netlink.c.
"""

import socket
import struct
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

from kinety.kernel import netlink_message as wire

IPAddress = IPv4Address | IPv6Address

_NETLINK_NETFILTER, _CONNTRACK = 12, 1 << 8
_GET, _DELETE = _CONNTRACK | 1, _CONNTRACK | 2
_HEADER = struct.Struct("=BBH")
_NESTED, _TUPLE_ORIGINAL, _TUPLE_REPLY, _ID, _FILTER = 0x8000, 1, 2, 12, 25
_TUPLE_IP, _TUPLE_PROTOCOL = 1, 2
_IPV4_SOURCE, _IPV4_DESTINATION, _IPV6_SOURCE, _IPV6_DESTINATION = 1, 2, 3, 4
_NUMBER, _DESTINATION_PORT = 1, 3
_FILTER_ORIGINAL, _FILTER_REPLY = 1, 2
#: CTA_FILTER_F_CTA_PROTO_NUM, CTA_FILTER_F_CTA_PROTO_DST_PORT.
_BY_NUMBER, _BY_PORT = 1 << 3, 1 << 5
_RECEIVE_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Connection:
    """Where a connection's first packet went to, and who answers it; they differ where it was translated.

    ``key`` is what the kernel knows it by: attributes, encoded.
    """

    destination: IPAddress
    port: int
    answerer: IPAddress
    key: bytes

    @property
    def family(self) -> int:
        """The address family."""
        return socket.AF_INET if self.destination.version == 4 else socket.AF_INET6


def connections_to(family: int, protocol: int, ports: frozenset[int]) -> list[Connection]:
    """Connections whose first packet was to one of these ports, of whatever address. Raises OSError.

    Of the calling thread's network namespace, as they all are. The kernel chooses them, of several ports only
    by protocol: since Linux commit cb8aa9a3affb ("netfilter: ctnetlink: add kernel side filtering for dump")
    (in v5.8). By addresses it could, too, but of IPv6 it chooses those that differ.
    """
    number = wire.attribute(_NUMBER, bytes((protocol,)))
    if len(ports) == 1:
        chosen = _BY_NUMBER | _BY_PORT
        number += wire.attribute(_DESTINATION_PORT, min(ports).to_bytes(2, "big"))
    else:
        chosen = _BY_NUMBER
    wanted = wire.attribute(_TUPLE_ORIGINAL | _NESTED, wire.attribute(_TUPLE_PROTOCOL | _NESTED, number))
    by = wire.number(_FILTER_ORIGINAL, chosen), wire.number(_FILTER_REPLY, 0)
    found = _list(_header(family) + wanted + wire.attribute(_FILTER | _NESTED, *by))
    return [each for each in found if each.port in ports]


def forget(connections: Iterable[Connection]) -> int:
    """End connections; their next packet begins a new one. Returns how many were there. Raises OSError."""
    ended = 0
    with _open() as kernel:
        for each in connections:
            kernel.send(wire.encode(_DELETE, 0, 1, _header(each.family), each.key))
            for message in wire.split(kernel.recv(_RECEIVE_BYTES)):
                failure = wire.failure(message, "end a connection")
                if isinstance(failure, FileNotFoundError):
                    continue
                if failure:
                    raise failure
                ended += 1
    return ended


def _open() -> closing[socket.socket]:
    made = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER)
    made.bind((0, 0))
    return closing(made)


def _header(family: int) -> bytes:
    return _HEADER.pack(family, 0, 0)


def _list(request: bytes) -> list[Connection]:
    found: list[Connection] = []
    with _open() as kernel:
        kernel.send(wire.encode_dump(_GET, request))
        while True:
            for message in wire.split(kernel.recv(_RECEIVE_BYTES)):
                if message.kind == wire.DONE:
                    return found
                if message.kind == wire.ERROR:
                    raise wire.failure(message, "list connections") or OSError("netlink ended a list early")
                found.append(_connection(message.body))


def _connection(body: bytes) -> Connection:
    found = wire.attributes(body, _HEADER.size)
    original = found[_TUPLE_ORIGINAL]
    _, destination = _addresses(original)
    answerer, _ = _addresses(found[_TUPLE_REPLY])
    ports = wire.attributes(wire.attributes(original, 0)[_TUPLE_PROTOCOL], 0)
    key = wire.attribute(_TUPLE_ORIGINAL | _NESTED, original) + wire.attribute(_ID, found[_ID])
    return Connection(destination, int.from_bytes(ports[_DESTINATION_PORT], "big"), answerer, key)


def _addresses(tuple_: bytes) -> tuple[IPAddress, IPAddress]:
    """Source and destination."""
    found = wire.attributes(wire.attributes(tuple_, 0)[_TUPLE_IP], 0)
    pair = (_IPV4_SOURCE, _IPV4_DESTINATION) if _IPV4_SOURCE in found else (_IPV6_SOURCE, _IPV6_DESTINATION)
    source, destination = (ip_address(found[kind]) for kind in pair)
    return source, destination
