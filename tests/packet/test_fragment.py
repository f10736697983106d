"""Fragments: later ones follow their first; nothing may hide or replace a port."""

from dataclasses import replace
from socket import IPPROTO_DSTOPTS, IPPROTO_FRAGMENT

import pytest

from kinety.abi import Reason
from kinety.model.rule import Direction
from kinety.testing.packet import (
    Flow,
    Fragment,
    Tcp,
    ethernet,
    extension,
    fragments,
    frame,
    network,
    transport,
)
from tests.packet.node import (
    ALLOWS,
    DENIED_PORT,
    DENIES,
    ECHO,
    NO_RULE,
    OUT,
    ping,
    tcp,
    udp,
)
from tests.packet.table import Case, Step, World, both_families, case, enter, leave, play

pytestmark = pytest.mark.needs("root", "bpf", "tcx", "netns", "bpffs", "nft", "objects")

LOCAL, STACK = Reason.FORWARDED_LOCAL, Reason.FORWARDED_STACK
ENTERED, DENIED = Reason.FORWARDED_ENDPOINT, Reason.POLICY_DENIED
UNKNOWN, MALFORMED, TRUNCATED = Reason.FRAGMENT_UNKNOWN, Reason.FRAGMENT_MALFORMED, Reason.PACKET_TRUNCATED
DISABLED = Reason.FRAGMENTS_DISABLED
PAYLOAD = bytes(range(96))
DENIED_BY_SERVER = {"judge": "server", "direction": Direction.INGRESS, "rule": DENIES}


def piece(flow: Flow, offset: int, length: int, more: bool, identification: int = 1) -> bytes:
    """Any piece of a flow's packet, however odd."""
    body = transport(flow, payload=PAYLOAD)[offset : offset + length]
    return ethernet(network(flow, body, fragment=Fragment(identification, offset, more)))


def sends(packet: bytes, rule: int, flows: int = 0, note: str = "") -> Step:
    """A fragment of the client's that reaches the server."""
    return leave("client", packet, LOCAL, "server", rules=(NO_RULE, rule), flows=flows, note=note)


def cases(family: int) -> list[Case]:
    """Every table of one family."""
    question, echo = udp("client", "server", family), ping("client", "server", family)
    connection = tcp("client", "server", family)
    denied = tcp("client", "server", family, DENIED_PORT)
    incoming = tcp("remote", "server", family)
    to_world = udp("confined", "world", family)
    first, second, last = fragments(question, [48, 72], identification=1, payload=PAYLOAD)
    other_ends = fragments(udp("stranger", "server", family), [48], identification=1, payload=PAYLOAD)
    return [
        case(
            "in order",
            sends(first, ALLOWS, flows=2),
            sends(second, ALLOWS),
            sends(last, ALLOWS),
            flow_has_packets(3),
        ),
        case(
            "before the first came",
            leave("client", second, UNKNOWN),
            sends(first, ALLOWS, flows=2),
            sends(last, ALLOWS, note="out of order, once the first is there"),
            sends(second, ALLOWS),
        ),
        case(
            "of another packet, or of another sender",
            sends(first, ALLOWS, flows=2),
            leave("client", fragments(question, [48], identification=2, payload=PAYLOAD)[1], UNKNOWN),
            leave("stranger", other_ends[1], UNKNOWN),
        ),
        case(
            "of a denied packet are denied, each",
            *(
                leave("client", each, DENIED, rules=(NO_RULE, DENIES), **DENIED_BY_SERVER)
                for each in fragments(denied, [48], identification=1, payload=PAYLOAD)
            ),
        ),
        case(
            "answers in fragments follow their flow",
            leave("confined", frame(to_world), STACK, rules=(OUT,), flows=1),
            *(
                enter("confined", each, ENTERED, rules=(OUT,))
                for each in fragments(to_world.reply(), [48], identification=7, payload=PAYLOAD)
            ),
        ),
        case(
            "from outside",
            enter("server", piece(incoming, 48, 24, False), UNKNOWN),
            enter("server", piece(incoming, 0, 48, True), ENTERED, rules=(ALLOWS,), flows=1),
            enter("server", piece(incoming, 48, 24, False), ENTERED, rules=(ALLOWS,)),
            enter("server", piece(incoming, 8, 40, False), MALFORMED),
            enter("server", piece(incoming, 0, 8, True), MALFORMED),
        ),
        case(
            "an echo in fragments, and its answer",
            *(
                sends(each, ECHO, flows=2 * (number == 0))
                for number, each in enumerate(fragments(echo, [48], identification=1, payload=PAYLOAD))
            ),
            *(
                leave("server", each, LOCAL, "client", rules=(NO_RULE, ECHO))
                for each in fragments(echo.reply(), [48], identification=1, payload=PAYLOAD)
            ),
        ),
        case(
            "a first fragment too short for its ports",
            leave("client", piece(question, 0, 3, True), MALFORMED),
            leave("client", piece(question, 0, 0, True), MALFORMED),
            leave("client", piece(connection, 0, 8, True), MALFORMED, note="ports, but no flags"),
            leave("client", piece(connection, 0, 13, True), MALFORMED),
            leave("client", piece(echo, 0, 7, True), TRUNCATED),
            leave("client", piece(question, 24, 24, False), UNKNOWN, note="and so its others are unknown"),
        ),
        case("a first fragment just long enough", sends(piece(connection, 0, 16, True), ALLOWS, flows=2)),
        case(
            "a later fragment that would replace the ports or flags",
            sends(first, ALLOWS, flows=2),
            leave("client", piece(question, 8, 40, True), MALFORMED),
            leave("client", piece(question, 16, 40, True), MALFORMED),
            sends(piece(question, 24, 24, True), ALLOWS, note="what comes after them may overlap"),
        ),
        case(
            "a second first fragment to a denied port takes the packet with it",
            sends(piece(connection, 0, 48, True), ALLOWS, flows=2),
            leave("client", piece(denied, 0, 48, True), DENIED, **DENIED_BY_SERVER),
            leave("client", piece(connection, 48, 24, False), DENIED, **DENIED_BY_SERVER),
        ),
        case(
            "flags are the first fragment's alone",
            sends(frame(connection), ALLOWS, flows=2),
            *(
                sends(each, ALLOWS)
                for each in fragments(connection, [48], identification=3, flags=Tcp.ACK, payload=PAYLOAD)
            ),
        ),
    ]


