"""What is fixed for an endpoint's life, as numbers that a program may be made with."""

import sys
from dataclasses import dataclass
from typing import Self

from kinety import abi
from kinety.model.endpoint import EndpointId

_IPV4_AT = 12
_WIDE = 8


@dataclass(frozen=True, slots=True)
class Values:
    """An endpoint's own facts. Addresses are 16 bytes, all zero for none; MACs 6 bytes.

    ``interface`` is the index of the host side; the row in ``endpoints`` follows from it.
    """

    endpoint: EndpointId
    interface: int
    ipv4: bytes
    ipv6: bytes
    host_mac: bytes
    container_mac: bytes

    @classmethod
    def of(cls, row: abi.Endpoint) -> Self:
        """What a row says."""
        return cls(EndpointId(row.id), row.interface, row.ipv4, row.ipv6, row.host_mac, row.container_mac)

    def constants(self) -> dict[str, int]:
        """The constants of bpf/lib/self.h: their bytes in memory are the value's bytes."""
        return {
            "self_interface": self.interface,
            "self_ipv4": _number(self.ipv4[_IPV4_AT:]),
            "self_ipv6_high": _number(self.ipv6[:_WIDE]),
            "self_ipv6_low": _number(self.ipv6[_WIDE:]),
            "self_container_mac": _number(self.container_mac.ljust(_WIDE, b"\0")),
            "self_host_mac": _number(self.host_mac.ljust(_WIDE, b"\0")),
        }


def _number(memory: bytes) -> int:
    return int.from_bytes(memory, sys.byteorder)
