"""What is not a packet that can be judged: cut off, of another kind, for everybody, or disguised.

The kernel refuses to try a program on an IP packet shorter than its fixed header, so cutting starts there.
"""

from dataclasses import replace
from socket import IPPROTO_AH, IPPROTO_DSTOPTS, IPPROTO_HOPOPTS, IPPROTO_NONE, IPPROTO_ROUTING

import pytest

from kinety.abi import Reason
from kinety.model.address import pack_address
from kinety.model.rule import Direction
from kinety.testing.packet import (
    ETHERNET_BYTES,
    Flow,
    ethernet,
    extension,
    frame,
    network,
    transport,
)
from tests.packet.node import ALLOWS, DENIES, NO_RULE, ends, ping, tcp, udp, where
from tests.packet.table import Case, Step, World, both_families, case, enter, leave, play

pytestmark = pytest.mark.needs("root", "bpf", "tcx", "netns", "bpffs", "nft", "objects")

LOCAL, STACK, ENTERED = Reason.FORWARDED_LOCAL, Reason.FORWARDED_STACK, Reason.FORWARDED_ENDPOINT
TRUNCATED, UNSUPPORTED = Reason.PACKET_TRUNCATED, Reason.PROTOCOL_UNSUPPORTED
MULTICAST, EXTENSIONS, MAPPED = Reason.MULTICAST, Reason.EXTENSION_HEADERS, Reason.MAPPED_ADDRESS
IP_HEADER = {4: 20, 6: 40}
#: Bytes of each transport that must be there: ports; ports and flags; an ICMP header.
NEEDED = {"udp": 4, "tcp": 14, "icmp": 8}
GROUPS = {4: ("224.0.0.1", "239.255.255.250", "255.255.255.255"), 6: ("ff02::1", "ff0e::1", "ff05::2")}
LLDP, VLAN, MPLS, LOOP = 0x88CC, 0x8100, 0x8847, 0x0060


def cases(family: int) -> list[Case]:
    """Every table of one family."""
    flows = {
        "udp": udp("client", "server", family),
        "tcp": tcp("client", "server", family),
        "icmp": ping("client", "server", family),
    }
    start = ETHERNET_BYTES + IP_HEADER[family]
    connection = flows["tcp"]
    kind = frame(connection)[12:14]
    return [
        *(
            case(
                f"{name} cut off before what must be read",
                *(
                    step
                    for length in range(start, start + NEEDED[name])
                    for step in (
                        leave("client", frame(flow)[:length], TRUNCATED, note=f"{length} bytes out"),
                        enter("server", frame(flow)[:length], TRUNCATED, note=f"{length} bytes in"),
                    )
                ),
                leave("client", frame(flow)[: start + NEEDED[name]], LOCAL, "server", flows=2),
            )
            for name, flow in flows.items()
        ),
        case(
            "to everybody",
            *(
                step
                for group in GROUPS[family]
                for step in (
                    leave("client", frame(to_group("client", group, family)), MULTICAST),
                    enter("client", frame(to_group("world", group, family)), MULTICAST),
                )
            ),
        ),
        case(
            "with the version of another family",
            leave("client", with_version(frame(connection), 10 - family), TRUNCATED),
            leave("client", with_version(frame(connection), 0), TRUNCATED),
            enter("server", with_version(frame(connection), 15), TRUNCATED),
        ),
        case(
            "a link header that says something else",
            *(
                step
                for other in (LLDP, VLAN, MPLS, LOOP)
                for step in (
                    leave("client", ethernet(frame(connection)[ETHERNET_BYTES:], kind=other), UNSUPPORTED),
                    enter("server", ethernet(frame(connection)[ETHERNET_BYTES:], kind=other), UNSUPPORTED),
                )
            ),
            leave(
                "client",
                frame(connection)[:12] + VLAN.to_bytes(2) + b"\0\1" + kind + frame(connection)[14:],
                UNSUPPORTED,
                note="a tag before it",
            ),
        ),
    ]


def to_group(source: str, group: str, family: int) -> Flow:
    """A datagram to a group or to all."""
    flow = udp(source, "server", family)
    return Flow(flow.source, pack_address(group), flow.protocol, 5353, 5353)


def with_version(data: bytes, version: int) -> bytes:
    """A frame whose IP header claims another version."""
    first = data[ETHERNET_BYTES] & 15 | version << 4
    return data[:ETHERNET_BYTES] + bytes((first,)) + data[ETHERNET_BYTES + 1 :]


def ipv4_cases() -> list[Case]:
    """What only the header of IPv4 can do."""
    flow = tcp("client", "server", 4)
    options = b"\1" * 39 + b"\0"
    short = with_first_byte(frame(flow), 0x44)
    beyond = with_first_byte(frame(flow)[: ETHERNET_BYTES + 40], 0x4F)
    return [
        case("forty bytes of options", sends(frame(flow, options=options), flows=2)),
        case(
            "options before a port that is not allowed",
            leave(
                "client",
                frame(tcp("client", "server", 4, 81), options=options),
                Reason.POLICY_DENIED,
                judge="server",
                direction=Direction.INGRESS,
                rule=DENIES,
            ),
        ),
        case(
            "sums that carry over when the packet has made its hop",
            *(
                sends(frame(flow, options=options_for(flow, check)), flows=2 * (number == 0), note=hex(check))
                for number, check in enumerate((0xFEFE, 0xFEFF, 0xFF00, 0xFFFE, 0, 0x00FF, 0x0100))
            ),
        ),
        case("a header shorter than a header", leave("client", short, TRUNCATED)),
        case("a header longer than the packet", leave("client", beyond, TRUNCATED)),
    ]


