"""Host ports: ports of the node that lead to an endpoint's."""

import re
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Self

from kinety.model.address import pack_address, unpack_address
from kinety.model.endpoint import PROTOCOL_NAMES, PROTOCOLS

_WRITTEN = re.compile(
    r"(?:(?:\[(?P<ipv6>[^\]]*)\]|(?P<ipv4>[^\[\]:]*)):)?(?P<port>[^:/]*):(?P<own>[^:/]*)(?:/(?P<protocol>.*))?\Z",
    re.S,
)


@dataclass(frozen=True, slots=True)
class HostPort:
    """A port of the node and the port of an endpoint that it leads to.

    ``protocol`` is IANA's number. ``address`` is the node's, 16 bytes: None is any of either family, the
    unspecified one any of its own.
    """

    protocol: int
    port: int
    endpoint_port: int
    address: bytes | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``[ADDRESS:]PORT:ENDPOINT_PORT[/PROTOCOL]``; IPv6 is in brackets. Raises ValueError."""
        found = _WRITTEN.match(text)
        if found is None:
            raise ValueError(
                f"{text!r} is no host port; write [ADDRESS:]PORT:ENDPOINT-PORT[/PROTOCOL], as in 8080:80/tcp"
            )
        protocol = (found["protocol"] or "TCP").upper()
        if protocol not in PROTOCOLS or found["protocol"] == "":
            known = ", ".join(PROTOCOLS)
            raise ValueError(
                f"{text!r}: {found['protocol']!r} is no protocol with ports; write one of {known}"
            )
        port, own = (_port(text, found[key]) for key in ("port", "own"))
        written = found["ipv6"] if found["ipv6"] is not None else found["ipv4"]
        address = None if written is None else _address(text, written, found["ipv6"] is not None)
        return cls(PROTOCOLS[protocol], port, own, address)

    def serves(self, version: int) -> bool:
        """Whether it is a port of the node's addresses of an IP version."""
        return self.address is None or unpack_address(self.address).version == version

    @property
    def anywhere(self) -> bool:
        """Whether it is a port of whatever address of the families that it serves."""
        return self.address is None or unpack_address(self.address).is_unspecified

    def clashes(self, other: Self) -> bool:
        """Whether a packet could be meant for both."""
        if (self.protocol, self.port) != (other.protocol, other.port):
            return False
        if self.address is None or other.address is None or self.address == other.address:
            return True
        same_family = any(self.serves(version) and other.serves(version) for version in (4, 6))
        return same_family and (self.anywhere or other.anywhere)

    def __str__(self) -> str:
        where = ""
        if self.address is not None:
            address = unpack_address(self.address)
            where = f"[{address}]:" if address.version == 6 else f"{address}:"
        return f"{where}{self.port}:{self.endpoint_port}/{PROTOCOL_NAMES[self.protocol]}"


def _port(text: str, written: str) -> int:
    if not (written.isascii() and written.isdecimal() and 0 < int(written) < 65536):
        raise ValueError(f"{text!r}: {written!r} is no port; write 1 to 65535")
    return int(written)


def _address(text: str, written: str, bracketed: bool) -> bytes:
    try:
        address = ip_address(written)
    except ValueError as error:
        raise ValueError(f"{text!r}: {written!r} is no IP address") from error
    if (address.version == 6) != bracketed:
        raise ValueError(f"{text!r}: only an IPv6 address is in brackets, and always")
    if address.is_multicast or getattr(address, "scope_id", None) or getattr(address, "ipv4_mapped", None):
        raise ValueError(f"{text!r}: {address} cannot be an address of the node's")
    if address.version == 6 and address.is_loopback:
        raise ValueError(f"{text!r}: what is sent to ::1 never leaves the node; 127.0.0.1 can be led on")
    return pack_address(address)
