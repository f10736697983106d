"""toPorts and icmps of ``cilium.io/v2`` as ranges of ports and message types, and what content may pass."""

import re
from dataclasses import dataclass
from typing import Any

from kinety.model.layer7 import Layer7
from kinety.model.rule import Direction, NamedPort, PortRange
from kinety.policy.diagnosis import closest, describe
from kinety.policy.document import Path
from kinety.policy.icmp import FAMILIES, ICMP, ICMPV6
from kinety.policy.layer7 import content_of
from kinety.policy.report import Report
from kinety.policy.schema import DenyPorts, Icmp, IcmpField, Port, Ports

#: Limits of the public schema.
MAX_PORTS = 40
MAX_ICMP_FIELDS = 40
LAST_PORT = 65535

TCP = 6
UDP = 17
SCTP = 132
#: ANY means the protocols that have ports.
_PROTOCOLS = {"TCP": (TCP,), "UDP": (UDP,), "SCTP": (SCTP,), "ANY": (TCP, UDP, SCTP)}
#: IANA, "Assigned Internet Protocol Numbers".
_PORTLESS = {
    "ICMP": ICMP,
    "ICMPv6": ICMPV6,
    "IGMP": 2,
    "IPIP": 4,
    "GRE": 47,
    "ESP": 50,
    "AH": 51,
    "VRRP": 112,
}
_MESSAGES = {"ICMP": "IPv4", "ICMPv6": "IPv6"}
_DECIMAL = re.compile(r"-?(?:0|[1-9][0-9]*)\Z")
#: RFC 6335, 5.1: at most 15 letters, digits and single inner dashes, with at least one letter.
_SERVICE_NAME = re.compile(r"(?=.*[A-Za-z])(?!.*--)[A-Za-z0-9](?:[A-Za-z0-9-]{0,13}[A-Za-z0-9])?\Z")


@dataclass(frozen=True, slots=True)
class Traffic:
    """What one rule of ours names beside peers; the fields are those of `kinety.model.rule.Rule`."""

    ports: tuple[PortRange, ...] | None
    named_ports: tuple[NamedPort, ...] = ()
    layer7: Layer7 | None = None


EVERYTHING = Traffic(None)


def traffic_of(
    report: Report, path: Path, items: list[DenyPorts], direction: Direction, namespace: str
) -> tuple[Traffic, ...]:
    """What a rule's toPorts names, by the content it asks for; ``path`` leads to toPorts."""
    found: dict[Layer7 | None, set[PortRange | NamedPort]] = {}
    if not items:
        report.add(path, "toPorts is empty", "leave it out for every port, or name ports")
    for index, item in enumerate(items):
        where = (*path, index)
        layer7 = None
        if isinstance(item, Ports):
            layer7 = content_of(report, where, item, direction, namespace)
        found.setdefault(layer7, set()).update(_ports(report, where, item.ports or []))
    return tuple(
        Traffic(
            tuple(sorted(each for each in ports if isinstance(each, PortRange))),
            tuple(sorted(each for each in ports if isinstance(each, NamedPort))),
            layer7,
        )
        for layer7, ports in found.items()
    )


def icmp_types(report: Report, path: Path, items: list[Icmp]) -> tuple[PortRange, ...]:
    """Everything a rule's icmps names, sorted; ``path`` leads to icmps."""
    found: set[PortRange] = set()
    if not items:
        report.add(path, "icmps is empty", "leave it out, or name message types")
    for index, item in enumerate(items):
        where = (*path, index)
        fields = item.fields_ or []
        if not fields:
            report.add(where, "no message types are named", "write `fields: [{type: EchoRequest}]`")
        if len(fields) > MAX_ICMP_FIELDS:
            message = f"{len(fields)} message types; the limit is {MAX_ICMP_FIELDS}"
            report.add((*where, "fields"), message, "make a second item")
        for number, field in enumerate(fields):
            message_type = _icmp_type(report, (*where, "fields", number), field)
            if message_type is not None:
                found.add(message_type)
    return tuple(sorted(found))


def _ports(report: Report, path: Path, ports: list[Port]) -> set[PortRange | NamedPort]:
    if not ports:
        report.add(path, "no ports are named", "leave toPorts out for every port, or write `ports: [...]`")
    if len(ports) > MAX_PORTS:
        message = f"{len(ports)} ports; the limit is {MAX_PORTS}"
        report.add((*path, "ports"), message, "make a second item")
    found: set[PortRange | NamedPort] = set()
    for number, port in enumerate(ports):
        found.update(ranges_of(report, (*path, "ports", number), port, "toPorts"))
    return found


