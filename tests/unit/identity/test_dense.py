"""A list with gaps is a mapping."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinety.identity.dense import Dense

numbers = st.integers(0, 40)


@given(st.lists(st.tuples(numbers, st.none() | st.text(max_size=2))))
def test_it_is_what_a_dict_is_in_order(steps: list[tuple[int, str | None]]) -> None:
    dense: Dense[int, str] = Dense()
    known: dict[int, str] = {}
    for number, value in steps:
        if value is not None:
            dense[number] = known[number] = value
        elif number in known:
            assert dense.pop(number) == known.pop(number)
        else:
            with pytest.raises(KeyError):
                del dense[number]
        assert [*dense.items()] == sorted(known.items())
        assert len(dense) == len(known)
        for each in range(41):
            assert (each in dense) == (each in known)
            assert dense.get(each) == known.get(each)


def test_a_number_below_zero_is_none_of_them() -> None:
    dense: Dense[int, str] = Dense()
    dense[0] = "first"
    assert -1 not in dense
    with pytest.raises(KeyError):
        dense[-1]
