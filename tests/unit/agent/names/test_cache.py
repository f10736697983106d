"""What answers teach, and what is forgotten, against the cache's own mappings."""

from ipaddress import ip_address

from hypothesis import given
from hypothesis import strategies as st

from kinety.agent.names.cache import Lesson, NameCache, Pair
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


def crowd(client: int, *names: str, found: int = 1) -> list[Answer]:
    addresses = tuple((ip_address(f"198.51.100.{last}"), 60) for last in range(found))
    return [Answer(name, addresses, (), ip_address(f"10.0.0.{client}")) for name in names]


def test_a_client_brings_as_many_mappings_as_are_free() -> None:
    known = NameCache(0.0, 10, room=16)
    greedy = crowd(1, *(f"g{each}" for each in range(20)))
    fits = known.fit(greedy)
    assert fits == [True] * 8 + [False] * 12
    learn(known, *greedy[:8])
    assert (known.brought(ip_address("10.0.0.1")), known.fit(greedy[8:9])) == (8, [False])
    assert known.fit(greedy[:8]) == [True] * 8, "what is there costs nothing"
    modest = crowd(2, *(f"m{each}" for each in range(9)))
    assert known.fit(modest) == [True] * 4 + [False] * 5
    learn(known, *modest[:4])
    assert known.fit(crowd(3, "t", found=2)) == [True]
    assert known.fit(crowd(3, "t", found=3)) == [False]
    assert known.fit([answer("operator.com", (1, 1), (2, 1))]) == [True]
    known.take(known.forget(known.of("g0")))
    known.take(known.forget(known.of("g1")))
    assert (len(known), known.brought(ip_address("10.0.0.1"))) == (10, 6)
    assert known.fit(crowd(1, "new")) == [False], "six are free, and one of them would not be any more"
    known.take(known.forget(known.of("m0")))
    assert known.fit(crowd(1, "new")) == [False]
    known.take(known.forget(known.of("g2")))
    assert known.fit(crowd(1, "new")) == [True]


def test_a_mapping_counts_for_who_asked_first_and_of_a_former_run_for_nobody() -> None:
    known = NameCache(0.0, 10, room=8)
    learn(known, *crowd(1, "a", "b"), *crowd(2, "a"))
    learn(known, *crowd(2, "b"))
    assert [known.brought(ip_address(f"10.0.0.{each}")) for each in (1, 2)] == [2, 0]
    after = NameCache(0.0, 10, room=8)
    after.restore(known.mappings())
    assert (len(after), after.brought(ip_address("10.0.0.1"))) == (2, 0)
    assert after.fit(crowd(1, *"cdefgh")) == [True] * 3 + [False] * 3


def test_what_an_answer_pushes_out_counts_no_longer() -> None:
    known = NameCache(0.0, 2, room=100)
    client = ip_address("10.0.0.1")
    for last in range(5):
        learn(known, Answer("a.com", ((ip_address(f"198.51.100.{last}"), 60),), (), client))
    assert (len(known), known.brought(client)) == (2, 2)
