"""What an endpoint sends or receives faster than it may; time stands still, as far as these rates go."""

from collections.abc import Mapping

import pytest

from kinety import abi
from kinety.abi import EndpointFlag, Reason
from kinety.model.bandwidth import Bandwidth, Rate
from kinety.model.rule import Direction
from kinety.testing.packet import Flow, Tcp, frame
from tests.packet.change import Do
from tests.packet.node import ALLOWS, DENIED_PORT, DENIES, NO_RULE, tcp, udp
from tests.packet.table import Case, Step, World, both_families, case, enter, leave, play

pytestmark = pytest.mark.needs("root", "bpf", "tcx", "netns", "bpffs", "nft", "objects")

LOCAL, STACK, ENTERED = Reason.FORWARDED_LOCAL, Reason.FORWARDED_STACK, Reason.FORWARDED_ENDPOINT
EXCEEDED = Reason.RATE_EXCEEDED
EGRESS, INGRESS = Direction.EGRESS, Direction.INGRESS
PAYLOAD = bytes(500)
#: A kilobit a second: what a case takes, some milliseconds, lets pass less than a byte of it.
SLOW = 1000


def limit(name: str, bursts: Mapping[Direction, int]) -> Do:
    """Give an endpoint so many bytes in advance, until the case ends."""

    def change(world: World) -> None:
        datapath, slot = world.node.datapath, world.interface(name).slot
        assert datapath is not None
        rates = {each.name.lower(): Rate(SLOW, 8 * burst) for each, burst in bursts.items()}
        world.undo.append(lambda: datapath._table.limit(slot, EndpointFlag.READY))
        datapath._table.limit(slot, EndpointFlag.READY | datapath.rates.limit(slot, Bandwidth(**rates)))

    return change


def dropped(name: str, packets: int) -> Do:
    """So many were dropped in the endpoint's name."""

    def check(world: World) -> None:
        assert world.node.datapath is not None
        assert world.node.datapath.rates.dropped(world.interface(name).slot) == packets

    return check


def sends(flow: Flow, expect: Reason, **rest: object) -> Step:
    """A packet of half a kilobyte of a flow that is open."""
    return leave("client", frame(flow, payload=PAYLOAD), expect, "server", **rest)


def cases(family: int) -> list[Case]:
    """Every table of one family."""
    flow, outside = udp("client", "server", family), udp("client", "world", family)
    incoming, denied = tcp("world", "client", family), tcp("client", "server", family, DENIED_PORT)
    judged = {"judge": "server", "direction": INGRESS, "rule": DENIES}
    refusal = leave("client", frame(denied), Reason.POLICY_DENIED, **judged)
    return [
        case(
            "what it sends: the burst, one packet more, and then nothing",
            limit("client", {EGRESS: 1000}),
            sends(flow, LOCAL, rules=(NO_RULE, ALLOWS), flows=2),
            sends(flow, LOCAL),
            leave("client", frame(outside, payload=PAYLOAD), EXCEEDED, flows=1),
            sends(flow, EXCEEDED),
            dropped("client", 2),
        ),
        case(
            "what it receives is another matter",
            limit("client", {EGRESS: 0}),
            sends(flow, LOCAL, flows=2),
            sends(flow, EXCEEDED),
            *[leave("server", frame(flow.reply(), payload=PAYLOAD), LOCAL, "client")] * 3,
            enter("client", frame(incoming, payload=PAYLOAD), ENTERED, flows=1),
        ),
        case(
            "what it receives from an endpoint and by way of the stack is one bucket",
            limit("client", {INGRESS: 600}),
            sends(flow, LOCAL, flows=2),
            leave("server", frame(flow.reply(), payload=PAYLOAD), LOCAL, "client"),
            enter("client", frame(incoming, payload=PAYLOAD), ENTERED, flows=1),
            enter("client", frame(incoming, flags=Tcp.ACK), EXCEEDED),
            leave("server", frame(flow.reply(), payload=PAYLOAD), EXCEEDED, "client"),
            sends(flow, LOCAL),
            dropped("client", 2),
        ),
        case(
            "a packet larger than the burst passes, and is paid for",
            limit("client", {EGRESS: 1}),
            leave("client", frame(outside, payload=bytes(1400)), STACK, flows=1),
            leave("client", frame(outside, payload=b""), EXCEEDED),
        ),
        case(
            "what policy denies costs nothing",
            limit("client", {EGRESS: 0}),
            refusal,
            refusal,
            sends(flow, LOCAL, flows=2),
        ),
        case(
            "both ends have a say",
            limit("client", {EGRESS: 10_000}),
            limit("server", {INGRESS: 0}),
            sends(flow, LOCAL, flows=2),
            sends(flow, EXCEEDED),
            dropped("client", 0),
            dropped("server", 1),
        ),
    ]


CASES = both_families(cases)


@pytest.mark.parametrize("table", CASES, ids=str)
def test_rates(world: World, table: Case) -> None:
    play(world, table)


@pytest.mark.parametrize(
    ("bits", "seconds_for_a_gigabyte"), [(1000, 8_000_000), (10**6, 8000), (10**9, 8), (10**11, 0.08)]
)
def test_a_byte_costs_what_it_should(world: World, bits: int, seconds_for_a_gigabyte: float) -> None:
    """To a part in a million, also where it is a fraction of a nanosecond; and the largest packet fits in."""
    datapath = world.node.datapath
    assert datapath is not None
    slot = world.interface("client").slot
    datapath.rates.limit(slot, Bandwidth(egress=Rate(bits, 8 * bits)))
    packed = world.map("rates").lookup((2 * slot).to_bytes(4, "little"))
    assert packed is not None
    row = abi.Rate.unpack(packed)
    nanoseconds = row.cost * 10**9 / abi.RateCost.NANOSECOND
    assert nanoseconds == pytest.approx(seconds_for_a_gigabyte * 10**9, rel=1e-6)
    assert row.burst == 8 * 10**9
    assert row.cost * (1 << 19) < 1 << 64
