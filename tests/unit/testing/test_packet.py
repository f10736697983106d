"""Frames as scapy understands them: taken apart, and built again with its own checksums."""

from itertools import product
from socket import (
    IPPROTO_AH,
    IPPROTO_DSTOPTS,
    IPPROTO_GRE,
    IPPROTO_HOPOPTS,
    IPPROTO_ICMP,
    IPPROTO_ICMPV6,
    IPPROTO_ROUTING,
    IPPROTO_SCTP,
    IPPROTO_TCP,
    IPPROTO_UDP,
)

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers import inet, inet6, l2, sctp
from scapy.packet import NoPayload, Packet

from kinety.model.address import pack_address, unpack_address
from kinety.testing.packet import (
    MAPPED,
    Flow,
    Link,
    Tcp,
    arp,
    ethernet,
    extension,
    fragments,
    frame,
    icmp_error,
    neighbour,
    network,
    transport_frame,
)

ENDS = {
    4: (pack_address("10.77.0.11"), pack_address("192.0.2.2")),
    6: (pack_address("fd77::b"), pack_address("2001:db8::2")),
}
ICMP = {4: IPPROTO_ICMP, 6: IPPROTO_ICMPV6}
NETWORK = {4: inet.IP, 6: inet6.IPv6}
families = pytest.mark.parametrize("family", [4, 6])


def dissect(data: bytes) -> Packet:
    """A frame as scapy sees it; building it again, checksums left out, must give the same bytes."""
    parsed = l2.Ether(data)
    bare = parsed.copy()
    layer = bare
    while not isinstance(layer, NoPayload):
        for name in ("chksum", "cksum"):
            if name in layer.fields and not layer.name.endswith("in ICMP") and "error" not in layer.name:
                del layer.fields[name]
        layer = layer.payload
    assert bytes(bare) == data, f"scapy makes {bytes(bare).hex()}\nof           {data.hex()}"
    return parsed


def addresses(family: int) -> tuple[str, str]:
    source, destination = ENDS[family]
    return str(unpack_address(source)), str(unpack_address(destination))


@families
@pytest.mark.parametrize("flags", [Tcp.SYN, Tcp.SYN | Tcp.ACK, Tcp.FIN | Tcp.ACK, Tcp.RST])
def test_tcp(family: int, flags: Tcp) -> None:
    seen = dissect(frame(Flow(*ENDS[family], IPPROTO_TCP, 40000, 80), flags=flags, ttl=7))
    ip = seen[NETWORK[family]]
    assert (ip.src, ip.dst) == addresses(family)
    assert (ip.ttl if family == 4 else ip.hlim) == 7
    assert (seen[inet.TCP].sport, seen[inet.TCP].dport, int(seen[inet.TCP].flags)) == (40000, 80, flags)


@families
def test_udp_and_its_answer(family: int) -> None:
    asked = Flow(*ENDS[family], IPPROTO_UDP, 40000, 53)
    seen = dissect(frame(asked.reply(), payload=b"odd"))
    assert (seen[inet.UDP].sport, seen[inet.UDP].dport) == (53, 40000)
    assert (seen[NETWORK[family]].dst, seen[NETWORK[family]].src) == addresses(family)
    assert bytes(seen[inet.UDP].payload) == b"odd"


@families
def test_sctp(family: int) -> None:
    seen = dissect(frame(Flow(*ENDS[family], IPPROTO_SCTP, 40000, 80)))
    assert (seen[sctp.SCTP].sport, seen[sctp.SCTP].dport) == (40000, 80)
    assert seen.haslayer(sctp.SCTPChunkInit)


@families
def test_echo_and_its_answer(family: int) -> None:
    asked = Flow(*ENDS[family], ICMP[family], 77, 8 if family == 4 else 128)
    for flow, kind in ((asked, 8 if family == 4 else 128), (asked.reply(), 0 if family == 4 else 129)):
        layer = dissect(frame(flow))[NETWORK[family]].payload
        assert (layer.type, layer.code, layer.id, layer.seq) == (kind, 0, 77, 1)


@families
def test_a_protocol_without_ports_is_its_payload(family: int) -> None:
    seen = dissect(frame(Flow(*ENDS[family], IPPROTO_GRE), payload=bytes(4)))
    assert (seen[NETWORK[family]].proto if family == 4 else seen[NETWORK[family]].nh) == IPPROTO_GRE


@families
def test_an_error_quotes_the_packet_and_goes_to_its_source(family: int) -> None:
    asked = frame(Flow(*ENDS[family], IPPROTO_UDP, 40000, 53))
    router = pack_address("198.51.100.1" if family == 4 else "2001:db8:1::1")
    seen = dissect(icmp_error(router, asked, 3 if family == 4 else 1, code=3))
    assert seen[NETWORK[family]].dst == addresses(family)[0]
    message = seen[NETWORK[family]].payload
    assert (message.type, message.code) == (3 if family == 4 else 1, 3)
    assert bytes(message)[8:] == asked[14:]


