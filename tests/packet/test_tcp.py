"""TCP: every state a connection goes through, and what a packet out of turn may do."""

import pytest

from kinety import abi
from kinety.abi import ConntrackFlag, Reason
from kinety.model.rule import Direction
from kinety.testing.packet import Flow, Tcp, frame
from tests.packet.node import ALLOWS, ANYONES, DENIED_PORT, DENIES, NO_RULE, OUT, OUT_DENIES, WEB, tcp
from tests.packet.table import Case, Step, World, both_families, case, enter, leave, play

pytestmark = pytest.mark.needs("root", "bpf", "tcx", "netns", "bpffs", "nft", "objects")

LOCAL, STACK = Reason.FORWARDED_LOCAL, Reason.FORWARDED_STACK
ENTERED, DENIED = Reason.FORWARDED_ENDPOINT, Reason.POLICY_DENIED
SYN, ACK, FIN, RST = Tcp.SYN, Tcp.ACK, Tcp.FIN, Tcp.RST


def sends(flow: Flow, flags: int, **rest: object) -> Step:
    """The client's packet, which reaches the server."""
    return leave("client", frame(flow, flags=flags), LOCAL, "server", rules=(NO_RULE, ALLOWS), **rest)


def answers(flow: Flow, flags: int, **rest: object) -> Step:
    """The server's, which reaches the client, by the verdicts of the flow."""
    packet = frame(flow.reply(), flags=flags)
    return leave("server", packet, LOCAL, "client", rules=(NO_RULE, ALLOWS), **rest)


def server_calls(flow: Flow, flags: int, **rest: object) -> Step:
    """A packet of the server's that is judged as the opener of a flow: without policy, it passes."""
    packet = frame(flow.reply(), flags=flags)
    return leave("server", packet, LOCAL, "client", rules=(NO_RULE, NO_RULE), flows=2, **rest)


def opened(flow: Flow) -> tuple[Step, ...]:
    """The handshake between two endpoints of the node."""
    return (
        sends(flow, SYN, flows=2),
        answers(flow, SYN | ACK),
        sends(flow, ACK),
    )


def entry(world: World) -> abi.ConntrackEntry:
    """The one flow that there is."""
    [found] = world.flows().values()
    return found


def flags_are(*flags: ConntrackFlag) -> object:
    """What the flow's entry says, but for who opened it."""

    def check(world: World) -> None:
        expected = ConntrackFlag(0)
        for flag in flags:
            expected |= flag
        assert ConntrackFlag(entry(world).flags) & ~ConntrackFlag.INITIATOR_HIGH == expected

    return check


def counts_are(forward: int, reply: int) -> object:
    """How many packets the flow's entry has seen."""

    def check(world: World) -> None:
        assert (entry(world).forward_packets, entry(world).reply_packets) == (forward, reply)

    return check


