"""Traffic as ``policy.networking.k8s.io`` names it: protocols, or ports as its first releases have them."""

from collections.abc import Sequence

from kinety.model.rule import NamedPort, PortRange
from kinety.policy.choice import check_length, only
from kinety.policy.cluster_network_schema import (
    ClusterEgress,
    ClusterIngress,
    Destination,
    Port,
    Protocol,
    Rule,
)
from kinety.policy.document import Path
from kinety.policy.kubernetes_port import (
    EVERY_PORT,
    PROTOCOLS,
    Ports,
    name_of,
    number_of,
    ports_of,
    protocol_of,
    range_of,
)
from kinety.policy.report import Report

_Found = Sequence[PortRange | NamedPort]


def traffic_of(report: Report, path: Path, item: Rule, longest: int) -> Ports:
    """What the rule at a path names beside peers. Its lists have at most ``longest`` items."""
    protocols = _protocols(item)
    if item.ports is None and protocols is None:
        return EVERY_PORT
    if item.ports is not None and protocols is not None:
        message = "ports and protocols cannot be in one rule"
        report.add((*path, "ports"), message, "write protocols, which are the newer words")
    where = (*path, "ports" if protocols is None else "protocols")
    items: Sequence[Port | Protocol] = protocols or item.ports or ()
    check_length(report, where, items, longest, str(where[-1]), "make a second rule")
    if not items:
        report.add(where, f"{where[-1]} is empty", "leave it out for every port, or name ports")
    return ports_of(
        found for index, each in enumerate(items) for found in _item(report, (*where, index), each)
    )


def names_ports(item: Rule) -> bool:
    """Whether a rule has ports by name."""
    return any(each.named is not None for each in (*(item.ports or ()), *(_protocols(item) or ())))


def _protocols(item: Rule) -> list[Protocol] | None:
    return item.protocols if isinstance(item, ClusterIngress | ClusterEgress) else None


def _item(report: Report, path: Path, item: Port | Protocol) -> _Found:
    field = only(report, path, item)
    if field is None:
        return []
    where = (*path, field)
    if item.named is not None:
        name = name_of(report, where, item.named)
        return [] if name is None else [NamedPort(protocol, name) for protocol in PROTOCOLS.values()]
    return _port(report, where, item) if isinstance(item, Port) else _protocol(report, where, item)


def _port(report: Report, path: Path, item: Port) -> _Found:
    """An item of ports by number; ``path`` leads to its one field."""
    if item.range is not None:
        protocol = protocol_of(report, (*path, "protocol"), item.range.protocol)
        return range_of(report, path, protocol, item.range.start, item.range.end)
    assert item.number is not None
    protocol = protocol_of(report, (*path, "protocol"), item.number.protocol)
    number = number_of(report, (*path, "port"), item.number.port)
    return [] if protocol is None or number is None else [PortRange(protocol, number, number)]


def _protocol(report: Report, path: Path, item: Protocol) -> _Found:
    """An item of protocols by number; ``path`` leads to its one field."""
    transport = item.tcp or item.udp or item.sctp
    assert transport is not None
    protocol = PROTOCOLS[str(path[-1]).upper()]
    return _destination(report, (*path, "destinationPort"), protocol, transport.port)


def _destination(report: Report, path: Path, protocol: int, port: Destination) -> _Found:
    if only(report, path, port) is None:
        return []
    if port.range is not None:
        return range_of(report, (*path, "range"), protocol, port.range.start, port.range.end)
    number = number_of(report, (*path, "number"), port.number)
    return [] if number is None else [PortRange(protocol, number, number)]
