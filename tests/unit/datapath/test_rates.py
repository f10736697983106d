"""Rows of ``rates``: what an endpoint may do, and nothing of it used."""

from collections.abc import Callable

import pytest

from kinety import abi
from kinety.abi import EndpointFlag
from kinety.datapath.rates import Rates
from kinety.kernel.map import Map
from kinety.model.bandwidth import Bandwidth, Rate

pytestmark = pytest.mark.needs("objects")


def row(rates: Map, index: int) -> abi.Rate:
    packed = rates.lookup(index.to_bytes(4, "little"))
    assert packed is not None
    return abi.Rate.unpack(packed)


def test_each_direction_has_its_row_and_flag(make: Callable[[str], Map]) -> None:
    held = make("rates")
    rates = Rates(held)
    megabit = Rate(1_000_000, 500_000)
    assert rates.limit(3, Bandwidth(egress=megabit)) == EndpointFlag.LIMITED_EGRESS
    assert rates.limit(4, Bandwidth(ingress=megabit)) == EndpointFlag.LIMITED_INGRESS
    both = EndpointFlag.LIMITED_EGRESS | EndpointFlag.LIMITED_INGRESS
    assert rates.limit(5, Bandwidth(megabit, Rate(1000, 1))) == both
    expected = abi.Rate(8000 * abi.RateCost.NANOSECOND, 500_000_000, 0, 0, 0)
    assert [row(held, index) == expected for index in range(6, 12)] == [True, False, False, True, True, False]


def test_a_slot_begins_anew(make: Callable[[str], Map]) -> None:
    held = make("rates")
    rates = Rates(held)
    rates.limit(3, Bandwidth(egress=Rate(1000, 1), ingress=Rate(1000, 1)))
    for index, packets in ((6, 2), (7, 3)):
        used = abi.Rate(1, 1, 99, packets, 1000)
        held.update(index.to_bytes(4, "little"), used.pack())
    assert rates.dropped(3) == 5
    rates.limit(3, Bandwidth(egress=Rate(1000, 1)))
    assert rates.dropped(3) == 0
    assert row(held, 6).due == 0


def test_nothing_is_written_for_those_who_may_do_everything(make: Callable[[str], Map]) -> None:
    rates = Rates(make("rates"))
    assert rates.limit(3, Bandwidth()) == EndpointFlag(0)
    assert rates.writes == 0


def test_a_node_without_bandwidth_refuses_it() -> None:
    rates = Rates(None)
    assert rates.limit(3, Bandwidth()) == EndpointFlag(0)
    assert rates.dropped(3) == 0
    with pytest.raises(ValueError, match="runs with --no-bandwidth"):
        rates.limit(3, Bandwidth(ingress=Rate(1000, 1)))
