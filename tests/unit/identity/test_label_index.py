from hypothesis import given, settings
from hypothesis import strategies as st
from pyroaring import BitMap

from kinety.identity.journal import Journal
from kinety.identity.label_index import LabelIndex
from kinety.model.identity import Identity
from kinety.model.label import Label, Labels
from kinety.model.selector import LabelSelector
from tests.unit.identity.saying import label, label_sets, selected
from tests.unit.plan.generation import label_selectors
from tests.unit.plan.saying import ANYONE

Known = dict[Identity, Labels]


def toggle(index: LabelIndex, known: Known, turns: list[Labels], first: int) -> None:
    """A label set that an identity carries loses it, any other gets one."""
    for number, labels in enumerate(turns, first):
        carrier = next((identity for identity, each in known.items() if each == labels), None)
        assert index.find(labels) == carrier
        if carrier is None:
            known[Identity(number)] = labels
            index.add(Identity(number), labels)
        else:
            index.remove(carrier)
            del known[carrier]


def check(index: LabelIndex, known: Known, selectors: list[LabelSelector], asked: list[Label]) -> None:
    assert len(index) == len(known)
    assert index.universe == BitMap(known)
    for identity, labels in known.items():
        assert identity in index
        assert index.labels(identity) == labels
        assert index.find(labels) == identity
    for selector in selectors:
        assert index.select(selector) == selected(known, selector)
    carriers = BitMap(identity for identity, labels in known.items() if labels & set(asked))
    assert index.carriers(asked) == carriers


@settings(deadline=None)
@given(
    st.lists(label_sets, max_size=12),
    st.lists(label_sets, max_size=6),
    st.lists(label_selectors, max_size=4),
    st.lists(label, max_size=3),
)
def test_every_question_is_answered_as_by_asking_each_identity(
    kept: list[Labels], undone: list[Labels], selectors: list[LabelSelector], asked: list[Label]
) -> None:
    journal = Journal()
    index, known = LabelIndex(journal), Known()
    toggle(index, known, kept, 256)
    check(index, known, selectors, asked)
    journal.commit()
    passing = dict(known)
    toggle(index, passing, undone, 1 << 24)
    check(index, passing, selectors, asked)
    journal.rollback()
    check(index, known, selectors, asked)
    toggle(index, known, undone, 1000)
    check(index, known, selectors, asked)


@given(st.lists(label_sets, min_size=1, max_size=6, unique=True), label_selectors)
def test_what_is_returned_is_the_callers_own(carried: list[Labels], selector: LabelSelector) -> None:
    index, known = LabelIndex(Journal()), Known()
    toggle(index, known, carried, 256)
    for found in (index.select(selector), index.select(ANYONE), index.carriers(next(iter(carried)))):
        found.flip_inplace(0, 1000)
    check(index, known, [selector, ANYONE], list(carried[0]))


def test_an_identity_may_carry_two_values_of_a_key() -> None:
    index, known = LabelIndex(Journal()), Known()
    twice = frozenset({Label("k8s", "app", "a"), Label("k8s", "app", "b"), Label("other", "app", "c")})
    toggle(index, known, [twice, frozenset({Label("k8s", "app", "a")})], 256)
    index.remove(Identity(256))
    del known[Identity(256)]
    assert index.carriers([Label("k8s", "app", "b"), Label("other", "app", "c")]) == BitMap()
    assert index.carriers([Label("k8s", "app", "a")]) == BitMap([257])
    toggle(index, known, [twice], 300)
    check(index, known, [], list(twice))


def test_a_label_nobody_carries_any_more_leaves_nothing() -> None:
    """Pod template hashes come and go; what they were filed under must not stay."""
    index = LabelIndex(Journal())
    for number in range(256, 356):
        index.add(Identity(number), frozenset({Label("k8s", f"key-{number}", str(number))}))
        index.remove(Identity(number))
    assert (index._token, index._with_key, index._sources, len(index._label)) == ({}, {}, {}, 1)
