"""Answers that lead a client to where it should not get by a stranger's name.

A page of a stranger's, whose name suddenly has an address of the client's own surroundings, may speak to what
is there ("DNS rebinding"). Addresses within others (mapped, NAT64, 6to4) are looked at, too.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_network
from typing import Self

from kinety.model.address import IPAddress
from kinety.model.layer7 import NamePattern

Network = IPv4Network | IPv6Network

_ALWAYS = ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "::/128", "::1/128", "fe80::/10")
_PRIVATE = ("10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")
#: RFC 6052, 2.1.
_NAT64 = IPv6Network("64:ff9b::/96")


@dataclass(frozen=True, slots=True)
class Protection:
    """Networks whose addresses no answer may name, but for names of the exempt patterns. Without any: off."""

    networks: tuple[Network, ...] = ()
    exempt: tuple[NamePattern, ...] = ()

    @classmethod
    def of(cls, own: Iterable[IPAddress], private: bool = True, exempt: Iterable[NamePattern] = ()) -> Self:
        """Protect loopback, link-local and the node's own addresses, and private ones unless told not to."""
        texts = (*_ALWAYS, *(_PRIVATE if private else ()))
        return cls((*map(ip_network, texts), *(ip_network(str(each)) for each in own)), tuple(exempt))

    def to_json(self) -> list[list[str]]:
        """A value for JSON."""
        return [[str(each) for each in self.networks], [each.pattern for each in self.exempt]]

    @classmethod
    def from_json(cls, value: list[list[str]]) -> Self:
        """What `to_json` made. Raises ValueError or TypeError for anything else."""
        networks, exempt = value
        return cls(tuple(ip_network(each) for each in networks), tuple(NamePattern(each) for each in exempt))

    def refuses(self, name: str, addresses: Iterable[IPAddress]) -> bool:
        """Whether an answer for a name, with these addresses in it, must not reach a client."""
        if not self.networks or any(each.matches(name) for each in self.exempt):
            return False
        return any(self._covers(each) for each in addresses)

    def _covers(self, address: IPAddress) -> bool:
        forms = (address, *_within(address))
        return any(form in network for form in forms for network in self.networks)


def _within(address: IPAddress) -> Iterable[IPv4Address]:
    if isinstance(address, IPv4Address):
        return ()
    translated = IPv4Address(address.packed[12:]) if address in _NAT64 else None
    forms = (address.ipv4_mapped, address.sixtofour, translated)
    return tuple(each for each in forms if each is not None)
