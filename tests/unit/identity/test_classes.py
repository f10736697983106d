"""The partition that is kept up step by step is the one that grouping everybody afresh gives."""

from collections.abc import Iterable

from hypothesis import given, settings
from hypothesis import strategies as st

from kinety.identity.journal import Journal
from kinety.identity.members import every, lowest
from kinety.identity.registry import IdentityHints, Registry
from kinety.identity.selection import Selection
from kinety.model.identity import FIRST_CLUSTER_IDENTITY, UNNAMED_CLASS, ClassId, Identity
from kinety.model.label import Labels
from kinety.model.selector import Operator, PeerSelector
from tests.unit.identity.saying import grouped, label_sets
from tests.unit.plan.generation import peer_selectors
from tests.unit.plan.saying import has, labels, where

#: One change: label sets that come or go, selectors that come or go.
Turn = tuple[list[Labels], list[PeerSelector]]
turns = st.lists(
    st.tuples(st.lists(label_sets, max_size=4), st.lists(peer_selectors, max_size=3)), max_size=7
)


class Node:
    """A registry, and who uses what of it."""

    def __init__(self, hints: IdentityHints | None = None) -> None:
        self.journal = Journal()
        self.registry = Registry(self.journal, hints or IdentityHints())
        self.held: dict[Labels, Identity] = {}
        self.live: dict[PeerSelector, Selection] = {}

    def change(self, turn: Turn) -> None:
        """Toggle what a turn names, in the order that a change has."""
        classes = self.registry.classes
        self.registry.begin()
        before, former = self.partition(), list(self.live)
        going = [each for each in turn[0] if each in self.held]
        leaving = [each for each in turn[1] if each in self.live]
        for each in dict.fromkeys(turn[0]):
            if each not in self.held:
                self.held[each] = self.registry.hold(each)
        for selector in dict.fromkeys(turn[1]):
            if selector not in self.live:
                self.live[selector] = self.registry.select(selector)
        self.registry.settle()
        self.check_settled(before, former)
        for selector in dict.fromkeys(leaving):
            self.registry.unselect(self.live.pop(selector))
        for each in dict.fromkeys(going):
            self.registry.release(self.held.pop(each))
        self.registry.retire()
        moved = {
            identity: class_id
            for identity in before.keys() | self.partition().keys()
            if before.get(identity, 0) != (class_id := classes.of(identity))
        }
        assert classes.moved() == moved
        self.check()

    def partition(self) -> dict[Identity, ClassId]:
        return dict(self.registry.classes.entries())

    def check_settled(self, before: dict[Identity, ClassId], former: list[PeerSelector]) -> None:
        """With new selectors in and old ones still there, nobody is with whom he should not be."""
        classes = self.registry.classes
        groups = grouped(self.registry, self.live)
        for members in self.parts():
            assert any(members <= group for group in groups), "a class holds two that selectors tell apart"
        named = set().union(*groups) if groups else set()
        assert named <= self.partition().keys(), "whom a selector selects is in a class"
        for class_id, parent in classes.created.items():
            residents = self.members(class_id) & before.keys() if parent else self.members(class_id)
            hits = {self.hits(each, former) for each in residents}
            if parent is None:
                assert self.members(class_id) - before.keys(), "without a past, it is one of new identities"
            elif parent == UNNAMED_CLASS:
                assert hits == {frozenset()}, "no rule set in force names them"
            else:
                assert hits == {self.hits(each, former) for each, found in before.items() if found == parent}

    def hits(self, identity: Identity, selectors: list[PeerSelector]) -> frozenset[int]:
        return frozenset(
            number for number, each in enumerate(selectors) if self.registry.selects(each, identity)
        )

    def check(self) -> None:
        """Whatever the classes say of themselves agrees."""
        classes = self.registry.classes
        partition = self.partition()
        assert len(classes) == len(partition)
        assert UNNAMED_CLASS not in classes.members()
        assert {each: set(every(found)) for each, found in classes.members().items()} == {
            class_id: self.members(class_id) for class_id in set(partition.values())
        }, "no class is empty"
        assert set(classes.representatives) == {lowest(found) for found in classes.members().values()}
        for class_id in classes.members():
            assert classes.of(classes.representative(class_id)) == class_id
        assert not partition.keys() - set(self.registry)

    def members(self, class_id: ClassId) -> set[Identity]:
        return {identity for identity, found in self.partition().items() if found == class_id}

    def parts(self) -> set[frozenset[int]]:
        return {frozenset(every(found)) for found in self.registry.classes.members().values()}


def run(node: Node, changes: Iterable[Turn]) -> None:
    for turn in changes:
        node.change(turn)
        node.journal.commit()


@settings(max_examples=150, deadline=None)
@given(turns)
def test_settled_classes_are_the_groups_of_whom_the_same_selectors_select(changes: list[Turn]) -> None:
    node = Node()
    run(node, changes)
    node.change(([], []))
    assert node.parts() == grouped(node.registry, node.live)
    assert not node.registry.classes.unsettled


