"""Addresses: what is inside a prefix, and who may be named by one."""

from collections.abc import Iterable
from ipaddress import ip_address, ip_network

from kinety.testing.oracle.party import Party


def is_inside(address: str, prefix: str) -> bool:
    """Whether an address is in a prefix of its family."""
    found, network = ip_address(address), ip_network(prefix, strict=False)
    return found.version == network.version and found in network


def in_cidr(peer: Party, prefix: str, excepted: Iterable[str] = ()) -> bool:
    """Whether a CIDR of a Cilium policy selects a peer: it never does an endpoint or a node."""
    return peer.kind == "outside" and in_block(peer, prefix, excepted)


def in_block(peer: Party, prefix: str, excepted: Iterable[str] = ()) -> bool:
    """Whether a Kubernetes block of addresses selects a peer: endpoints too, by the address they use."""
    if peer.kind not in ("endpoint", "outside") or not is_inside(peer.address, prefix):
        return False
    return not any(is_inside(peer.address, out) for out in excepted)
