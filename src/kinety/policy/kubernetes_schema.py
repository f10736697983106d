"""The shape of Kubernetes' own objects: ``NetworkPolicy`` and ``Service``.

As in `kinety.policy.schema`, models say which fields there are; what they mean is settled where they are
translated. A list that is left out, empty or blank is one and the same thing in these kinds, and tools write
all three. ``ELSEWHERE`` knows fields that people put in the wrong place or bring along from other kinds.
"""

from collections.abc import Mapping
from typing import Annotated

from pydantic import BeforeValidator, Field

from kinety.policy.schema import Metadata, Model, Selector, Unjudged, blank_is_absent

_BLANK = BeforeValidator(blank_is_absent)


class Port(Model):
    """One item of ports; without a port it is every port of its protocol."""

    protocol: str | None = None
    port: Unjudged = None
    end: Unjudged = Field(None, alias="endPort")


class IpBlock(Model):
    """A prefix, and the parts of it that are left out."""

    cidr: str
    excepted: Annotated[list[str] | None, _BLANK] = Field(None, alias="except")


class Peer(Model):
    """One item of from or to: pods, or a block of addresses."""

    pods: Selector | None = Field(None, alias="podSelector")
    namespaces: Selector | None = Field(None, alias="namespaceSelector")
    block: IpBlock | None = Field(None, alias="ipBlock")


class Ingress(Model):
    """One item of ingress."""

    peers: Annotated[list[Peer] | None, _BLANK] = Field(None, alias="from")
    ports: Annotated[list[Port] | None, _BLANK] = None


class Egress(Model):
    """One item of egress."""

    peers: Annotated[list[Peer] | None, _BLANK] = Field(None, alias="to")
    ports: Annotated[list[Port] | None, _BLANK] = None


class Spec(Model):
    """Whom a policy is about, which directions it isolates, and what may pass."""

    subject: Selector = Field(alias="podSelector")
    types: Annotated[list[str] | None, _BLANK] = Field(None, alias="policyTypes")
    ingress: Annotated[list[Ingress] | None, _BLANK] = None
    egress: Annotated[list[Egress] | None, _BLANK] = None


class NetworkPolicy(Model):
    """A whole object. ``status`` is what a cluster reports about it; it is ignored."""

    apiVersion: str
    kind: str
    metadata: Metadata
    spec: Spec
    status: Unjudged = None


class ServiceSpec(Model):
    """Which pods a service leads to. Everything else about it is not for policies to know."""

    selector: dict[str, str] | None = None
    allocateLoadBalancerNodePorts: Unjudged = None
    clusterIP: Unjudged = None
    clusterIPs: Unjudged = None
    externalIPs: Unjudged = None
    externalName: Unjudged = None
    externalTrafficPolicy: Unjudged = None
    healthCheckNodePort: Unjudged = None
    internalTrafficPolicy: Unjudged = None
    ipFamilies: Unjudged = None
    ipFamilyPolicy: Unjudged = None
    loadBalancerClass: Unjudged = None
    loadBalancerIP: Unjudged = None
    loadBalancerSourceRanges: Unjudged = None
    ports: Unjudged = None
    publishNotReadyAddresses: Unjudged = None
    sessionAffinity: Unjudged = None
    sessionAffinityConfig: Unjudged = None
    trafficDistribution: Unjudged = None
    type: Unjudged = None


class Service(Model):
    """A whole service."""

    apiVersion: str
    kind: str
    metadata: Metadata
    spec: ServiceSpec
    status: Unjudged = None


def _under_spec(*fields: str) -> dict[str, tuple[str, str]]:
    return {field: (f"{field} belongs under spec", "indent it to stand inside spec") for field in fields}


def _inside(holder: str, *fields: str) -> dict[str, tuple[str, str]]:
    """Fields of an item of the list ``holder`` that stand beside it."""
    return {
        field: (f"{field} belongs inside an item of {holder}", f"write `{holder}: [{{{field}: ...}}]`")
        for field in fields
    }


def _of_cilium(**instead: str) -> dict[str, tuple[str, str]]:
    return {
        field: (f"{field} is a field of CiliumNetworkPolicy", f"write {ours}")
        for field, ours in instead.items()
    }


_PEER_FIELDS = ("podSelector", "namespaceSelector", "ipBlock")
_PORT_FIELDS = ("port", "endPort", "protocol")
ELSEWHERE: Mapping[type[Model], Mapping[str, tuple[str, str]]] = {
    NetworkPolicy: _under_spec("podSelector", "policyTypes", "ingress", "egress"),
    Spec: {
        **_inside("ingress", "from"),
        **_inside("egress", "to"),
        **_inside("ingress", "ports"),
        **_of_cilium(
            endpointSelector="podSelector",
            enableDefaultDeny="policyTypes",
            ingressDeny="a CiliumNetworkPolicy; a NetworkPolicy only allows",
            egressDeny="a CiliumNetworkPolicy; a NetworkPolicy only allows",
        ),
    },
    Ingress: {
        "to": ("to is not a field of ingress", "write from"),
        **_inside("from", *_PEER_FIELDS),
        **_inside("ports", *_PORT_FIELDS),
        **_of_cilium(toPorts="ports", fromEndpoints="from", fromCIDR="from", fromEntities="from"),
    },
    Egress: {
        "from": ("from is not a field of egress", "write to"),
        **_inside("to", *_PEER_FIELDS),
        **_inside("ports", *_PORT_FIELDS),
        **_of_cilium(toPorts="ports", toEndpoints="to", toCIDR="to", toEntities="to", toFQDNs="to"),
    },
    Peer: {
        "ports": ("ports belongs beside from or to", "indent it less"),
        "matchLabels": ("matchLabels belongs inside podSelector or namespaceSelector", "indent it more"),
        "matchExpressions": (
            "matchExpressions belongs inside podSelector or namespaceSelector",
            "indent it more",
        ),
        "cidr": ("cidr belongs inside ipBlock", "write `ipBlock: {cidr: ...}`"),
        "except": ("except belongs inside ipBlock", "write `ipBlock: {cidr: ..., except: [...]}`"),
    },
}
