"""The shape of ``cilium.io/v2`` objects, as far as it is supported, for pydantic to hold documents to.

Models say which fields exist and what kind of value each has; what values mean together is settled
in `kinety.policy.cilium`. Validation is strict and nothing is coerced. A field is absent (None) or
it has a value: a blank one is an error, because ``fromEndpoints:`` with nothing after it would
otherwise read as "any peer". Fields of the public schema that do not work yet are listed in
``LATER``, and those that never will in ``REFUSED``, so that they can be told from fields that do not
exist.
"""

from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from kinety.policy.document import NULL

#: For fields whose value is judged where it is used: numbers that may be quoted, or ignored metadata.
Unjudged = Any


class Model(BaseModel):
    """A mapping of a policy document.

    ``LATER`` maps unsupported fields to what to do meanwhile, ``REFUSED`` fields that nobody should wait
    for to the reason and what to write instead; ``ALLOW_ONLY`` are fields that a deny rule never has.
    """

    model_config = ConfigDict(extra="forbid", strict=True)
    LATER: ClassVar[dict[str, str]] = {}
    REFUSED: ClassVar[dict[str, tuple[str, str]]] = {}
    ALLOW_ONLY: ClassVar[frozenset[str]] = frozenset()


def blank_is_absent(value: Any) -> Any:
    """For fields where nothing, an empty value and no field at all mean the same."""
    return None if value is NULL else value


_Annotations = Annotated[dict[str, str] | None, BeforeValidator(blank_is_absent)]


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
    """A prefix, or the prefixes of groups, and the parts of it that are left out."""

    cidr: str | None = None
    group: str | None = Field(None, alias="cidrGroupRef")
    groups: Selector | None = Field(None, alias="cidrGroupSelector")
    excepted: list[str] | None = Field(None, alias="except")


class ServiceName(Model):
    """One service."""

    name: str = Field(alias="serviceName")
    namespace: str | None = None


class ServiceSelector(Model):
    """Services by their labels."""

    selector: Selector
    namespace: str | None = None


class ServiceItem(Model):
    """One item of toServices."""

    named: ServiceName | None = Field(None, alias="k8sService")
    selected: ServiceSelector | None = Field(None, alias="k8sServiceSelector")


class DomainName(Model):
    """A DNS name, or a pattern of DNS names; an item of toFQDNs or of rules.dns."""

    name: str | None = Field(None, alias="matchName")
    pattern: str | None = Field(None, alias="matchPattern")


class Secret(Model):
    """Where a value is kept."""

    name: str
    namespace: str | None = None


class HeaderMatch(Model):
    """A header, its value, and what happens when it has another."""

    name: str
    value: str | None = None
    secret: Secret | None = None
    mismatch: str | None = None


class Http(Model):
    """One kind of request; ``{}`` is any."""

    method: str | None = None
    path: str | None = None
    host: str | None = None
    headers: list[str] | None = None
    header_matches: list[HeaderMatch] | None = Field(None, alias="headerMatches")


_OWN_PROTOCOL = ("parsers for protocols of one's own do not exist", "leave it out to allow the whole port")


class Rules(Model):
    """Content that may pass, of one kind."""

    REFUSED = {
        "kafka": ("requests to Kafka are not told apart", "leave it out to allow the whole port"),
        "l7": _OWN_PROTOCOL,
        "l7proto": _OWN_PROTOCOL,
    }
    http: list[Http] | None = None
    dns: list[DomainName] | None = None


class Port(Model):
    """One item of ports; protocols without ports have none, or 0."""

    port: Unjudged = None
    end: Unjudged = Field(None, alias="endPort")
    protocol: str | None = None


class DenyPorts(Model):
    """One item of toPorts in a deny rule."""

    ALLOW_ONLY = frozenset({"rules", "listener", "originatingTLS", "serverNames", "terminatingTLS"})
    ports: list[Port] | None = None


