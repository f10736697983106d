"""What answers teach, and what is forgotten, against the cache's own mappings."""

from ipaddress import ip_address

from hypothesis import given
from hypothesis import strategies as st

from kinety.agent.name_cache import Lesson, NameCache, Pair
from kinety.model.address import pack_address
from kinety.model.name import Answer

ONE, TWO, THREE, FOUR = (pack_address(f"192.0.2.{number}") for number in range(1, 5))


def answer(name: str, *found: tuple[int, int], chain: tuple[str, ...] = ()) -> Answer:
    """Addresses by their last byte, with seconds."""
    return Answer(name, tuple((ip_address(f"192.0.2.{last}"), ttl) for last, ttl in found), chain)


def cache(least: float = 0.0, most: int = 3) -> NameCache:
    return NameCache(least, most)


def learn(into: NameCache, *answers: Answer, now: float = 100.0) -> Lesson:
    lesson = into.learn(answers, now)
    into.take(lesson)
    return lesson


def test_a_mapping_lasts_as_long_as_any_answer_says_and_at_least_so_long() -> None:
    known = cache(least=30.0)
    learn(known, answer("a.com", (1, 10), (2, 60)))
    assert known.mappings() == {("a.com", ONE): 130.0, ("a.com", TWO): 160.0}
    assert not learn(known, answer("a.com", (1, 40), (2, 10)), now=110.0).names
    assert known.mappings() == {("a.com", ONE): 150.0, ("a.com", TWO): 160.0}
    assert (known.expired(149.9), known.expired(150.0)) == (set(), {("a.com", ONE)})


def test_an_address_is_that_of_the_name_and_of_all_its_aliases() -> None:
    known = cache()
    lesson = learn(known, answer("a.com", (1, 60), chain=("b.org", "c.net")), answer("d.com", (1, 60)))
    assert lesson.names == {ONE: {"a.com", "b.org", "c.net", "d.com"}}
    lesson = known.forget(known.of("b.org"))
    assert (lesson.gone, lesson.names) == ({("b.org", ONE)}, {ONE: {"a.com", "c.net", "d.com"}})


def test_of_too_many_addresses_the_oldest_go_and_that_is_counted() -> None:
    known = cache(most=2)
    learn(known, answer("a.com", (1, 60), (2, 50)))
    lesson = learn(known, answer("a.com", (3, 5)))
    assert (lesson.evicted, lesson.gone) == (1, {("a.com", TWO)})
    assert lesson.names == {TWO: set(), THREE: {"a.com"}}
    lesson = learn(known, answer("a.com", (1, 9), (2, 9), (4, 9)))
    assert (lesson.evicted, lesson.gone) == (2, {("a.com", ONE), ("a.com", THREE)})
    assert {address for _, address in known.mappings()} == {TWO, FOUR}
    assert known.names() == {TWO: {"a.com"}, FOUR: {"a.com"}}


def test_what_a_former_run_knew_is_known() -> None:
    before, after = cache(), cache()
    learn(before, answer("a.com", (1, 60), (2, 1)), answer("b.com", (1, 2)))
    after.restore(before.mappings())
    assert (after.mappings(), after.names(), len(after)) == (before.mappings(), before.names(), 3)


answers = st.builds(
    lambda name, found, chain: answer(name, *found.items(), chain=tuple(chain - {name})),
    st.sampled_from(("a.com", "b.com")),
    st.dictionaries(st.integers(1, 5), st.integers(0, 9), max_size=5),
    st.sets(st.sampled_from(("b.com", "c.com")), max_size=2),
)
steps = st.lists(st.tuples(st.lists(answers, max_size=3), st.booleans()), max_size=8)


@given(steps)
def test_names_are_always_those_of_the_mappings(told: list[tuple[list[Answer], bool]]) -> None:
    known, rows = cache(most=3), dict[Pair, float]()
    for now, (said, forget) in enumerate(told):
        lesson = known.learn(said, float(now))
        assert known.mappings() == rows, "nothing has happened yet"
        learned = known.forget(known.expired(now)) if forget else lesson
        known.take(learned)
        rows = {pair: when for pair, when in rows.items() if pair not in learned.gone} | dict(learned.expires)
        assert known.mappings() == rows
        names: dict[bytes, set[str]] = {}
        for name, address in rows:
            names.setdefault(address, set()).add(name)
        assert known.names() == names
        assert all(len(known.of(name)) <= 3 for name, _ in rows)
        assert not forget or not known.expired(now)
