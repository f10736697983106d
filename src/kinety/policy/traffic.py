"""toPorts and icmps of ``cilium.io/v2`` as ranges of ports and message types."""

import re
from typing import Any

from kinety.model.rule import PortRange
from kinety.policy.diagnosis import closest, describe
from kinety.policy.document import Path
from kinety.policy.icmp import FAMILIES
from kinety.policy.report import Report
from kinety.policy.schema import DenyPorts, Icmp, IcmpField, Port

#: Limits of the public schema.
MAX_PORTS = 40
MAX_ICMP_FIELDS = 40
LAST_PORT = 65535

TCP = 6
UDP = 17
SCTP = 132
#: ANY means the protocols that have ports.
_PROTOCOLS = {"TCP": (TCP,), "UDP": (UDP,), "SCTP": (SCTP,), "ANY": (TCP, UDP, SCTP)}
_ICMP_PROTOCOLS = {"ICMP": "IPv4", "ICMPv6": "IPv6"}
_LATER_PROTOCOLS = frozenset({"VRRP", "IGMP", "GRE", "ESP", "AH", "IPIP"})
_DECIMAL = re.compile(r"-?(?:0|[1-9][0-9]*)\Z")
#: RFC 6335, 5.1: at most 15 letters, digits and single inner dashes, with at least one letter.
_SERVICE_NAME = re.compile(r"(?=.*[A-Za-z])(?!.*--)[A-Za-z0-9](?:[A-Za-z0-9-]{0,13}[A-Za-z0-9])?\Z")


def port_ranges(report: Report, path: Path, items: list[DenyPorts]) -> tuple[PortRange, ...]:
    """Everything a rule's toPorts names, sorted; ``path`` leads to toPorts."""
    found: set[PortRange] = set()
    if not items:
        report.add(path, "toPorts is empty", "leave it out for every port, or name ports")
    for index, item in enumerate(items):
        where = (*path, index)
        ports = item.ports or []
        if not ports:
            report.add(
                where, "no ports are named", "leave toPorts out for every port, or write `ports: [...]`"
            )
        if len(ports) > MAX_PORTS:
            report.add(
                (*where, "ports"), f"{len(ports)} ports; the limit is {MAX_PORTS}", "make a second item"
            )
        for number, port in enumerate(ports):
            found.update(_ranges(report, (*where, "ports", number), port))
    return tuple(sorted(found))


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


def _ranges(report: Report, path: Path, port: Port) -> list[PortRange]:
    protocols = _protocols(report, path, port.protocol)
    first = _port(report, (*path, "port"), port.port)
    if first is None or not protocols:
        return []
    if port.end is None:
        return [PortRange(protocol, first, first or LAST_PORT) for protocol in protocols]
    where = (*path, "endPort")
    last = _number(report, where, port.end, LAST_PORT, "port")
    if last is None:
        return []
    if first == 0:
        report.add(where, "port 0 is every port already", "remove endPort, or begin the range at 1")
    elif last < first:
        report.add(where, f"endPort {last} is below port {first}", "write the lower number as port")
    else:
        return [PortRange(protocol, first, last) for protocol in protocols]
    return []


def _protocols(report: Report, path: Path, name: str | None) -> tuple[int, ...]:
    if name is None:
        return _PROTOCOLS["ANY"]
    if name in _PROTOCOLS:
        return _PROTOCOLS[name]
    where = (*path, "protocol")
    if name in _ICMP_PROTOCOLS:
        family = _ICMP_PROTOCOLS[name]
        hint = f"write `icmps: [{{fields: [{{family: {family}, type: EchoRequest}}]}}]` instead of toPorts"
        report.add(where, f"{name} has no ports", hint)
    elif name in _LATER_PROTOCOLS:
        report.add(where, f"the protocol {name} is not supported yet")
    else:
        meant = closest(name, (*_PROTOCOLS, *_ICMP_PROTOCOLS))
        hint = f"did you mean {meant}?" if meant else f"write one of {', '.join(_PROTOCOLS)}"
        report.add(where, f"unknown protocol {name!r}", hint)
    return ()


def _port(report: Report, path: Path, value: Any) -> int | None:
    if isinstance(value, str) and not _DECIMAL.match(value) and _SERVICE_NAME.match(value):
        report.add(path, f"named ports such as {value!r} are not supported yet", "write the number")
        return None
    return _number(report, path, value, LAST_PORT, "port")


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
