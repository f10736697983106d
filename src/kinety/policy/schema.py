"""The shape of ``cilium.io/v2`` policies, as far as it is supported, for pydantic to hold documents to.

Models say which fields exist and what kind of value each has; what values mean together is settled
in `kinety.policy.cilium`. Validation is strict and nothing is coerced. A field is absent (None) or
it has a value: a blank one is an error, because ``fromEndpoints:`` with nothing after it would
otherwise read as "any peer". Fields of the public schema that do not work yet are listed in
``LATER``, so that they can be told from fields that do not exist.
"""

from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from kinety.policy.document import NULL

#: For fields whose value is judged where it is used: numbers that may be quoted, or ignored metadata.
Unjudged = Any


class Model(BaseModel):
    """A mapping of a policy document.

    ``LATER`` maps unsupported fields to what to do meanwhile; ``ALLOW_ONLY`` are fields that a deny
    rule never has.
    """

    model_config = ConfigDict(extra="forbid", strict=True)
    LATER: ClassVar[dict[str, str]] = {}
    ALLOW_ONLY: ClassVar[frozenset[str]] = frozenset()


def _blank_is_absent(value: Any) -> Any:
    return None if value is NULL else value


_Annotations = Annotated[dict[str, str] | None, BeforeValidator(_blank_is_absent)]


class Metadata(Model):
    """Name and namespace; what only an API server writes is accepted and ignored."""

    name: str
    namespace: str | None = None
    labels: _Annotations = None
    annotations: _Annotations = None
    uid: Unjudged = None
    resourceVersion: Unjudged = None
    generation: Unjudged = None
    creationTimestamp: Unjudged = None
    deletionTimestamp: Unjudged = None
    deletionGracePeriodSeconds: Unjudged = None
    generateName: Unjudged = None
    selfLink: Unjudged = None
    finalizers: Unjudged = None
    ownerReferences: Unjudged = None
    managedFields: Unjudged = None


class Expression(Model):
    """One item of matchExpressions."""

    key: str
    operator: str
    values: list[str] | None = None


class Selector(Model):
    """A label selector; ``{}`` selects everything in scope."""

    labels: dict[str, str] | None = Field(None, alias="matchLabels")
    expressions: list[Expression] | None = Field(None, alias="matchExpressions")


class CidrSetItem(Model):
    """A prefix and the parts of it that are left out."""

    LATER = {
        "cidrGroupRef": "write the prefixes with cidr",
        "cidrGroupSelector": "write the prefixes with cidr",
    }
    cidr: str
    excepted: list[str] | None = Field(None, alias="except")


class Port(Model):
    """One item of ports."""

    port: Unjudged
    end: Unjudged = Field(None, alias="endPort")
    protocol: str | None = None


class DenyPorts(Model):
    """One item of toPorts in a deny rule."""

    ALLOW_ONLY = frozenset({"rules", "listener", "originatingTLS", "serverNames", "terminatingTLS"})
    ports: list[Port] | None = None


class Ports(DenyPorts):
    """One item of toPorts in an allow rule."""

    LATER = {
        "rules": "leave it out to allow everything on the port",
        "listener": "",
        "originatingTLS": "",
        "serverNames": "",
        "terminatingTLS": "",
    }


class IcmpField(Model):
    """One ICMP type."""

    family: str | None = None
    type: Unjudged


class Icmp(Model):
    """One item of icmps."""

    fields_: list[IcmpField] | None = Field(None, alias="fields")


_AUTHENTICATION = "leave it out; no mutual authentication is done"


class IngressDeny(Model):
    """One item of ingressDeny."""

    ALLOW_ONLY = frozenset({"authentication"})
    LATER = {
        "fromGroups": "write the addresses with fromCIDR",
        "fromNodes": "write the entities host and remote-node",
        "fromRequires": "put its requirements into every item of fromEndpoints",
    }
    endpoints: list[Selector] | None = Field(None, alias="fromEndpoints")
    cidrs: list[str] | None = Field(None, alias="fromCIDR")
    cidr_sets: list[CidrSetItem] | None = Field(None, alias="fromCIDRSet")
    entities: list[str] | None = Field(None, alias="fromEntities")
    ports: list[DenyPorts] | None = Field(None, alias="toPorts")
    icmps: list[Icmp] | None = None


class Ingress(IngressDeny):
    """One item of ingress."""

    LATER = IngressDeny.LATER | {"authentication": _AUTHENTICATION}
    ports: list[Ports] | None = Field(None, alias="toPorts")  # type: ignore[assignment]


class EgressDeny(Model):
    """One item of egressDeny."""

    ALLOW_ONLY = frozenset({"authentication", "toFQDNs"})
    LATER = {
        "toGroups": "write the addresses with toCIDR",
        "toNodes": "write the entities host and remote-node",
        "toRequires": "put its requirements into every item of toEndpoints",
        "toServices": "select the service's pods with toEndpoints",
    }
    endpoints: list[Selector] | None = Field(None, alias="toEndpoints")
    cidrs: list[str] | None = Field(None, alias="toCIDR")
    cidr_sets: list[CidrSetItem] | None = Field(None, alias="toCIDRSet")
    entities: list[str] | None = Field(None, alias="toEntities")
    ports: list[DenyPorts] | None = Field(None, alias="toPorts")
    icmps: list[Icmp] | None = None


class Egress(EgressDeny):
    """One item of egress."""

    LATER = EgressDeny.LATER | {
        "authentication": _AUTHENTICATION,
        "toFQDNs": "write the addresses with toCIDR",
    }
    ports: list[Ports] | None = Field(None, alias="toPorts")  # type: ignore[assignment]


Item = IngressDeny | EgressDeny


class DefaultDeny(Model):
    """Whether the rule isolates, per direction; absent means it does where it has rules."""

    ingress: bool | None = None
    egress: bool | None = None


class PolicyLabel(Model):
    """A label of the policy itself, for people; it decides nothing."""

    key: str
    source: str | None = None
    value: str | None = None


class Spec(Model):
    """One rule of a policy object: a subject and what it may do."""

    LATER = {"log": "leave it out", "nodeSelector": "host policies do not work yet"}
    subject: Selector = Field(alias="endpointSelector")
    ingress: list[Ingress] | None = None
    ingressDeny: list[IngressDeny] | None = None
    egress: list[Egress] | None = None
    egressDeny: list[EgressDeny] | None = None
    default_deny: DefaultDeny | None = Field(None, alias="enableDefaultDeny")
    description: str | None = None
    labels: list[PolicyLabel] | None = None


class CiliumPolicy(Model):
    """A whole object. ``status`` is what a cluster reports about it; it is ignored."""

    apiVersion: str
    kind: str
    metadata: Metadata
    spec: Spec | None = None
    specs: list[Spec] | None = None
    status: Unjudged = None