@settings(max_examples=100, deadline=None)
@given(turns, turns)
def test_a_change_taken_back_leaves_no_trace(kept: list[Turn], undone: list[Turn]) -> None:
    """Not even in the numbers that later changes give."""
    node, twin = Node(), Node()
    run(node, kept)
    run(twin, kept)
    for turn in undone:
        held, live = dict(node.held), dict(node.live)
        node.change(turn)
        node.journal.rollback()
        node.registry.rolled_back()
        node.held, node.live = held, live
        node.check()
        assert node.partition() == twin.partition()
        node.change(turn)
        twin.change(turn)
        assert node.partition() == twin.partition()
        assert dict(node.registry.classes.created) == dict(twin.registry.classes.created)
        node.journal.commit()
        twin.journal.commit()


@settings(max_examples=60, deadline=None)
@given(turns)
def test_a_restart_with_hints_gives_the_same_classes(changes: list[Turn]) -> None:
    node = Node()
    run(node, changes)
    node.change(([], []))
    node.journal.commit()
    again = Node(node.registry.hints())
    again.change((list(node.held), list(node.live)))
    assert again.partition() == node.partition()


def test_a_bulk_of_identities_is_classed_as_one_by_one() -> None:
    """Above a certain number, new identities are refined together."""
    applications = [labels(app=f"app-{number % 9}", replica=str(number)) for number in range(200)]
    selectors: list[PeerSelector] = [has(app=f"app-{number}") for number in range(0, 9, 2)]
    together, singly, later = Node(), Node(), Node()
    together.change((applications, selectors))
    for each in applications:
        singly.change(([each], []))
    singly.change(([], selectors))
    later.change(([], selectors))
    later.change((applications, []))
    for node in (together, singly, later):
        assert node.parts() == grouped(node.registry, selectors)
    assert len(together.parts()) == 5
    assert together.parts() == singly.parts() == later.parts()


APP, TIER = has(app="a"), has(tier="x")
BOTH, ONE = labels(app="a", tier="x"), labels(app="a")


def test_a_split_moves_the_smaller_part() -> None:
    """Moving is a map write each."""
    node = Node()
    many = [labels(app="a", replica=str(number)) for number in range(20)]
    node.change(([*many, BOTH], [APP]))
    (class_id,) = node.registry.classes.members()
    node.change(([], [TIER]))
    assert node.registry.classes.moved() == {node.held[BOTH]: class_id + 1}
    assert node.registry.classes.created == {class_id + 1: class_id}
    node.change(([], [has(replica="3")]))
    assert [*node.registry.classes.moved()] == [node.held[many[3]]]


def test_a_merge_waits_for_the_next_change() -> None:
    """Rule sets in force still tell the two apart while the selector goes."""
    node = Node()
    node.change(([BOTH, ONE], [APP, TIER]))
    assert len(node.parts()) == 2
    node.change(([], [TIER]))
    assert len(node.parts()) == 2
    assert node.registry.classes.unsettled
    node.change(([], []))
    assert node.parts() == {frozenset(node.held.values())}
    assert len(node.registry.classes.moved()) == 1
    assert [*node.registry.classes.dropped], "the empty class can go, after whoever was in it"


def test_two_that_become_alike_again_merge_whichever_is_found_first() -> None:
    """A new selector of both signs them one after the other; the one that is no suspect comes second."""
    node = Node()
    node.change(([BOTH, ONE], [APP, TIER]))
    node.change(([], [TIER]))
    node.change(([], [where("zone", Operator.DOES_NOT_EXIST)]))
    node.change(([], []))
    assert node.parts() == grouped(node.registry, node.live)
    assert not node.registry.classes.unsettled


def test_a_selector_that_comes_back_in_time_finds_its_class() -> None:
    node = Node()
    node.change(([BOTH, ONE], [APP, TIER]))
    before = node.partition()
    node.change(([], [TIER]))
    node.change(([], [TIER]))
    assert node.partition() == before
    assert not node.registry.classes.moved()


def test_a_dropped_class_number_is_not_given_in_the_same_change() -> None:
    node = Node()
    node.change(([ONE], [APP]))
    (first,) = node.registry.classes.members()
    node.change(([ONE], []))
    assert [*node.registry.classes.dropped] == [first]
    node.change(([labels(app="a", replica="2")], []))
    assert [*node.registry.classes.members()] == [first], "from the next change on it is free"


def test_equal_sums_of_different_selectors_are_two_classes() -> None:
    """A signature is a hint: who chooses many selectors can make sums collide."""
    node = Node()
    node.change(([labels(app="a"), labels(app="b"), labels(app="c")], []))
    selectors = [has(app="a"), has(app="b")]
    for selector in selectors:
        selection = node.registry.select(selector)
        selection.token = 7
        node.live[selector] = selection
    node.registry.settle()
    assert node.parts() == grouped(node.registry, selectors)
    assert len(node.parts()) == 2


def test_reserved_identities_are_classed_like_any() -> None:
    node = Node()
    node.change(([ONE], [has("reserved", host=""), APP]))
    assert node.parts() == {frozenset({1}), frozenset({FIRST_CLUSTER_IDENTITY})}
