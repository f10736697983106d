"""The door to the datapath: apply a plan, attach endpoints, look at what the kernel holds."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from kinety import abi
from kinety.kernel.namespace import Namespace
from kinety.model.endpoint import Endpoint, EndpointId
from kinety.model.rule import RuleId
from kinety.plan.change import Capacity, Change, Snapshot

from .settings import Settings


@dataclass(frozen=True, slots=True)
class Interface:
    """Facts of an attached endpoint. MACs are 6 bytes; ``link`` is ``clsact`` or ``tcx``."""

    endpoint: EndpointId
    slot: int
    index: int
    name: str
    host_mac: bytes
    container_mac: bytes
    mtu: int


@dataclass(frozen=True, slots=True)
class Restoration:
    """What a restart found. ``missing`` endpoints have no interface any more: attach or forget them.

    ``removed`` interfaces belonged to nobody. ``writes`` counts kernel writes; 0 when nothing changed.
    """

    missing: frozenset[EndpointId]
    removed: tuple[str, ...]
    writes: int


class Datapath:
    """The kernel's side of one node. One caller at a time, in the node's network namespace."""

    @classmethod
    def open(cls, settings: Settings) -> Self:
        """Load the programs and maps, or adopt those a former agent left; set up the node.

        Raises OSError when the kernel refuses, ValueError when what is pinned does not fit.
        """
        raise NotImplementedError

    @property
    def capacity(self) -> Capacity:
        """Rows the real maps have room for: what the engine checks a change against."""
        raise NotImplementedError

    def restore(self, snapshot: Snapshot, endpoints: Collection[EndpointId]) -> Restoration:
        """Make the kernel hold the whole plan, writing only differences; call once after ``open``.

        ``endpoints`` are those the store knows. Interfaces and rows of others are removed.
        Conntrack is never touched.
        """
        raise NotImplementedError

    def apply(self, change: Change) -> None:
        """Take one step of the plan; returns when it is in force for the next packet.

        A plan for an endpoint that is not attached (yet) is kept and published by ``attach``.
        Raises CapacityError before anything is written, or OSError: then ``restore`` mends.
        """
        raise NotImplementedError

    def attach(
        self, endpoint: Endpoint, namespace: Namespace, interface: str = "eth0", mtu: int | None = None
    ) -> Interface:
        """Give a network namespace its interface; it drops everything until a plan is applied.

        So: ``attach``, then ``apply`` the engine's change for the new endpoint. Undoes itself on
        failure. Raises OSError, CapacityError (no free slot) or ValueError (already attached).
        """
        raise NotImplementedError

    def detach(self, endpoint: EndpointId) -> bool:
        """Remove an endpoint's interface and row; False when it had none."""
        raise NotImplementedError

    def interface(self, endpoint: EndpointId) -> Interface | None:
        """Facts of an attached endpoint."""
        raise NotImplementedError

    def vanished(self) -> frozenset[EndpointId]:
        """Endpoints whose interface went away with their network namespace."""
        raise NotImplementedError

    def maintain(self) -> bool:
        """Do one piece of background work (refill rule sets, promote one endpoint to tcx).

        Takes up to about 30 ms. True when there is more: call again when nothing else is waiting.
        """
        raise NotImplementedError

    def event_source(self) -> "EventReader":
        """The events of the programs; its ``fileno()`` becomes readable."""
        raise NotImplementedError

    def counters(self) -> Mapping[tuple[abi.Reason, abi.Direction], abi.Counter]:
        """Packets and bytes by reason and direction, those that are not zero."""
        raise NotImplementedError

    def rule_counters(self, rules: Iterable[RuleId]) -> Mapping[RuleId, abi.Counter]:
        """Packets and bytes each rule decided."""
        raise NotImplementedError

    def map_names(self) -> tuple[str, ...]:
        """Names that ``dump`` accepts."""
        raise NotImplementedError

    def dump(self, name: str, limit: int | None = None) -> list[dict[str, Any]]:
        """Every row of a map, decoded into JSON values. Raises KeyError for an unknown name."""
        raise NotImplementedError

    def statistics(self) -> "Statistics":
        """What was loaded and what it holds."""
        raise NotImplementedError

    def close(self) -> None:
        """Let go of file descriptors; the kernel keeps forwarding."""
        raise NotImplementedError


class EventReader:
    """Typed events from the ring buffer."""

    def fileno(self) -> int:
        """For the event loop: readable when there are events."""
        raise NotImplementedError

    def read(self, limit: int = 4096) -> list[abi.Event]:
        """Events that are there, at most ``limit``; never waits."""
        raise NotImplementedError

    def lost(self) -> int:
        """Events that found the ring full, since the maps were made."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class ProgramStatistics:
    """One loaded program."""

    name: str
    id: int
    tag: str
    verified_instructions: int
    jited_bytes: int


@dataclass(frozen=True, slots=True)
class MapStatistics:
    """One map. ``memory`` is in bytes."""

    name: str
    id: int
    type: str
    max_entries: int
    memory: int


@dataclass(frozen=True, slots=True)
class Statistics:
    """What was loaded and what it holds. ``load_seconds`` is the time to load or adopt."""

    adopted: bool
    load_seconds: float
    contract: int
    programs: tuple[ProgramStatistics, ...]
    maps: tuple[MapStatistics, ...]
    endpoints: int
    endpoints_ready: int
    endpoints_promoted: int
    rule_sets: int
    rule_sets_spare: int
    rule_sets_retired: int
    events_lost: int
    writes: int


def cleanup(settings: Settings) -> None:
    """Remove everything Kinety put into this network namespace and its pin directory."""
    raise NotImplementedError


__all__ = ["Datapath", "EventReader", "Interface", "Path", "Restoration", "Statistics", "cleanup"]
