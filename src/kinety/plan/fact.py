"""Facts: what sources tell the engine about the outside world."""

from dataclasses import dataclass

from kinety.model.address import Prefix
from kinety.model.endpoint import Endpoint, EndpointId
from kinety.model.label import Labels
from kinety.model.reference import CidrGroup, Service
from kinety.model.rule import Policy, PolicyKey


@dataclass(frozen=True, slots=True)
class EndpointUpserted:
    """An endpoint exists, or its labels, addresses or named ports are now these."""

    endpoint: Endpoint


@dataclass(frozen=True, slots=True)
class EndpointRemoved:
    """An endpoint is gone."""

    id: EndpointId


@dataclass(frozen=True, slots=True)
class PolicyUpserted:
    """A policy exists, or its rules are now these."""

    policy: Policy


@dataclass(frozen=True, slots=True)
class PolicyRemoved:
    """A policy is gone."""

    key: PolicyKey


@dataclass(frozen=True, slots=True)
class HostAddressesChanged:
    """The node's own addresses, 16 bytes each; they are the identity ``host``."""

    addresses: frozenset[bytes]


@dataclass(frozen=True, slots=True)
class PeerUpserted:
    """Addresses outside this node belong to a workload with these labels (not host, not CIDR).

    Labels of the source ``port`` tell of the workload's named ports.
    """

    prefix: Prefix
    labels: Labels


@dataclass(frozen=True, slots=True)
class PeerRemoved:
    """Nothing is known of these addresses any more."""

    prefix: Prefix


@dataclass(frozen=True, slots=True)
class CidrGroupUpserted:
    """A group of prefixes exists, or its labels or prefixes are now these."""

    group: CidrGroup


@dataclass(frozen=True, slots=True)
class CidrGroupRemoved:
    """A group of prefixes is gone."""

    name: str


@dataclass(frozen=True, slots=True)
class ServiceUpserted:
    """A service exists, or is now this."""

    service: Service


@dataclass(frozen=True, slots=True)
class ServiceRemoved:
    """A service is gone."""

    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class NamesLearnt:
    """A DNS answer gave an address outside (a prefix of one address) for these names and no others."""

    prefix: Prefix
    names: frozenset[str]


@dataclass(frozen=True, slots=True)
class NodeLabelsChanged:
    """The node's own labels, of the source ``node``; policies about nodes select it by them."""

    labels: Labels


@dataclass(frozen=True, slots=True)
class NodeAudited:
    """Policies about the node are only told of, or in force again."""

    audit: bool


Fact = (
    EndpointUpserted
    | EndpointRemoved
    | PolicyUpserted
    | PolicyRemoved
    | HostAddressesChanged
    | PeerUpserted
    | PeerRemoved
    | CidrGroupUpserted
    | CidrGroupRemoved
    | ServiceUpserted
    | ServiceRemoved
    | NamesLearnt
    | NodeLabelsChanged
    | NodeAudited
)
