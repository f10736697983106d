"""Frames for questions to the datapath: built, cut into fragments, quoted, and read again.

Written by hand and not on top of a packet library: the judges ask hundreds of thousands of
questions (`transport_frame` answers in a few microseconds, a library in hundreds), and the library
of this field, scapy, has a licence that a shipped package of ours could not import. So scapy is
the judge instead: the unit tests have it take every kind of frame apart and put it together again,
checksums included.

Addresses are 16 bytes, IPv4 mapped, as everywhere (`kinety.model.address.pack_address`). Ports are
numbers. For ICMP and ICMPv6 a flow's ``source_port`` is the echo identifier and its
``destination_port`` the message's type, as in rule sets.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum, IntFlag
from itertools import pairwise
from socket import (
    IPPROTO_FRAGMENT,
    IPPROTO_ICMP,
    IPPROTO_ICMPV6,
    IPPROTO_SCTP,
    IPPROTO_TCP,
    IPPROTO_UDP,
    IPPROTO_UDPLITE,
)
from struct import Struct
from typing import Self

from .checksum import crc32c, internet_checksum, word_sum

ETHERNET_BYTES = 14
MAPPED = b"\0" * 10 + b"\xff\xff"

_ONES = 0xFFFF
_ICMP = (IPPROTO_ICMP, IPPROTO_ICMPV6)
#: Protocols whose frames differ only in addresses, ports and sums; the CRC of SCTP is no sum.
_TEMPLATED = (*_ICMP, IPPROTO_TCP, IPPROTO_UDP, IPPROTO_UDPLITE)
_ECHO_REPLY = {8: 0, 128: 129}
#: Types that quote a packet: of ICMP (RFC 792), and those of ICMPv6 below 128 (RFC 4443, 2.1).
_ICMP_ERRORS = frozenset({3, 4, 5, 11, 12})
_IPV4 = Struct("!BBHHHBBH4s4s")
_IPV6 = Struct("!IHBB16s16s")
_TCP = Struct("!HHIIBBHHH")
_WORDS = Struct("!HHHH")
_ICMP_HEADER = Struct("!BBHHH")
_ARP = Struct("!HHBBH6s4s6s4s")
_IPV6_FRAGMENT = Struct("!BBHI")
_DO_NOT_FRAGMENT = 0x4000
_MORE_FRAGMENTS = 0x2000
_PAYLOAD = b"kinety!\n"
#: An INIT chunk of SCTP (RFC 9260, 3.3.2): one stream each way, a window of 64 KiB.
_SCTP_INIT = bytes.fromhex("01000014 00000001 00010000 00010001 00000001")


class EtherType(IntEnum):
    """What follows the link header."""

    IPV4 = 0x0800
    ARP = 0x0806
    IPV6 = 0x86DD


class Tcp(IntFlag):
    """Flags of a TCP header (RFC 9293, 3.1)."""

    FIN = 1
    SYN = 2
    RST = 4
    PSH = 8
    ACK = 16


@dataclass(frozen=True, slots=True)
class Link:
    """The two MACs of a frame, 6 bytes each."""

    source: bytes = bytes.fromhex("020000000001")
    destination: bytes = bytes.fromhex("020000000002")


@dataclass(frozen=True, slots=True)
class Fragment:
    """Which part of a packet: ``offset`` in bytes, a multiple of eight."""

    identification: int
    offset: int
    more: bool


@dataclass(frozen=True, slots=True)
class Flow:
    """Two ends and a protocol, as the packets of one direction have them."""

    source: bytes
    destination: bytes
    protocol: int
    source_port: int = 0
    destination_port: int = 0

    def reply(self) -> Self:
        """The other direction; an echo request becomes its answer."""
        swapped = replace(self, source=self.destination, destination=self.source)
        if self.protocol in _ICMP:
            kind = _ECHO_REPLY.get(self.destination_port, self.destination_port)
            return replace(swapped, destination_port=kind)
        return replace(swapped, source_port=self.destination_port, destination_port=self.source_port)


LINK = Link()


def frame(
    flow: Flow,
    *,
    flags: int = Tcp.SYN,
    payload: bytes = _PAYLOAD,
    link: Link = LINK,
    ttl: int = 64,
    options: bytes = b"",
    extensions: Sequence[tuple[int, bytes]] = (),
) -> bytes:
    """A whole packet of a flow. ``options`` are IPv4's; ``extensions`` (kind, header) are IPv6's."""
    body = transport(flow, flags=flags, payload=payload)
    return ethernet(network(flow, body, ttl=ttl, options=options, extensions=extensions), link)


def fragments(
    flow: Flow,
    cuts: Sequence[int],
    *,
    identification: int,
    flags: int = Tcp.SYN,
    payload: bytes = _PAYLOAD,
    link: Link = LINK,
    extensions: Sequence[tuple[int, bytes]] = (),
) -> list[bytes]:
    """A packet of a flow in pieces, cut at byte offsets (multiples of eight) of its transport."""
    body = transport(flow, flags=flags, payload=payload)
    edges = [0, *cuts, len(body)]
    return [
        ethernet(
            network(
                flow,
                body[start:end],
                fragment=Fragment(identification, start, end < len(body)),
                extensions=extensions,
            ),
            link,
        )
        for start, end in pairwise(edges)
    ]


def icmp_error(
    source: bytes,
    quoted: bytes,
    kind: int,
    *,
    code: int = 0,
    destination: bytes | None = None,
    quoted_bytes: int = 128,
    link: Link = LINK,
) -> bytes:
    """An error about the packet in a frame, sent to its source unless ``destination`` says otherwise.

    ``quoted_bytes`` of the packet are in it, from the IP header on.
    """
    ipv4 = _is_ipv4(source)
    if destination is None:
        at = ETHERNET_BYTES + (12 if ipv4 else 8)
        destination = MAPPED + quoted[at : at + 4] if ipv4 else quoted[at : at + 16]
    flow = Flow(source, destination, IPPROTO_ICMP if ipv4 else IPPROTO_ICMPV6, 0, kind)
    message = _icmp(flow, code, 0, quoted[ETHERNET_BYTES : ETHERNET_BYTES + quoted_bytes])
    return ethernet(network(flow, message), link)


def arp(
    operation: int,
    sender: bytes,
    target: bytes,
    *,
    link: Link = LINK,
    sender_mac: bytes | None = None,
    target_mac: bytes = bytes(6),
    hardware: int = 1,
) -> bytes:
    """An ARP packet (RFC 826): 1 asks, 2 answers. ``sender_mac`` is the link's unless given."""
    addresses = (sender_mac or link.source, sender[12:], target_mac, target[12:])
    return ethernet(_ARP.pack(hardware, EtherType.IPV4, 6, 4, operation, *addresses), link, EtherType.ARP)


