"""Rows in shared memory: what is stored, in which order it counts, and when nothing is."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from kinety import abi
from kinety.datapath.endpoint_table import HOST_SLOT, EndpointTable
from kinety.datapath.node_state import NodeState
from kinety.kernel.map import Map
from kinety.plan.change import CapacityError
from tests.unit.datapath.conftest import SIZE

pytestmark = pytest.mark.needs("objects")

BASE = 65536
ROW = replace(abi.Endpoint.unpack(bytes(abi.Endpoint.SIZE)), id=5, ipv4=b"\1" * 16, host_mac=b"\2" * 6)


class Opener:
    """Opens tables over the same two maps, as one agent after the other would."""

    def __init__(self, make: Callable[[str], Map]) -> None:
        self.endpoints, self.node_state = make("endpoints"), make("node_state")
        self._opened: list[EndpointTable | NodeState] = []

    def state(self) -> NodeState:
        self._opened.append(state := NodeState(self.node_state))
        return state

    def __call__(self) -> EndpointTable:
        self._opened.append(table := EndpointTable(self.endpoints, self.state(), SIZE))
        return table

    def close(self) -> None:
        for each in self._opened:
            each.close()


@pytest.fixture
def opened(make: Callable[[str], Map]) -> Iterator[Opener]:
    opener = Opener(make)
    yield opener
    opener.close()


@pytest.fixture
def table(opened: Opener) -> EndpointTable:
    return opened()


def test_a_reserved_row_is_complete_but_not_ready(table: EndpointTable) -> None:
    slot = table.reserve(ROW, BASE)
    assert table.row(slot) == replace(ROW, interface=BASE + slot)
    assert not table.ready(slot)


def test_publishing_flips_the_words_and_nothing_else(table: EndpointTable) -> None:
    slot = table.reserve(ROW, BASE)
    table.identify(slot, ipv4=256, ipv6=257)
    table.publish(slot, egress=3, ingress=4)
    assert table.row(slot) == replace(
        ROW,
        interface=BASE + slot,
        identity=(256, 257),
        rule_set=(3, 4),
        epoch=1,
        flags=abi.EndpointFlag.READY,
    )


def test_an_equal_row_gets_a_new_epoch_only(table: EndpointTable) -> None:
    slot = table.reserve(ROW, BASE)
    table.publish(slot, 3, 4)
    before = table.writes
    table.publish(slot, 3, 4)
    assert table.writes == before + 1
    assert table.row(slot).epoch == 2


def test_epochs_go_on_above_every_one_ever_given(opened: Opener, table: EndpointTable) -> None:
    gone, left = table.reserve(ROW, BASE), table.reserve(ROW, BASE)
    table.publish(left, 0, 0)
    table.publish(gone, 0, 0)
    highest = table.row(gone).epoch
    table.clear(gone)
    again = opened()
    again.publish(left, 0, 0)
    assert again.row(left).epoch == highest + 1


def test_a_new_table_finds_the_rows_in_use(opened: Opener, table: EndpointTable) -> None:
    first, second = table.reserve(ROW, BASE), table.reserve(replace(ROW, id=6), BASE)
    table.clear(first)
    again = opened()
    assert again.slots() == (second,)
    assert [row.id for _, row in again.rows()] == [6]


def test_slots_are_handed_out_in_turn_and_wrap(table: EndpointTable) -> None:
    first = table.reserve(ROW, BASE)
    table.clear(first)
    assert table.reserve(ROW, BASE) != first
    taken = {table.reserve(ROW, BASE) for _ in range(SIZE - 2)}
    assert len(taken) == SIZE - 2
    assert HOST_SLOT not in taken
    assert first in taken
    with pytest.raises(
        CapacityError, match=f"endpoints would need {SIZE} entries and has room for {SIZE - 1}"
    ):
        table.reserve(ROW, BASE)


def test_a_disarmed_row_keeps_its_facts_and_a_cleared_one_none(table: EndpointTable) -> None:
    slot = table.reserve(ROW, BASE)
    table.publish(slot, 3, 4)
    table.disarm(slot)
    assert not table.ready(slot)
    assert table.row(slot).id == ROW.id
    table.clear(slot)
    assert table.row(slot) == abi.Endpoint.unpack(bytes(abi.Endpoint.SIZE))
    assert table.slots() == ()


def test_rule_set_slots_are_those_rows_point_at(table: EndpointTable) -> None:
    table.publish(table.reserve(ROW, BASE), 3, 4)
    table.publish(table.reserve(ROW, BASE), 0, 9)
    table.publish(HOST_SLOT, 7, 8)
    assert table.rule_set_slots() == {0, 3, 4, 7, 8, 9}


def test_shadow_slots_are_beside_and_are_in_use_too(table: EndpointTable) -> None:
    slot = table.reserve(ROW, BASE)
    table.publish(slot, 3, 4, (5, 6))
    assert (table.row(slot).rule_set, table.row(slot).shadow_rule_set) == ((3, 4), (5, 6))
    assert table.rule_set_slots() == {0, 3, 4, 5, 6}
    table.publish(slot, 3, 4)
    assert table.row(slot).shadow_rule_set == (0, 0)


def test_epochs_are_never_reused(opened: Opener) -> None:
    state = opened.state()
    opened.node_state.update(
        bytes(4), abi.NodeState(ipcache_generation=0, last_epoch=2**32 - 2, hooks=0).pack()
    )
    assert state.next_epoch() == 2**32 - 1
    with pytest.raises(OverflowError):
        state.next_epoch()
    assert state.last_epoch == 2**32 - 1
