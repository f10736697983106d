"""Tables by themselves. That every moment of a change is right, test_engine_sequence.py holds."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kinety.identity.journal import Journal
from kinety.identity.registry import IdentityHints, Registry
from kinety.model.identity import UNNAMED_CLASS
from kinety.model.label import Labels
from kinety.model.rule import Rule
from kinety.model.verdict import DEFAULT_DENY, RuleSetKey, VerdictKind
from kinety.plan.lookup import judge, judge_afresh
from kinety.plan.rule_book import Numbered, RuleBook
from kinety.plan.table import DEFAULT_ALLOW, TableCache, default_of, rule_set
from tests.unit.plan.generation import PORTS, label_sets, rules
from tests.unit.plan.saying import has, labels, policy, rule, tcp


class Node:
    """A table cache over a registry, with a step that changes both as the engine does."""

    def __init__(self) -> None:
        self.journal = Journal()
        self.registry = Registry(self.journal, IdentityHints())
        self.book = RuleBook(self.journal, 1000, {})
        self.cache = TableCache(self.journal, self.registry)
        self.begin()

    def begin(self) -> None:
        self.registry.begin()
        self.cache.begin()

    def numbered(self, name: str, *found: Rule) -> Numbered:
        return self.book.upsert(policy(name, *found))[1]

    def settle(self) -> None:
        self.registry.settle()
        self.cache.settle()

    def retire(self) -> None:
        self.cache.retire()
        self.registry.retire()
        self.cache.forget(self.registry.classes.dropped)


rule_lists = st.lists(rules, min_size=1, max_size=4)


@settings(max_examples=150, deadline=None)
@given(
    rule_lists,
    st.lists(label_sets, max_size=4),
    rule_lists,
    st.lists(label_sets, max_size=3),
    st.booleans(),
)
def test_a_table_says_of_every_identity_what_its_rules_say(
    first: list[Rule], known: list[Labels], second: list[Rule], late: list[Labels], undo: bool
) -> None:
    """Of those that were there when it was made, and of those that came, or were told apart, later."""
    node = Node()
    for each in known:
        node.registry.hold(each)
    one = node.cache.acquire(node.numbered("one", *first))
    node.settle()
    node.retire()
    node.journal.commit()
    assert one is not None
    before = rule_set(one)
    node.begin()
    for each in late:
        node.registry.hold(each)
    two = node.cache.acquire(node.numbered("two", *second))
    node.settle()
    if undo:
        node.journal.rollback()
        node.registry.rolled_back()
        assert rule_set(one) == before
    for table in (one, *([] if undo or two is None else [two])):
        for identity in node.registry:
            class_id = node.registry.classes.of(identity)
            for protocol, port in PORTS:
                expected = judge_afresh(table.rules, node.registry, identity, protocol, port)
                assert judge(table, class_id, protocol, port) == expected
        assert table.size == len(rule_set(table).rows)


A, B = has(app="a"), has(app="b")


def test_equal_rules_are_one_table_until_the_last_user_leaves() -> None:
    node = Node()
    found = node.numbered("p", rule(A, [B], [tcp(80)]))
    table = node.cache.acquire(found)
    assert table is not None
    assert node.cache.acquire(found) is table
    node.settle()
    node.journal.commit()
    node.begin()
    node.cache.release(table)
    node.retire()
    assert (len(node.cache), node.cache.removed) == (1, set())
    node.cache.release(table)
    assert node.cache.get(table.id) is table, "endpoints may still point at it"
    node.retire()
    assert (len(node.cache), node.cache.removed, node.registry.live_selectors()) == (0, {table.id}, 0)
    with pytest.raises(KeyError):
        node.cache.get(table.id)


def test_a_table_released_and_taken_up_again_in_one_change_stays() -> None:
    node = Node()
    found = node.numbered("p", rule(A, [B]))
    table = node.cache.acquire(found)
    node.settle()
    node.begin()
    node.cache.release(table)
    assert node.cache.acquire(found) is table
    node.retire()
    assert (len(node.cache), node.cache.removed, node.cache.made) == (1, set(), {})


def test_no_rules_are_no_table() -> None:
    node = Node()
    assert node.cache.acquire(()) is None
    node.cache.release(None)
    assert len(node.cache) == 0


def test_the_name_of_a_table_is_what_it_says_and_nothing_else() -> None:
    one, two = Node(), Node()
    two.numbered("zzz", rule(A), rule(B))  # other numbers for what follows
    found = [
        node.cache.acquire(node.numbered("p", rule(A, [B], [tcp(80)]), rule(A, [A]))) for node in (one, two)
    ]
    ids = {each.id for each in found if each is not None}
    assert len(ids) == 1
    swapped = one.cache.acquire(one.numbered("p", rule(A, [A]), rule(A, [B], [tcp(80)])))
    assert swapped is not None
    assert swapped.id not in ids


def test_a_class_that_is_judged_like_all_the_others_has_no_row() -> None:
    node = Node()
    node.registry.hold(labels(app="b"))
    wide = node.cache.acquire(node.numbered("p", rule(A), rule(A, [B], [tcp(80)])))
    node.settle()
    assert wide is not None
    assert [*rule_set(wide).rows] == [RuleSetKey(UNNAMED_CLASS, 0)], "the first rule decides for everybody"


def test_a_miss_is_a_denial_so_class_0_needs_no_row_for_it() -> None:
    node = Node()
    peer = node.registry.hold(labels(app="b"))
    table = node.cache.acquire(node.numbered("p", rule(A, [B], [tcp(80)])))
    node.settle()
    assert table is not None
    class_id = node.registry.classes.of(peer)
    assert {(key.class_id, key.bits): verdict.kind for key, verdict in rule_set(table).rows.items()} == {
        (class_id, 0): VerdictKind.DENY,
        (class_id, 24): VerdictKind.ALLOW,
    }


def test_only_tables_that_name_somebody_learn_of_him() -> None:
    """What a new identity costs is not what exists."""
    node = Node()
    to_b = node.cache.acquire(node.numbered("p", rule(A, [B])))
    to_a = node.cache.acquire(node.numbered("q", rule(A, [A])))
    node.settle()
    assert to_a is not None
    assert to_b is not None
    node.journal.commit()
    node.begin()
    node.registry.hold(labels(app="b"))
    node.settle()
    assert node.cache.added.keys() == {to_b.id}
    node.begin()
    node.registry.hold(labels(app="b", replica="2"))
    node.settle()
    assert not node.cache.added, "another of the class is in the class"


def test_one_rule_that_isolates_makes_the_default() -> None:
    node = Node()
    lax, strict = rule(A, [B], default_deny=False), rule(A, [B])
    assert default_of(node.numbered("p", lax)) == DEFAULT_ALLOW
    assert default_of(node.numbered("p", lax, strict)) == DEFAULT_DENY
