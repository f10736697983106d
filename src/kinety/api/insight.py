"""What policies mean, as it travels over the socket: explanations, changes of verdicts, verdicts, findings.

Verdicts are ``allow``, ``deny`` or ``redirect``. A rule is ``file:line``, and null for a default.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

_PLAIN: dict[str, Any] = {"use_attribute_docstrings": True}


@dataclass(frozen=True, slots=True)
class Block:
    """Some IP protocols and some ports of each of them; for ICMP, a port is a message type."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _PLAIN

    protocols: tuple[int, ...]
    """First and last."""
    ports: tuple[int, ...]
    """First and last."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """A set of protocols and ports: all of the blocks, and the same in words."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _PLAIN

    text: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class Group:
    """Some of all identities by name, or all but some."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _PLAIN

    names: tuple[str, ...]
    all_but: bool = False
    """Whether it is everybody except the names."""


@dataclass(frozen=True, slots=True)
class RulePlace:
    """A rule of a policy, and where it is written."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _PLAIN

    rule: str
    policy: str
    path: str


@dataclass(frozen=True, slots=True)
class Failure:
    """A condition of a rule that a flow fails: `peer`, `protocol` or `port`."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _PLAIN

    condition: str
    reason: str


@dataclass(frozen=True, slots=True)
class Miss:
    """A rule that would have let a flow through, and why it does not."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _PLAIN

    place: RulePlace
    failures: tuple[Failure, ...]


@dataclass(frozen=True, slots=True)
class Denial:
    """Why an endpoint denied a flow that no rule is about."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _PLAIN

    isolated_by: tuple[str, ...]
    """Policies that select the endpoint and let in, or out, only what rules name; at most ten."""
    nearest: Miss | None
    """The rule that came nearest to letting the flow through; null where there is none."""


@dataclass(frozen=True, slots=True)
class Chain:
    """How the datapath finds a verdict: address, identity, class, entry of the rule set."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _PLAIN

    identity: int
    """The peer's."""
    labels: tuple[str, ...]
    class_id: int
    rule_set: str | None
    """Null where no rule selects the endpoint, or where the endpoint is not on this node."""
    entry: Traffic | None
    """What the deciding entry is about; null where no entry matches, which denies."""


@dataclass(frozen=True, slots=True)
class Opening:
    """All that a rule lets through for the endpoints it selects."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _PLAIN

    peers: Group
    traffic: Traffic


@dataclass(frozen=True, slots=True)
class Side:
    """What one end of a flow says."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _PLAIN

    subject: str
    verdict: str
    decided_by: RulePlace | None
    """Null for a default."""
    isolated_by: RulePlace | None
    """Of a denial by default: the first rule that isolates the endpoint."""
    chain: Chain
    nearest: tuple[Miss, ...]
    """Of a denial: rules that came near to letting the flow through, the nearest first."""
    content: str
    """Of a redirection: the content that may pass, in words."""
    request: str | None
    """Of a redirection: what becomes of the request that was asked about."""
    opening: Opening | None
    """Of a rule that lets the flow through: what else it lets through."""


@dataclass(frozen=True, slots=True)
class EditStep:
    """One place to change in a policy. `operation`: `add` an item to the list at `path`, or `remove` it."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _PLAIN

    operation: str
    place: RulePlace
    path: str
    value: Any
    text: str
    """The step in words."""


@dataclass(frozen=True, slots=True)
class Edit:
    """Steps that together let the flow through; it was tried."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _PLAIN

    steps: tuple[EditStep, ...]
    opened: int
    """Other pairs of endpoint and peer between which it also lets something through."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a flow is let through or not. An end that is no endpoint has no side."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _PLAIN

    source: str
    destination: str
    protocol: str
    port: int
    verdict: str
    egress: Side | None
    ingress: Side | None
    edits: tuple[Edit, ...]


@dataclass(frozen=True, slots=True)
class VerdictChange:
    """Verdicts that change alike, of all these subjects about all these peers."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _PLAIN

    direction: str
    subjects: Group
    peers: Group
    traffic: Traffic
    before: str
    before_content: str
    """Of a redirection: what may pass."""
    before_rule: str | None
    after: str
    after_content: str
    after_rule: str | None


@dataclass(frozen=True, slots=True)
class VerdictRow:
    """Verdicts of all these subjects about all these peers."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _PLAIN

    direction: str
    subjects: Group
    peers: Group
    traffic: Traffic
    verdict: str
    content: str
    """Of a redirection: what may pass."""
    rule: str | None


@dataclass(frozen=True, slots=True)
class PolicyFinding:
    """Something odd about a policy. `check` is the name of what was looked for."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _PLAIN

    check: str
    file: str
    line: int
    path: str
    message: str
    hint: str
