"""The shape of ``policy.networking.k8s.io`` objects: policies of a whole cluster, by tier and priority.

``v1alpha2`` has one kind, whose rules name traffic by ``protocols``, or as its first release did by
``ports``. ``v1alpha1`` has two, one for each tier, that know ``ports`` alone.
"""

from collections.abc import Mapping

from pydantic import Field

from kinety.policy.schema import Metadata, Model, Selector, Unjudged


class NamespacedPods(Model):
    """Pods by their labels and by their namespaces'."""

    namespaces: Selector = Field(alias="namespaceSelector")
    pods: Selector = Field(alias="podSelector")


class Pods(Model):
    """Whom a policy is about, or a peer of a pod on ingress; one of the two."""

    namespaces: Selector | None = None
    pods: NamespacedPods | None = None


class BaselinePeer(Pods):
    """A peer on egress; one of its fields."""

    nodes: Selector | None = None
    networks: list[str] | None = None


class EgressPeer(BaselinePeer):
    """A peer on egress that may be a name."""

    domains: list[str] | None = Field(None, alias="domainNames")


class PortNumber(Model):
    """One port."""

    protocol: str | None = None
    port: Unjudged


class PortRange(Model):
    """Ports from start to end."""

    protocol: str | None = None
    start: Unjudged
    end: Unjudged


class Port(Model):
    """One item of ports; one of its fields."""

    number: PortNumber | None = Field(None, alias="portNumber")
    range: PortRange | None = Field(None, alias="portRange")
    named: str | None = Field(None, alias="namedPort")


class DestinationRange(Model):
    """Ports from start to end."""

    start: Unjudged
    end: Unjudged


class Destination(Model):
    """A port, or a range of them; one of the two."""

    number: Unjudged = None
    range: DestinationRange | None = None


class Transport(Model):
    """What is asked of packets of one protocol."""

    port: Destination = Field(alias="destinationPort")


class Protocol(Model):
    """One item of protocols; one of its fields."""

    tcp: Transport | None = None
    udp: Transport | None = None
    sctp: Transport | None = None
    named: str | None = Field(None, alias="destinationNamedPort")


class Traffic(Model):
    """What every rule has beside peers. ``name`` is for people."""

    name: str | None = None
    action: str
    ports: list[Port] | None = None


class Ingress(Traffic):
    """One item of ingress."""

    peers: list[Pods] = Field(alias="from")


class BaselineEgress(Traffic):
    """One item of egress in a baseline policy of v1alpha1."""

    peers: list[BaselinePeer] = Field(alias="to")


class Egress(Traffic):
    """One item of egress."""

    peers: list[EgressPeer] = Field(alias="to")


class ClusterIngress(Ingress):
    """One item of ingress that may name protocols."""

    protocols: list[Protocol] | None = None


class ClusterEgress(Egress):
    """One item of egress that may name protocols."""

    protocols: list[Protocol] | None = None


Rule = Ingress | BaselineEgress | Egress


class BaselineSpec(Model):
    """Whom a policy is about, and what becomes of their traffic."""

    subject: Pods
    ingress: list[Ingress] | None = None
    egress: list[BaselineEgress] | None = None


class AdminSpec(Model):
    """Likewise, with a place in the order."""

    priority: int
    subject: Pods
    ingress: list[Ingress] | None = None
    egress: list[Egress] | None = None


class ClusterSpec(Model):
    """Likewise, with a tier."""

    tier: str
    priority: int
    subject: Pods
    ingress: list[ClusterIngress] | None = None
    egress: list[ClusterEgress] | None = None


class BaselineAdminNetworkPolicy(Model):
    """A whole object. ``status`` is what a cluster reports about it; it is ignored."""

    apiVersion: str
    kind: str
    metadata: Metadata
    spec: BaselineSpec
    status: Unjudged = None


class AdminNetworkPolicy(Model):
    """Likewise."""

    apiVersion: str
    kind: str
    metadata: Metadata
    spec: AdminSpec
    status: Unjudged = None


