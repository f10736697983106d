"""The node's own row and its programs: they come behind the row and go before its end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from kinety import abi
from kinety.datapath.endpoint_table import HOST_SLOT, EndpointTable
from kinety.datapath.host import UNSELECTED, Host
from kinety.datapath.host_programs import HostPrograms
from kinety.datapath.node_state import NodeState
from kinety.datapath.rule_sets import RuleSets
from kinety.datapath.settings import Settings
from kinety.kernel.map import Map
from kinety.plan.change import EndpointPlan, RuleSetId
from tests.unit.datapath.conftest import SIZE

GUARDED = replace(UNSELECTED, ingress=RuleSetId("guard"))
SLOTS = {None: 0, "guard": 3, "beside": 4}
SETTINGS = Settings(Path("unused"))


class Programs:
    """Says what the row was when it was called."""

    def __init__(self, row: Callable[[], abi.Endpoint]) -> None:
        self._row = row
        self.attached = False
        self.steps: list[tuple[str, bool, tuple[int, ...]]] = []
        self.writes = 0

    def _step(self, name: str) -> None:
        row = self._row()
        self.steps.append((name, bool(row.flags & abi.EndpointFlag.READY), row.rule_set))

    def attach(self, settings: Settings) -> None:
        self._step("attach")
        self.attached = True

    def detach(self) -> None:
        self._step("detach")
        self.attached = False


class Slots:
    def pointers(self, plan: EndpointPlan) -> tuple[tuple[int, int], tuple[int, int]]:
        egress, ingress, beside_egress, beside_ingress = (SLOTS[each] for each in plan.rule_sets)
        return (egress, ingress), (beside_egress, beside_ingress)


@pytest.fixture
def parts(make: Callable[[str], Map]) -> Iterator[tuple[Host, EndpointTable, Programs]]:
    state = NodeState(make("node_state"))
    table = EndpointTable(make("endpoints"), state, SIZE)
    programs = Programs(lambda: table.row(HOST_SLOT))
    yield (
        Host(
            SETTINGS,
            table,
            cast(RuleSets, Slots()),
            make("conntrack"),
            cast(HostPrograms, programs),
        ),
        table,
        programs,
    )
    table.close()
    state.close()


def test_programs_come_behind_the_row_and_go_before_it(parts: tuple[Host, EndpointTable, Programs]) -> None:
    host, table, programs = parts
    host.publish(GUARDED)
    row = table.row(HOST_SLOT)
    assert (row.identity, row.rule_set, row.interface) == ((1, 1), (0, 3), 0)
    host.publish(UNSELECTED)
    assert programs.steps == [("attach", True, (0, 3)), ("detach", True, (0, 3))]
    assert host.plan == UNSELECTED


def test_what_is_only_told_of_is_judged_too(parts: tuple[Host, EndpointTable, Programs]) -> None:
    host, table, programs = parts
    host.publish(replace(UNSELECTED, shadow_egress=RuleSetId("beside")))
    assert table.row(HOST_SLOT).shadow_rule_set == (4, 0)
    assert programs.attached


def test_a_restart_takes_up_the_row_or_ends_it(parts: tuple[Host, EndpointTable, Programs]) -> None:
    host, table, programs = parts
    assert host.begin(GUARDED) == {HOST_SLOT: GUARDED}
    table.publish(HOST_SLOT, 0, 3)
    host.settle()
    assert programs.attached
    assert host.begin(None) == {}
    assert not programs.attached
    assert table.row(HOST_SLOT) == abi.Endpoint.unpack(bytes(abi.Endpoint.SIZE))
    before = table.writes
    assert host.begin(None) == {}
    assert table.writes == before
