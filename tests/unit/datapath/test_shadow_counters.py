"""Rows that the programs make, and when they go."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from kinety import abi
from kinety.datapath.shadow_counters import Obsolete, ShadowCounters, shadowed_sides
from kinety.kernel.map import Map, possible_cpus
from kinety.model.endpoint import EndpointId
from kinety.model.identity import Identity
from kinety.model.rule import Direction, RuleId
from kinety.plan.change import EndpointPlan, RuleSetId

pytestmark = pytest.mark.needs("objects")

KEY = abi.ShadowKey(
    endpoint=5,
    remote_identity=256,
    rule=7,
    rule_in_force=0,
    direction=Direction.INGRESS,
    verdict=abi.Verdict.DENY,
    verdict_in_force=abi.Verdict.ALLOW,
)
COUNTER = replace(abi.ShadowCounter.unpack(bytes(abi.ShadowCounter.SIZE)), flows=2, packets=9)
OUTWARD = replace(KEY, direction=Direction.EGRESS)
ELSEWHERE = replace(KEY, endpoint=6, rule=0, rule_in_force=8, remote_identity=257)
ROWS = (KEY, OUTWARD, ELSEWHERE)
PLAN = EndpointPlan(Identity(256), None, None, Identity(256), Identity(256), None, RuleSetId("beside"))


@pytest.fixture
def counters(make: Callable[[str], Map]) -> ShadowCounters:
    rows, lost = make("shadow_counters"), make("lost_shadows")
    for key in ROWS:
        rows.update(key.pack(), COUNTER.pack())
    lost.update(bytes(4), (3).to_bytes(8, "little") * possible_cpus())
    return ShadowCounters(rows, lost)


def test_rows_are_told_as_they_are(counters: ShadowCounters) -> None:
    assert counters.rows() == dict.fromkeys(ROWS, COUNTER)
    assert counters.lost() == 3 * possible_cpus()


@pytest.mark.parametrize(
    ("obsolete", "left"),
    [
        (Obsolete(), ROWS),
        (Obsolete(endpoints={EndpointId(5)}), (ELSEWHERE,)),
        (Obsolete(sides={(EndpointId(5), Direction.EGRESS)}), (KEY, ELSEWHERE)),
        (Obsolete(rules={RuleId(7)}), (ELSEWHERE,)),
        (Obsolete(rules={RuleId(8)}), (KEY, OUTWARD)),
        (Obsolete(identities={Identity(257)}), (KEY, OUTWARD)),
    ],
)
def test_a_row_goes_with_what_it_names(
    counters: ShadowCounters, obsolete: Obsolete, left: tuple[abi.ShadowKey, ...]
) -> None:
    counters.forget(obsolete)
    assert counters.rows().keys() == set(left)
    assert counters.writes == len(ROWS) - len(left)


def test_after_a_restart_only_rows_of_the_plan_stay(counters: ShadowCounters) -> None:
    counters.keep({EndpointId(5): PLAN, EndpointId(6): replace(PLAN, shadow_ingress=None)}, [RuleId(7)])
    assert counters.rows().keys() == {KEY}
    counters.keep({EndpointId(5): PLAN}, [])
    assert not counters.rows()


def test_an_endpoint_is_shadowed_where_its_plan_names_a_rule_set_beside() -> None:
    both = replace(PLAN, shadow_egress=RuleSetId("beside"))
    assert shadowed_sides(EndpointId(1), None) == frozenset()
    assert shadowed_sides(EndpointId(1), PLAN) == {(1, Direction.INGRESS)}
    assert shadowed_sides(EndpointId(1), both) == {(1, direction) for direction in Direction}


def test_without_the_maps_there_are_no_rows() -> None:
    counters = ShadowCounters(None, None)
    counters.forget(Obsolete(rules={RuleId(7)}))
    counters.keep({EndpointId(5): PLAN}, [])
    assert (counters.rows(), counters.lost(), counters.writes) == ({}, 0, 0)
