from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st

from kinety.identity.multimap import Multimap

KEYS = st.integers(0, 2)
VALUES = [object() for _ in range(4)]
steps = st.lists(st.tuples(st.booleans(), KEYS, st.sampled_from(range(len(VALUES)))), max_size=30)


@given(steps)
def test_it_is_a_dict_of_sets_in_order(taken: list[tuple[bool, int, int]]) -> None:
    found: Multimap[int, object] = Multimap()
    naive: defaultdict[int, dict[object, None]] = defaultdict(dict)
    for adding, key, number in taken:
        if adding:
            found.add(key, VALUES[number])
            naive[key][VALUES[number]] = None
        else:
            found.discard(key, VALUES[number])
            naive[key].pop(VALUES[number], None)
        assert [found.of(each) for each in range(3)] == [tuple(naive[each]) for each in range(3)]
        assert bool(found) == any(naive.values())


def test_what_it_gave_out_stays_as_it_was() -> None:
    found: Multimap[int, object] = Multimap()
    found.add(1, VALUES[0])
    found.add(1, VALUES[1])
    before = found.of(1)
    found.discard(1, VALUES[0])
    assert before == (VALUES[0], VALUES[1])
