from kinety.model.layer7 import HttpRule, Layer7, NamePattern
from kinety.plan.content import kinds, united
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
    assert kinds(nothing.layer7) == frozenset()


def test_kinds() -> None:
    assert kinds(http("/a")) == {"http"}
    assert kinds(dns("*")) == {"dns"}
    assert kinds(Layer7(server_names=(NamePattern("*"),))) == {"server_names"}
    assert kinds(united((http("/a"), dns("*"))).layer7) == {"http", "dns"}
