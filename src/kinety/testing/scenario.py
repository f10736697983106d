"""Scenarios: endpoints, policies and probes with expected outcomes. `parse` reads them from documents."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address

from kinety.model.address import IPAddress
from kinety.model.endpoint import Endpoint
from kinety.model.label import Label, Labels
from kinety.model.rule import Policy
from kinety.policy.document import Document
from kinety.policy.parse import Objects
from kinety.testing.content import REFUSALS, Content

DEFAULT_NAMESPACE = "default"
HOST, WORLD = "host", "world"
#: Where endpoints without addresses of their own are, and where host and world are.
ENDPOINT_NETWORKS = {4: ip_address("10.240.0.0"), 6: ip_address("fd4b:696e:6574:79::")}
HOST_ADDRESSES = {4: ip_address("192.0.2.1"), 6: ip_address("2001:db8:2::1")}
WORLD_ADDRESSES = {4: ip_address("192.0.2.2"), 6: ip_address("2001:db8:2::2")}

#: IP protocol numbers (IANA) of what a probe can send.
PROTOCOLS = {"TCP": 6, "UDP": 17, "SCTP": 132, "ICMP": 1, "ICMPv6": 58}
ECHO_TYPES = {"ICMP": 8, "ICMPv6": 128}
#: ``redirect``: to a proxy, and what a probe says does not settle what that does. The last are its refusals.
OUTCOMES = ("allow", "deny", "redirect", *REFUSALS)


@dataclass(frozen=True, slots=True)
class Host:
    """The node itself."""

    def __str__(self) -> str:
        return HOST


@dataclass(frozen=True, slots=True)
class Outside:
    """An address outside the node; ``name`` is how the scenario called it."""

    name: str
    addresses: Mapping[int, IPAddress]

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class ScenarioEndpoint:
    """An endpoint of a scenario; ``listens`` are (protocol, port)."""

    endpoint: Endpoint
    namespace_labels: Mapping[str, str]
    own_labels: tuple[Label, ...]
    addresses: Mapping[int, IPAddress]
    listens: frozenset[tuple[str, int]]

    def __str__(self) -> str:
        namespace = self.endpoint.namespace
        return self.endpoint.name if namespace == DEFAULT_NAMESPACE else str(self.endpoint)


End = ScenarioEndpoint | Host | Outside


@dataclass(frozen=True, slots=True)
class Probe:
    """One question. ``port`` is the message type for ICMP; ``families`` are those it is asked in.

    ``content`` is what is said to whoever answers there, where it matters.
    """

    source: End
    destination: End
    protocol: str
    port: int
    families: tuple[int, ...]
    expect: str
    file: str
    line: int
    content: Content | None = None


@dataclass(frozen=True, slots=True)
class Scenario:
    """A whole scenario. ``policy_documents`` are what its ``objects`` were read from.

    ``names`` are the DNS names of addresses outside, ``node`` is the labels of the node.
    """

    name: str
    file: str
    endpoints: tuple[ScenarioEndpoint, ...]
    objects: Objects
    policy_documents: tuple[Document, ...]
    probes: tuple[Probe, ...]
    names: Mapping[IPAddress, frozenset[str]] = field(default_factory=dict)
    node: Labels = frozenset()

    @property
    def policies(self) -> tuple[Policy, ...]:
        """The policies among its objects."""
        return self.objects.policies


def addresses_of(end: End) -> Mapping[int, IPAddress]:
    """Addresses of an end by family."""
    return HOST_ADDRESSES if isinstance(end, Host) else end.addresses
