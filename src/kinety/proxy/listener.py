"""A listener: one set of rules about content, at one port of the loopback addresses."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from kinety.model.layer7 import Layer7


@dataclass(frozen=True, slots=True)
class Listener:
    """What a proxy is to serve at a TCP port (of DNS, a UDP port as well), on 127.0.0.1 and ::1."""

    port: int
    layer7: Layer7


@dataclass(frozen=True, slots=True)
class Traffic:
    """What came of a listener since its proxy was started: requests, questions or connections.

    ``p50`` and ``p99`` are milliseconds from a request to its answer; None: nobody counts.
    """

    requests: int
    denied: int
    p50: float | None = None
    p99: float | None = None


@dataclass(frozen=True, slots=True)
class ProxyState:
    """A proxy at a glance; ``traffic`` by port. Without ``pid`` it does not run.

    ``problem`` is why it does not, or does not answer. ``starts`` are those that this agent made.
    """

    name: str
    pid: int | None = None
    version: str | None = None
    problem: str | None = None
    starts: int = 0
    traffic: Mapping[int, Traffic] = field(default_factory=dict)