@families
@pytest.mark.parametrize("operation", [1, 2])
def test_arp_and_neighbour_discovery(family: int, operation: int) -> None:
    source, target = ENDS[family]
    link = Link(bytes.fromhex("02aabbccddee"), bytes.fromhex("ffffffffffff"))
    if family == 4:
        seen = dissect(arp(operation, source, target, link=link))[l2.ARP]
        assert (seen.op, seen.psrc, seen.pdst) == (operation, *addresses(family))
        assert seen.hwsrc == "02:aa:bb:cc:dd:ee"
        return
    data = neighbour(
        134 + operation, source, target, link=link, destination=None if operation == 1 else target
    )
    seen = dissect(data)
    message = seen[inet6.IPv6].payload
    assert (message.type, message.tgt, seen[inet6.IPv6].hlim) == (134 + operation, addresses(6)[1], 255)
    assert message.payload.lladdr == "02:aa:bb:cc:dd:ee"
    assert seen[inet6.IPv6].dst == ("ff02::1:ff00:2" if operation == 1 else addresses(6)[1])


@families
def test_fragments_are_put_together_again(family: int) -> None:
    flow = Flow(*ENDS[family], IPPROTO_UDP, 40000, 53)
    payload = bytes(range(100))
    pieces = fragments(flow, [24, 64], identification=4711, payload=payload)
    assert len(pieces) == 3
    together = b""
    for piece in pieces:
        layer = dissect(piece)[inet.IP if family == 4 else inet6.IPv6ExtHdrFragment]
        assert layer.id == 4711
        assert (layer.frag if family == 4 else layer.offset) * 8 == len(together)
        assert bool(layer.flags.MF if family == 4 else layer.m) == (piece is not pieces[-1])
        together += bytes(layer.payload)
    assert together == frame(flow, payload=payload)[14 + (20 if family == 4 else 40) :]


def test_extension_headers_are_a_chain() -> None:
    chain = [
        (IPPROTO_HOPOPTS, extension(bytes.fromhex("010400000000"))),
        (IPPROTO_ROUTING, extension(bytes.fromhex("000000000000"))),
        (IPPROTO_DSTOPTS, extension(bytes.fromhex("010400000000"))),
    ]
    seen = dissect(frame(Flow(*ENDS[6], IPPROTO_TCP, 40000, 80), extensions=chain))
    for kind in (inet6.IPv6ExtHdrHopByHop, inet6.IPv6ExtHdrRouting, inet6.IPv6ExtHdrDestOpt):
        assert seen.haslayer(kind)
    assert seen[inet.TCP].dport == 80
    first, *_ = fragments(Flow(*ENDS[6], IPPROTO_UDP, 1, 2), [8], identification=1, extensions=chain[:1])
    assert dissect(first)[inet6.IPv6ExtHdrHopByHop].payload.name == inet6.IPv6ExtHdrFragment().name


def test_an_authentication_header_is_followed_by_the_transport() -> None:
    header = bytes((0, 1)) + bytes(10)  # twelve bytes: RFC 4302 counts words, minus two
    packet = network(Flow(*ENDS[6], IPPROTO_TCP), bytes(20), extensions=[(IPPROTO_AH, header)])
    assert (packet[6], packet[40], len(packet)) == (IPPROTO_AH, IPPROTO_TCP, 40 + 12 + 20)


def test_ipv4_options_lengthen_the_header() -> None:
    seen = dissect(frame(Flow(*ENDS[4], IPPROTO_TCP, 1, 2), options=bytes.fromhex("01010100")))
    assert (seen[inet.IP].ihl, seen[inet.TCP].dport) == (6, 2)


def test_a_frame_of_another_kind_keeps_its_kind() -> None:
    assert ethernet(b"?", kind=0x88CC)[12:] == b"\x88\xcc?"


ports = st.integers(0, 0xFFFF)
ipv4 = st.binary(min_size=4, max_size=4).map(lambda tail: MAPPED + tail)
# Not the loopback prefixes of mapped addresses: those are IPv4's.
ipv6 = st.binary(min_size=15, max_size=15).map(lambda tail: b"\x20" + tail)


@given(
    st.one_of(st.tuples(ipv4, ipv4), st.tuples(ipv6, ipv6)),
    st.sampled_from([IPPROTO_TCP, IPPROTO_UDP, IPPROTO_SCTP, 136, IPPROTO_ICMP, IPPROTO_ICMPV6, 47, 255]),
    ports,
    ports,
    st.sampled_from([Tcp.SYN, Tcp.ACK, Tcp.FIN | Tcp.ACK]),
)
def test_the_fast_way_gives_the_same_bytes(
    ends: tuple[bytes, bytes], protocol: int, source_port: int, destination_port: int, flags: Tcp
) -> None:
    if protocol in ICMP.values():
        destination_port &= 0xFF
    flow = Flow(*ends, protocol, source_port, destination_port)
    assert transport_frame(*ends, protocol, source_port, destination_port, flags) == frame(flow, flags=flags)


@families
def test_the_fast_way_sends_zero_as_ones_in_udp(family: int) -> None:
    """A checksum that comes out as zero: the port that makes it so is computed from the frame without it."""
    source, destination = ENDS[family]
    at = 14 + (20 if family == 4 else 40) + 6
    found = int.from_bytes(transport_frame(source, destination, IPPROTO_UDP, 0, 9)[at : at + 2])
    made = transport_frame(source, destination, IPPROTO_UDP, found, 9)
    assert made[at : at + 2] == b"\xff\xff"
    dissect(made)


def test_errors_made_the_fast_way_quote_a_packet_of_their_receiver() -> None:
    for family, kind in product((4, 6), (3, 1, 12)):
        if family == 4 and kind == 1:
            continue
        source, destination = ENDS[family]
        message = dissect(transport_frame(source, destination, ICMP[family], 0, kind))[
            NETWORK[family]
        ].payload
        quoted = NETWORK[family](bytes(message)[8:])
        assert (quoted.dst, quoted.src) == addresses(family)