def cases(family: int) -> list[Case]:
    """Every table of one family."""
    flow = tcp("client", "server", family)
    closed_port = tcp("client", "server", family, DENIED_PORT)
    #: As the client's packets have it, though the server opens it.
    back = tcp("client", "server", family, port=40000, source_port=WEB)
    to_world = tcp("confined", "world", family, ANYONES)
    from_host = tcp("host", "server", family)
    denied = {"judge": "server", "direction": Direction.INGRESS, "rule": DENIES}
    return [
        case(
            "handshake, data and both ends' goodbye",
            *opened(flow),
            flags_are(ConntrackFlag.SYN, ConntrackFlag.REPLIED),
            sends(flow, ACK | Tcp.PSH),
            answers(flow, ACK),
            counts_are(3, 2),
            sends(flow, FIN | ACK),
            answers(flow, ACK),
            answers(flow, FIN | ACK),
            sends(flow, ACK, note="the last acknowledgement of a closed connection"),
            flags_are(
                ConntrackFlag.SYN,
                ConntrackFlag.REPLIED,
                ConntrackFlag.FIN_FORWARD,
                ConntrackFlag.FIN_REPLY,
            ),
        ),
        case(
            "a closed connection is opened anew by the old client",
            *opened(flow),
            sends(flow, FIN | ACK),
            answers(flow, FIN | ACK),
            sends(flow, SYN, flows=2),
            flags_are(ConntrackFlag.SYN),
            counts_are(1, 0),
        ),
        case(
            "an old server that calls back opens a flow of its own",
            *opened(flow),
            answers(flow, RST),
            flags_are(ConntrackFlag.SYN, ConntrackFlag.REPLIED, ConntrackFlag.RESET),
            server_calls(flow, SYN, note="and not as an answer"),
        ),
        case(
            "an old client that was the server is judged as a client",
            server_calls(flow, SYN),
            leave("client", frame(flow, flags=SYN | ACK), LOCAL, "server", rules=(NO_RULE, NO_RULE)),
            leave("client", frame(flow, flags=RST), LOCAL, "server", rules=(NO_RULE, NO_RULE)),
            sends(flow, SYN, flows=2, note="by the server's guard"),
        ),
        case(
            "one end's goodbye closes nothing",
            *opened(flow),
            sends(flow, FIN | ACK),
            answers(flow, ACK | Tcp.PSH),
            flags_are(ConntrackFlag.SYN, ConntrackFlag.REPLIED, ConntrackFlag.FIN_FORWARD),
        ),
        case(
            "a SYN that comes back on a live connection is its sender's own call",
            *opened(flow),
            server_calls(flow, SYN),
            flags_are(ConntrackFlag.SYN),
        ),
        case(
            "and when that call is denied, the connection lives on",
            server_calls(back, SYN),
            leave("client", frame(back, flags=SYN | ACK), LOCAL, "server", rules=(NO_RULE, NO_RULE)),
            leave("client", frame(back, flags=SYN), DENIED, rules=(NO_RULE, DENIES), **denied),
            leave("client", frame(back, flags=ACK), LOCAL, "server", rules=(NO_RULE, NO_RULE)),
            counts_are(1, 2),
        ),
        case(
            "a connection is picked up in the middle, in the packet's own direction",
            sends(flow, ACK | Tcp.PSH, flows=2),
            flags_are(),
            answers(flow, ACK),
        ),
        case(
            "a SYN and ACK out of nowhere is a new flow of its sender",
            leave("server", frame(closed_port.reply(), flags=SYN | ACK), LOCAL, "client", flows=2),
            leave("client", frame(closed_port, flags=ACK), LOCAL, "server", rules=(NO_RULE, NO_RULE)),
        ),
        case(
            "a denied connection leaves no flow behind",
            leave("client", frame(closed_port), DENIED, rules=(NO_RULE, DENIES), **denied),
            lambda world: flows_are(world, 0),
            leave("client", frame(closed_port, flags=ACK), DENIED, rules=(NO_RULE, DENIES), **denied),
        ),
        case(
            "out to the world and back",
            leave("confined", frame(to_world), STACK, rules=(OUT,), flows=1),
            enter("confined", frame(to_world.reply(), flags=SYN | ACK), ENTERED, rules=(OUT,)),
            leave("confined", frame(to_world, flags=ACK), STACK, rules=(OUT,)),
            enter("confined", frame(to_world.reply(), flags=RST), ENTERED, rules=(OUT,)),
            enter(
                "confined",
                frame(to_world.reply(), flags=SYN),
                ENTERED,
                rules=(NO_RULE,),
                flows=1,
                note="the world calls back: judged as what enters",
            ),
        ),
        case(
            "out to the world where it is not allowed",
            leave(
                "confined",
                frame(tcp("confined", "world", family, DENIED_PORT)),
                DENIED,
                rules=(OUT_DENIES,),
                judge="confined",
                rule=OUT_DENIES,
            ),
        ),
        case(
            "the node calls an endpoint, which answers",
            enter("server", frame(from_host), ENTERED, through="", rules=(ALLOWS,), flows=1),
            leave("server", frame(from_host.reply(), flags=SYN | ACK), STACK, rules=(ALLOWS,)),
            enter("server", frame(from_host, flags=ACK), ENTERED, through="", rules=(ALLOWS,)),
        ),
    ]


def flows_are(world: World, count: int) -> None:
    """How many flows there are."""
    assert len(world.flows()) == count


CASES = both_families(cases)


@pytest.mark.parametrize("table", CASES, ids=str)
def test_tcp(world: World, table: Case) -> None:
    play(world, table)
