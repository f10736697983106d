"""ICMP errors: those that speak for a flow pass with it, and no others."""

import pytest

from kinety.abi import Reason
from kinety.testing.packet import (
    ETHERNET_BYTES,
    Flow,
    Fragment,
    ethernet,
    frame,
    icmp_error,
    network,
    transport,
)
from tests.packet.node import (
    ALLOWS,
    ANYONES,
    FOR_ANY,
    NO_RULE,
    OUT,
    ping,
    tcp,
    udp,
    where,
)
from tests.packet.table import Case, World, both_families, case, enter, leave, play

pytestmark = pytest.mark.needs("root", "bpf", "tcx", "netns", "bpffs", "nft", "objects")

LOCAL, STACK = Reason.FORWARDED_LOCAL, Reason.FORWARDED_STACK
ENTERED, DENIED, MALFORMED = Reason.FORWARDED_ENDPOINT, Reason.POLICY_DENIED, Reason.ICMP_MALFORMED
UNREACHABLE, EXPIRED = {4: 3, 6: 1}, {4: 11, 6: 3}
IP_HEADER = {4: 20, 6: 40}
ERRORS = {4: (3, 11, 12), 6: (1, 2, 3, 4)}


def counts_stay(world: World) -> None:
    """An error is no packet of the flow itself."""
    [entry] = world.flows().values()
    assert (entry.forward_packets, entry.reply_packets) == (1, 0)


def cases(family: int) -> list[Case]:
    """Every table of one family."""
    router = where("remote", family)
    outgoing = tcp("confined", "world", family, ANYONES)
    question = udp("client", "server", family)
    from_host = udp("host", "server", family)
    pings = ping("confined", "world", family)
    opens = leave("confined", frame(outgoing), STACK, rules=(OUT,), flows=1)
    asks = leave("client", frame(question), LOCAL, "server", flows=2)
    kind = UNREACHABLE[family]

    def about(flow: Flow, **rest: object) -> bytes:
        return icmp_error(router, frame(flow), kind, **rest)  # type: ignore[arg-type]

    return [
        case(
            "a router's errors pass with the flow they are about",
            opens,
            *(
                enter("confined", icmp_error(router, frame(outgoing), each), ENTERED, rules=(OUT,))
                for each in ERRORS[family]
            ),
            counts_stay,
        ),
        case(
            "eight bytes of the transport are enough, fewer are malformed",
            opens,
            enter("confined", about(outgoing, quoted_bytes=IP_HEADER[family] + 8), ENTERED, rules=(OUT,)),
            enter("confined", about(outgoing, quoted_bytes=IP_HEADER[family] + 4), ENTERED, rules=(OUT,)),
            *(
                enter("confined", about(outgoing, quoted_bytes=length), MALFORMED)
                for length in (IP_HEADER[family] + 3, IP_HEADER[family], IP_HEADER[family] - 1, 1, 0)
            ),
        ),
        case(
            "an echo's lifetime ends on the way",
            leave("confined", frame(pings), STACK, rules=(OUT,), flows=1),
            enter("confined", icmp_error(router, frame(pings), EXPIRED[family]), ENTERED, rules=(OUT,)),
        ),
        case(
            "an endpoint says that nobody listens",
            asks,
            leave(
                "server",
                icmp_error(where("server", family), frame(question), kind),
                LOCAL,
                "client",
                rules=(NO_RULE, ALLOWS),
            ),
            counts_stay,
        ),
        case(
            "an endpoint says so to the node",
            enter("server", frame(from_host), ENTERED, through="", rules=(ALLOWS,), flows=1),
            leave(
                "server", icmp_error(where("server", family), frame(from_host), kind), STACK, rules=(ALLOWS,)
            ),
        ),
        case(
            "an endpoint says so to the world",
            enter("confined", frame(udp("world", "confined", family)), ENTERED, rules=(NO_RULE,), flows=1),
            leave(
                "confined",
                icmp_error(where("confined", family), frame(udp("world", "confined", family)), kind),
                STACK,
                rules=(NO_RULE,),
            ),
        ),
        case(
            "an error about no known flow is a message of its own, judged by its type",
            enter("confined", about(outgoing), ENTERED, rules=(NO_RULE,)),
            enter(
                "server",
                icmp_error(where("world", family), frame(udp("server", "world", family)), kind),
                DENIED,
                rules=(FOR_ANY,),
                rule=FOR_ANY,
            ),
            no_flow,
        ),
        case(
            "an error about a packet that its receiver did not send",
            opens,
            enter("client", about(outgoing, destination=where("client", family)), MALFORMED),
            enter("confined", about(outgoing.reply(), destination=where("confined", family)), MALFORMED),
        ),
        case(
            "an error about an error",
            opens,
            enter(
                "confined",
                icmp_error(
                    where("world", family),
                    icmp_error(where("confined", family), frame(outgoing.reply()), kind),
                    kind,
                ),
                MALFORMED,
            ),
        ),
        case(
            "an endpoint sends an error into a flow that is not its own",
            asks,
            leave("stranger", icmp_error(where("stranger", family), frame(question), kind), MALFORMED),
            leave(
                "stranger",
                icmp_error(where("stranger", family), frame(question.reply()), kind),
                MALFORMED,
            ),
            opens,
            leave("client", icmp_error(where("client", family), frame(outgoing.reply()), kind), MALFORMED),
        ),
        case(
            "an error from outside into a flow between endpoints",
            asks,
            enter("client", icmp_error(where("world", family), frame(question), kind), MALFORMED),
            leave("client", frame(question), LOCAL, "server", rules=(NO_RULE, ALLOWS)),
        ),
        case(
            "an error in fragments speaks for no flow",
            opens,
            enter("confined", in_fragments(about(outgoing), family), ENTERED, rules=(NO_RULE,)),
        ),
        case(
            "an error about a later fragment names no flow",
            opens,
            enter("confined", icmp_error(router, later_fragment(outgoing), kind), MALFORMED),
        ),
        case(
            "an error does not outlive the verdict",
            opens,
            lambda world: world.age(100000),
            enter("confined", about(outgoing), ENTERED, rules=(NO_RULE,), note="a flow that is over"),
        ),
    ]


def no_flow(world: World) -> None:
    """Conntrack is empty."""
    assert not world.flows()


def in_fragments(error: bytes, family: int) -> bytes:
    """The first fragment of an error that was too long."""
    flow = Flow(where("remote", family), where("confined", family), 1 if family == 4 else 58)
    body = error[ETHERNET_BYTES + IP_HEADER[family] :]
    return ethernet(network(flow, body, fragment=Fragment(1, 0, True)))


def later_fragment(flow: Flow) -> bytes:
    """A packet's second half."""
    return ethernet(network(flow, transport(flow), fragment=Fragment(1, 24, False)))


CASES = both_families(cases)


@pytest.mark.parametrize("table", CASES, ids=str)
def test_icmp_error(world: World, table: Case) -> None:
    play(world, table)
