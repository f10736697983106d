"""What travels over the agent's socket: requests and answers as frozen values.

These classes are the only definition of the API's bodies. The server validates requests and writes
answers by them, ``kinety.api.openapi`` describes them, and the client reads answers back into them.
Addresses are text, times are seconds since 1970 (UTC), byte and packet counts are plain integers.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from kinety.api.insight import Denial, VerdictChange
from kinety.api.proxy import Request

#: Bytes of a request body that the agent accepts; also the most the CLI reads from one file.
BODY_LIMIT = 4 * 1024 * 1024
DEFAULT_SOCKET = "/run/kinety/agent.sock"

_STRICT: dict[str, Any] = {"extra": "forbid", "use_attribute_docstrings": True}
_PLAIN: dict[str, Any] = {"use_attribute_docstrings": True}


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a request was not carried out; nothing was applied."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _PLAIN

    error: str
    """One sentence: what failed, on what, and what to try."""
    file: str | None = None
    """The document's file name, as given in the request."""
    line: int | None = None
    """1-based line in that file."""
    path: str | None = None
    """Path in the document, such as `spec.ingress[0]`."""
    log: str | None = None
    """All that the kernel's verifier said, of a program that it refuses."""


@dataclass(frozen=True, slots=True)
class Attachment:
    """Whose interface an endpoint is, in the words of a container runtime (CNI).

    A container has one interface of a name: container and interface together tell attachments apart.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT

    container: str
    """The runtime's id of the container (`CNI_CONTAINERID`)."""
    network: str
    """The network configuration that it was attached by."""


@dataclass(frozen=True, slots=True)
class Bandwidth:
    """How fast an endpoint may send (egress) and receive (ingress). What is faster is dropped."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT

    egress_rate: int = 0
    """Bits a second, 1000 to 10^15; 0: as fast as it can."""
    egress_burst: int = 0
    """Bits that may come at once beside that; 0: as many as in half a second, at least 1048576."""
    ingress_rate: int = 0
    ingress_burst: int = 0


@dataclass(frozen=True, slots=True)
class EndpointRequest:
    """A network namespace to give an interface to."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT

    name: str
    namespace: str = "default"
    netns: str | None = None
    """Path of the network namespace, such as `/run/netns/blue`. Exactly one of `netns` and `pid`."""
    pid: int | None = None
    """A process in the network namespace."""
    labels: tuple[str, ...] = ()
    """`[source:]key[=value]`; the source is `k8s` when there is none."""
    namespace_labels: Mapping[str, str] = field(default_factory=dict)
    """Labels of the Kubernetes namespace, which policies can select by."""
    interface: str = "eth0"
    """What the interface is called inside the network namespace."""
    addresses: tuple[str, ...] = ()
    """At most one of each family. A family without one is given the next free address of its pool."""
    mtu: int | None = None
    port_names: tuple[str, ...] = ()
    """`name=port/protocol`, such as `http=80/TCP`: what policies may call its ports by."""
    attachment: Attachment | None = None
    """The container it is for, where a runtime asks."""
    host_ports: tuple[str, ...] = ()
    """`[address:]port:endpoint-port[/protocol]`, such as `8080:80/TCP`: ports of the node that lead to it."""
    mac: str | None = None
    """Of the interface inside; null: any."""
    bandwidth: Bandwidth | None = None


@dataclass(frozen=True, slots=True)
class Dns:
    """Whom a resolver asks, and what it completes names with: `nameserver` and `search` of resolv.conf(5)."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _PLAIN

    nameservers: tuple[str, ...] = ()
    """Addresses."""
    search: tuple[str, ...] = ()
    """Domains."""


@dataclass(frozen=True, slots=True)
class DirectionState:
    """What one direction of an endpoint is subject to."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _PLAIN

    enforced: bool
    """Whether there is a rule set. Without one everything is allowed."""
    rule_set: str | None = None
    """Content address of the rule set; endpoints that share it show the same."""
    shadow: str | None = None
    """The rule set that is judged beside it and only reported."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One container interface that the agent serves."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _PLAIN

    id: int
    namespace: str
    name: str
    labels: tuple[str, ...]
    identity: int
    ipv4: str | None
    ipv6: str | None
    egress: DirectionState
    ingress: DirectionState
    netns: str
    """The network namespace it was attached to: a path."""
    interface: str
    """Name inside the network namespace."""
    host_interface: str | None = None
    """Name on the node; null when the interface is gone."""
    host_index: int | None = None
    mtu: int | None = None
    state: str = "ready"
    """`ready`, or `missing` when its interface is gone."""
    port_names: tuple[str, ...] = ()
    """`name=port/protocol`: what policies may call its ports by."""
    host_ports: tuple[str, ...] = ()
    """`[address:]port:endpoint-port/protocol`: ports of the node that lead to it."""
    bandwidth: Bandwidth | None = None
    """Null when it may send and receive as fast as it can."""
    rate_exceeded: int = 0
    """Packets that were faster than its bandwidth, and were dropped."""
    audit: bool = False
    """Whether everything may pass, and it is only reported what policies would not have allowed."""
    attach_seconds: float | None = None
    """What the agent took from the request to the realised policy; only in the answer to an attach."""
    attachment: Attachment | None = None
    """The container it is for, where a runtime asked for it."""
    mac: str | None = None
    """Of the interface inside; null when it is gone."""
    host_mac: str | None = None
    """Of the interface on the node."""
    gateways: tuple[str, ...] = ()
    """The next hop of its packets, for each family that it has an address of."""
    default_routes: tuple[str, ...] | None = None
    """`0.0.0.0/0` and `::/0`, unless another interface had them; only in the answer to a runtime's attach."""
    dns: Dns | None = None
    """What the agent's operator has resolvers in endpoints ask; only in the answer to an attach."""


