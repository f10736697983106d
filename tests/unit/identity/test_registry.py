"""Identities from the first user to the last. Classes and selections have their own tests."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kinety.identity.journal import Journal
from kinety.identity.members import every
from kinety.identity.prefix_index import labels_of
from kinety.identity.registry import IdentityHints, Registry
from kinety.model.address import Prefix
from kinety.model.identity import FIRST_CLUSTER_IDENTITY, LOCAL_IDENTITY_BIT, Identity, ReservedIdentity
from kinety.model.label import Label, Labels
from kinety.model.selector import CidrSelector
from tests.unit.identity.saying import label_sets
from tests.unit.plan.generation import cidr_selectors
from tests.unit.plan.saying import ANYONE, block, cidr, entity, has, labels, node

POD, OTHER = labels(app="a"), labels(app="b")
RESERVED = {each for each in ReservedIdentity if each is not ReservedIdentity.UNKNOWN}


def fresh(hints: IdentityHints | None = None) -> Registry:
    registry = Registry(Journal(), hints or IdentityHints())
    registry.begin()
    return registry


def test_reserved_identities_are_there_from_the_start() -> None:
    registry = fresh()
    assert set(registry) == RESERVED
    assert registry[Identity(1)] == {Label("reserved", "host")}
    assert registry.find(ReservedIdentity.KUBE_APISERVER.labels) == 7
    assert ReservedIdentity.UNKNOWN not in registry


def test_equal_labels_are_one_identity_until_the_last_user_leaves() -> None:
    registry = fresh()
    first = registry.hold(POD)
    assert (first, registry.hold(POD), registry.hold(OTHER)) == (256, 256, 257)
    assert registry.arrived() == {256: POD, 257: OTHER}
    registry.begin()
    registry.release(first)
    registry.retire()
    assert registry[first] == POD, "one user is left"
    registry.release(first)
    assert first in registry, "until everything that is new is in place"
    registry.retire()
    assert (first in registry, registry.find(POD), registry.freed) == (False, None, {first})
    assert registry.hold(POD) == 258, "a number is not given again at once"


def test_who_leaves_and_comes_back_in_one_change_stays() -> None:
    registry = fresh()
    first = registry.hold(POD)
    registry.begin()
    registry.release(first)
    assert registry.hold(POD) == first
    registry.retire()
    assert (registry.freed, registry.arrived(), registry[first]) == (set(), {}, POD)


@pytest.mark.parametrize(
    "claimed",
    [
        ReservedIdentity.HOST.labels,
        POD | ReservedIdentity.HOST.labels,
        labels_of(Prefix.parse("10.0.0.0/8")),
        frozenset({Label("any", "app", "a")}),
    ],
)
def test_nobody_claims_labels_that_only_kinety_sets(claimed: Labels) -> None:
    registry = fresh()
    registry.select(cidr("10.0.0.0/8"))
    before = set(registry)
    with pytest.raises(ValueError, match="nobody but Kinety sets labels of"):
        registry.hold(claimed)
    assert set(registry) == before


def test_prefixes_have_identities_while_a_selector_mentions_them() -> None:
    registry = fresh()
    hole, both = Prefix.parse("10.1.0.0/16"), Prefix.parse("10.0.0.0/8")
    one = registry.select(cidr("10.0.0.0/8", "10.1.0.0/16"))
    two = registry.select(cidr("10.0.0.0/8"))
    assert registry.prefixes_added.keys() == {both, hole}
    outer, inner = registry.prefixes_added[both], registry.prefixes_added[hole]
    assert min(outer, inner) == LOCAL_IDENTITY_BIT + 1
    assert registry[outer] == {Label("cidr", "10.0.0.0/8"), Label("reserved", "world-ipv4")}
    assert registry.prefix(inner) == hole
    assert registry.arrived() == {}, "numbers of prefixes are remembered as such"
    assert (set(every(one.members)), set(every(two.members))) == ({outer}, {outer, inner})
    registry.begin()
    registry.unselect(one)
    registry.retire()
    assert registry.prefixes_removed == {hole: inner}
    assert set(every(two.members)) == {outer}
    registry.begin()
    registry.unselect(two)
    registry.retire()
    assert (registry.prefixes_removed, set(registry)) == ({both: outer}, RESERVED)


def test_whole_families_are_the_world_identities() -> None:
    registry = fresh()
    v4, v6 = registry.select(cidr("0.0.0.0/0")), registry.select(cidr("::/0"))
    assert registry.prefixes_added == {}
    assert (set(every(v4.members)), set(every(v6.members))) == ({9}, {10})
    registry.unselect(v4)
    registry.retire()
    assert Identity(9) in registry


def test_a_selector_is_live_while_it_has_users() -> None:
    registry = fresh()
    registry.hold(POD)
    first, second = registry.select(has(app="a")), registry.select(has(app="a"))
    assert first is second
    registry.unselect(first)
    assert (registry.live_selectors(), registry.matching(Identity(256))) == (1, [first])
    registry.unselect(first)
    assert (registry.live_selectors(), registry.matching(Identity(256))) == (0, [])


@pytest.mark.parametrize("selector", [ANYONE, entity("cluster"), cidr("::/0"), has(app="a")])
def test_an_identity_that_does_not_exist_is_selected_by_nobody(selector: CidrSelector) -> None:
    assert not fresh().selects(selector, Identity(4711))


def test_numbers_are_counted_by_kind() -> None:
    registry = fresh()
    registry.hold(POD)
    registry.select(cidr("10.0.0.0/8", "10.1.0.0/16"))
    assert registry.numbers() == (("identities", 1, 65280), ("local identities", 2, (1 << 24) - 1))


@settings(deadline=None)
@given(
    st.lists(label_sets, max_size=5, unique=True),
    st.lists(cidr_selectors, max_size=4, unique=True),
    st.lists(label_sets, max_size=3, unique=True),
)
def test_a_restart_finds_its_numbers_whatever_comes_first(
    known: list[Labels], selectors: list[CidrSelector], new: list[Labels]
) -> None:
    before = fresh()
    for each in reversed(known):
        before.hold(each)
    for selector in reversed(selectors):
        before.select(selector)
    hints = before.hints()
    assert hints.identities == {before[each]: each for each in before if each in range(256, 65536)}
    after = fresh(hints)
    strangers = {each: after.hold(each) for each in new if each not in known}
    for selector in selectors:
        after.select(selector)
    for each in known:
        after.hold(each)
    assert {each: after.find(each) for each in known} == dict(hints.identities)
    assert after.prefixes_added == hints.outside
    assert not set(strangers.values()) & set(hints.identities.values())
    assert min(strangers.values(), default=FIRST_CLUSTER_IDENTITY) >= FIRST_CLUSTER_IDENTITY


def test_the_host_keeps_its_number_under_other_labels() -> None:
    registry = fresh()
    told = frozenset({Label("node", "zone", "a")})
    selection = registry.select(node(zone="a"))
    registry.settle()
    assert not every(selection.members)
    registry.begin()
    registry.relabel_host(told)
    registry.settle()
    assert registry[Identity(1)] == ReservedIdentity.HOST.labels | told
    assert (set(every(selection.members)), registry.arrived()) == ({1}, {})
    host_class = registry.classes.of(Identity(1))
    assert host_class
    registry.begin()
    registry.relabel_host(frozenset())
    registry.settle()
    assert (set(every(selection.members)), registry.classes.of(Identity(1))) == (set(), 0)
    assert set(registry.classes.dropped) == {host_class}


def test_a_block_is_live_from_its_first_selector_to_its_last() -> None:
    registry = fresh()
    whole = block("10.0.0.0/8")
    one = registry.select(whole)
    other = registry.select(replace(whole, among=has(app="a")))
    assert list(registry.blocks_added) == [whole]
    registry.begin()
    registry.unselect(one)
    assert not registry.blocks_removed
    registry.unselect(other)
    assert list(registry.blocks_removed) == [whole]


def test_a_block_selects_who_has_its_label_and_who_is_inside() -> None:
    registry = fresh()
    whole = block("10.0.0.0/8")
    inside = registry.hold(POD, frozenset({whole.label}))
    outside = registry.hold(POD)
    prefix = registry.select(cidr("10.1.0.0/16"))
    among = replace(whole, among=has(app="a"))
    nobody = replace(whole, among=has(app="b"))
    everybody = {
        inside,
        *every(prefix.members),
        *(each for each in registry if registry.prefix(each) == whole.prefix),
    }
    for selector, expected in ((among, {inside}), (nobody, set()), (whole, None)):
        selection = registry.select(selector)
        mentioned = {each for each in registry if registry.prefix(each) == whole.prefix}
        wanted = everybody | mentioned if expected is None else expected
        assert set(every(selection.members)) == wanted
        assert {each for each in registry if registry.selects(selector, each)} == wanted
    assert outside not in everybody
