"""The verdict: which row of a rule set decides, and what makes a live flow be judged again."""

from collections.abc import Callable
from dataclasses import replace
from socket import IPPROTO_TCP
from typing import Any

import pytest

from kinety.abi import Reason
from kinety.model.identity import Identity
from kinety.model.rule import Direction, RuleId
from kinety.testing.packet import ETHERNET_BYTES, Flow, Tcp, frame, icmp_error
from tests.netns.datapath_node import plan, rule_sets, table
from tests.packet.change import before_any_ipcache, forget, gone, ipcache, no_flow, publish, without_row
from tests.packet.node import (
    ALLOWS,
    ANY,
    ANYONES,
    CONFINED,
    DENIES,
    ECHO,
    EMPIRE,
    EMPIRE_CLASS,
    FOR_ANY,
    HOLE,
    HOLE_FIRST,
    HOLE_LAST,
    NO_RULE,
    OUT,
    OUT_DENIES,
    PLANS,
    PROXIED,
    PROXY,
    RANGE,
    RANGE_FIRST,
    RANGE_LAST,
    REMOTE_ADDRESS,
    REMOTE_CLASS,
    SERVER,
    WEB,
    WORLD,
    WORLD_CLASS,
    allow,
    deny,
    icmp,
    ping,
    redirect,
    tcp,
    udp,
    where,
)
from tests.packet.table import Case, Step, World, both_families, case, enter, leave, play

pytestmark = pytest.mark.needs("root", "bpf", "tcx", "netns", "bpffs", "nft", "objects")

LOCAL, STACK, ENTERED = Reason.FORWARDED_LOCAL, Reason.FORWARDED_STACK, Reason.FORWARDED_ENDPOINT
DENIED, NO_PROXY = Reason.POLICY_DENIED, Reason.PROXY_UNAVAILABLE
INGRESS = {"judge": "server", "direction": Direction.INGRESS}
Do = Callable[[World], None]


def asked(flow: Flow, rule: int, allowed: bool, who: str = "client", **rest: Any) -> Step:
    """A packet to the server, and what its guard says of it."""
    if allowed:
        return leave(who, frame(flow), LOCAL, "server", rules=(NO_RULE, rule), flows=2, **rest)
    return leave(who, frame(flow), DENIED, rules=(NO_RULE, rule), rule=rule, **INGRESS, **rest)


def rows(family: int) -> list[Case]:
    """Which row decides."""
    edges = {
        RANGE_FIRST - 1: (DENIES, False),
        RANGE_FIRST: (RANGE, True),
        HOLE_FIRST - 1: (RANGE, True),
        HOLE_FIRST: (HOLE, False),
        HOLE_LAST: (HOLE, False),
        HOLE_LAST + 1: (RANGE, True),
        RANGE_LAST: (RANGE, True),
        RANGE_LAST + 1: (DENIES, False),
        0: (DENIES, False),
        0xFFFF: (DENIES, False),
    }
    stranger, remote = tcp("stranger", "server", family), tcp("remote", "server", family)
    mistyped = icmp("client", "server", family, 128 if family == 4 else 8)
    return [
        case(
            "a range of ports, and a hole in it",
            *(
                asked(tcp("client", "server", family, port), *edges[port], note=f"port {port}")
                for port in edges
            ),
        ),
        case(
            "the same port of another protocol",
            asked(udp("client", "server", family, RANGE_FIRST), DENIES, False),
            asked(udp("client", "server", family, WEB), DENIES, False),
            asked(tcp("client", "server", family, 53), DENIES, False),
        ),
        case(
            "a row for an ICMP type",
            asked(ping("client", "server", family), ECHO, True),
            asked(mistyped, DENIES, False, note="the other family's number"),
        ),
        case(
            "a class that the rule set does not name is anybody",
            asked(stranger, FOR_ANY, False, "stranger"),
            asked(tcp("stranger", "server", family, ANYONES), FOR_ANY, True, "stranger"),
            enter("server", frame(tcp("world", "server", family)), DENIED, rules=(FOR_ANY,), rule=FOR_ANY),
            enter(
                "server", frame(tcp("world", "server", family, ANYONES)), ENTERED, rules=(FOR_ANY,), flows=1
            ),
        ),
        case(
            "a class that it names is not anybody",
            asked(tcp("client", "server", family, ANYONES), DENIES, False),
            enter("server", frame(remote), ENTERED, rules=(ALLOWS,), flows=1),
            enter("server", frame(tcp("remote", "server", family, ANYONES)), DENIED, rule=DENIES),
        ),
        case(
            "a rule set that names no anybody denies by default, which is rule 0",
            leave(
                "confined",
                frame(tcp("confined", "stranger", family)),
                DENIED,
                rules=(NO_RULE,),
            ),
        ),
        case(
            "both ends have a say",
            leave(
                "confined",
                frame(tcp("confined", "server", family)),
                LOCAL,
                "server",
                rules=(OUT, ALLOWS),
                flows=2,
            ),
            leave(
                "confined",
                frame(tcp("confined", "client", family)),
                LOCAL,
                "client",
                rules=(OUT, NO_RULE),
                flows=2,
            ),
        ),
        case(
            "a proxy that is not there, with a port or without",
            leave(
                "client",
                frame(tcp("client", "server", family, PROXIED)),
                NO_PROXY,
                rules=(NO_RULE, PROXY),
                rule=PROXY,
                **INGRESS,
            ),
            enter(
                "server",
                frame(tcp("remote", "server", family, PROXIED)),
                NO_PROXY,
                rules=(PROXY,),
                rule=PROXY,
            ),
            no_flow,
        ),
    ]


