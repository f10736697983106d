"""The agent at a glance, as it travels over the socket."""

from dataclasses import dataclass
from typing import Any, ClassVar

from kinety.api.types import MapSummary

_PLAIN: dict[str, Any] = {"use_attribute_docstrings": True}


@dataclass(frozen=True, slots=True)
class Program:
    """One program that is loaded."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _PLAIN

    name: str
    id: int
    tag: str
    instructions: int
    """What is left of it after the verifier removed what cannot run."""
    verified_instructions: int
    jited_bytes: int


@dataclass(frozen=True, slots=True)
class Counter:
    """Packets that met one end, by reason and direction (the endpoint's view)."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _PLAIN

    reason: str
    sentence: str
    direction: str
    packets: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Pool:
    """A prefix that endpoint addresses are taken from."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _PLAIN

    prefix: str
    used: int
    """Addresses that endpoints have."""
    size: int
    """Addresses there are to give."""
    quarantined: int = 0
    """Addresses that were given up a short while ago, which nobody gets yet."""


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """Whether the kernel holds the plan. `state` is `in-sync` or `retrying`."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _PLAIN

    state: str
    error: str | None = None
    attempts: int = 0
    retry_seconds: float | None = None
    """Time until the next attempt."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """What the programs were told when they were loaded; `kinety datapath reload` tells them otherwise."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _PLAIN

    ipv4: bool
    """Whether IPv4 packets are judged; else all are dropped."""
    ipv6: bool
    """Whether IPv6 packets are judged; else all are dropped."""
    events: str
    """What is told of: `flows` (new ones, drops and changed verdicts), `drops` (and changes), or `none`."""
    shadow: bool
    """Whether policies that are staged or in audit are judged."""
    fragments: bool
    """Whether fragments may pass."""
    hooks: bool
    """Whether filters of the operator are asked."""


@dataclass(frozen=True, slots=True)
class DatapathStatus:
    """What is loaded into the kernel. `load_seconds` is the time to load or adopt it."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _PLAIN

    adopted: bool
    load_seconds: float
    contract: str
    version: str
    """Names the programs by their object and configuration."""
    configuration: Configuration
    programs: tuple[Program, ...]
    maps: tuple[MapSummary, ...]
    endpoints: int
    endpoints_ready: int
    endpoints_promoted: int
    """On tcx links; the others are on clsact filters."""
    tcx: bool
    """Whether endpoints move to tcx links: not with `--attach-mode clsact`, nor where the kernel has none."""
    rule_sets: int
    rule_sets_spare: int
    events_lost: int
    writes: int


@dataclass(frozen=True, slots=True)
class Runtime:
    """A container runtime that the agent takes labels from."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _PLAIN

    name: str
    address: str
    problem: str | None
    """Why changes of labels are not in force just now; null while they are followed."""


@dataclass(frozen=True, slots=True)
class ProxyState:
    """A proxy, which looks into flows where rules are about content."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _PLAIN

    name: str
    running: bool
    listeners: int
    """Sets of rules that it serves."""
    problem: str | None
    """Why it does not run, or does not answer; null where all is well."""


@dataclass(frozen=True, slots=True)
class NameCounts:
    """What DNS said: pairs of a name and an address. The last three count from the agent's start."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _PLAIN

    known: int
    room: int
    """How many there may be."""
    held: int
    """Those that have expired and stay for open flows."""
    evicted: int
    """Those that went before their time, since their name had too many."""
    refused: int
    """Answers that were not learnt, for want of room or because something failed."""
    crowded: int
    """Answers that were not learnt, because who asked had brought as many as are free."""


@dataclass(frozen=True, slots=True)
class NodeState:
    """The node itself, as the subject of policies about nodes."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _PLAIN

    labels: tuple[str, ...]
    egress: bool
    """Whether a policy says what the node may send."""
    ingress: bool
    """Whether a policy says what the node may receive."""
    audit: bool
    """Whether those are only reported."""
    judged: bool
    """Whether the programs for the node's own packets are in place; they are while a policy selects it."""


@dataclass(frozen=True, slots=True)
class Status:
    """The agent at a glance."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _PLAIN

    version: str
    pid: int
    started: float
    state_dir: str
    reconciliation: Reconciliation
    endpoints: int
    policies: int
    rules: int
    identities: int
    pools: tuple[Pool, ...]
    """In the order in which they are tried."""
    subscribers: int
    """Open event streams."""
    memory: int
    """Resident bytes of the agent."""
    datapath: DatapathStatus
    counters: tuple[Counter, ...]
    node: NodeState = NodeState((), False, False, False, False)
    addresses_outside: int = 0
    """Addresses that endpoints have and no pool gives: they were asked for, or pools changed."""
    runtimes: tuple[Runtime, ...] = ()
    proxies: tuple[ProxyState, ...] = ()
    names: NameCounts = NameCounts(0, 0, 0, 0, 0, 0)
