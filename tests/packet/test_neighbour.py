"""ARP and neighbour discovery: what an endpoint asks is answered in place; nobody else's business passes."""

from collections.abc import Callable
from dataclasses import replace
from socket import IPPROTO_DSTOPTS

import pytest

from kinety.abi import Reason
from kinety.model.address import pack_address
from kinety.testing.packet import (
    ETHERNET_BYTES,
    Flow,
    Fragment,
    Link,
    arp,
    ethernet,
    extension,
    frame,
    icmp_error,
    neighbour,
    network,
)
from tests.packet.node import FOR_ANY, icmp, where
from tests.packet.table import UPLINK, Case, World, case, enter, leave, play

pytestmark = pytest.mark.needs("root", "bpf", "tcx", "netns", "bpffs", "nft", "objects")

ANSWERED, IGNORED, SPOOFED = Reason.ANSWERED, Reason.NEIGHBOUR_IGNORED, Reason.SOURCE_ADDRESS
STACK, ENTERED = Reason.FORWARDED_STACK, Reason.FORWARDED_ENDPOINT
TRUNCATED, MULTICAST = Reason.PACKET_TRUNCATED, Reason.MULTICAST
ASKS, TELLS = 1, 2
SOLICITATION, ADVERTISEMENT = 135, 136
GATEWAY = {4: pack_address("169.254.0.1"), 6: pack_address("fe80::1")}
OWN = {family: where("client", family) for family in (4, 6)}
OTHER = {family: where("server", family) for family in (4, 6)}
LINK_LOCAL, NOTHING = pack_address("fe80::abcd"), {4: pack_address("0.0.0.0"), 6: bytes(16)}
BROADCAST = b"\xff" * 6
ARP_BYTES, ND_BYTES = 28, 24


def asks(
    target: bytes, who: str = "client", sender: bytes | None = None, **rest: object
) -> Callable[[World], bytes]:
    """An ARP packet of an endpoint, with its own MAC."""

    def made(world: World) -> bytes:
        link = Link(world.link(who).source, BROADCAST)
        named = {"operation": ASKS} | rest
        return arp(named.pop("operation"), sender or where(who, 4), target, link=link, **named)  # type: ignore

    return made


def answer(target: bytes, who: str = "client") -> Callable[[World], bytes]:
    """The answer: the host's side is where everything is."""

    def made(world: World) -> bytes:
        mac, host = world.link(who).source, world.link(who).destination
        return arp(TELLS, target, where(who, 4), link=Link(host, mac), target_mac=mac)

    return made


def solicits(target: bytes, source: bytes = OWN[6], **rest: object) -> Callable[[World], bytes]:
    """A neighbour solicitation of the client's."""
    return lambda world: neighbour(SOLICITATION, source, target, link=world.link("client"), **rest)  # type: ignore


def advertised(target: bytes, to: bytes = OWN[6]) -> Callable[[World], bytes]:
    """The answer: a router that is at the host's side."""

    def made(world: World) -> bytes:
        mac, host = world.link("client").source, world.link("client").destination
        return neighbour(ADVERTISEMENT, target, target, destination=to, link=Link(host, mac), router=True)

    return made


def arp_cases() -> list[Case]:
    """Tables of ARP (RFC 826, RFC 5227)."""
    own, other = OWN[4], OTHER[4]
    whole = arp(ASKS, own, other)
    return [
        case("the gateway is asked for", leave("client", asks(GATEWAY[4]), ANSWERED, out=answer(GATEWAY[4]))),
        case("another endpoint is asked for", leave("client", asks(other), ANSWERED, out=answer(other))),
        case(
            "an endpoint whose policy is not in place is answered all the same",
            leave("unready", asks(GATEWAY[4], "unready"), ANSWERED, out=answer(GATEWAY[4], "unready")),
        ),
        case(
            "questions that need no answer",
            leave("client", asks(own), IGNORED, note="for its own address"),
            leave("client", asks(own, sender=NOTHING[4]), IGNORED, note="a probe"),
            leave("client", asks(other, sender=NOTHING[4]), IGNORED, note="a probe for another"),
            leave("client", asks(other, operation=3), IGNORED, note="reverse ARP"),
        ),
        case(
            "with somebody else's address",
            leave("client", asks(GATEWAY[4], sender=other), SPOOFED),
            leave("client", asks(GATEWAY[4], sender=GATEWAY[4]), SPOOFED),
            leave("client", asks(own, sender=other, operation=TELLS), SPOOFED),
            leave("ipv6-only", arp(ASKS, own, other), SPOOFED),
            leave("ipv6-only", arp(ASKS, NOTHING[4], other), IGNORED),
        ),
        case(
            "the node asked",
            enter("client", arp(ASKS, GATEWAY[4], own), ENTERED, through=""),
            leave("client", asks(GATEWAY[4], operation=TELLS), STACK),
            leave("client", asks(GATEWAY[4], operation=TELLS, sender_mac=b"\x02\0\0\0\0\x66"), SPOOFED),
        ),
        case(
            "somebody else asked through the node",
            enter("client", arp(ASKS, other, own), IGNORED),
            enter("client", arp(TELLS, GATEWAY[4], own), IGNORED, through="server"),
        ),
        case(
            "of another kind of network",
            leave("client", asks(other, hardware=6), Reason.PROTOCOL_UNSUPPORTED),
        ),
        case(
            "cut off anywhere",
            *(
                leave("client", whole[:length], TRUNCATED, note=f"{length} bytes")
                for length in range(ETHERNET_BYTES, ETHERNET_BYTES + ARP_BYTES)
            ),
        ),
    ]


