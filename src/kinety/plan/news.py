"""Facts folded: what is known at the end of a batch, however often it changed within it."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from kinety.model.address import Prefix
from kinety.model.endpoint import Endpoint, EndpointId
from kinety.model.label import NODE, Labels
from kinety.model.reference import CidrGroup, Service
from kinety.model.rule import Policy, PolicyKey
from kinety.plan.directory import ServiceName
from kinety.plan.fact import (
    CidrGroupRemoved,
    CidrGroupUpserted,
    EndpointRemoved,
    EndpointUpserted,
    Fact,
    HostAddressesChanged,
    NamesLearnt,
    NodeAudited,
    NodeLabelsChanged,
    PeerRemoved,
    PeerUpserted,
    PolicyRemoved,
    PolicyUpserted,
    ServiceRemoved,
    ServiceUpserted,
)

_ADDRESS_BYTES = 16


@dataclass(slots=True)
class News:
    """The last word on each thing; None means it is gone, of the last three that nothing was said."""

    endpoints: dict[EndpointId, Endpoint | None] = field(default_factory=dict)
    policies: dict[PolicyKey, Policy | None] = field(default_factory=dict)
    peers: dict[Prefix, Labels | None] = field(default_factory=dict)
    groups: dict[str, CidrGroup | None] = field(default_factory=dict)
    services: dict[ServiceName, Service | None] = field(default_factory=dict)
    names: dict[Prefix, frozenset[str]] = field(default_factory=dict)
    hosts: frozenset[bytes] | None = None
    node: Labels | None = None
    node_audit: bool | None = None


def fold(facts: Iterable[Fact]) -> News:
    """The last word of a batch on each thing. Raises ValueError for what cannot be."""
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
            case NodeLabelsChanged(labels):
                _check_node(labels)
                news.node = labels
            case NodeAudited(audit):
                news.node_audit = audit
            case NamesLearnt(prefix, names):
                news.names[prefix] = names
            case _:
                _fold_reference(news, fact)
    return news


def _fold_reference(
    news: News, fact: CidrGroupUpserted | CidrGroupRemoved | ServiceUpserted | ServiceRemoved
) -> None:
    match fact:
        case CidrGroupUpserted(group):
            news.groups[group.name] = group
        case CidrGroupRemoved(name):
            news.groups[name] = None
        case ServiceUpserted(service):
            news.services[service.namespace, service.name] = service
        case ServiceRemoved(namespace, name):
            news.services[namespace, name] = None


def _check_node(labels: Labels) -> None:
    for label in labels:
        if label.source != NODE:
            raise ValueError(f"label {label} is no label of a node; write {NODE}:key=value")


def _check(*addresses: bytes | None) -> None:
    for address in addresses:
        if address is not None and len(address) != _ADDRESS_BYTES:
            raise ValueError(f"address {address.hex()!r} has {len(address)} bytes, not {_ADDRESS_BYTES}")