@dataclass(frozen=True, slots=True)
class AttachmentState:
    """A container's interface, compared with what is in its network namespace now."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _PLAIN

    endpoint: Endpoint
    problems: tuple[str, ...]
    """What is not as it was made, a sentence each; none when all is well."""
    default_routes: tuple[str, ...]
    """`0.0.0.0/0` and `::/0`, where there is such a route through the interface."""


@dataclass(frozen=True, slots=True)
class Document:
    """The text of one file; it may hold several YAML documents."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT

    file: str
    """The name that errors, rules and events show."""
    text: str


@dataclass(frozen=True, slots=True)
class PolicyDocuments:
    """Policies to apply, all or nothing."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT

    documents: tuple[Document, ...]


@dataclass(frozen=True, slots=True)
class PolicyOutcome:
    """What became of one policy. `outcome`: `created`, `updated`, `unchanged` or `deleted`."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _PLAIN

    kind: str
    namespace: str
    name: str
    outcome: str
    rules: int | None
    """Null for an object that policies refer to."""
    mode: str = "enforced"


@dataclass(frozen=True, slots=True)
class PolicyResult:
    """The answer to an apply or a delete: everything below is in force for the next packet."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _PLAIN

    policies: tuple[PolicyOutcome, ...]
    dry_run: bool
    endpoints: int
    """Endpoints whose rule sets changed."""
    seconds: float
    """From reading the request to the change being realised."""
    changes: tuple[VerdictChange, ...] = ()
    """Of a dry run: every verdict that would change."""
    warnings: tuple[str, ...] = ()
    """What of the node's own traffic this cuts, as far as it can be told now."""


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy in force, or an object that policies refer to."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _PLAIN

    kind: str
    namespace: str
    name: str
    file: str
    line: int
    rules: int | None
    """Null for an object that policies refer to."""
    mode: str = "enforced"
    """`enforced`, `staged` or `audit`."""


@dataclass(frozen=True, slots=True)
class PolicyText:
    """A policy in force and the text it was given as."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _PLAIN

    kind: str
    namespace: str
    name: str
    file: str
    line: int
    rules: int | None
    text: str


@dataclass(frozen=True, slots=True)
class Identity:
    """A number and the set of labels it stands for."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _PLAIN

    identity: int
    labels: tuple[str, ...]
    class_id: int | None
    """Identities that no live selector tells apart share a class; 0: none names it."""
    endpoints: int
    """Endpoints of this node that have it."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of a policy in force and what it has decided."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _PLAIN

    id: int
    policy: str
    file: str
    line: int
    path: str
    direction: str
    action: str
    packets: int
    bytes: int


#: What can be asked for of the event stream.
EVENT_KINDS = ("drop", "new-flow", "verdict-change", "shadow", "request")


@dataclass(frozen=True, slots=True)
class EventEnd:
    """One end of a flow. `endpoint` is `namespace/name` when it is on this node."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _PLAIN

    address: str
    port: int
    identity: int
    endpoint: str | None
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class EventRule:
    """The rule that decided. `id` 0 is the default verdict, which no file holds."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _PLAIN

    id: int
    policy: str | None
    file: str | None
    line: int | None
    path: str | None
    log: str = ""
    """The text that the policy wants events about the rule to carry (`log.value`)."""
    mode: str = "enforced"


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the event stream.

    `kind` is `drop`, `new-flow`, `verdict-change`, `shadow`, or `request` (what a proxy refused); or `lost`,
    with `count` events that came too fast, and then only `time` and `count` mean something.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = _PLAIN

    time: float
    kind: str
    direction: str | None = None
    verdict: str | None = None
    reason: str | None = None
    sentence: str | None = None
    """The reason in words."""
    hook: str | None = None
    """The operator's filter that dropped it (`hook-denied`)."""
    protocol: str | None = None
    source: EventEnd | None = None
    destination: EventEnd | None = None
    rule: EventRule | None = None
    denial: Denial | None = None
    """Of a drop by default: why. Null also where too many different ones came in a second, or where the
    policies have changed since."""
    length: int = 0
    tcp_flags: int = 0
    count: int = 0
    would: str | None = None
    """Of a `shadow`: `drop`, `allow` or `redirect`, by `rule`; the next two are what the flow met."""
    rule_in_force: EventRule | None = None
    verdict_in_force: str | None = None
    request: Request | None = None
    """Of a `request`: what was asked; `rule` is one of those that sent the flow to the proxy."""


@dataclass(frozen=True, slots=True)
class MapSummary:
    """One map of the datapath. ``memory`` is what it takes in the kernel, in bytes, without inner maps."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _PLAIN

    name: str
    id: int
    type: str
    max_entries: int
    memory: int


@dataclass(frozen=True, slots=True)
class MapRows:
    """Rows of a map, decoded; the fields differ by map."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _PLAIN

    name: str
    rows: tuple[Mapping[str, Any], ...]