def discovery_cases() -> list[Case]:
    """Tables of neighbour discovery (RFC 4861)."""
    own, other, gateway = OWN[6], OTHER[6], GATEWAY[6]
    long_options = bytes.fromhex("0e01") + bytes(6)  # a nonce (RFC 3971)
    tells = {"destination": gateway}
    whole = neighbour(SOLICITATION, own, gateway)
    return [
        case(
            "the gateway is asked for",
            leave("client", solicits(gateway), ANSWERED, out=advertised(gateway)),
            leave("client", solicits(gateway, LINK_LOCAL), ANSWERED, out=advertised(gateway, LINK_LOCAL)),
            leave("client", solicits(gateway, destination=gateway), ANSWERED, out=advertised(gateway)),
        ),
        case(
            "another endpoint is asked for", leave("client", solicits(other), ANSWERED, out=advertised(other))
        ),
        case(
            "the answer has one option, whatever the question had",
            leave("client", solicits(gateway, options=b""), ANSWERED, out=advertised(gateway)),
            leave("client", solicits(gateway, options=long_options * 3), ANSWERED, out=advertised(gateway)),
            leave(
                "client",
                solicits(gateway, extensions=[(IPPROTO_DSTOPTS, extension())]),
                ANSWERED,
                out=advertised(gateway),
            ),
        ),
        case(
            "questions that need no answer",
            leave("client", solicits(own), IGNORED, note="for its own address"),
            leave("client", solicits(own, NOTHING[6]), IGNORED, note="is it a duplicate?"),
            leave("client", solicits(LINK_LOCAL, LINK_LOCAL), IGNORED, note="for its own link-local address"),
            leave("client", solicits(gateway, ttl=254), IGNORED, note="came from afar"),
            leave("client", solicits(gateway, code=1), IGNORED, note="of an unknown kind"),
            leave("ipv4-only", solicits(gateway), IGNORED),
        ),
        case(
            "with somebody else's address",
            leave("client", solicits(gateway, other), SPOOFED),
            leave("client", lambda world: neighbour(ADVERTISEMENT, other, other, **tells), SPOOFED),
        ),
        case(
            "the node asked",
            enter("client", neighbour(SOLICITATION, gateway, own), ENTERED, through=""),
            leave("client", neighbour(ADVERTISEMENT, own, own, **tells), STACK),
            leave("client", neighbour(ADVERTISEMENT, LINK_LOCAL, own, **tells), STACK),
            leave("client", neighbour(ADVERTISEMENT, own, other, **tells), IGNORED, note="tells of another"),
            leave(
                "client", neighbour(ADVERTISEMENT, own, gateway, **tells), IGNORED, note="takes the gateway"
            ),
        ),
        case(
            "somebody else asked through the node",
            enter("client", neighbour(SOLICITATION, where("world", 6), own), MULTICAST),
            enter(
                "server",
                neighbour(SOLICITATION, where("world", 6), other, destination=other),
                Reason.POLICY_DENIED,
                through=UPLINK,
                rules=(FOR_ANY,),
                rule=FOR_ANY,
                note="it is a message like any other",
            ),
            enter("client", neighbour(SOLICITATION, where("world", 6), own, destination=own), ENTERED),
        ),
        case(
            "routers are neither looked for nor played",
            leave("client", frame(multicast_message(133)), MULTICAST),
            leave("client", frame(multicast_message(134)), MULTICAST),
        ),
        case(
            "in fragments it is no question (RFC 6980)",
            leave("client", solicitation_fragment(gateway), MULTICAST),
        ),
        case(
            "inside an error it is none either",
            leave("client", icmp_error(own, whole, 1, destination=gateway), Reason.ICMP_MALFORMED),
        ),
        case(
            "cut off anywhere",
            *(
                leave("client", whole[:length], TRUNCATED, note=f"{length} bytes")
                for length in range(ETHERNET_BYTES + 40, ETHERNET_BYTES + 40 + ND_BYTES)
            ),
        ),
    ]


def multicast_message(kind: int) -> Flow:
    """A router solicitation or advertisement to all."""
    flow = icmp("client", "server", 6, kind)
    return Flow(flow.source, pack_address("ff02::1"), flow.protocol, 0, kind)


def solicitation_fragment(target: bytes) -> bytes:
    """The first fragment of a solicitation."""
    whole = neighbour(SOLICITATION, OWN[6], target)
    flow = Flow(OWN[6], whole[38:54], 58)
    return ethernet(network(flow, whole[54:], fragment=Fragment(9, 0, True)))


CASES = [
    *(replace(each, name=f"ARP: {each}") for each in arp_cases()),
    *(replace(each, name=f"ND: {each}") for each in discovery_cases()),
]


@pytest.mark.parametrize("table", CASES, ids=str)
def test_neighbour(world: World, table: Case) -> None:
    play(world, table)
