import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinety.api import types
from kinety.api.decode import decode, encode

texts = st.text(max_size=20)
ends = st.builds(
    types.EventEnd, texts, st.integers(0, 65535), st.integers(0, 2**24), st.none() | texts, st.tuples(texts)
)
rules = st.builds(
    types.EventRule, st.integers(0), *[st.none() | texts] * 2, st.none() | st.integers(1), texts
)
events = st.builds(
    types.Event,
    st.floats(allow_nan=False) | st.integers(),
    texts,
    source=st.none() | ends,
    rule=st.none() | rules,
)


@given(events)
def test_encode_and_decode_are_inverse(event: types.Event) -> None:
    assert decode(types.Event, encode(event)) == event


def test_unknown_fields_are_skipped_and_defaults_used() -> None:
    assert decode(types.Problem, {"error": "no", "new": [1]}) == types.Problem("no")


@pytest.mark.parametrize(
    "value",
    [{}, [], None, {"error": 1}, {"error": "x", "line": "7"}, {"error": "x", "line": True}],
)
def test_wrong_values_are_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r"missing|expected"):
        decode(types.Problem, value)


def test_refusal_says_where() -> None:
    with pytest.raises(ValueError, match="expected str") as raised:
        decode(types.MapRows, {"name": 5, "rows": []})
    assert raised.value.__notes__ == ["in field 'name' of MapRows"]