def neighbour(
    kind: int,
    source: bytes,
    target: bytes,
    *,
    destination: bytes | None = None,
    link: Link = LINK,
    ttl: int = 255,
    code: int = 0,
    router: bool = False,
    options: bytes | None = None,
    extensions: Sequence[tuple[int, bytes]] = (),
) -> bytes:
    """Neighbour discovery (RFC 4861): a solicitation (135) goes to the target's own multicast group,
    an advertisement (136), solicited and overriding, to ``destination``. With the sender's MAC as an
    option, unless ``options`` are given.
    """
    flags = bytes((0x60 | router << 7 if kind == 136 else 0, 0, 0, 0))
    if options is None:
        options = bytes((2 if kind == 136 else 1, 1)) + link.source
    if destination is None:
        destination = bytes.fromhex("ff0200000000000000000001ff") + target[13:]
    flow = Flow(source, destination, IPPROTO_ICMPV6, 0, kind)
    message = bytes((kind, code, 0, 0)) + flags + target + options
    check = internet_checksum(_pseudo(flow, len(message)) + message)
    message = message[:2] + check.to_bytes(2) + message[4:]
    return ethernet(network(flow, message, ttl=ttl, extensions=extensions), link)


def ethernet(packet: bytes, link: Link = LINK, kind: int | None = None) -> bytes:
    """A frame around a packet; its ``kind`` is read from the packet's version unless given."""
    if kind is None:
        kind = EtherType.IPV4 if packet[0] >> 4 == 4 else EtherType.IPV6
    return link.destination + link.source + kind.to_bytes(2) + packet


