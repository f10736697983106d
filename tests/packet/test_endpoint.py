"""Whose packet it is: rows that are not ready, interfaces that are nobody's, addresses that are lies."""

import pytest

from kinety.abi import Reason
from kinety.model.address import pack_address
from kinety.model.rule import Direction
from kinety.testing.packet import Flow, Tcp, arp, frame, icmp_error, neighbour
from tests.packet.change import ipcache
from tests.packet.node import (
    ALLOWS,
    ANYONES,
    DENIES,
    EMPIRE,
    FOR_ANY,
    NO_RULE,
    OUT,
    WEB,
    packet_world,
    tcp,
    udp,
    where,
)
from tests.packet.table import (
    EMPTY_SLOT,
    NOBODY,
    Case,
    World,
    both_families,
    case,
    enter,
    leave,
    play,
)

pytestmark = pytest.mark.needs("root", "bpf", "tcx", "netns", "bpffs", "nft", "objects")

LOCAL, STACK, ENTERED = Reason.FORWARDED_LOCAL, Reason.FORWARDED_STACK, Reason.FORWARDED_ENDPOINT
NOT_READY, NO_RECEIVER = Reason.ENDPOINT_NOT_READY, Reason.DESTINATION_NOT_READY
NOT_OWN, SPOOFED, DENIED = Reason.SOURCE_ADDRESS, Reason.SOURCE_SPOOFED, Reason.POLICY_DENIED
DISABLED = Reason.IP_VERSION_DISABLED


