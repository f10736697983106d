from hypothesis import given
from hypothesis import strategies as st

from kinety.identity.allocation import Numbering
from kinety.identity.journal import Journal

FIRST, LAST = 5, 9
THINGS = "abcdefg"
hints = st.dictionaries(st.sampled_from(THINGS), st.integers(FIRST - 1, LAST + 1))
#: A thing comes when it is not there, and goes when it is.
turns = st.lists(st.sampled_from(THINGS), max_size=30)


@given(hints, turns)
def test_numbers_are_told_apart_and_in_range_while_they_last(known: dict[str, int], order: list[str]) -> None:
    numbering = Numbering(Journal(), FIRST, LAST, known)
    taken: dict[str, int] = {}
    for thing in order:
        if thing in taken:
            numbering.free(taken.pop(thing))
        else:
            number = numbering.take(thing)
            assert number not in taken.values()
            assert (FIRST <= number <= LAST) or len(taken) >= numbering.size
            hint = known.get(thing, 0)
            if FIRST <= hint <= LAST and hint not in taken.values():
                assert number == hint, "what had a number in the last run has it again"
            taken[thing] = number
        assert len(numbering) == len(taken)


@given(hints, turns, turns)
def test_a_change_taken_back_leaves_the_next_numbers_as_they_were(
    known: dict[str, int], before: list[str], undone: list[str]
) -> None:
    journal = Journal()
    numbering, twin = Numbering(journal, FIRST, LAST, known), Numbering(Journal(), FIRST, LAST, known)
    taken: dict[str, int] = {}
    for thing in before:
        if thing in taken:
            number = taken.pop(thing)
            numbering.free(number)
            twin.free(number)
        else:
            taken[thing] = numbering.take(thing)
            assert twin.take(thing) == taken[thing]
    journal.commit()
    passing = dict(taken)
    for thing in undone:
        if thing in passing:
            numbering.free(passing.pop(thing))
        else:
            passing[thing] = numbering.take(thing)
    journal.rollback()
    assert len(numbering) == len(twin)
    missing = [thing for thing in THINGS if thing not in taken]
    assert [numbering.take(thing) for thing in missing] == [twin.take(thing) for thing in missing]


def test_a_freed_number_is_the_last_to_be_given_again() -> None:
    """Counters and live flows may still speak of its former owner."""
    numbering = Numbering[str](Journal(), FIRST, LAST)
    seen = []
    for turn in range(2 * numbering.size):
        number = numbering.take(f"thing {turn}")
        numbering.free(number)
        seen.append(number)
    assert seen == [*range(FIRST, LAST + 1)] * 2


def test_a_hinted_number_waits_for_its_thing_until_there_is_no_other() -> None:
    numbering = Numbering(Journal(), FIRST, LAST, {"a": FIRST, "b": FIRST + 2})
    others = [numbering.take(thing) for thing in ("x", "y", "z")]
    assert others == [FIRST + 3, FIRST + 4, FIRST + 1]
    assert numbering.take("b") == FIRST + 2
    assert numbering.take("w") == FIRST, "nobody else has any left"
    assert numbering.take("a") > LAST, "its number is another's now, and there is no other"


def test_two_things_with_one_hint_get_two_numbers() -> None:
    numbering = Numbering(Journal(), FIRST, LAST, {"a": FIRST, "b": FIRST})
    assert {numbering.take("a"), numbering.take("b")} == {FIRST, FIRST + 1}


def test_beyond_the_last_number_things_are_only_counted() -> None:
    numbering = Numbering[int](Journal(), FIRST, LAST)
    numbers = [numbering.take(thing) for thing in range(8)]
    assert numbers == [5, 6, 7, 8, 9, 10, 11, 12]
    assert (len(numbering), numbering.size) == (8, 5)
    for number in numbers[:2] + numbers[5:]:
        numbering.free(number)
    assert numbering.take(9) in (5, 6)


def test_no_numbers_at_all() -> None:
    numbering = Numbering[str](Journal(), 1, 0)
    assert numbering.size == 0
    assert numbering.take("a") == 1
    assert len(numbering) > numbering.size