class ClusterNetworkPolicy(Model):
    """Likewise."""

    apiVersion: str
    kind: str
    metadata: Metadata
    spec: ClusterSpec
    status: Unjudged = None


_UNDER_SPEC = {
    field: (f"{field} belongs under spec", "indent it to stand inside spec")
    for field in ("tier", "priority", "subject", "ingress", "egress")
}
_OF_SPEC = {
    "podSelector": ("podSelector is a field of NetworkPolicy", "write subject"),
    "endpointSelector": ("endpointSelector is a field of CiliumNetworkPolicy", "write subject"),
    "policyTypes": ("policyTypes is a field of NetworkPolicy", "remove it; rules alone say what is denied"),
    "tier": ("only a ClusterNetworkPolicy names its tier", "remove it"),
    "priority": ("a BaselineAdminNetworkPolicy has no priority", "remove it"),
    **{
        field: (f"{field} belongs inside an item of ingress or egress", "begin the item with `- `")
        for field in ("name", "action", "from", "to", "ports", "protocols")
    },
}
_OF_RULE = {
    "protocols": ("protocols is a field of ClusterNetworkPolicy", "write ports"),
    "toPorts": ("toPorts is a field of CiliumNetworkPolicy", "write ports"),
    **{
        field: (f"{field} belongs inside an item of from or to", "begin the item with `- `")
        for field in ("namespaces", "pods", "nodes", "networks", "domainNames")
    },
    **{
        field: (f"{field} belongs inside an item of ports", "begin the item with `- `")
        for field in ("portNumber", "portRange", "namedPort", "port", "protocol")
    },
}
_OF_INGRESS = {**_OF_RULE, "to": ("to is not a field of ingress", "write from")}
_OF_EGRESS = {**_OF_RULE, "from": ("from is not a field of egress", "write to")}
_OF_PODS = {
    **{
        field: (f"only a peer of egress has {field}", "write namespaces or pods")
        for field in ("nodes", "networks", "domainNames")
    },
    "podSelector": ("podSelector belongs inside pods", "write it there, beside namespaceSelector"),
    "namespaceSelector": ("namespaceSelector belongs inside pods", "write `namespaces: ...` without pods"),
    "matchLabels": ("matchLabels belongs inside namespaces", "indent it more"),
    "matchExpressions": ("matchExpressions belongs inside namespaces", "indent it more"),
    "ipBlock": ("ipBlock is a field of NetworkPolicy", "write networks in a rule of egress"),
}
_OF_BASELINE_PEER = {
    **_OF_PODS,
    "domainNames": (
        "a BaselineAdminNetworkPolicy knows no domainNames",
        "write networks, or a ClusterNetworkPolicy with `tier: Baseline`",
    ),
}
_OF_TRANSPORT = {
    "port": ("port is not a field of protocols", "write `destinationPort: {number: ...}`"),
    "number": ("number belongs inside destinationPort", "write `destinationPort: {number: ...}`"),
    "range": ("range belongs inside destinationPort", "write `destinationPort: {range: ...}`"),
}
#: Fields that do not belong into a mapping though they exist: message, and what to write.
ELSEWHERE: Mapping[type[Model], Mapping[str, tuple[str, str]]] = {
    **dict.fromkeys((BaselineAdminNetworkPolicy, AdminNetworkPolicy, ClusterNetworkPolicy), _UNDER_SPEC),
    **dict.fromkeys((BaselineSpec, AdminSpec, ClusterSpec), _OF_SPEC),
    **dict.fromkeys((Ingress, ClusterIngress), _OF_INGRESS),
    **dict.fromkeys((BaselineEgress, Egress, ClusterEgress), _OF_EGRESS),
    **dict.fromkeys((Pods, EgressPeer), _OF_PODS),
    BaselinePeer: _OF_BASELINE_PEER,
    Transport: _OF_TRANSPORT,
}
