"""Traffic as stretches of numbers: protocol times 65536 plus port, 0 to 2^24 - 1.

A set of traffic is a tuple of stretches, ascending and apart from each other. ICMP types are ports here,
as they are in rules and in the kernel's tables.
"""

from collections.abc import Iterable
from typing import NamedTuple

from kinety.model.rule import PortRange

PORTS = 1 << 16
PROTOCOLS = 1 << 8
#: The number after the last.
END = PORTS * PROTOCOLS

NUMBERS = {"TCP": 6, "UDP": 17, "SCTP": 132, "ICMP": 1, "ICMPv6": 58}
#: Protocols whose packets carry ports.
WITH_PORTS = (6, 17, 132)
#: The message type of an echo request.
ECHO = {1: 8, 58: 128}
_NAMES = {number: name for name, number in NUMBERS.items()}


class Stretch(NamedTuple):
    """Numbers ``first`` to ``last``, both included."""

    first: int
    last: int


Traffic = tuple[Stretch, ...]
EVERYTHING: Traffic = (Stretch(0, END - 1),)


class Block(NamedTuple):
    """Some protocols and some ports of each of them, both ends included."""

    first_protocol: int
    last_protocol: int
    first_port: int
    last_port: int

    def value(self) -> dict[str, list[int]]:
        """As a JSON value."""
        return {
            "protocols": [self.first_protocol, self.last_protocol],
            "ports": [self.first_port, self.last_port],
        }

    def __str__(self) -> str:
        whole = self.last_port - self.first_port == PORTS - 1
        if self.first_protocol != self.last_protocol:
            return f"protocols {self.first_protocol}-{self.last_protocol}"
        name = _NAMES.get(self.first_protocol, f"protocol {self.first_protocol}")
        if whole:
            return name
        last = f"-{self.last_port}" if self.last_port != self.first_port else ""
        return f"{name}/{self.first_port}{last}"


def number_of(protocol: int, port: int) -> int:
    """The number of one protocol and port."""
    return protocol * PORTS + port


def traffic_of(ports: Iterable[PortRange] | None) -> Traffic:
    """What a rule's ports name; None is everything."""
    if ports is None:
        return EVERYTHING
    found = []
    for protocol, first, last in ((each.protocol, each.first, each.last) for each in ports):
        if protocol == 0:
            return EVERYTHING
        found.append(Stretch(number_of(protocol, first), number_of(protocol, last)))
    return union(found)


def union(stretches: Iterable[Stretch]) -> Traffic:
    """Stretches in any order, overlapping or not, as a set."""
    joined: list[Stretch] = []
    for first, last in sorted(stretches):
        if joined and first <= joined[-1].last + 1:
            joined[-1] = Stretch(joined[-1].first, max(joined[-1].last, last))
        else:
            joined.append(Stretch(first, last))
    return tuple(joined)


def rest(traffic: Traffic) -> Traffic:
    """Everything else."""
    found: list[Stretch] = []
    start = 0
    for first, last in traffic:
        if first > start:
            found.append(Stretch(start, first - 1))
        start = last + 1
    if start < END:
        found.append(Stretch(start, END - 1))
    return tuple(found)


def common(one: Traffic, other: Traffic) -> Traffic:
    """What is in both."""
    found: list[Stretch] = []
    left, right = 0, 0
    while left < len(one) and right < len(other):
        first = max(one[left].first, other[right].first)
        last = min(one[left].last, other[right].last)
        if first <= last:
            found.append(Stretch(first, last))
        if one[left].last < other[right].last:
            left += 1
        else:
            right += 1
    return tuple(found)


def without(one: Traffic, other: Traffic) -> Traffic:
    """What is in ``one`` and not in ``other``."""
    return common(one, rest(other))


def covers(outer: Traffic, inner: Traffic) -> bool:
    """Whether all of ``inner`` is in ``outer``."""
    return not without(inner, outer)


def blocks(traffic: Traffic) -> tuple[Block, ...]:
    """A set as few blocks: whole protocols next to each other are one."""
    found: list[Block] = []
    for first, last in traffic:
        protocol, port = divmod(first, PORTS)
        last_protocol, last_port = divmod(last, PORTS)
        if protocol == last_protocol:
            found.append(Block(protocol, protocol, port, last_port))
            continue
        if port:
            found.append(Block(protocol, protocol, port, PORTS - 1))
            protocol += 1
        tail = last_port < PORTS - 1
        last_whole = last_protocol - 1 if tail else last_protocol
        if protocol <= last_whole:
            found.append(Block(protocol, last_whole, 0, PORTS - 1))
        if tail:
            found.append(Block(last_protocol, last_protocol, 0, last_port))
    return tuple(found)


def describe(traffic: Traffic) -> str:
    """A set in words: ``TCP/80, UDP``, or ``all but TCP/25``."""
    if not traffic:
        return "nothing"
    if traffic == EVERYTHING:
        return "all"
    said, left_out = blocks(traffic), blocks(rest(traffic))
    if len(left_out) < len(said) and traffic[-1].last == END - 1:
        return f"all but {_list(left_out)}"
    return _list(said)


def _list(found: tuple[Block, ...]) -> str:
    return ", ".join(map(str, found))
