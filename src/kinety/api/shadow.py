"""What rules that are not in force would have done, as it travels over the socket, and who is in audit."""

from dataclasses import dataclass
from typing import Any, ClassVar

from kinety.api.types import EventRule

_STRICT: dict[str, Any] = {"extra": "forbid", "use_attribute_docstrings": True}
_PLAIN: dict[str, Any] = {"use_attribute_docstrings": True}


@dataclass(frozen=True, slots=True)
class ShadowPeer:
    """Whom flows were with that would have met another end, and one of them for an example."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _PLAIN

    identity: int
    labels: tuple[str, ...]
    endpoint: str | None
    """`namespace/name` of the example, when it is on this node."""
    address: str
    """The example's."""
    protocol: str
    port: int
    """The receiver's port in the example, or an ICMP type."""


@dataclass(frozen=True, slots=True)
class ShadowChange:
    """Flows of one endpoint with one peer that would have met another end."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _PLAIN

    would: str
    """`drop`, `allow` or `redirect`."""
    endpoint: str
    direction: str
    peer: ShadowPeer
    rule: EventRule
    """What would decide; `id` 0 is default deny."""
    rule_in_force: EventRule
    """What decided; `id` 0 is the default."""
    flows: int
    """Those that were judged; what is dropped counts each time it is tried."""
    packets: int
    bytes: int
    last_seen: float


@dataclass(frozen=True, slots=True)
class ShadowPolicy:
    """A policy that is not in force, everywhere or for endpoints in audit, and what would change by it."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _PLAIN

    kind: str
    namespace: str
    name: str
    mode: str
    """`staged`, or `audit`: what it forbids was let through."""
    file: str
    line: int
    endpoints: int
    """Endpoints that it would be in force for."""
    changes: tuple[ShadowChange, ...]
    """Where several policies together isolate an endpoint, what that drops is among each one's changes."""


@dataclass(frozen=True, slots=True)
class ShadowReport:
    """What would change if all policies were in force."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _PLAIN

    policies: tuple[ShadowPolicy, ...]
    audited_namespaces: tuple[str, ...]
    audited_endpoints: tuple[str, ...]
    """Those that are in audit by themselves, `namespace/name`."""
    lost: int
    """Packets that were not counted, for want of room."""
    audited_node: bool = False
    """Whether the node itself is in audit."""


@dataclass(frozen=True, slots=True)
class AuditRequest:
    """Whether everything may pass, and it is only reported what policies would not have allowed."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT

    audit: bool


@dataclass(frozen=True, slots=True)
class AuditResult:
    """Who is in audit now, or not any more; in force for the next packet."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _PLAIN

    namespace: str
    name: str | None
    """Null for the whole namespace, endpoints to come included."""
    audit: bool
    endpoints: int
    """Endpoints for which that is new."""


@dataclass(frozen=True, slots=True)
class NodeAuditResult:
    """Whether the node itself is in audit; in force for the next packet."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _PLAIN

    audit: bool
    changed: bool
    """Whether that is new."""