def options_for(flow: Flow, check: int) -> bytes:
    """Options that give the header a certain sum."""
    at = ETHERNET_BYTES + 10
    without = int.from_bytes(frame(flow, options=bytes(4))[at : at + 2])
    options = bytes(2) + ((without - check) % 0xFFFF).to_bytes(2)
    assert int.from_bytes(frame(flow, options=options)[at : at + 2]) == check
    return options


def with_first_byte(data: bytes, first: int) -> bytes:
    """A frame with another version and header length."""
    return data[:ETHERNET_BYTES] + bytes((first,)) + data[ETHERNET_BYTES + 1 :]


def sends(packet: bytes, flows: int = 0, note: str = "") -> Step:
    """An allowed packet from client to server."""
    return leave("client", packet, LOCAL, "server", rules=(NO_RULE, ALLOWS), flows=flows, note=note)


def ipv6_cases() -> list[Case]:
    """Extension headers (RFC 8200, 4), and IPv4 in disguise (RFC 4291, 2.5.5.2)."""
    flow = tcp("client", "server", 6)
    hop, options = (IPPROTO_HOPOPTS, extension()), (IPPROTO_DSTOPTS, extension(bytes(14)))
    arrived = (IPPROTO_ROUTING, extension(bytes((4, 0, 0, 0, 0, 0))))
    under_way = (IPPROTO_ROUTING, extension(bytes((4, 1, 0, 0, 0, 0))))
    authentication = (IPPROTO_AH, bytes((0, 1)) + bytes(10))
    long = (IPPROTO_DSTOPTS, extension(bytes(6), length=255))
    whole = frame(flow, extensions=[hop, options])
    headers = ETHERNET_BYTES + 40
    nothing = Flow(*ends("client", "server", 6), IPPROTO_NONE)
    mapped, ours = pack_address("10.77.0.11"), where("client", 6)
    return [
        case(
            "headers that only lie in between",
            sends(frame(flow, extensions=[hop]), flows=2),
            sends(frame(flow, extensions=[options])),
            sends(frame(flow, extensions=[arrived]), note="a route that has ended"),
            sends(frame(flow, extensions=[authentication])),
            sends(frame(flow, extensions=[hop, options, arrived, authentication, options])),
        ),
        case(
            "a port behind headers is the port",
            leave(
                "client",
                frame(tcp("client", "server", 6, 81), extensions=[hop, options]),
                Reason.POLICY_DENIED,
                judge="server",
                direction=Direction.INGRESS,
                rule=DENIES,
            ),
        ),
        case(
            "a packet that would go on elsewhere",
            leave("client", frame(flow, extensions=[under_way]), EXTENSIONS),
            leave("client", frame(flow, extensions=[hop, under_way]), EXTENSIONS),
            enter("server", frame(flow, extensions=[under_way]), EXTENSIONS),
        ),
        case(
            "more headers than anyone needs",
            leave("client", frame(flow, extensions=[options] * 6), EXTENSIONS),
            leave("client", frame(flow, extensions=[options] * 40), EXTENSIONS),
            enter("server", frame(flow, extensions=[hop] * 7), EXTENSIONS),
        ),
        case(
            "headers cut off",
            *(
                leave("client", whole[:length], TRUNCATED, note=f"{length} bytes")
                for length in range(headers, headers + 24 + NEEDED["tcp"])
            ),
            leave("client", frame(flow, extensions=[long]), TRUNCATED, note="longer than the packet"),
        ),
        case(
            "nothing behind the headers",
            leave(
                "client",
                ethernet(network(nothing, b"", extensions=[hop])),
                Reason.POLICY_DENIED,
                judge="server",
                direction=Direction.INGRESS,
                rule=DENIES,
            ),
        ),
        case(
            "IPv4 addresses in disguise",
            leave("client", ethernet(six(flow, ours, mapped)), MAPPED),
            leave("client", ethernet(six(flow, pack_address("10.77.0.12"), where("server", 6))), MAPPED),
            enter("server", ethernet(six(flow, mapped, where("server", 6))), MAPPED),
            enter("server", ethernet(six(flow, ours, mapped)), MAPPED),
        ),
    ]


def six(flow: Flow, source: bytes, destination: bytes) -> bytes:
    """An IPv6 packet with any addresses at all."""
    packet = network(flow, transport(flow))
    return packet[:8] + source + destination + packet[40:]


CASES = [
    *both_families(cases),
    *(replace(each, name=f"IPv4: {each}") for each in ipv4_cases()),
    *(replace(each, name=f"IPv6: {each}") for each in ipv6_cases()),
]


@pytest.mark.parametrize("table", CASES, ids=str)
def test_header(world: World, table: Case) -> None:
    play(world, table)
