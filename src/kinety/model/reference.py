"""Peers that a rule names by an object told elsewhere: groups of prefixes, and services."""

from dataclasses import dataclass

from kinety.model.address import Prefix
from kinety.model.label import Labels
from kinety.model.selector import LabelSelector


@dataclass(frozen=True, slots=True)
class CidrGroup:
    """Prefixes under a name, with labels to select the group by (CiliumCIDRGroup)."""

    name: str
    labels: Labels
    prefixes: tuple[Prefix, ...]


@dataclass(frozen=True, slots=True)
class Service:
    """A service as policy sees it: endpoints that ``pods`` selects, else ``addresses`` outside."""

    namespace: str
    name: str
    labels: Labels
    pods: LabelSelector | None
    addresses: tuple[Prefix, ...]


@dataclass(frozen=True, slots=True)
class ServiceAddresses:
    """Addresses that an object of some ``kind`` and ``name`` tells of a service of its namespace."""

    kind: str
    namespace: str
    name: str
    service: str
    addresses: tuple[Prefix, ...]


@dataclass(frozen=True, slots=True)
class CidrGroupReference:
    """A group by name, or every group that ``selector`` selects; ``except_`` is left out of each."""

    name: str | None
    selector: LabelSelector | None
    except_: tuple[Prefix, ...] = ()


@dataclass(frozen=True, slots=True)
class ServiceReference:
    """A service by name, or every service that ``selector`` selects; "" is any namespace."""

    namespace: str
    name: str | None
    selector: LabelSelector | None


PeerReference = CidrGroupReference | ServiceReference
