"""Invariants: what must hold whatever policies say, for somebody to prove before they are in force."""

from dataclasses import dataclass
from enum import StrEnum

from kinety.model.rule import Origin, PolicyKey, PortRange
from kinety.model.selector import PeerSelector


class Demand(StrEnum):
    """What must become of traffic: all of it passes, or none of it does.

    Traffic whose content a rule still asks about (layer 7) passes in part, which satisfies neither.
    """

    MUST_ALLOW = "must allow"
    MUST_DENY = "must deny"


@dataclass(frozen=True, slots=True)
class Claim:
    """A demand about traffic from every source to every destination, at every port of ``ports``.

    Both ends decide, as they do for a packet: the source's egress and the destination's ingress. A source
    or destination None is anybody, ``ports`` None is every protocol and port. One end at least selects
    endpoints.
    """

    demand: Demand
    source: PeerSelector | None
    destination: PeerSelector | None
    ports: tuple[PortRange, ...] | None
    origin: Origin


@dataclass(frozen=True, slots=True)
class Invariant:
    """A document's claims, in the order they were written.

    The key's namespace is empty where they are about the whole cluster.
    """

    key: PolicyKey
    claims: tuple[Claim, ...]
