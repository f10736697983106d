"""Ports, ranges of them, names that endpoints give them, and ICMP types."""

from collections.abc import Iterator, Mapping
from typing import Any

from kinety.testing.oracle.statement import EVERY_PORT, Question, Span

WITH_PORTS = {"TCP": 6, "UDP": 17, "SCTP": 132}
#: What ANY means.
_ANY = (6, 17, 132)
WITHOUT_PORTS = {
    "ICMP": 1,
    "IGMP": 2,
    "IPIP": 4,
    "GRE": 47,
    "ESP": 50,
    "AH": 51,
    "ICMPv6": 58,
    "VRRP": 112,
}
#: IANA, "ICMP Type Numbers" and "ICMPv6 'type' Numbers".
_ICMP_NAMES: dict[int, dict[str, int]] = {
    4: {
        "EchoReply": 0,
        "DestinationUnreachable": 3,
        "Redirect": 5,
        "Echo": 8,
        "EchoRequest": 8,
        "RouterAdvertisement": 9,
        "RouterSelection": 10,
        "TimeExceeded": 11,
        "ParameterProblem": 12,
        "Timestamp": 13,
        "TimestampReply": 14,
        "Photuris": 40,
        "ExtendedEchoRequest": 42,
        "ExtendedEchoReply": 43,
    },
    6: {
        "DestinationUnreachable": 1,
        "PacketTooBig": 2,
        "TimeExceeded": 3,
        "ParameterProblem": 4,
        "EchoRequest": 128,
        "EchoReply": 129,
        "MulticastListenerQuery": 130,
        "MulticastListenerReport": 131,
        "MulticastListenerDone": 132,
        "RouterSolicitation": 133,
        "RouterAdvertisement": 134,
        "NeighborSolicitation": 135,
        "NeighborAdvertisement": 136,
        "RedirectMessage": 137,
    },
}


def span_of(item: Mapping[str, Any], question: Question, *, absent: str = "ANY") -> Iterator[Span]:
    """The ports of an item with ``port``, ``endPort`` and ``protocol``, when the question's is one of them.

    ``absent`` is the protocol of an item that names none.
    """
    protocol = item.get("protocol") or absent
    if protocol in WITHOUT_PORTS:
        if question.protocol == WITHOUT_PORTS[protocol]:
            yield EVERY_PORT
        return
    if question.protocol not in (_ANY if protocol == "ANY" else (WITH_PORTS[protocol],)):
        return
    text = str(item.get("port") or 0)
    if not text.isdecimal():
        yield from named_span(text, question)
        return
    first = int(text)
    last = int(item.get("endPort") or 0) or first
    span = (first, last) if first else EVERY_PORT
    if _holds(span, question.port):
        yield span


def named_span(name: str, question: Question) -> Iterator[Span]:
    """The ports that are called so by whom the traffic goes to, when the question's is one of them."""
    for each, protocol, port in question.owner.ports:
        if (each, protocol, port) == (name.lower(), question.protocol, question.port):
            yield port, port


def range_span(first: int, last: int, protocol: int, question: Question) -> Iterator[Span]:
    """A range of ports of one protocol, when the question's is one of them."""
    if question.protocol == protocol and _holds((first, last), question.port):
        yield first, last


def icmp_span(field: Mapping[str, Any], question: Question) -> Iterator[Span]:
    """The message type of an item of icmps, when it is the question's."""
    family = 6 if field.get("family") == "IPv6" else 4
    wanted = field["type"]
    if not str(wanted).isdecimal():
        wanted = _ICMP_NAMES[family][wanted]
    if question.protocol == (58 if family == 6 else 1) and question.port == int(wanted):
        yield int(wanted), int(wanted)


def _holds(span: Span, port: int) -> bool:
    return span[0] <= port <= span[1]
