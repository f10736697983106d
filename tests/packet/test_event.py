"""Telling: shadow rule sets, the level of events, and a ring that is full."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from kinety import abi
from kinety.abi import EventKind, Reason
from kinety.datapath.template import FROM_ENDPOINT
from kinety.model.rule import Direction
from kinety.testing.packet import Tcp, frame
from tests.netns.datapath_node import rule_sets, table
from tests.packet.node import (
    ALLOWS,
    ANY,
    DENIES,
    EMPIRE_CLASS,
    HOLE,
    NO_RULE,
    RANGE,
    SERVER,
    allow,
    deny,
    packet_world,
    tcp,
    where,
)
from tests.packet.table import Case, World, both_families, case, leave, play

pytestmark = pytest.mark.needs("root", "bpf", "tcx", "netns", "bpffs", "nft", "objects")

LOCAL, DENIED = Reason.FORWARDED_LOCAL, Reason.POLICY_DENIED
DENIED_BY_SERVER = {"judge": "server", "direction": Direction.INGRESS, "rule": DENIES}
_WORD = 4


def shadowed(verdict: Callable[[int], object], rule: int) -> Callable[[World], None]:
    """The server's ingress has a shadow beside it, until the case ends: one verdict for everybody."""

    def change(world: World) -> None:
        shadow = table({(EMPIRE_CLASS, 0, 0, 0): verdict(rule), (ANY, 0, 0, 0): verdict(rule)})
        _publish(world, shadow)

    return change


def _publish(world: World, shadow: object) -> None:
    """Nobody in user space sets a shadow yet, so its slot is written into the row by hand."""
    node, rows = world.node, world.map("endpoints")
    assert node.datapath is not None
    names = rule_sets(shadow=shadow)  # type: ignore[arg-type]
    node.put({}, rule_sets=names)
    key = world.interface("server").slot.to_bytes(_WORD, "little")
    row = abi.Endpoint.unpack(rows.lookup(key) or b"")
    slot = node.datapath._rule_sets.slot(next(iter(names)))
    rows.update(key, replace(row, shadow_rule_set=(0, slot)).pack())
    world.undo.append(lambda: node.put({}, rule_sets_removed=frozenset(names)))
    world.undo.append(lambda: rows.update(key, row.pack()))


def cases(family: int) -> list[Case]:
    """Every table of one family."""
    flow, other = tcp("client", "server", family), tcp("client", "server", family, 81)
    return [
        case(
            "a shadow that would deny only tells so",
            shadowed(deny, HOLE),
            leave("client", frame(flow), LOCAL, "server", rules=(NO_RULE, ALLOWS), flows=2, shadows=1),
            leave("client", frame(flow, flags=Tcp.ACK), LOCAL, "server", rules=(NO_RULE, ALLOWS)),
            leave("client", frame(other), DENIED, rules=(NO_RULE, DENIES), **DENIED_BY_SERVER),
        ),
        case(
            "a shadow that would allow only tells so",
            shadowed(allow, RANGE),
            leave("client", frame(other), DENIED, rules=(NO_RULE, DENIES), shadows=1, **DENIED_BY_SERVER),
            leave("client", frame(flow), LOCAL, "server", rules=(NO_RULE, ALLOWS), flows=2),
        ),
    ]


CASES = both_families(cases)


@pytest.mark.parametrize("table", CASES, ids=str)
def test_event(world: World, table: Case) -> None:
    play(world, table)


def test_a_shadow_names_its_own_rule(world: World) -> None:
    try:
        shadowed(deny, HOLE)(world)
        world.forget_flows()
        world.run(FROM_ENDPOINT, frame(tcp("client", "server", 4)), world.index("client"), 0)
        [told] = [event for event in world.events() if event.kind == EventKind.SHADOW]
    finally:
        while world.undo:
            world.undo.pop()()
    assert (told.rule, told.verdict, told.direction) == (HOLE, abi.Verdict.DENY, abi.Direction.INGRESS)
    assert (told.endpoint, told.remote_identity) == (SERVER, 256)


def test_a_new_flow_is_told_of_by_both_ends(world: World) -> None:
    world.forget_flows()
    data = frame(tcp("client", "server", 6))
    world.run(FROM_ENDPOINT, data, world.index("client"), 0)
    egress, ingress = sorted(world.events(), key=lambda event: event.direction)
    assert (egress.endpoint, egress.rule) == (world.number("client"), NO_RULE)
    assert (ingress.endpoint, ingress.rule) == (world.number("server"), ALLOWS)
    for event in (egress, ingress):
        assert (event.source, event.destination) == (where("client", 6), where("server", 6))
        assert (event.source_port, event.destination_port, event.tcp_flags) == (40000, 8080, Tcp.SYN)
        assert event.length == len(data) - 14


def test_a_node_that_is_told_of_drops_only() -> None:
    with packet_world(event_level=0) as world:
        flow, other = tcp("client", "server", 4), tcp("client", "server", 4, 81)
        play(
            world,
            case(
                "quiet",
                leave("client", frame(flow), LOCAL, "server", rules=(NO_RULE, ALLOWS)),
                leave("client", frame(other), DENIED, rules=(NO_RULE, DENIES), **DENIED_BY_SERVER),
            ),
        )


def test_a_full_ring_loses_events_and_no_packet(world: World) -> None:
    """Drops go on being drops, each is counted, and so is each event that nobody will read."""
    assert world.node.datapath is not None
    world.forget_flows()
    reader, runs = world.node.datapath.event_source(), 20_000
    before, lost = world.counted(), reader.lost()
    ran = world.run(FROM_ENDPOINT, frame(tcp("client", "server", 4, 81)), world.index("client"), 0, runs)
    key = (DENIED, Direction.EGRESS)
    assert ran.retval == 2
    assert world.counted()[key] - before.get(key, 0) == runs
    read = 0
    while events := world.events():
        read += len(events)
    assert read + reader.lost() - lost == runs
    assert 0 < read < runs