class Ports(DenyPorts):
    """One item of toPorts in an allow rule."""

    LATER = {
        "listener": "only Kinety's own listeners exist; leave it out",
        "originatingTLS": "TLS is passed on as it is, and not begun; leave it out",
        "terminatingTLS": "TLS is passed on as it is, and not ended; match serverNames instead of requests",
    }
    rules: Rules | None = None
    server_names: list[str] | None = Field(None, alias="serverNames")


class IcmpField(Model):
    """One ICMP type."""

    family: str | None = None
    type: Unjudged


class Icmp(Model):
    """One item of icmps."""

    fields_: list[IcmpField] | None = Field(None, alias="fields")


class Authentication(Model):
    """How peers prove who they are."""

    mode: str


_GROUPS = "its addresses are known to a cloud only, which Kinety does not ask"


class IngressDeny(Model):
    """One item of ingressDeny."""

    ALLOW_ONLY = frozenset({"authentication"})
    REFUSED = {"fromGroups": (_GROUPS, "write the addresses with fromCIDR, or a CiliumCIDRGroup")}
    endpoints: list[Selector] | None = Field(None, alias="fromEndpoints")
    requires: list[Selector] | None = Field(None, alias="fromRequires")
    cidrs: list[str] | None = Field(None, alias="fromCIDR")
    cidr_sets: list[CidrSetItem] | None = Field(None, alias="fromCIDRSet")
    entities: list[str] | None = Field(None, alias="fromEntities")
    nodes: list[Selector] | None = Field(None, alias="fromNodes")
    ports: list[DenyPorts] | None = Field(None, alias="toPorts")
    icmps: list[Icmp] | None = None


class Ingress(IngressDeny):
    """One item of ingress."""

    ports: list[Ports] | None = Field(None, alias="toPorts")  # type: ignore[assignment]
    authentication: Authentication | None = None


class EgressDeny(Model):
    """One item of egressDeny."""

    ALLOW_ONLY = frozenset({"authentication", "toFQDNs"})
    REFUSED = {"toGroups": (_GROUPS, "write the addresses with toCIDR, or a CiliumCIDRGroup")}
    endpoints: list[Selector] | None = Field(None, alias="toEndpoints")
    requires: list[Selector] | None = Field(None, alias="toRequires")
    cidrs: list[str] | None = Field(None, alias="toCIDR")
    cidr_sets: list[CidrSetItem] | None = Field(None, alias="toCIDRSet")
    entities: list[str] | None = Field(None, alias="toEntities")
    nodes: list[Selector] | None = Field(None, alias="toNodes")
    services: list[ServiceItem] | None = Field(None, alias="toServices")
    ports: list[DenyPorts] | None = Field(None, alias="toPorts")
    icmps: list[Icmp] | None = None


class Egress(EgressDeny):
    """One item of egress."""

    domains: list[DomainName] | None = Field(None, alias="toFQDNs")
    ports: list[Ports] | None = Field(None, alias="toPorts")  # type: ignore[assignment]
    authentication: Authentication | None = None


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


class Log(Model):
    """What events about the rule carry."""

    value: str | None = None


class Spec(Model):
    """One rule of a policy object: a subject and what it may do."""

    subject: Selector | None = Field(None, alias="endpointSelector")
    nodes: Selector | None = Field(None, alias="nodeSelector")
    ingress: list[Ingress] | None = None
    ingressDeny: list[IngressDeny] | None = None
    egress: list[Egress] | None = None
    egressDeny: list[EgressDeny] | None = None
    default_deny: DefaultDeny | None = Field(None, alias="enableDefaultDeny")
    description: str | None = None
    labels: list[PolicyLabel] | None = None
    log: Log | None = None


class CiliumPolicy(Model):
    """A whole object. ``status`` is what a cluster reports about it; it is ignored."""

    apiVersion: str
    kind: str
    metadata: Metadata
    spec: Spec | None = None
    specs: list[Spec] | None = None
    status: Unjudged = None


class CidrGroupSpec(Model):
    """The prefixes of a group."""

    prefixes: list[str] = Field(alias="externalCIDRs")


class CiliumCidrGroup(Model):
    """A whole group of prefixes."""

    apiVersion: str
    kind: str
    metadata: Metadata
    spec: CidrGroupSpec
