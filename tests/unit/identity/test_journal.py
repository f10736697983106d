from collections import OrderedDict
from collections.abc import MutableMapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinety.identity.journal import Journal

steps = st.lists(
    st.tuples(st.sampled_from(("put", "pop")), st.sampled_from("abc"), st.integers(0, 3)), max_size=12
)


def do(journal: Journal, mapping: MutableMapping[str, int], made: list[tuple[str, str, int]]) -> None:
    for what, key, value in made:
        if what == "put":
            journal.put(mapping, key, value)
        elif key in mapping:
            held = mapping[key]
            assert journal.pop(mapping, key) == held


@given(st.dictionaries(st.sampled_from("abc"), st.integers(0, 3)), steps, steps)
def test_rollback_takes_back_exactly_what_came_after_the_commit(
    start: dict[str, int], kept: list[tuple[str, str, int]], undone: list[tuple[str, str, int]]
) -> None:
    journal, mapping, model = Journal(), dict(start), dict(start)
    do(journal, mapping, kept)
    do(Journal(), model, kept)
    journal.commit()
    do(journal, mapping, undone)
    journal.rollback()
    assert mapping == model
    journal.rollback()
    assert mapping == model, "there is nothing left to take back"


def test_the_last_step_is_taken_back_first() -> None:
    journal, said = Journal(), list[str]()
    for each in ("one", "two", "three"):
        journal.did(said.append, each)
    journal.rollback()
    assert said == ["three", "two", "one"]


def test_a_key_that_is_not_there_changes_nothing() -> None:
    journal, mapping = Journal(), OrderedDict(a=1)
    with pytest.raises(KeyError):
        journal.pop(mapping, "b")
    journal.rollback()
    assert mapping == {"a": 1}
