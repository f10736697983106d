"""Facts folded: what is known at the end of a batch, however often it changed within it."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from kinety.model.address import Prefix
from kinety.model.endpoint import Endpoint, EndpointId
from kinety.model.label import Labels
from kinety.model.rule import Policy, PolicyKey
from kinety.plan.fact import (
    EndpointRemoved,
    EndpointUpserted,
    Fact,
    HostAddressesChanged,
    PeerRemoved,
    PeerUpserted,
    PolicyRemoved,
    PolicyUpserted,
)

_ADDRESS_BYTES = 16


@dataclass(slots=True)
class News:
    """The last word on each thing; None means it is gone, ``hosts`` None that nothing was said."""

    endpoints: dict[EndpointId, Endpoint | None] = field(default_factory=dict)
    policies: dict[PolicyKey, Policy | None] = field(default_factory=dict)
    peers: dict[Prefix, Labels | None] = field(default_factory=dict)
    hosts: frozenset[bytes] | None = None


def fold(facts: Iterable[Fact]) -> News:
    """The last word of a batch on each thing. Raises ValueError for an address that is not 16 bytes."""
    news = News()
    for fact in facts:
        match fact:
            case EndpointUpserted(endpoint):
                _check(endpoint.ipv4, endpoint.ipv6)
                news.endpoints[endpoint.id] = endpoint
            case EndpointRemoved(endpoint_id):
                news.endpoints[endpoint_id] = None
            case PolicyUpserted(policy):
                news.policies[policy.key] = policy
            case PolicyRemoved(key):
                news.policies[key] = None
            case PeerUpserted(prefix, labels):
                news.peers[prefix] = labels
            case PeerRemoved(prefix):
                news.peers[prefix] = None
            case HostAddressesChanged(addresses):
                _check(*addresses)
                news.hosts = addresses
    return news


def _check(*addresses: bytes | None) -> None:
    for address in addresses:
        if address is not None and len(address) != _ADDRESS_BYTES:
            raise ValueError(f"address {address.hex()!r} has {len(address)} bytes, not {_ADDRESS_BYTES}")
