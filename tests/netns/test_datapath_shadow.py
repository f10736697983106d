"""Shadow rule sets on a node with real traffic: found again by a second start, and no more than reported."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from kinety import abi
from kinety.model.endpoint import EndpointId
from kinety.model.identity import ClassId, Identity
from kinety.model.rule import RuleId
from kinety.plan.change import Change, RuleSetId, Snapshot
from kinety.plan.rule_book import ALLOW_LOCALHOST
from tests.netns.datapath_node import (
    ALLOW,
    DENY,
    Node,
    address,
    connect,
    listening,
    node,
    plan,
    refused,
    rule_sets,
    tcp,
)

pytestmark = pytest.mark.needs("root", "bpf", "tcx", "netns", "bpffs", "nft", "objects")

EMPIRE, ALLIANCE = Identity(256), Identity(257)
SERVER, TIE, XWING = EndpointId(11), EndpointId(12), EndpointId(13)
NAMES = {SERVER: "server", TIE: "tie", XWING: "xwing"}
KNOWN = frozenset(NAMES)
PORT = 8080
#: In force, the empire may come; the shadow would let the alliance in instead.
SNAPSHOT = Snapshot(
    rules={verdict.rule: ALLOW_LOCALHOST for verdict in (ALLOW, DENY)},  # that there are some
    rule_sets=rule_sets(guard=tcp(3, PORT), beside=tcp(4, PORT)),
    identity_classes={EMPIRE: ClassId(3), ALLIANCE: ClassId(4)},
    ipcache={},
    endpoints={
        SERVER: replace(plan(EMPIRE, ingress="guard"), shadow_ingress=RuleSetId("beside")),
        TIE: plan(EMPIRE),
        XWING: plan(ALLIANCE),
    },
)


@pytest.fixture
def lab() -> Iterator[Node]:
    """The server with its shadow, and one of either side."""
    with node() as built:
        built.open()
        for number, name in NAMES.items():
            built.attach(name, number)
        built.apply(
            Change(
                rule_sets=SNAPSHOT.rule_sets,
                identity_classes=SNAPSHOT.identity_classes,
                endpoints=SNAPSHOT.endpoints,
            )
        )
        yield built


def visit(lab: Node) -> None:
    """The tie fighter comes in over both families, and the xwing does not."""
    for family in (4, 6):
        where = address(SERVER, family)
        with listening(lab.endpoints["server"], where, PORT):
            assert connect(lab.endpoints["tie"], where, PORT)
            assert refused(lab.endpoints["xwing"], where, PORT)


def would(lab: Node) -> dict[tuple[int, str], tuple[int, int]]:
    """Flows and packets by peer and what would happen to them."""
    assert lab.datapath is not None
    return {
        (row.remote_identity, abi.Verdict(row.verdict).name): (each.flows, each.packets)
        for row, each in lab.run(lab.datapath.shadow_counters).items()
        if row.endpoint == SERVER
    }


def test_both_families_count_and_a_restart_goes_on_counting(lab: Node) -> None:
    visit(lab)
    before = would(lab)
    assert before.keys() == {(EMPIRE, "DENY"), (ALLIANCE, "ALLOW")}
    assert before[EMPIRE, "DENY"][0] == 2, "a flow of each family"
    lab.forget()
    visit(lab)
    lab.open(SNAPSHOT, KNOWN)
    assert lab.restoration is not None
    assert lab.restoration.writes == 0
    after = would(lab)
    assert after[EMPIRE, "DENY"][0] == 4
    assert after[ALLIANCE, "ALLOW"][1] > before[ALLIANCE, "ALLOW"][1]


def test_a_restart_without_the_shadow_takes_it_off_and_its_counters(lab: Node) -> None:
    visit(lab)
    assert would(lab)
    lab.forget()
    endpoints = {**SNAPSHOT.endpoints, SERVER: plan(EMPIRE, ingress="guard")}
    tables = rule_sets(guard=tcp(3, PORT))
    lab.open(replace(SNAPSHOT, endpoints=endpoints, rule_sets=tables), KNOWN)
    assert would(lab) == {}
    visit(lab)
    assert would(lab) == {}


def test_what_was_in_the_shadow_is_flipped_into_force(lab: Node) -> None:
    """The same table, in the same slot; what it was counted for is over."""
    visit(lab)
    beside = replace(plan(EMPIRE, ingress="beside"))
    lab.put({SERVER: beside}, rule_sets_removed=frozenset({RuleSetId("guard")}))
    assert would(lab) == {}
    where = address(SERVER, 6)
    with listening(lab.endpoints["server"], where, PORT):
        assert connect(lab.endpoints["xwing"], where, PORT)
        assert refused(lab.endpoints["tie"], where, PORT)


def test_counters_go_with_the_rule_that_they_are_about(lab: Node) -> None:
    visit(lab)
    before = would(lab)
    lab.apply(Change(rules_removed=frozenset({RuleId(99)})))
    assert would(lab) == before, "another rule's"
    lab.apply(Change(identities_freed=frozenset({ALLIANCE})))
    assert would(lab).keys() == {(EMPIRE, "DENY")}
