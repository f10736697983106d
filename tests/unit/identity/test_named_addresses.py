"""Addresses with names, through the registry: who they are, and when they become somebody else."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from kinety.identity.journal import Journal
from kinety.identity.members import every
from kinety.identity.named_prefix import NamedPrefix
from kinety.identity.registry import IdentityHints, Registry
from kinety.identity.selection import Selection
from kinety.model.address import Prefix
from kinety.model.identity import ReservedIdentity
from kinety.model.label import Label
from kinety.model.layer7 import NamePattern
from tests.unit.plan.saying import cidr, fqdn


def fresh() -> Registry:
    registry = Registry(Journal(), IdentityHints())
    registry.begin()
    return registry


NAMED, OTHER = map(Prefix.parse, ("192.0.2.7", "192.0.2.8"))
A, COM, ANY = map(NamePattern, ("a.com", "*.com", "*"))


@contextmanager
def step(registry: Registry, *unselected: Selection) -> Iterator[None]:
    """A change: what is made inside is settled, and then some selectors go."""
    registry.begin()
    yield
    registry.settle()
    for each in unselected:
        registry.unselect(each)
    registry.retire()


def learn(registry: Registry, *names: str, address: Prefix = NAMED) -> None:
    """A change that tells the names of an address."""
    with step(registry):
        registry.learn_names(address, frozenset(names))


def named(text: str, *patterns: NamePattern) -> NamedPrefix:
    return NamedPrefix(Prefix.parse(text), frozenset(patterns))


WORLD = "0.0.0.0/0"


def test_addresses_that_no_live_pattern_tells_apart_are_one_identity() -> None:
    registry = fresh()
    selection = registry.select(fqdn("*.com"))
    learn(registry, "a.com", "b.org")
    ((first, who),) = registry.named_added.items()
    assert who == named(WORLD, COM)
    assert registry[first] == {Label("fqdn", "*.com"), *ReservedIdentity.WORLD_IPV4.labels}
    assert (registry.named_moved, set(every(selection.members))) == ({NAMED: first}, {first})
    learn(registry, "c.com", address=OTHER)
    assert (registry.named_moved, registry.named_added) == ({OTHER: first}, {})
    learn(registry, "d.com")
    assert (registry.named_moved, registry.freed) == ({}, set())
    learn(registry, "d.org")
    assert (registry.named_moved, registry.freed) == ({NAMED: None}, set())
    learn(registry, address=OTHER)
    assert (registry.named_moved, registry.freed) == ({OTHER: None}, {first})
    assert not every(selection.members)


def test_a_pattern_relabels_those_it_is_about_and_goes_one_change_late() -> None:
    registry = fresh()
    registry.select(fqdn("*.com"))
    learn(registry, "a.com")
    learn(registry, "b.com", address=OTHER)
    both = registry.named_moved[OTHER]
    with step(registry):
        selection = registry.select(fqdn("a.com"))
    ((one, who),) = registry.named_added.items()
    assert (who, registry.named_moved) == (named(WORLD, A, COM), {NAMED: one})
    assert set(every(selection.members)) == {one}
    with step(registry, selection):
        pass
    assert (registry.named_moved, registry.unsettled) == ({}, True)
    with step(registry):
        pass
    assert (registry.named_moved, registry.freed, registry.unsettled) == ({NAMED: both}, {one}, False)


def test_a_pattern_that_comes_back_in_time_changes_nobody() -> None:
    registry = fresh()
    selection = registry.select(fqdn("a.com"))
    learn(registry, "a.com")
    with step(registry, selection):
        pass
    with step(registry):
        again = registry.select(fqdn("a.com"))
    assert (registry.named_moved, registry.unsettled) == ({}, False)
    assert len(every(again.members)) == 1


def test_a_named_address_is_selected_by_the_prefixes_around_it() -> None:
    registry = fresh()
    registry.select(fqdn("*"))
    learn(registry, "a.com")
    with step(registry):
        around = registry.select(cidr("192.0.2.0/24", "192.0.2.8/32"))
        other = registry.select(cidr("198.51.100.0/24"))
    ((now, who),) = registry.named_added.items()
    assert (who, registry.prefix(now)) == (named("192.0.2.0/24", ANY), Prefix.parse("192.0.2.0/24"))
    assert (now in around, now in other) == (True, False)
    learn(registry, "b.com", address=OTHER)
    ((hole, who),) = registry.named_added.items()
    assert (who, hole in around) == (named("192.0.2.8/32", ANY), False)
    with step(registry, around):
        pass
    assert registry.unsettled
    with step(registry):
        pass
    assert set(registry.named_moved) == {NAMED, OTHER}
    assert {registry.outside(each) for each in registry.named_added} == {named(WORLD, ANY)}
    assert registry.freed == {now, hole}


def test_names_that_are_taken_back_leave_no_trace() -> None:
    journal = Journal()
    registry = Registry(journal, IdentityHints())
    registry.select(fqdn("*.com"))
    learn(registry, "a.com")
    journal.commit()
    (identity,) = registry.named_added
    learn(registry, "a.org")
    with step(registry):
        registry.select(fqdn("a.org"))
        registry.select(cidr("192.0.2.0/24"))
    assert registry.outside(identity) is None
    journal.rollback()
    registry.rolled_back()
    assert (registry.outside(identity), registry.names(NAMED)) == (named(WORLD, COM), {"a.com"})
    learn(registry, "a.com", "b.com")
    assert registry.named_moved == {}


def test_names_are_those_of_one_address() -> None:
    with pytest.raises(ValueError, match=r"of one address, not of 192.0.2.0/24"):
        fresh().learn_names(Prefix.parse("192.0.2.0/24"), frozenset({"a.com"}))
