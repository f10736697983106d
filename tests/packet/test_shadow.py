"""Shadow rule sets: judged beside the one in force, told of and counted, never obeyed."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from kinety import abi
from kinety.abi import EventKind, Reason
from kinety.datapath.template import FROM_ENDPOINT
from kinety.model.rule import Direction, RuleId
from kinety.model.verdict import Verdict
from kinety.plan.change import Change, EndpointPlan, RuleSetId
from kinety.testing.packet import Tcp, frame
from tests.netns.datapath_node import rule_sets, table
from tests.packet.change import Do, publish
from tests.packet.node import (
    ALLOWS,
    ANY,
    CONFINED,
    DENIES,
    EMPIRE_CLASS,
    FOR_ANY,
    HOLE,
    NO_RULE,
    OUT,
    OUT_DENIES,
    PLANS,
    RANGE,
    SERVER,
    WORLD_CLASS,
    allow,
    deny,
    tcp,
    where,
)
from tests.packet.table import Case, World, both_families, case, enter, leave, play

pytestmark = pytest.mark.needs("root", "bpf", "tcx", "netns", "bpffs", "nft", "objects")

LOCAL, DENIED = Reason.FORWARDED_LOCAL, Reason.POLICY_DENIED
BY_SERVER = {"judge": "server", "direction": Direction.INGRESS, "rule": DENIES}
Counted = Mapping[tuple[int, int, int, int], tuple[int, int]]


def beside(plan: EndpointPlan, verdict: Verdict, number: int, name: str = "beside") -> Do:
    """An endpoint gets a shadow rule set where it has one in force: one verdict about everybody."""
    everybody = (EMPIRE_CLASS, WORLD_CLASS, ANY)
    tables = rule_sets(**{name: table({(each, 0, 0, 0): verdict for each in everybody})})
    field = "shadow_ingress" if plan.ingress else "shadow_egress"
    return publish(number, replace(plan, **{field: RuleSetId(name)}), tables)


def server(verdict: Verdict) -> Do:
    return beside(PLANS[SERVER], verdict, SERVER)


def confined(verdict: Verdict) -> Do:
    return beside(PLANS[CONFINED], verdict, CONFINED)


def counted(endpoint: int, expected: Counted) -> Do:
    """Rows of an endpoint: rules and verdicts, would and in force, to flows and packets."""

    def look(world: World) -> None:
        assert world.node.datapath is not None
        found = {
            (row.rule, row.verdict, row.rule_in_force, row.verdict_in_force): (each.flows, each.packets)
            for row, each in world.node.datapath.shadow_counters().items()
            if row.endpoint == endpoint
        }
        assert found == expected

    return look


def would(shadow: Verdict, in_force: Verdict, flows: int, packets: int) -> Counted:
    """One row."""
    return {(shadow.rule, shadow.kind, in_force.rule, in_force.kind): (flows, packets)}


def cases(family: int) -> list[Case]:
    """Every table of one family."""
    flow, other = tcp("client", "server", family), tcp("client", "server", family, 81)
    opens = leave("client", frame(flow), LOCAL, "server", rules=(NO_RULE, ALLOWS), flows=2, shadows=1)
    opens_alike = replace(opens, shadows=0)
    goes_on = leave("client", frame(flow, flags=Tcp.ACK), LOCAL, "server", rules=(NO_RULE, ALLOWS))
    comes_back = leave("server", frame(flow.reply(), flags=Tcp.ACK), LOCAL, "client", rules=(NO_RULE, ALLOWS))
    differs_now = replace(goes_on, shadows=1)
    refused = leave("client", frame(other), DENIED, rules=(NO_RULE, DENIES), **BY_SERVER)
    out, out_denied = tcp("confined", "server", family), tcp("confined", "server", family, 81)
    leaves = leave("confined", frame(out), LOCAL, "server", rules=(OUT, ALLOWS), flows=2)
    stopped = leave(
        "confined",
        frame(out_denied),
        DENIED,
        rules=(OUT_DENIES,),
        judge="confined",
        direction=Direction.EGRESS,
        rule=OUT_DENIES,
    )
    refuses = enter(
        "server", frame(tcp("world", "server", family, 81)), DENIED, rules=(FOR_ANY,), rule=FOR_ANY
    )
    return [
        case(
            "what it would deny passes, is told of once and counted by packet",
            server(deny(HOLE)),
            opens,
            goes_on,
            comes_back,
            refused,
            counted(SERVER, would(deny(HOLE), allow(ALLOWS), 1, 3)),
        ),
        case(
            "what it would allow is denied, each time anew",
            server(allow(RANGE)),
            replace(refused, shadows=1),
            replace(refused, shadows=1),
            opens_alike,
            counted(SERVER, would(allow(RANGE), deny(DENIES), 2, 2)),
        ),
        case(
            "a live flow is judged by it as soon as it comes, and no longer when it goes",
            opens_alike,
            server(deny(HOLE)),
            differs_now,
            goes_on,
            counted(SERVER, would(deny(HOLE), allow(ALLOWS), 1, 2)),
            publish(SERVER, PLANS[SERVER]),
            goes_on,
            counted(SERVER, {}),
        ),
        case(
            "what a rule was counted for goes when it is in another mode",
            server(deny(HOLE)),
            opens,
            lambda world: world.node.apply(Change(rules_turned=frozenset({RuleId(RANGE)}))),
            counted(SERVER, would(deny(HOLE), allow(ALLOWS), 1, 1)),
            lambda world: world.node.apply(Change(rules_turned=frozenset({RuleId(HOLE)}))),
            counted(SERVER, {}),
        ),
        case(
            "a flow that differed is not a flow again when another rule decides",
            server(deny(HOLE)),
            opens,
            beside(PLANS[SERVER], deny(RANGE), SERVER, "another"),
            goes_on,
            counted(
                SERVER,
                {**would(deny(HOLE), allow(ALLOWS), 1, 1), **would(deny(RANGE), allow(ALLOWS), 0, 1)},
            ),
        ),
        case(
            "a live flow that is denied now is one that it would let pass",
            opens_alike,
            publish(
                SERVER,
                replace(PLANS[SERVER], ingress=RuleSetId("closed"), shadow_ingress=RuleSetId("open")),
                rule_sets(
                    closed=table({(EMPIRE_CLASS, 0, 0, 0): deny(DENIES)}),
                    open=table({(EMPIRE_CLASS, 0, 0, 0): allow(RANGE)}),
                ),
            ),
            leave(
                "client",
                frame(flow, flags=Tcp.ACK),
                DENIED,
                rules=(NO_RULE, DENIES),
                changes=1,
                shadows=1,
                **BY_SERVER,
            ),
            leave("client", frame(flow, flags=Tcp.ACK), DENIED, rules=(NO_RULE, DENIES), **BY_SERVER),
            counted(SERVER, would(allow(RANGE), deny(DENIES), 1, 2)),
        ),
        case(
            "what an endpoint sends is judged beside as well",
            confined(deny(HOLE)),
            replace(leaves, shadows=1),
            replace(leaves, packet=frame(out, flags=Tcp.ACK), flows=0),
            stopped,
            counted(CONFINED, would(deny(HOLE), allow(OUT), 1, 2)),
        ),
        case(
            "what an endpoint may not send is told of where it would be let pass",
            confined(allow(RANGE)),
            replace(stopped, shadows=1),
            leaves,
            counted(CONFINED, would(allow(RANGE), deny(OUT_DENIES), 1, 1)),
        ),
        case(
            "what comes from elsewhere is judged beside by the other program",
            server(allow(RANGE)),
            replace(refuses, shadows=1),
            counted(SERVER, would(allow(RANGE), deny(FOR_ANY), 1, 1)),
        ),
    ]


CASES = both_families(cases)


@pytest.mark.parametrize("table", CASES, ids=str)
def test_shadow(world: World, table: Case) -> None:
    play(world, table)


@pytest.mark.parametrize("family", [4, 6])
def test_an_event_names_what_would_decide_and_what_did(world: World, family: int) -> None:
    data = frame(tcp("client", "server", family))
    try:
        server(deny(HOLE))(world)
        world.forget_flows()
        world.run(FROM_ENDPOINT, data, world.index("client"), 0)
        [told] = [event for event in world.events() if event.kind == EventKind.SHADOW]
        assert world.node.datapath is not None
        [(key, counter)] = world.node.datapath.shadow_counters().items()
    finally:
        while world.undo:
            world.undo.pop()()
    assert (told.rule, told.verdict, told.direction) == (HOLE, abi.Verdict.DENY, Direction.INGRESS)
    assert (told.rule_in_force, told.verdict_in_force) == (ALLOWS, abi.Verdict.ALLOW)
    assert (told.endpoint, told.remote_identity) == (SERVER, 256)
    assert (key.endpoint, key.remote_identity, key.direction) == (SERVER, 256, Direction.INGRESS)
    assert (counter.peer, counter.port, counter.protocol) == (where("client", family), 8080, 6)
    assert counter.bytes == len(data) - 14
    assert counter.last_seen <= told.time
    assert world.node.datapath.shadows_lost() == 0


def test_the_host_of_a_row_is_its_first_peer_whoever_answers(world: World) -> None:
    """Answers count for the same row, and the example stays who opened the flow."""
    flow = tcp("client", "server", 4)
    try:
        server(deny(HOLE))(world)
        world.forget_flows()
        world.run(FROM_ENDPOINT, frame(flow), world.index("client"), 0)
        world.run(FROM_ENDPOINT, frame(flow.reply(), flags=Tcp.ACK), world.index("server"), 0)
        assert world.node.datapath is not None
        [(_, counter)] = world.node.datapath.shadow_counters().items()
    finally:
        while world.undo:
            world.undo.pop()()
    assert (counter.packets, counter.flows, counter.peer) == (2, 1, where("client", 4))
