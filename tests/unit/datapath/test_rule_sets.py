"""Verdict tables in slots: packed as the contract says, published, retired, recognised again."""

import errno
import threading
from collections.abc import Callable
from dataclasses import replace
from unittest.mock import patch

import pytest

from kinety import abi
from kinety.datapath.rule_sets import RuleSets, pack_key, pack_rows
from kinety.kernel.map import Map
from kinety.kernel.spec import MapSpec
from kinety.model.identity import ClassId
from kinety.model.layer7 import Layer7Id
from kinety.model.rule import RuleId
from kinety.model.verdict import RuleSet, RuleSetKey, Verdict, VerdictKind
from kinety.plan.change import CapacityError, RuleSetId
from tests.unit.datapath.conftest import SIZE

pytestmark = pytest.mark.needs("objects")

ALLOW = Verdict(VerdictKind.ALLOW, RuleId(7))
REDIRECT = Verdict(VerdictKind.REDIRECT, RuleId(70000), Layer7Id("a"))
KEYS = (
    RuleSetKey(ClassId(0), 0),
    RuleSetKey(ClassId(3), 8, 17),
    RuleSetKey(ClassId(0x01020304), 24, 6, 0x1F90),
    RuleSetKey(ClassId(5), 15, 6, 0xFE00),
)


def rule_set(port: int) -> RuleSet:
    return RuleSet(
        {RuleSetKey(ClassId(3), 24, 6, port): ALLOW, RuleSetKey(ClassId(3), 0): Verdict(VerdictKind.DENY)}
    )


A, B, EMPTY = RuleSetId("a"), RuleSetId("b"), RuleSetId("empty")
WANTED = {A: rule_set(80), B: rule_set(81), EMPTY: RuleSet({})}


@pytest.fixture
def outer(make: Callable[[str], Map]) -> Map:
    return make("rule_sets")


@pytest.fixture
def opened(outer: Map, specs: dict[str, MapSpec]) -> Callable[..., RuleSets]:
    inner = specs["rule_sets"].inner
    assert inner is not None

    def open_again(rows: int = 16, spare: int = 4) -> RuleSets:
        return RuleSets(outer, replace(inner, max_entries=rows), SIZE, spare)

    return open_again


def nobody() -> set[int]:
    return set()


@pytest.mark.parametrize("key", KEYS)
def test_keys_are_packed_as_the_contract_says(key: RuleSetKey) -> None:
    expected = abi.RuleSetKey(
        prefix_length=32 + key.bits,
        class_id=key.class_id,
        protocol=key.protocol,
        port_high=key.port >> 8,
        port_low=key.port & 255,
    )
    assert pack_key(key) == expected.pack()


def test_verdicts_are_packed_as_the_contract_says() -> None:
    [value] = pack_rows({KEYS[0]: REDIRECT}, {Layer7Id("a"): 10101}).values()
    assert abi.RuleSetEntry.unpack(value) == abi.RuleSetEntry(
        rule=70000, proxy_port=10101, verdict=abi.Verdict.REDIRECT, flags=0
    )


def test_publishing_into_spares_leaves_the_outer_map_alone(
    opened: Callable[..., RuleSets], outer: Map
) -> None:
    sets = opened()
    assert sets.refill(()) == 4
    before = dict(outer.items())
    sets.publish(WANTED, nobody)
    assert dict(outer.items()) == before
    assert sets.spare == 1
    assert sets.rows(sets.slot(A)) == pack_rows(WANTED[A].rows)
    assert sets.rows(sets.slot(EMPTY)) == {}
    assert len({sets.slot(name) for name in WANTED} | {0}) == 4, "distinct, and none is 0"
    assert sets.slot(None) == 0


def test_more_tables_than_spares_are_made_on_the_spot(opened: Callable[..., RuleSets]) -> None:
    sets = opened(spare=1)
    sets.publish(WANTED, nobody)
    assert len(sets) == 3


def test_publishing_twice_writes_once(opened: Callable[..., RuleSets]) -> None:
    sets = opened()
    sets.publish(WANTED, nobody)
    before = sets.writes
    sets.publish(WANTED, nobody)
    assert sets.writes == before


def test_a_retired_slot_is_refilled_only_when_no_row_points_at_it(opened: Callable[..., RuleSets]) -> None:
    sets = opened()
    sets.publish(WANTED, nobody)
    slot = sets.slot(A)
    sets.retire([A])
    sets.refill({slot})
    assert sets.retired == 1
    assert sets.rows(slot), "still there for whoever reads it"
    sets.refill(())
    assert sets.retired == 0
    assert sets.rows(slot) == {}


def test_tables_are_published_while_others_are_on_their_way(opened: Callable[..., RuleSets]) -> None:
    sets = opened()
    sets.publish(WANTED, nobody)
    retired = {sets.slot(A), sets.slot(EMPTY)}
    sets.retire([A, EMPTY])
    assert sets.begin_refill(())
    assert (sets.retired, sets.spare) == (0, 1)
    sets.publish({A: WANTED[A]}, nobody)
    assert sets.slot(A) not in retired
    assert sets.rows(sets.slot(A)) == pack_rows(WANTED[A].rows)
    threading.Thread(target=sets.wait_refill).start()
    sets.end_refill()
    assert sets.spare == 3, "the two, and one more in the place of what was published meanwhile"
    for slot in retired:
        assert sets.rows(slot) == {}


