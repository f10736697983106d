from kinety.identity.journal import Journal
from kinety.identity.name_index import NameIndex
from kinety.model.address import Prefix
from kinety.model.label import Label
from kinety.model.layer7 import NamePattern

ONE, OTHER = map(Prefix.parse, ("192.0.2.1", "2001:db8::1"))


def names(*found: str) -> frozenset[str]:
    return frozenset(found)


def matching(index: NameIndex, pattern: str) -> set[str]:
    found = index.matching(NamePattern(pattern))
    assert {each.source for each in found} <= {"fqdn"}
    return {each.key for each in found}


def test_names_are_found_by_pattern_while_an_address_has_them() -> None:
    index = NameIndex(Journal())
    index.put(ONE, names("a.com", "b.com"))
    index.put(OTHER, names("b.com"))
    assert index.of(ONE) == {"a.com", "b.com"}
    assert matching(index, "*.com") == {"a.com", "b.com"}
    index.put(ONE, names("c.org"))
    assert matching(index, "*") == {"b.com", "c.org"}
    index.put(OTHER, names())
    assert (index.of(OTHER), matching(index, "*.com")) == (names(), set())
    assert index.matching(NamePattern("c.org")) == [Label("fqdn", "c.org")]


def test_it_can_be_taken_back() -> None:
    journal = Journal()
    index = NameIndex(journal)
    index.put(ONE, names("a.com"))
    journal.commit()
    index.put(ONE, names("b.com"))
    index.put(OTHER, names("a.com"))
    journal.rollback()
    assert (index.of(ONE), index.of(OTHER), matching(index, "*")) == ({"a.com"}, names(), {"a.com"})
