"""Addresses and prefixes as 16 bytes, IPv4 mapped, so both families share one code path."""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Self

IPAddress = IPv4Address | IPv6Address

_MAPPED = b"\0" * 10 + b"\xff\xff"


def pack_address(address: IPAddress | str) -> bytes:
    """The 16 bytes of an address in network order; IPv4 becomes ``::ffff:a.b.c.d`` (RFC 4291, 2.5.5.2)."""
    value = ip_address(address) if isinstance(address, str) else address
    return _MAPPED + value.packed if value.version == 4 else value.packed


def unpack_address(packed: bytes) -> IPAddress:
    """The address in 16 bytes; mapped IPv4 comes back as IPv4."""
    if packed[:12] == _MAPPED:
        return IPv4Address(packed[12:])
    return IPv6Address(packed)


@dataclass(frozen=True, slots=True, order=True)
class Prefix:
    """An IP prefix with its host bits cleared; ``length`` counts bits of the 16 bytes (96-128 for IPv4)."""

    packed: bytes
    length: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``address/bits`` or a bare address; host bits are cleared.

        Raises ValueError for anything else, a non-contiguous mask included.
        """
        if "/" in text and "." in text.rpartition("/")[2]:
            raise ValueError(f"{text!r}: write the prefix length as a number of bits")
        network = ip_network(text, strict=False)
        offset = 96 if network.version == 4 else 0
        return cls(pack_address(network.network_address), network.prefixlen + offset)

    @property
    def is_ipv4(self) -> bool:
        """Whether the prefix is wholly inside the mapped IPv4 range."""
        return self.length >= 96 and self.packed[:12] == _MAPPED

    def contains(self, other: "Prefix") -> bool:
        """Whether every address of ``other`` is in this prefix."""
        if other.length < self.length:
            return False
        shift = 128 - self.length
        return int.from_bytes(self.packed, "big") >> shift == int.from_bytes(other.packed, "big") >> shift

    def covers(self, other: "Prefix") -> bool:
        """Whether it contains the other prefix, families kept apart: ``::/0`` does not cover 10.0.0.1."""
        return self.is_ipv4 == other.is_ipv4 and self.contains(other)

    def __str__(self) -> str:
        address = unpack_address(self.packed)
        if self.is_ipv4:
            return f"{address}/{self.length - 96}"
        return f"{IPv6Address(self.packed)}/{self.length}"
