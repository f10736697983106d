"""UDP, echo, SCTP and protocols without ports: their flows, and when a flow is over."""

from collections.abc import Callable
from socket import IPPROTO_GRE, IPPROTO_SCTP

import pytest

from kinety import abi
from kinety.abi import Reason
from kinety.model.rule import Direction
from kinety.testing.packet import Flow, Tcp, frame
from tests.packet.node import (
    ALLOWS,
    DENIES,
    ECHO,
    FOR_ANY,
    NO_RULE,
    OUT,
    OUT_DENIES,
    WEB,
    WHOLE_PROTOCOL,
    ends,
    icmp,
    ping,
    tcp,
    udp,
)
from tests.packet.table import Case, Step, World, both_families, case, enter, leave, play

pytestmark = pytest.mark.needs("root", "bpf", "tcx", "netns", "bpffs", "nft", "objects")

LOCAL, STACK = Reason.FORWARDED_LOCAL, Reason.FORWARDED_STACK
ENTERED, DENIED = Reason.FORWARDED_ENDPOINT, Reason.POLICY_DENIED
EXPERIMENT = 253  # RFC 3692


def denied_by_server(rule: int) -> dict[str, object]:
    """What is told of a drop by the server's guard."""
    return {"judge": "server", "direction": Direction.INGRESS, "rule": rule}


def there_and_back(flow: Flow, rule: int) -> tuple[Step, Step]:
    """The first packet of a flow from client to server, and its answer."""
    return (
        leave("client", frame(flow), LOCAL, "server", rules=(NO_RULE, rule), flows=2),
        leave("server", frame(flow.reply()), LOCAL, "client", rules=(NO_RULE, rule)),
    )


def cases(family: int) -> list[Case]:
    """Every table of one family."""
    question = udp("client", "server", family)
    echo = ping("client", "server", family)
    sctp = Flow(*ends("client", "server", family), IPPROTO_SCTP, 40000, WEB)
    gre = Flow(*ends("client", "server", family), IPPROTO_GRE)
    other = Flow(*ends("client", "server", family), EXPERIMENT)
    to_world = udp("confined", "world", family)
    pings_world = ping("confined", "world", family)
    timestamp = icmp("client", "server", family, 13 if family == 4 else 139)
    return [
        case("a question and its answer", *there_and_back(question, ALLOWS)),
        case(
            "an answer that nobody asked for is a question",
            leave("server", frame(question.reply()), LOCAL, "client", rules=(NO_RULE, NO_RULE), flows=2),
            leave("client", frame(question), LOCAL, "server", rules=(NO_RULE, NO_RULE)),
        ),
        case(
            "a question to a port that is not allowed",
            leave(
                "client",
                frame(udp("client", "server", family, 54)),
                DENIED,
                rules=(NO_RULE, DENIES),
                **denied_by_server(DENIES),
            ),
        ),
        case(
            "out to the world and back, but not to another port",
            leave("confined", frame(to_world), STACK, rules=(OUT,), flows=1),
            enter("confined", frame(to_world.reply()), ENTERED, rules=(OUT,)),
            enter(
                "confined",
                frame(udp("world", "confined", family, 40001, 53)),
                ENTERED,
                rules=(NO_RULE,),
                flows=1,
                note="a flow of the world's own, which no ingress policy forbids",
            ),
            leave(
                "confined",
                frame(udp("confined", "world", family, 123)),
                DENIED,
                rules=(OUT_DENIES,),
                rule=OUT_DENIES,
            ),
        ),
        case("echo and its answer", *there_and_back(echo, ECHO)),
        case(
            "an echo answer out of nowhere is judged by its own type, and opens no flow",
            leave(
                "client",
                frame(ping("server", "client", family).reply()),
                DENIED,
                rules=(NO_RULE, DENIES),
                **denied_by_server(DENIES),
            ),
            leave("server", frame(echo.reply()), LOCAL, "client", rules=(NO_RULE, NO_RULE)),
            enter("server", frame(ping("server", "world", family).reply()), DENIED, rule=FOR_ANY),
            no_flow,
        ),
        case(
            "an echo answer with another identifier answers nothing",
            leave("confined", frame(pings_world), STACK, rules=(OUT,), flows=1),
            enter("confined", frame(pings_world.reply()), ENTERED, rules=(OUT,)),
            enter(
                "confined",
                frame(ping("confined", "world", family, 78).reply()),
                ENTERED,
                rules=(NO_RULE,),
                note="judged as what enters, not by the flow",
            ),
        ),
        case(
            "other messages are judged each time, by their type",
            leave("client", frame(timestamp), DENIED, rules=(NO_RULE, DENIES), **denied_by_server(DENIES)),
            leave("server", frame(timestamp.reply()), LOCAL, "client", rules=(NO_RULE, NO_RULE)),
            leave("server", frame(timestamp.reply()), LOCAL, "client", rules=(NO_RULE, NO_RULE)),
            leave("client", frame(timestamp), DENIED, rules=(NO_RULE, DENIES), **denied_by_server(DENIES)),
            no_flow,
        ),
        case("SCTP has ports", *there_and_back(sctp, ALLOWS)),
        case(
            "SCTP to a port that is not allowed",
            leave(
                "client",
                frame(Flow(*ends("client", "server", family), IPPROTO_SCTP, 40000, WEB + 1)),
                DENIED,
                **denied_by_server(DENIES),
            ),
        ),
        case("a protocol without ports is allowed as a whole", *there_and_back(gre, WHOLE_PROTOCOL)),
        case(
            "a protocol that nobody allowed",
            leave("client", frame(other), DENIED, rules=(NO_RULE, DENIES), **denied_by_server(DENIES)),
            leave("server", frame(other.reply()), LOCAL, "client", rules=(NO_RULE, NO_RULE), flows=2),
            leave("client", frame(other), LOCAL, "server", note="the answer"),
        ),
        *lifetimes(family),
    ]


