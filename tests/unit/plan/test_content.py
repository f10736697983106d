from kinety.model.layer7 import HttpRule, Layer7, NamePattern
from kinety.plan.content import united
from tests.unit.plan.saying import dns, http


def test_parts_unite_whatever_their_order() -> None:
    one, two = http("/b", "/a"), http("/c", "/a")
    whole = united((one, two))
    assert whole.layer7 == http("/a", "/b", "/c")
    assert united((two, one, two)) == whole


def test_the_address_is_the_contents() -> None:
    assert united((http("/a"),)).id != united((http("/b"),)).id
    assert united((http("a"),)).id != united((dns("a"),)).id
    assert united((http("/a"),)).id == united((http("/a"), Layer7())).id
    assert len(united((http("/a"),)).id) == 32


def test_nothing_is_not_everything() -> None:
    """A rule for any request is one that asks for nothing of it; no rule at all lets none through."""
    nothing, anything = united((Layer7(),)), united((Layer7(http=(HttpRule(),)),))
    assert nothing.layer7 == Layer7()
    assert nothing.id != anything.id
    assert nothing.layer7.kinds == frozenset()


def test_who_asks_is_part_of_it() -> None:
    """Whoever is refused is told by which policies, so those who may not know of each other share nothing."""
    one, two = (Layer7(http("/a").http, policies=(name,)) for name in ("one", "two"))
    assert united((one,)).id != united((two,)).id
    assert united((two, one, two)).layer7 == Layer7(http("/a").http, policies=("one", "two"))


def test_kinds() -> None:
    assert http("/a").kinds == {"http"}
    assert dns("*").kinds == {"dns"}
    assert Layer7(server_names=(NamePattern("*"),)).kinds == {"server_names"}
    assert united((http("/a"), dns("*"))).layer7.kinds == {"http", "dns"}
