"""Sets of traffic against sets of numbers, on a few protocols and ports."""

from hypothesis import given
from hypothesis import strategies as st

from kinety.explain.traffic import (
    END,
    EVERYTHING,
    Stretch,
    Traffic,
    blocks,
    common,
    covers,
    describe,
    number_of,
    rest,
    traffic_of,
    union,
    without,
)
from kinety.model.rule import PortRange

EDGES = sorted(
    {0, END} | {number_of(protocol, port) for protocol in (0, 1, 6, 7, 17, 255) for port in (0, 1, 80, 65535)}
)
traffics = st.lists(
    st.tuples(st.sampled_from(EDGES[:-1]), st.sampled_from(EDGES[1:])).filter(lambda pair: pair[0] < pair[1])
).map(lambda pairs: union(Stretch(first, last - 1) for first, last in pairs))


def points(traffic: Traffic) -> set[int]:
    """Which stretches between edges are in a set; the sets here have no other ends."""
    return {edge for edge in EDGES[:-1] if any(first <= edge <= last for first, last in traffic)}


@given(traffics, traffics)
def test_sets(one: Traffic, other: Traffic) -> None:
    assert points(common(one, other)) == points(one) & points(other)
    assert points(without(one, other)) == points(one) - points(other)
    assert points(union((*one, *other))) == points(one) | points(other)
    assert covers(one, other) == (points(other) <= points(one))
    assert rest(rest(one)) == one
    assert union(one) == one


@given(traffics)
def test_blocks_are_the_set(traffic: Traffic) -> None:
    pieces = [
        Stretch(number_of(protocol, each.first_port), number_of(protocol, each.last_port))
        for each in blocks(traffic)
        for protocol in range(each.first_protocol, each.last_protocol + 1)
    ]
    assert union(pieces) == traffic
    assert sum(last - first + 1 for first, last in pieces) == sum(last - first + 1 for first, last in traffic)


def test_words() -> None:
    web = traffic_of([PortRange(6, 80, 80), PortRange(6, 443, 450), PortRange(17)])
    assert describe(web) == "TCP/80, TCP/443-450, UDP"
    assert describe(rest(web)) == "all but TCP/80, TCP/443-450, UDP"
    assert describe(traffic_of(None)) == describe(traffic_of([PortRange(0)])) == "all"
    assert describe(()) == "nothing"
    assert describe(traffic_of([PortRange(1, 8, 8), PortRange(47)])) == "ICMP/8, protocol 47"
    assert describe((Stretch(0, number_of(3, 0) - 1),)) == "protocols 0-2"
    assert traffic_of(None) == EVERYTHING
    assert blocks(traffic_of([PortRange(6, 80, 80)]))[0].value() == {"protocols": [6, 6], "ports": [80, 80]}
