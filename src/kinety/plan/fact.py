"""Facts: what sources tell the engine about the outside world."""

from dataclasses import dataclass

from kinety.model.address import Prefix
from kinety.model.endpoint import Endpoint, EndpointId
from kinety.model.label import Labels
from kinety.model.rule import Policy, PolicyKey


@dataclass(frozen=True, slots=True)
class EndpointUpserted:
    """An endpoint exists, or its labels or addresses are now these."""

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
    """Addresses outside this node belong to a workload with these labels (not host, not CIDR)."""

    prefix: Prefix
    labels: Labels


@dataclass(frozen=True, slots=True)
class PeerRemoved:
    """Nothing is known of these addresses any more."""

    prefix: Prefix


Fact = (
    EndpointUpserted
    | EndpointRemoved
    | PolicyUpserted
    | PolicyRemoved
    | HostAddressesChanged
    | PeerUpserted
    | PeerRemoved
)
