"""Rules: what a policy document says, normalised and with its place in the file."""

from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import NewType

from kinety.model.label import RESERVED
from kinety.model.layer7 import Layer7
from kinety.model.reference import PeerReference
from kinety.model.selector import LabelSelector, PeerSelector

#: Number of a rule in verdict tables, counters and events; 0 is the default verdict.
RuleId = NewType("RuleId", int)
DEFAULT_RULE = RuleId(0)


class Direction(IntEnum):
    """Always the endpoint's view."""

    EGRESS = 0
    INGRESS = 1


class Action(StrEnum):
    """What a rule does with the traffic it names. ``PASS`` leaves the rest of its tier out."""

    ALLOW = "allow"
    DENY = "deny"
    PASS = "pass"


class Tier(IntEnum):
    """Which rules are asked before which; the lowest first (Network Policy API, "Priority").

    In ``ADMIN`` and ``BASELINE`` the first rule that names the traffic decides, by priority and then as
    written. In ``NORMAL`` order means nothing: a deny rule beats every allow rule.
    """

    ADMIN = 0
    NORMAL = 1
    BASELINE = 2


class Mode(StrEnum):
    """Whether what a policy says is done, or only found out.

    ``STAGED``: it is to be put into force, and until then only told what would change. ``AUDIT``: it is
    there to tell of what it forbids, all of which is let through.
    """

    ENFORCED = "enforced"
    STAGED = "staged"
    AUDIT = "audit"


@dataclass(frozen=True, slots=True, order=True)
class PolicyKey:
    """Name of a policy in the store. ``namespace`` is empty for cluster-wide kinds."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.namespace}/{self.name}" if self.namespace else f"{self.kind}/{self.name}"


@dataclass(frozen=True, slots=True, order=True)
class Origin:
    """Where a rule was written: policy, file, 1-based line, and path such as ``spec.ingress[0]``.

    Line 0: no file holds it, an option of the agent does, which ``path`` then names.
    """

    policy: PolicyKey
    file: str
    line: int
    path: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else f"option {self.path}"


@dataclass(frozen=True, slots=True, order=True)
class PortRange:
    """Ports ``first`` to ``last`` of one IP protocol number, both included.

    Protocol 0 is any protocol (then the range is 0-65535). For ICMP (1) and ICMPv6 (58) the
    range holds the message type.
    """

    protocol: int
    first: int = 0
    last: int = 65535


@dataclass(frozen=True, slots=True, order=True)
class NamedPort:
    """A port by the name its endpoint gives it: the subject's own on ingress, the peer's on egress."""

    protocol: int
    name: str


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of a policy: for the endpoints ``subject`` selects, in one direction.

    ``peers`` None means any peer, an empty tuple means no peer. ``ports`` None means every
    protocol and port, an empty tuple means none. ``default_deny`` says whether the rule isolates
    its subject in this direction; a rule that only isolates has no peers. ``priority`` orders the
    rules of the admin and baseline tiers, lower first. ``layer7`` is what an allow rule still asks of
    the traffic's content. ``log`` is a text of the policy's that events about the rule carry.

    A rule in another ``mode`` than enforced is in shadow tables only.

    ``references`` and ``named_ports`` are peers and ports that are told elsewhere; they come on top of
    ``peers`` and ``ports``, and are none once they were looked up.
    """

    subject: LabelSelector
    direction: Direction
    action: Action
    peers: tuple[PeerSelector, ...] | None
    ports: tuple[PortRange, ...] | None
    default_deny: bool
    origin: Origin
    tier: Tier = Tier.NORMAL
    priority: int = 0
    layer7: Layer7 | None = None
    log: str = ""
    references: tuple[PeerReference, ...] = ()
    named_ports: tuple[NamedPort, ...] = ()
    mode: Mode = Mode.ENFORCED

    @property
    def about_nodes(self) -> bool:
        """Whether its subjects are nodes and not endpoints."""
        return any(each.source == RESERVED for each in self.subject.requirements)


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy document as rules, in the order they were written."""

    key: PolicyKey
    rules: tuple[Rule, ...]

    @property
    def mode(self) -> Mode:
        """The mode of all its rules; a policy without rules does all that it says."""
        return self.rules[0].mode if self.rules else Mode.ENFORCED