def ipv6_cases() -> list[Case]:
    """What only the fragment header of IPv6 can do (RFC 8200, 4.5)."""
    question = udp("client", "server", 6)
    body = transport(question, payload=PAYLOAD)
    atomic = ethernet(network(question, body, fragment=Fragment(1, 0, False)))
    chain = [(IPPROTO_DSTOPTS, extension())]
    inner = bytes((0, 0)) + (1).to_bytes(2) + (5).to_bytes(4)
    twice = ethernet(
        network(question, body, fragment=Fragment(1, 0, True), extensions=[(IPPROTO_FRAGMENT, inner)])
    )
    behind = options_after_fragment_header(question, body)
    return [
        case("an atomic fragment is a whole packet", sends(atomic, ALLOWS, flows=2), no_fragment),
        case("a fragment of a fragment", leave("client", twice, MALFORMED)),
        case(
            "extension headers before the fragment header",
            *(
                sends(each, ALLOWS, flows=2 * (number == 0))
                for number, each in enumerate(
                    fragments(question, [48], identification=1, payload=PAYLOAD, extensions=chain)
                )
            ),
        ),
        case(
            "extension headers behind the fragment header: only the first fragment says what they lead to",
            sends(behind[0], ALLOWS, flows=2),
            leave("client", behind[1], UNKNOWN),
            leave("client", behind[2], UNKNOWN, note="though it looks as if it began with them"),
        ),
        case(
            "the fragment header is cut off",
            *(leave("client", atomic[:length], TRUNCATED) for length in range(54, 62)),
        ),
    ]


def options_after_fragment_header(flow: Flow, body: bytes) -> list[bytes]:
    """Two fragments of a packet whose fragmentable part begins with destination options, and a third
    whose data look like such options.
    """
    options = bytes((flow.protocol,)) + extension()[1:]
    outer, whole = replace(flow, protocol=IPPROTO_DSTOPTS), options + body
    return [
        ethernet(network(outer, whole[:48], fragment=Fragment(1, 0, True))),
        ethernet(network(outer, whole[48:], fragment=Fragment(1, 48, False))),
        ethernet(network(outer, options + whole[56:], fragment=Fragment(1, 48, False))),
    ]


def flow_has_packets(count: int) -> object:
    """How many packets the one flow has seen."""

    def check(world: World) -> None:
        [entry] = world.flows().values()
        assert entry.forward_packets == count

    return check


def no_fragment(world: World) -> None:
    """No first fragment is remembered."""
    assert not list(world.map("fragments").keys())


def switched_off(family: int) -> list[Case]:
    """Of a node where they do not pass: not even the first, which would wait for the others in vain."""
    question, incoming = udp("client", "server", family), tcp("remote", "server", family)
    first, later = fragments(question, [48], identification=1, payload=PAYLOAD)
    entering, following = fragments(incoming, [48], identification=1, payload=PAYLOAD)
    return [
        case(
            "fragments are switched off",
            leave("client", first, DISABLED),
            leave("client", later, DISABLED),
            enter("server", entering, DISABLED),
            enter("server", following, DISABLED),
            leave("client", frame(question), LOCAL, "server", rules=(NO_RULE, ALLOWS), flows=2),
        )
    ]


CASES = [*both_families(cases), *ipv6_cases()]
OFF = both_families(switched_off)


@pytest.mark.parametrize("table", CASES, ids=str)
def test_fragment(world: World, table: Case) -> None:
    play(world, table)