def test_what_needs_tables_waits_for_those_on_their_way(opened: Callable[..., RuleSets]) -> None:
    sets = opened(spare=SIZE - 1)
    assert sets.begin_refill(())
    assert (sets.spare, sets.retired) == (0, 0), "all that there are"
    sets.publish(WANTED, nobody)
    assert sets.spare == SIZE - 1 - len(WANTED)
    assert len(sets.occupied()) == SIZE - 1


@pytest.mark.parametrize("written", [0, 1], ids=["none written", "some written"])
def test_tables_that_the_kernel_refuses_are_asked_for_again(
    opened: Callable[..., RuleSets], outer: Map, written: int
) -> None:
    sets = opened()
    sets.publish({A: WANTED[A], B: WANTED[B]}, nobody)
    slots = sets.slot(A), sets.slot(B)
    sets.retire([A, B])
    real = Map.update_batch

    def refuse(self: Map, keys: bytes, values: bytes, count: int) -> None:
        real(self, keys[: 4 * written], values[: 4 * written], written)
        raise OSError(errno.ENOMEM, "no memory")

    assert sets.begin_refill(())
    with patch.object(Map, "update_batch", refuse):
        sets.wait_refill()
    with pytest.raises(OSError, match="no memory"):
        sets.end_refill()
    sets.adopt({}, {})
    sets.refill(())
    assert [sets.rows(slot) for slot in slots] == [{}, {}]
    many = {RuleSetId(str(number)): rule_set(number) for number in range(SIZE - 1)}
    sets.publish(many, nobody)
    assert {sets.slot(name) for name in many} == set(range(1, SIZE)), "no slot was lost"


def test_rows_come_and_go_in_live_tables(opened: Callable[..., RuleSets]) -> None:
    sets = opened()
    sets.publish(WANTED, nobody)
    added = {RuleSetKey(ClassId(9), 0): ALLOW, RuleSetKey(ClassId(10), 0): ALLOW}
    sets.add_rows({A: added})
    assert sets.rows(sets.slot(A)) == pack_rows({**WANTED[A].rows, **added})
    sets.remove_rows({A: [*added, RuleSetKey(ClassId(11), 0)]})
    assert sets.rows(sets.slot(A)) == pack_rows(WANTED[A].rows)


def test_no_room_is_said_before_anything_is_written(opened: Callable[..., RuleSets]) -> None:
    sets = opened()
    sets.refill(())
    before = sets.writes
    many = {RuleSetId(str(number)): rule_set(number) for number in range(SIZE)}
    with pytest.raises(
        CapacityError, match=f"rule_sets would need {SIZE} entries and has room for {SIZE - 1}"
    ):
        sets.publish(many, nobody)
    assert sets.writes == before


def test_a_table_that_does_not_fit_is_an_error_and_is_never_published(
    opened: Callable[..., RuleSets],
) -> None:
    sets = opened(rows=1)
    with pytest.raises(OSError, match=r"No space left|Argument list too long") as caught:
        sets.publish({A: WANTED[A]}, nobody)
    assert "rule set a has 2 rows" in caught.value.__notes__
    with pytest.raises(KeyError):
        sets.slot(A)


def test_a_restart_recognises_tables_by_content(opened: Callable[..., RuleSets]) -> None:
    former = opened()
    former.publish(WANTED, nobody)
    again = opened()
    renamed = {RuleSetId("new name"): WANTED[A], B: WANTED[B], EMPTY: WANTED[EMPTY]}
    again.adopt(renamed, {EMPTY: [former.slot(EMPTY)]})
    assert again.slot(RuleSetId("new name")) == former.slot(A)
    assert again.slot(B) == former.slot(B)
    assert again.slot(EMPTY) == former.slot(EMPTY)
    again.publish(renamed, nobody)
    assert again.writes == 0
    assert (again.retired, again.spare) == (0, former.spare)


@pytest.mark.parametrize(("kept", "other"), [(A, B), (B, A)])
def test_of_equal_tables_the_one_in_use_is_kept(
    opened: Callable[..., RuleSets], kept: RuleSetId, other: RuleSetId
) -> None:
    former = opened()
    former.publish({A: WANTED[A], B: WANTED[A]}, nobody)
    again = opened()
    again.adopt({A: WANTED[A]}, {A: [former.slot(kept)]})
    assert again.slot(A) == former.slot(kept)
    again.refill({former.slot(kept)})
    assert again.rows(former.slot(kept)) == pack_rows(WANTED[A].rows)
    assert again.rows(former.slot(other)) == {}


def test_a_table_that_changed_meanwhile_is_published_afresh(opened: Callable[..., RuleSets]) -> None:
    former = opened()
    former.publish({A: WANTED[A]}, nobody)
    again = opened()
    again.adopt({A: rule_set(443)}, {A: [former.slot(A)]})
    assert again.retired == 1
    again.publish({A: rule_set(443)}, lambda: {former.slot(A)})
    assert again.slot(A) != former.slot(A)
    assert again.rows(former.slot(A)) == pack_rows(WANTED[A].rows), "the row still points there"