def again(family: int) -> list[Case]:
    """What makes a live flow be judged again."""
    flow, remote = tcp("client", "server", family), tcp("remote", "server", family)
    out = tcp("confined", "server", family)
    data, answer = frame(flow, flags=Tcp.ACK), frame(flow.reply(), flags=Tcp.ACK)
    calls = tcp("confined", "world", family, ANYONES)
    answered = frame(remote.reply(), flags=Tcp.ACK)
    error = icmp_error(where("remote", family), frame(calls), 3)
    closed = rule_sets(closed=table({(EMPIRE_CLASS, 0, 0, 0): deny(HOLE), (ANY, 0, 0, 0): deny(HOLE)}))
    opened = rule_sets(
        opened=table({(EMPIRE_CLASS, 0, 0, 0): allow(RANGE), (REMOTE_CLASS, 0, 0, 0): allow(RANGE)})
    )
    proxied = rule_sets(
        proxied=table(
            {(EMPIRE_CLASS, 0, 0, 0): deny(HOLE), (EMPIRE_CLASS, 8, IPPROTO_TCP, 0): redirect(PROXY)}
        )
    )
    moved = rule_sets(
        moved=table(
            {
                (EMPIRE_CLASS, 0, 0, 0): deny(HOLE),
                (EMPIRE_CLASS, 24, IPPROTO_TCP, WEB): allow(RANGE),
                (REMOTE_CLASS, 0, 0, 0): deny(HOLE),
                (REMOTE_CLASS, 24, IPPROTO_TCP, WEB): allow(RANGE),
                (WORLD_CLASS, 0, 0, 0): deny(HOLE),
                (WORLD_CLASS, 24, IPPROTO_TCP, ANYONES): allow(RANGE),
            }
        )
    )
    address = f"{REMOTE_ADDRESS[family]}/{32 if family == 4 else 128}"
    remote_data = frame(remote, flags=Tcp.ACK)
    return [
        case(
            "a flip to denial stops both directions at the next packet",
            asked(flow, ALLOWS, True),
            leave("server", answer, LOCAL, "client", rules=(NO_RULE, ALLOWS)),
            publish(SERVER, plan(EMPIRE, ingress="closed"), closed),
            leave("server", answer, DENIED, rules=(HOLE,), rule=HOLE, changes=1, direction=Direction.INGRESS),
            leave("client", data, DENIED, rules=(NO_RULE, HOLE), rule=HOLE, **INGRESS),
        ),
        case(
            "a flip to a proxy that is not there stops both directions",
            asked(flow, ALLOWS, True),
            publish(SERVER, plan(EMPIRE, ingress="proxied"), proxied),
            leave(
                "server", answer, NO_PROXY, rules=(PROXY,), rule=PROXY, changes=1, direction=Direction.INGRESS
            ),
            leave("client", data, NO_PROXY, rules=(NO_RULE, PROXY), rule=PROXY, **INGRESS),
        ),
        case(
            "a flip back lets the flow go on",
            asked(flow, ALLOWS, True),
            publish(SERVER, plan(EMPIRE, ingress="closed"), closed),
            leave("client", data, DENIED, rules=(NO_RULE, HOLE), rule=HOLE, changes=1, **INGRESS),
            publish(SERVER, PLANS[SERVER]),
            leave("client", data, LOCAL, "server", rules=(NO_RULE, ALLOWS), changes=1),
        ),
        case(
            "a flip to another rule that allows is no change of verdict",
            asked(flow, ALLOWS, True),
            publish(SERVER, plan(EMPIRE, ingress="opened"), opened),
            leave("client", data, LOCAL, "server", rules=(NO_RULE, RANGE)),
            leave("server", answer, LOCAL, "client", rules=(NO_RULE, RANGE)),
        ),
        case(
            "an answer that comes first after a flip is judged by the port that was called",
            asked(flow, ALLOWS, True),
            publish(SERVER, plan(EMPIRE, ingress="moved"), moved),
            leave("server", answer, LOCAL, "client", rules=(NO_RULE, RANGE)),
            leave("client", data, LOCAL, "server", rules=(NO_RULE, RANGE)),
        ),
        case(
            "an error that comes first after a flip is judged by the port that was called",
            leave("confined", frame(calls), STACK, rules=(OUT,), flows=1),
            publish(CONFINED, plan(EMPIRE, egress="moved"), moved),
            enter("confined", error, ENTERED, rules=(RANGE,)),
            publish(CONFINED, plan(EMPIRE, egress="closed"), closed),
            enter("confined", error, DENIED, rules=(HOLE,), rule=HOLE, changes=1, direction=Direction.EGRESS),
            enter(
                "confined", frame(calls.reply(), flags=Tcp.ACK), DENIED, rule=HOLE, direction=Direction.EGRESS
            ),
        ),
        case(
            "and so is one about an answer",
            enter("server", frame(remote), ENTERED, rules=(ALLOWS,), flows=1),
            publish(SERVER, plan(EMPIRE, ingress="moved"), moved),
            enter("server", icmp_error(where("world", family), answered, 3), ENTERED, rules=(RANGE,)),
        ),
        case(
            "without a flip a flow keeps its verdict, whatever is in the tables",
            asked(flow, ALLOWS, True),
            without_row,
            leave("client", data, LOCAL, "server", rules=(NO_RULE, ALLOWS)),
            asked(
                tcp("client", "server", family, source_port=40001), DENIES, False, note="a new flow does not"
            ),
        ),
        case(
            "the peer's identity changes",
            leave("confined", frame(out), LOCAL, "server", rules=(OUT, ALLOWS), flows=2),
            publish(CONFINED, replace(PLANS[CONFINED], **{f"ipv{family}": Identity(257)})),
            leave(
                "confined",
                frame(out, flags=Tcp.ACK),
                DENIED,
                rules=(OUT, FOR_ANY),
                rule=FOR_ANY,
                changes=1,
                **INGRESS,
            ),
        ),
        case(
            "somebody else is behind a remote address",
            enter("server", frame(remote), ENTERED, rules=(ALLOWS,), flows=1),
            ipcache(address, WORLD[family]),
            enter("server", remote_data, DENIED, rules=(FOR_ANY,), rule=FOR_ANY, changes=1),
            forget(address),
            enter("server", remote_data, ENTERED, rules=(ALLOWS,), changes=1),
        ),
        case(
            "somebody else is behind another address",
            enter("server", frame(remote), ENTERED, rules=(ALLOWS,), flows=1),
            ipcache("198.51.100.1/32", EMPIRE),
            enter("server", remote_data, ENTERED, rules=(ALLOWS,)),
        ),
        case(
            "an endpoint is gone, and nobody is known at its address",
            leave("confined", frame(out), LOCAL, "server", rules=(OUT, ALLOWS), flows=2),
            before_any_ipcache,
            gone("server", family),
            leave(
                "confined",
                frame(out, flags=Tcp.ACK),
                DENIED,
                rules=(OUT_DENIES,),
                rule=OUT_DENIES,
                changes=1,
            ),
        ),
    ]