def cases(family: int) -> list[Case]:
    """Every table of one family."""
    flow = tcp("client", "server", family)
    unspecified = pack_address("0.0.0.0" if family == 4 else "::")
    other_family = "ipv6-only" if family == 4 else "ipv4-only"
    known, unknown = where("client", family), where("server", family)
    whom = arp(1, known, unknown) if family == 4 else neighbour(135, known, unknown)
    to_world = tcp("confined", "world", family, ANYONES)
    to_host = tcp("confined", "host", family)
    itself = tcp("server", "server", family)
    stranger = udp("stranger", "server", family)
    return [
        case(
            "an endpoint whose policy is not in place",
            leave("unready", frame(tcp("unready", "world", family)), NOT_READY),
            leave("unready", frame(tcp("unready", "server", family)), NOT_READY),
            enter("unready", frame(tcp("world", "unready", family)), NOT_READY),
            enter("unready", frame(tcp("host", "unready", family)), NOT_READY, through=""),
            leave("client", frame(tcp("client", "unready", family)), NO_RECEIVER),
        ),
        case(
            "an interface that is no endpoint",
            leave(NOBODY, frame(flow), NOT_READY, note="far from the rows"),
            enter(NOBODY, frame(flow), NOT_READY),
            leave(EMPTY_SLOT, frame(flow), NOT_READY, note="its row is empty"),
            enter(EMPTY_SLOT, frame(flow), NOT_READY),
            leave(EMPTY_SLOT, whom, NOT_READY, note="nor are its questions answered"),
            leave(NOBODY, whom, NOT_READY),
        ),
        case(
            "with an address that is not one's own",
            leave("client", frame(tcp("stranger", "server", family)), NOT_OWN),
            leave("client", frame(tcp("world", "server", family)), NOT_OWN),
            leave("client", frame(tcp("host", "world", family)), NOT_OWN),
            leave("client", frame(Flow(unspecified, flow.destination, 17, 68, 67)), NOT_OWN),
            leave(other_family, frame(tcp("client", "server", family)), NOT_OWN),
            leave(other_family, frame(Flow(unspecified, flow.destination, 6, 1, WEB)), NOT_OWN),
            leave(other_family, frame(tcp(other_family, "server", family)), NOT_OWN, note="it has none"),
        ),
        case(
            "from outside, with the address of an endpoint",
            enter("server", frame(flow), SPOOFED),
            enter("server", frame(tcp("unready", "server", family)), SPOOFED),
            enter("server", frame(stranger), SPOOFED, through="client", note="or from another endpoint"),
        ),
        case(
            "from outside, with the address of the node: it is the world's",
            enter("server", frame(tcp("host", "server", family)), DENIED, rules=(FOR_ANY,), rule=FOR_ANY),
            enter("server", frame(tcp("host", "server", family)), DENIED, through="client", rule=FOR_ANY),
            enter(
                "server", frame(tcp("host", "server", family, ANYONES)), ENTERED, rules=(FOR_ANY,), flows=1
            ),
            enter(
                "server", frame(tcp("host", "server", family)), ENTERED, through="", rules=(ALLOWS,), flows=1
            ),
            enter("server", frame(udp("host", "server", family)), DENIED, rules=(FOR_ANY,), rule=FOR_ANY),
        ),
        case(
            "an endpoint's packet that took the way through the stack",
            enter("server", frame(flow), ENTERED, through="client", rules=(ALLOWS,), flows=1),
            leave("server", frame(flow.reply(), flags=Tcp.SYN | Tcp.ACK), STACK, rules=(ALLOWS,)),
            enter(
                "server",
                frame(stranger),
                DENIED,
                through="stranger",
                rules=(FOR_ANY,),
                rule=FOR_ANY,
            ),
        ),
        case(
            "the node itself, whatever address it uses",
            *(
                step
                for call in (tcp(whose, "server", family, 1) for whose in ("host", "world", "stranger"))
                for step in (
                    enter("server", frame(call), ENTERED, through="", rules=(ALLOWS,), flows=1),
                    enter("server", frame(call, flags=Tcp.ACK), ENTERED, through="", rules=(ALLOWS,)),
                )
            ),
            leave("server", answer_to(tcp("host", "server", family, 1)), STACK, rules=(ALLOWS,)),
            leave("server", answer_to(tcp("world", "server", family, 1)), STACK, rules=(ALLOWS,)),
        ),
        case(
            "the node answers from an address that is the world's",
            leave("confined", frame(to_world), STACK, rules=(OUT,), flows=1),
            enter("confined", answer_to(to_world), ENTERED, through="", rules=(OUT,)),
            enter(
                "confined",
                icmp_error(where("host", family), frame(to_world), 3),
                ENTERED,
                through="",
                rules=(OUT,),
            ),
        ),
        case(
            "the node's address may answer from behind another interface",
            leave("confined", frame(to_host), STACK, rules=(OUT,), flows=1),
            ipcache("198.51.100.1/32", EMPIRE),
            enter("confined", answer_to(to_host), ENTERED, rules=(OUT,)),
        ),
        case(
            "the last hop's packets are the stack's, which tells the sender",
            leave("client", frame(flow, ttl=1), STACK, rules=(NO_RULE, ALLOWS), flows=2),
            leave("client", frame(flow, ttl=0), STACK, rules=(NO_RULE, ALLOWS)),
            leave("client", frame(flow, ttl=2), LOCAL, "server", rules=(NO_RULE, ALLOWS)),
            leave(
                "client",
                frame(tcp("client", "server", family, 81), ttl=1),
                DENIED,
                judge="server",
                direction=Direction.INGRESS,
                rule=DENIES,
                note="if they may go there at all",
            ),
        ),
        case(
            "to itself",
            leave("server", frame(itself), LOCAL, "server", rules=(NO_RULE, ALLOWS), flows=2),
            leave("server", frame(itself.reply(), flags=Tcp.ACK), LOCAL, "server", rules=(NO_RULE, ALLOWS)),
        ),
        case(
            "to the world and the node",
            leave("client", frame(tcp("client", "world", family)), STACK, rules=(NO_RULE,), flows=1),
            leave("client", frame(tcp("client", "host", family)), STACK, rules=(NO_RULE,), flows=1),
        ),
    ]


def answer_to(flow: Flow) -> bytes:
    """A packet of the other direction."""
    return frame(flow.reply(), flags=Tcp.ACK)


def switched_off(family: int) -> list[Case]:
    """Tables of a node that has only the other family."""
    from_endpoint, to_endpoint = tcp("client", "server", family), tcp("world", "client", family)
    other = 10 - family
    return [
        case(
            f"IPv{family} is switched off",
            leave("client", frame(from_endpoint), DISABLED),
            enter("client", frame(to_endpoint), DISABLED),
            leave("client", frame(tcp("client", "server", other)), LOCAL, "server", flows=2),
        )
    ]


CASES = both_families(cases)
OFF = {family: switched_off(family) for family in (4, 6)}


@pytest.mark.parametrize("table", CASES, ids=str)
def test_endpoint(world: World, table: Case) -> None:
    play(world, table)


@pytest.mark.parametrize("family", [4, 6])
def test_a_family_that_the_node_does_not_use(family: int) -> None:
    with packet_world(**{f"ipv{family}": False}) as world:
        for table in OFF[family]:
            play(world, table)