def network(
    flow: Flow,
    body: bytes,
    *,
    ttl: int = 64,
    fragment: Fragment | None = None,
    options: bytes = b"",
    extensions: Sequence[tuple[int, bytes]] = (),
) -> bytes:
    """An IP packet of the flow's family around any transport; the fragment header of IPv6 comes last."""
    if _is_ipv4(flow.source):
        return _network_ipv4(flow, body, ttl, fragment, options)
    chain = list(extensions)
    if fragment:
        place = fragment.offset | fragment.more
        chain.append((IPPROTO_FRAGMENT, _IPV6_FRAGMENT.pack(0, 0, place, fragment.identification)))
    kinds = [kind for kind, _ in chain] + [flow.protocol]
    headers = b"".join(
        bytes((after,)) + header[1:] for after, (_, header) in zip(kinds[1:], chain, strict=True)
    )
    length = len(headers) + len(body)
    return _IPV6.pack(6 << 28, length, kinds[0], ttl, flow.source, flow.destination) + headers + body


def extension(content: bytes = bytes(6), length: int | None = None) -> bytes:
    """An IPv6 extension header (RFC 8200, 4.2) whose first byte `network` fills in."""
    units = (len(content) + 2) // 8 - 1
    return bytes((0, units if length is None else length)) + content


def transport(flow: Flow, *, flags: int = Tcp.SYN, payload: bytes = _PAYLOAD) -> bytes:
    """The transport header of a flow with its payload; a protocol without one has the payload alone."""
    ports = (flow.source_port, flow.destination_port)
    if flow.protocol in _ICMP:
        if _is_error(flow):
            payload = _stranger(flow.destination, flow.source)[ETHERNET_BYTES:]
        return _icmp(flow, 0, flow.source_port, payload)
    if flow.protocol == IPPROTO_TCP:
        acknowledged = 1 if flags & Tcp.ACK else 0
        segment = _TCP.pack(*ports, 1, acknowledged, 5 << 4, flags, 8192, 0, 0) + payload
        return _with_checksum(segment, 16, _pseudo(flow, len(segment)))
    if flow.protocol in (IPPROTO_UDP, IPPROTO_UDPLITE):
        length = _WORDS.size + len(payload)
        coverage = length if flow.protocol == IPPROTO_UDP else 0  # of UDP-Lite: all of it (RFC 3828)
        datagram = _WORDS.pack(*ports, coverage, 0) + payload
        return _with_checksum(datagram, 6, _pseudo(flow, length), zero=_ONES)
    if flow.protocol == IPPROTO_SCTP:
        head = _WORDS.pack(*ports, 0, 0)  # and the verification tag, which an INIT has none of
        crc = crc32c(head + bytes(4) + _SCTP_INIT)
        return head + crc.to_bytes(4, "little") + _SCTP_INIT
    return payload


def transport_frame(
    source: bytes,
    destination: bytes,
    protocol: int,
    source_port: int = 0,
    destination_port: int = 0,
    flags: int = Tcp.SYN,
) -> bytes:
    """The same bytes as ``frame`` gives for a flow, as fast as it goes: from a template.

    A type of ICMP that announces an error quotes a packet of a flow that nobody knows.
    """
    ipv4 = _is_ipv4(source)
    made = _template(ipv4, protocol, destination_port if protocol in _ICMP else 0, flags)
    if made is None:
        return frame(Flow(source, destination, protocol, source_port, destination_port), flags=flags)
    if ipv4:
        source, destination = source[12:], destination[12:]
    ends = int.from_bytes(source) + int.from_bytes(destination)
    network_check = b"" if made.network_sum is None else (-(made.network_sum + ends) % _ONES).to_bytes(2)
    if protocol in _ICMP:
        before = made.before
        after = source_port.to_bytes(2) + made.after
        total = made.transport_sum + source_port + (0 if protocol == IPPROTO_ICMP else ends)
    else:
        before = (source_port << 16 | destination_port).to_bytes(4) + made.before
        after = made.after
        total = made.transport_sum + source_port + destination_port + ends
    check = -total % _ONES or (_ONES if protocol in (IPPROTO_UDP, IPPROTO_UDPLITE) else 0)
    return b"".join((made.head, network_check, source, destination, before, check.to_bytes(2), after))