CASES = [*both_families(rows), *both_families(again)]


@pytest.mark.parametrize("table", CASES, ids=str)
def test_policy(world: World, table: Case) -> None:
    play(world, table)


@pytest.mark.parametrize("family", [4, 6])
def test_a_rule_counts_packets_and_bytes_of_what_it_decided(world: World, family: int) -> None:
    """Denied ones included; bytes without the link header."""
    assert world.node.datapath is not None
    allowed, denied = frame(tcp("client", "server", family)), frame(udp("client", "server", family, 54))
    before = world.node.datapath.rule_counters([RuleId(ALLOWS), RuleId(DENIES)])
    play(
        world,
        case(
            "one of each",
            leave("client", allowed, LOCAL, "server", flows=2),
            leave("client", denied, DENIED, rule=DENIES, **INGRESS),
            leave("client", denied, DENIED, rule=DENIES, **INGRESS),
        ),
    )
    after = world.node.datapath.rule_counters([RuleId(ALLOWS), RuleId(DENIES)])
    for rule, packets, data in ((ALLOWS, 1, allowed), (DENIES, 2, denied)):
        counted, was = after[RuleId(rule)], before[RuleId(rule)]
        assert counted.packets - was.packets == packets
        assert counted.bytes - was.bytes == packets * (len(data) - ETHERNET_BYTES)
