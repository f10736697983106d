"""Numbers in shared memory: counters never 0, never used twice, and the next agent goes on with them."""

from collections.abc import Callable, Iterator

import pytest

from kinety import abi
from kinety.datapath.node_state import NodeState, word_index
from kinety.kernel.map import Map

LAST = 0xFFFFFFFF


@pytest.fixture
def held(make: Callable[[str], Map]) -> Map:
    return make("node_state")


@pytest.fixture
def state(held: Map) -> Iterator[NodeState]:
    opened = NodeState(held)
    yield opened
    opened.close()


def row(held: Map) -> abi.NodeState:
    return abi.NodeState.unpack(held.lookup(bytes(4)) or b"")


def put(held: Map, generation: int, epoch: int) -> None:
    held.update(bytes(4), abi.NodeState(ipcache_generation=generation, last_epoch=epoch, hooks=0).pack())


@pytest.mark.needs("root", "bpf", "objects")
def test_generation_0_is_never_valid(held: Map, state: NodeState) -> None:
    assert state.ipcache_generation == row(held).ipcache_generation == 1
    assert state.writes == 1
    put(held, LAST, 0)
    state.raise_generation()
    assert row(held).ipcache_generation == 1, "0 stands for an identity that was not looked up"


@pytest.mark.needs("root", "bpf", "objects")
def test_every_epoch_is_new_and_written_down_before_it_is_used(held: Map, state: NodeState) -> None:
    given = []
    for _ in range(5):
        given.append(state.next_epoch())
        assert row(held).last_epoch == given[-1]
    assert given == [1, 2, 3, 4, 5]
    assert row(held).ipcache_generation == 1, "the other counter is left alone"


@pytest.mark.needs("root", "bpf", "objects")
def test_bits_of_hooks_come_and_go_and_leave_the_counters_alone(held: Map, state: NodeState) -> None:
    state.next_epoch()
    before = state.writes
    state.change_hooks(add=0b101)
    state.change_hooks(add=0b100, clear=0b001)
    state.change_hooks(add=0b100)
    assert row(held) == abi.NodeState(ipcache_generation=1, last_epoch=1, hooks=0b100)
    assert state.writes == before + 2, "what is so already is not written"


@pytest.mark.needs("root", "bpf", "objects")
def test_the_next_agent_goes_on_and_writes_nothing_to_begin_with(held: Map, state: NodeState) -> None:
    state.raise_generation()
    state.next_epoch()
    following = NodeState(held)
    try:
        assert (following.ipcache_generation, following.last_epoch, following.writes) == (2, 1, 0)
        assert following.next_epoch() == 2
    finally:
        following.close()


@pytest.mark.needs("root", "bpf", "objects")
def test_no_epoch_is_used_twice_even_after_the_last(held: Map, state: NodeState) -> None:
    put(held, 1, LAST - 1)
    assert state.next_epoch() == LAST
    for _ in range(2):
        with pytest.raises(OverflowError, match="all 32-bit epochs are used"):
            state.next_epoch()
    assert row(held).last_epoch == LAST


@pytest.mark.parametrize(
    ("structure", "field", "value", "offset"),
    [
        (abi.NodeState, "ipcache_generation", LAST, 0),
        (abi.NodeState, "last_epoch", LAST, 4),
        (abi.Endpoint, "flags", LAST, 0),
        (abi.Endpoint, "rule_set", (LAST, LAST), 8),
        (abi.Endpoint, "interface", LAST, 36),
        (abi.LocalAddress, "flags", LAST, 4),
    ],
)
def test_a_word_is_where_the_contract_has_it(structure: type, field: str, value: object, offset: int) -> None:
    """Offsets as bpf/abi/types.h adds up to, by hand."""
    assert word_index(structure, field, value) * 4 == offset
