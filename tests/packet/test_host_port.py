"""Endpoints that come to one another by a port of the node: the stack rewrites what is between the steps."""

import pytest

from kinety.abi import ConntrackFlag, Reason
from kinety.model.address import pack_address
from kinety.model.rule import Direction
from kinety.testing.packet import Flow, Tcp, frame
from tests.packet.node import ALLOWS, FOR_ANY, NO_RULE, tcp, udp, where
from tests.packet.table import Case, World, both_families, case, enter, leave, play

pytestmark = pytest.mark.needs("root", "bpf", "tcx", "netns", "bpffs", "nft", "objects")

LOCAL, STACK, ENTERED = Reason.FORWARDED_LOCAL, Reason.FORWARDED_STACK, Reason.FORWARDED_ENDPOINT
SYN, ACK = Tcp.SYN, Tcp.ACK


def cases(family: int) -> list[Case]:
    """Every table of one family."""
    asked, led = tcp("client", "host", family), tcp("client", "server", family)
    datagram = udp("client", "server", family)
    other = tcp("stranger", "server", family)
    itself = tcp("host", "server", family)
    return [
        case(
            "comes as itself, and the answer goes the way it came",
            leave("client", frame(asked, flags=SYN), STACK, rules=(NO_RULE,), flows=1),
            enter("server", frame(led, flags=SYN), ENTERED, through="client", rules=(ALLOWS,), flows=1),
            leave("server", frame(led.reply(), flags=SYN | ACK), STACK, rules=(ALLOWS,)),
            enter(
                "client", frame(asked.reply(), flags=SYN | ACK), ENTERED, through="server", rules=(NO_RULE,)
            ),
            leave("client", frame(asked, flags=ACK), STACK, rules=(NO_RULE,)),
            enter("server", frame(led, flags=ACK), ENTERED, through="client", rules=(ALLOWS,)),
            leave("server", frame(led.reply(), flags=ACK), STACK, rules=(ALLOWS,)),
            routed(1),
        ),
        case(
            "is denied as itself",
            enter(
                "server",
                frame(other, flags=SYN),
                Reason.POLICY_DENIED,
                through="stranger",
                judge="server",
                direction=Direction.INGRESS,
                rule=FOR_ANY,
            ),
            routed(0),
        ),
        case(
            "by turns straight and by the host port: the last way counts",
            enter("server", frame(datagram), ENTERED, through="client", rules=(ALLOWS,), flows=1),
            leave("server", frame(datagram.reply()), STACK, rules=(ALLOWS,)),
            leave("client", frame(datagram), LOCAL, "server", rules=(NO_RULE, ALLOWS), flows=2),
            leave("server", frame(datagram.reply()), LOCAL, "client", rules=(NO_RULE, ALLOWS)),
            routed(0),
            enter("server", frame(datagram), ENTERED, through="client", rules=(ALLOWS,), flows=1),
            leave("server", frame(datagram.reply()), STACK, rules=(ALLOWS,)),
            routed(1),
        ),
        case(
            "what the node opens, or the world, is not led back by the stack for that",
            enter("server", frame(itself, flags=SYN), ENTERED, through="", rules=(ALLOWS,), flows=1),
            leave("server", frame(itself.reply(), flags=SYN | ACK), STACK, rules=(ALLOWS,)),
            routed(0),
        ),
    ]


def routed(count: int) -> object:
    """So many flows are noted to go by way of the stack."""

    def check(world: World) -> None:
        flags = [ConntrackFlag(entry.flags) for entry in world.flows().values()]
        assert sum(ConntrackFlag.ROUTED in each for each in flags) == count

    return check


def loopback(port: int) -> Flow:
    """What the stack would take for the node's, where an interface may have its loopback addresses."""
    return Flow(where("client", 4), pack_address("127.0.0.53"), 17, 40000, port)


CASES = [
    *both_families(cases),
    case(
        "IPv4: to a loopback address",
        leave("client", frame(loopback(53)), Reason.LOOPBACK),
        leave("client", frame(loopback(53)), Reason.LOOPBACK, note="and nothing is kept of it"),
        routed(0),
    ),
]


@pytest.mark.parametrize("table", CASES, ids=str)
def test_host_ports(world: World, table: Case) -> None:
    play(world, table)
