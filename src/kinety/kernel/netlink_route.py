"""Routes as messages of rtnetlink: one to add or remove, and a question for the way to an address.

Source: rtnetlink(7), linux/rtnetlink.h.
"""

import errno
import socket
import struct
import sys
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Self

from kinety.kernel import netlink_message as wire

_ROUTE = struct.Struct("=BBBBBBBBI")
_DESTINATION, _INTERFACE, _GATEWAY = 1, 4, 5
_TYPE, _LOCAL = 7, 2
_MAIN_TABLE, _STATIC, _UNICAST, _SCOPE_UNIVERSE, _SCOPE_LINK, _ON_LINK = 254, 4, 1, 0, 253, 4
#: How the kernel says that no route leads there, or one that forbids.
NO_WAY = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EACCES, errno.EINVAL)


@dataclass(frozen=True, slots=True)
class Way:
    """How packets to an address go: by which interface (0: by none), and whether to this host itself."""

    index: int
    local: bool

    @classmethod
    def read(cls, body: bytes) -> Self:
        """From the answer to `question`."""
        interface = wire.attributes(body, _ROUTE.size).get(_INTERFACE, b"")
        kind: int = _ROUTE.unpack_from(body)[_TYPE]
        return cls(int.from_bytes(interface, sys.byteorder), kind == _LOCAL)


def question(address: IPv4Address | IPv6Address) -> tuple[bytes, bytes]:
    """The body of a question for the way to an address; the kernel answers it, or with one of ``NO_WAY``."""
    fixed = _ROUTE.pack(_family(address), address.max_prefixlen, 0, 0, 0, 0, 0, 0, 0)
    return fixed, wire.attribute(_DESTINATION, address.packed)


def message(
    destination: IPv4Network | IPv6Network, index: int, via: IPv4Address | IPv6Address | None = None
) -> tuple[bytes, ...]:
    """The body of a route through an interface: to a gateway, taken to be on the link, or directly."""
    scope = _SCOPE_UNIVERSE if via or destination.version == 6 else _SCOPE_LINK
    fixed = _ROUTE.pack(
        _family(destination.network_address),
        destination.prefixlen,
        0,
        0,
        _MAIN_TABLE,
        _STATIC,
        scope,
        _UNICAST,
        _ON_LINK if via else 0,
    )
    parts = [fixed, wire.number(_INTERFACE, index)]
    if destination.prefixlen:
        parts.append(wire.attribute(_DESTINATION, destination.network_address.packed))
    if via:
        parts.append(wire.attribute(_GATEWAY, via.packed))
    return tuple(parts)


def _family(address: IPv4Address | IPv6Address) -> int:
    return int(socket.AF_INET if address.version == 4 else socket.AF_INET6)