def ranges_of(report: Report, path: Path, port: Port, field: str) -> list[PortRange] | list[NamedPort]:
    """What one item of ports names; without ``field`` it would be every port."""
    if port.protocol in _PORTLESS:
        return _every_packet(report, path, port, port.protocol)
    protocols = _protocols(report, path, port.protocol)
    where = (*path, "port")
    if port.port is None:
        report.add(path, "port is missing", f'write `port: "80"`, or leave {field} out for every port')
        return []
    if isinstance(port.port, str) and _SERVICE_NAME.match(port.port) and not _DECIMAL.match(port.port):
        if port.end is not None:
            hint = "remove endPort, or write numbers"
            report.add((*path, "endPort"), f"a range cannot begin at a name, {port.port!r}", hint)
        # Kubernetes writes names of ports in lower case.
        return [NamedPort(protocol, port.port.lower()) for protocol in protocols]
    first = _number(report, where, port.port, LAST_PORT, "port")
    if first is None or not protocols:
        return []
    if port.end is None:
        return [PortRange(protocol, first, first or LAST_PORT) for protocol in protocols]
    last = _number(report, (*path, "endPort"), port.end, LAST_PORT, "port")
    if last is None:
        return []
    if first == 0:
        hint = "remove endPort, or begin the range at 1"
        report.add((*path, "endPort"), "port 0 is every port already", hint)
    elif last < first:
        hint = "write the lower number as port"
        report.add((*path, "endPort"), f"endPort {last} is below port {first}", hint)
    else:
        return [PortRange(protocol, first, last) for protocol in protocols]
    return []


def _every_packet(report: Report, path: Path, port: Port, protocol: str) -> list[PortRange]:
    """All of a protocol that has no ports."""
    hint = f"remove it, or write 0, for everything of {protocol}"
    if family := _MESSAGES.get(protocol):
        hint += f"; for one kind, `icmps: [{{fields: [{{family: {family}, type: EchoRequest}}]}}]`"
    if port.end is not None:
        report.add((*path, "endPort"), f"{protocol} has no ports", hint)
    if port.port is not None and (isinstance(port.port, bool) or port.port not in (0, "0")):
        report.add((*path, "port"), f"{protocol} has no ports", hint)
    return [PortRange(_PORTLESS[protocol])]


def _protocols(report: Report, path: Path, name: str | None) -> tuple[int, ...]:
    if name is None:
        return _PROTOCOLS["ANY"]
    if name in _PROTOCOLS:
        return _PROTOCOLS[name]
    known = (*_PROTOCOLS, *_PORTLESS)
    meant = closest(name, known)
    hint = f"did you mean {meant}?" if meant else f"write one of {', '.join(known)}"
    report.add((*path, "protocol"), f"unknown protocol {name!r}", hint)
    return ()


def _number(report: Report, path: Path, value: Any, last: int, what: str) -> int | None:
    """A number from 0 to ``last``, quoted or not."""
    if isinstance(value, str) and _DECIMAL.match(value):
        value = int(value) if len(value) < 20 else -1
    if isinstance(value, bool) or not isinstance(value, int):
        report.add(
            path, f"expected a {what} number, found {describe(value)}", f"write 0 to {last} in decimal"
        )
        return None
    if not 0 <= value <= last:
        report.add(path, f"there is no {what} {report.tree.value_at(path)}", f"{what}s go from 0 to {last}")
        return None
    return value


def _icmp_type(report: Report, path: Path, field: IcmpField) -> PortRange | None:
    family = field.family or "IPv4"
    if family not in FAMILIES:
        meant = closest(family, FAMILIES)
        hint = f"did you mean {meant}?" if meant else "write IPv4 or IPv6"
        report.add((*path, "family"), f"unknown family {family!r}", hint)
        return None
    protocol, names = FAMILIES[family]
    where = (*path, "type")
    number = field.type
    if isinstance(number, str) and not _DECIMAL.match(number):
        if number not in names:
            meant = closest(number, names)
            hint = f"did you mean {meant}?" if meant else f"there are {', '.join(names)}, or write the number"
            report.add(where, f"unknown {family} message type {number!r}", hint)
            return None
        number = names[number]
    found = _number(report, where, number, 255, "message type")
    return None if found is None else PortRange(protocol, found, found)
