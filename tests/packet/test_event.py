"""Telling: the level of events, and a ring that is full."""

import pytest

from kinety.abi import Reason
from kinety.datapath.template import FROM_ENDPOINT
from kinety.model.rule import Direction
from kinety.testing.packet import Tcp, frame
from tests.packet.node import (
    ALLOWS,
    DENIES,
    NO_RULE,
    packet_world,
    tcp,
    where,
)
from tests.packet.table import World, case, leave, play

pytestmark = pytest.mark.needs("root", "bpf", "tcx", "netns", "bpffs", "nft", "objects")

LOCAL, DENIED = Reason.FORWARDED_LOCAL, Reason.POLICY_DENIED
DENIED_BY_SERVER = {"judge": "server", "direction": Direction.INGRESS, "rule": DENIES}
_WORD = 4


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
