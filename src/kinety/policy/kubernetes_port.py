"""Ports as Kubernetes' kinds write them: a number, a range, or the name a container gives a port."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from kinety.model.rule import NamedPort, PortRange
from kinety.policy.diagnosis import closest, describe
from kinety.policy.document import Path
from kinety.policy.report import Report

FIRST_PORT = 1
LAST_PORT = 65535
PROTOCOLS = {"TCP": 6, "UDP": 17, "SCTP": 132}
#: Kubernetes, "ContainerPort": an IANA service name (RFC 6335, 5.1) in lower case.
_NAME = re.compile(r"(?=.*[a-z])(?!.*--)[a-z0-9](?:[a-z0-9-]{0,13}[a-z0-9])?\Z")


@dataclass(frozen=True, slots=True)
class Ports:
    """Ports of one rule; the fields are those of `kinety.model.rule.Rule`."""

    ranges: tuple[PortRange, ...] | None
    named: tuple[NamedPort, ...] = ()


EVERY_PORT = Ports(None)


def ports_of(found: Iterable[PortRange | NamedPort]) -> Ports:
    """The ports of a rule that names these."""
    distinct = set(found)
    ranges = sorted(each for each in distinct if isinstance(each, PortRange))
    named = sorted(each for each in distinct if isinstance(each, NamedPort))
    return Ports(tuple(ranges), tuple(named))


def protocol_of(report: Report, path: Path, name: str | None) -> int | None:
    """The number of a protocol, TCP where none is named; None when something was reported."""
    if name is None:
        return PROTOCOLS["TCP"]
    if name not in PROTOCOLS:
        meant = closest(name, PROTOCOLS)
        hint = f"did you mean {meant}?" if meant else f"write one of {', '.join(PROTOCOLS)}"
        report.add(path, f"unknown protocol {name!r}", hint)
    return PROTOCOLS.get(name)


def number_of(report: Report, path: Path, value: Any) -> int | None:
    """A port's number; None when something was reported."""
    if isinstance(value, bool) or not isinstance(value, int):
        bare = isinstance(value, str) and value.isascii() and value.isdecimal()
        hint = f"write it without quotes: {value}" if bare else f"write {FIRST_PORT} to {LAST_PORT}"
        report.add(path, f"expected a port number, found {describe(value)}", hint)
        return None
    if not FIRST_PORT <= value <= LAST_PORT:
        report.add(path, f"there is no port {value}", f"ports go from {FIRST_PORT} to {LAST_PORT}")
        return None
    return value


def name_of(report: Report, path: Path, text: str) -> str | None:
    """The name of a port; None when something was reported."""
    if text.isascii() and text.isdecimal():
        report.add(path, f"{text!r} in quotes is a name, and no port is called so", f"write {text} bare")
        return None
    if not _NAME.match(text):
        hint = "at most 15 lower-case letters, digits and single inner dashes, with a letter among them"
        report.add(path, f"{text!r} cannot be the name of a port", hint)
        return None
    return text


def range_of(report: Report, path: Path, protocol: int | None, start: Any, end: Any) -> list[PortRange]:
    """The range that the mapping at a path gives with ``start`` and ``end``, end above start."""
    first = number_of(report, (*path, "start"), start)
    last = number_of(report, (*path, "end"), end)
    if first is None or last is None or protocol is None:
        return []
    if last <= first:
        hint = "write the lower number as start, or the one port by its number"
        report.add((*path, "end"), f"end {last} is not above start {first}", hint)
        return []
    return [PortRange(protocol, first, last)]