@dataclass(frozen=True, slots=True)
class _Template:
    """The constant pieces of a frame with what they contribute to its checksums.

    ``before`` and ``after`` lie around the transport's checksum, without ports (or the identifier).
    """

    head: bytes
    before: bytes
    after: bytes
    network_sum: int | None
    transport_sum: int


@functools.cache
def _template(ipv4: bool, protocol: int, kind: int, flags: int) -> _Template | None:
    """None for frames whose bytes depend on addresses in another way."""
    zero = MAPPED + bytes(4) if ipv4 else bytes(16)
    flow = Flow(zero, zero, protocol, 0, kind if protocol in _ICMP else 0)
    if protocol not in _TEMPLATED or _is_error(flow):
        return None
    blank = frame(flow, flags=flags)
    start = ETHERNET_BYTES + (_IPV4.size if ipv4 else _IPV6.size)
    head = blank[: ETHERNET_BYTES + (10 if ipv4 else 8)]
    body = blank[start:]
    at = {IPPROTO_TCP: 16, IPPROTO_UDP: 6, IPPROTO_UDPLITE: 6}.get(protocol, 2)
    skipped = 0 if protocol in _ICMP else 4
    bare = body[:at] + bytes(2) + body[at + 2 :]
    return _Template(
        head=head,
        before=body[skipped:at],
        after=body[at + 2 + (2 if protocol in _ICMP else 0) :],
        network_sum=word_sum(head[ETHERNET_BYTES:]) if ipv4 else None,
        transport_sum=word_sum(bare)
        + (0 if protocol == IPPROTO_ICMP else word_sum(_pseudo(flow, len(body)))),
    )


def _network_ipv4(flow: Flow, body: bytes, ttl: int, fragment: Fragment | None, options: bytes) -> bytes:
    identification, place = 0, _DO_NOT_FRAGMENT
    if fragment:
        identification = fragment.identification
        place = fragment.offset // 8 | (_MORE_FRAGMENTS if fragment.more else 0)
    words = (_IPV4.size + len(options)) // 4
    length = words * 4 + len(body)
    ends = (flow.source[12:], flow.destination[12:])
    header = _IPV4.pack(0x40 | words, 0, length, identification, place, ttl, flow.protocol, 0, *ends)
    return _with_checksum(header + options, 10) + body


def _icmp(flow: Flow, code: int, identifier: int, payload: bytes) -> bytes:
    sequence = 0 if _is_error(flow) else 1
    message = _ICMP_HEADER.pack(flow.destination_port, code, 0, identifier, sequence) + payload
    return _with_checksum(message, 2, _pseudo(flow, len(message)) if flow.protocol == IPPROTO_ICMPV6 else b"")


def _is_error(flow: Flow) -> bool:
    if flow.protocol == IPPROTO_ICMP:
        return flow.destination_port in _ICMP_ERRORS
    return flow.protocol == IPPROTO_ICMPV6 and flow.destination_port < 128


def _stranger(source: bytes, destination: bytes) -> bytes:
    """A packet that nobody has sent, for an error to quote: to the discard port, from port 1."""
    return frame(Flow(source, destination, IPPROTO_UDP, 1, 9))


def _pseudo(flow: Flow, length: int) -> bytes:
    """What a transport's checksum covers beside it (RFC 9293, 3.1; RFC 8200, 8.1)."""
    if _is_ipv4(flow.source):
        return flow.source[12:] + flow.destination[12:] + bytes((0, flow.protocol)) + length.to_bytes(2)
    return flow.source + flow.destination + length.to_bytes(4) + flow.protocol.to_bytes(4)


def _with_checksum(data: bytes, at: int, pseudo: bytes = b"", zero: int = 0) -> bytes:
    """Data with its checksum put in ``at``; ``zero`` is what UDP sends for 0, which means none there."""
    check = internet_checksum(pseudo + data) or zero
    return data[:at] + check.to_bytes(2) + data[at + 2 :]


def _is_ipv4(address: bytes) -> bool:
    return address[:12] == MAPPED
