import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinety.identity.journal import Journal
from kinety.identity.name_index import NameIndex
from kinety.model.address import Prefix
from kinety.model.layer7 import NamePattern

ONE, OTHER = map(Prefix.parse, ("192.0.2.1", "2001:db8::1"))


def names(*found: str) -> frozenset[str]:
    return frozenset(found)


def index_of(journal: Journal, *patterns: str) -> NameIndex:
    index = NameIndex(journal)
    for each in patterns:
        index.add(NamePattern(each))
    return index


def found(index: NameIndex, pattern: str) -> set[Prefix]:
    return set(index.addresses(NamePattern(pattern)))


def patterns(index: NameIndex, address: Prefix) -> set[str]:
    return {each.pattern for each in index.patterns(address)}


def test_names_are_found_by_pattern_while_an_address_has_them() -> None:
    index = index_of(Journal(), "*.com", "b.com", "*")
    index.put(ONE, names("a.com", "b.com"))
    index.put(OTHER, names("b.com"))
    assert index.of(ONE) == {"a.com", "b.com"}
    assert (patterns(index, ONE), patterns(index, OTHER)) == ({"*.com", "b.com", "*"},) * 2
    assert (found(index, "*.com"), found(index, "a.com")) == ({ONE, OTHER}, {ONE})
    index.put(ONE, names("c.org"))
    index.remove(NamePattern("*"))
    assert (patterns(index, ONE), found(index, "*"), found(index, "a.com")) == (set(), {ONE, OTHER}, set())
    index.put(OTHER, names())
    assert (index.of(OTHER), patterns(index, OTHER), found(index, "*.com")) == (names(), set(), set())


PATTERNS = (
    *("*", "**.b", "*.b", "a*.b", "*a.b", "a.*", "*.*", "**.a.b", "a.b", "*.a.*", "**.a*", "b", "**.*"),
    "a.b.a",
)
TEXTS = ("a.b", "b", "a", "aa.b", "a.a.b", "b.a.a.b", "a.b.a", "ba.b", "a.ab", "aab")


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("name", TEXTS)
def test_both_ways_are_what_the_pattern_says(pattern: str, name: str) -> None:
    """The tails that lead from one to the other leave nothing out."""
    index = index_of(Journal(), pattern)
    index.put(ONE, names(name))
    index.put(OTHER, names("zz"))
    expected = NamePattern(pattern).matches(name)
    assert (pattern in patterns(index, ONE), ONE in found(index, pattern)) == (expected, expected)


changes = st.lists(
    st.one_of(
        st.tuples(st.sampled_from((ONE, OTHER)), st.frozensets(st.sampled_from(TEXTS), max_size=6)),
        st.sampled_from(PATTERNS),
        st.booleans(),
    ),
    max_size=12,
)


@given(changes)
def test_names_that_are_counted_say_what_names_that_are_looked_through_do(
    told: list[tuple[Prefix, frozenset[str]] | str | bool],
) -> None:
    """Addresses with more names than two are counted; patterns come and go, and changes are taken back."""
    journal = Journal()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kinety.identity.name_index._FEW", 2)
        index, live = NameIndex(journal), set[str]()
        kept = set[str]()
        for each in told:
            if isinstance(each, tuple):
                index.put(*each)
            elif isinstance(each, str):
                (index.remove if each in live else index.add)(NamePattern(each))
                live ^= {each}
            elif each:
                journal.commit()
                kept = set(live)
            else:
                journal.rollback()
                live = set(kept)
            for address in (ONE, OTHER):
                naive = {one for one in live for name in index.of(address) if NamePattern(one).matches(name)}
                assert patterns(index, address) == naive


@given(st.lists(st.tuples(st.sampled_from((ONE, OTHER)), st.sets(st.sampled_from(TEXTS), max_size=3))))
def test_it_can_be_taken_back(told: list[tuple[Prefix, set[str]]]) -> None:
    journal = Journal()
    index = index_of(journal, "*.b", "a.b")
    index.put(ONE, names("a.b", "b"))
    journal.commit()
    for address, each in told:
        index.put(address, frozenset(each))
    index.remove(NamePattern("*.b"))
    index.add(NamePattern("*"))
    journal.rollback()
    assert (index.of(ONE), index.of(OTHER), found(index, "*")) == ({"a.b", "b"}, names(), {ONE})
    assert patterns(index, ONE) == {"*.b", "a.b"}