def no_flow(world: World) -> None:
    """Conntrack is empty."""
    assert not world.flows()


def silence(constant: str, more: int) -> Callable[[World], None]:
    """The flow's lifetime goes by, and some seconds more or less."""
    return lambda world: world.age(abi.CONSTANTS[constant].default + more)


def lifetimes(family: int) -> list[Case]:
    """A flow lives for the constant of its state, and then its next packet opens another.

    Two seconds to either side of the limit, since a second may end while the table is played.
    """
    connection, question = tcp("client", "server", family), udp("client", "server", family)
    echo = ping("client", "server", family)
    handshake = (
        leave("client", frame(connection), LOCAL, "server", flows=2),
        leave("server", frame(connection.reply(), flags=Tcp.SYN | Tcp.ACK), LOCAL, "client"),
    )
    reset = leave("client", frame(connection, flags=Tcp.RST), LOCAL, "server")
    states = {
        "config_tcp_opening": (connection, handshake[:1]),
        "config_tcp_established": (connection, handshake),
        "config_tcp_closing": (connection, (*handshake, reset)),
        "config_udp_idle": (question, there_and_back(question, ALLOWS)[:1]),
        "config_udp_replied": (question, there_and_back(question, ALLOWS)),
        "config_icmp_idle": (echo, there_and_back(echo, ECHO)),
    }
    played = []
    for constant, (flow, steps) in states.items():
        again = frame(flow, flags=Tcp.ACK)
        answer = frame(flow.reply(), flags=Tcp.ACK)
        played += [
            case(
                f"{constant}: a flow lives so long",
                *steps,
                silence(constant, -2),
                leave("client", again, LOCAL, "server"),
            ),
            case(
                f"{constant}: and no longer",
                *steps,
                silence(constant, +2),
                leave("client", again, LOCAL, "server", flows=2),
            ),
            case(
                f"{constant}: what was an answer is then judged as what its sender says",
                *steps,
                silence(constant, +2),
                leave(
                    "server",
                    answer,
                    LOCAL,
                    "client",
                    flows=0 if flow is echo else 2,
                    rules=(NO_RULE, NO_RULE),
                ),
            ),
            case(
                f"{constant}: a packet that another processor saw a second later kills no flow",
                *steps,
                lambda world: world.age(-2),
                leave("client", again, LOCAL, "server"),
            ),
        ]
    return played


CASES = both_families(cases)


@pytest.mark.parametrize("table", CASES, ids=str)
def test_datagram(world: World, table: Case) -> None:
    play(world, table)
