"""What names cost: a change is as large as what it changes, whatever there is."""

import pytest
from hypothesis import given, settings

from kinety.model.address import Prefix
from kinety.model.endpoint import EndpointId
from kinety.model.identity import LOCAL_IDENTITY_BIT
from kinety.model.rule import Direction
from kinety.model.verdict import VerdictKind
from kinety.plan.change import Capacity, CapacityError, Change
from kinety.plan.engine import Engine
from kinety.plan.fact import EndpointUpserted, Fact, NamesLearnt, PolicyUpserted
from tests.unit.plan.generation import name_batches
from tests.unit.plan.naive import World
from tests.unit.plan.saying import TCP, cidr, endpoint, fqdn, has, policy, rule, tcp
from tests.unit.plan.tables import Tables
from tests.unit.plan.test_engine_sequence import canonical, check, facts_of, take

MANY = [Prefix.parse(f"198.51.{number // 250}.{number % 250}/32") for number in range(1000)]
ONE = Prefix.parse("203.0.113.1/32")


def names(*found: str) -> frozenset[str]:
    return frozenset(found)


def to_names(*patterns: str) -> PolicyUpserted:
    return PolicyUpserted(
        policy("p", rule(has(app="a"), list(map(fqdn, patterns)), [tcp(443)], direction=Direction.EGRESS))
    )


def engine_with(*patterns: str, capacity: Capacity | None = None) -> Engine:
    engine = Engine(capacity or Capacity())
    engine.change([EndpointUpserted(endpoint(1, app="a")), to_names(*patterns)])
    return engine


def size(change: Change) -> dict[str, int]:
    """How many things are in each field of a change that has any."""
    return {
        name: len(value)
        for name in Change.__slots__
        if hasattr(value := getattr(change, name), "__len__") and len(value)
    }


def test_a_thousand_addresses_are_one_identity_and_one_more_is_one_row() -> None:
    engine = engine_with("*.example.com")
    change = engine.change(NamesLearnt(each, names(f"{each.packed[-1]}.example.com")) for each in MANY)
    assert size(change) == {"rows": 1, "identity_classes": 1, "ipcache": 1000, "outside": 1}
    change = engine.change([NamesLearnt(ONE, names("new.example.com"))])
    assert (size(change), change.ipcache[ONE] & LOCAL_IDENTITY_BIT) == ({"ipcache": 1}, LOCAL_IDENTITY_BIT)
    assert len({engine.identity_of_address(each.packed) for each in (*MANY, ONE)}) == 1
    assert size(engine.change([NamesLearnt(ONE, names("x.example.com", "y.example.com"))])) == {}
    assert size(engine.change([NamesLearnt(ONE, names("y.example.org"))])) == {"ipcache_removed": 1}
    assert size(engine.change([NamesLearnt(ONE, names())])) == {}


def test_a_selector_moves_the_addresses_it_is_about_and_no_others() -> None:
    engine = engine_with("*.example.com")
    engine.change(NamesLearnt(each, names(f"{each.packed[-1]}.example.com")) for each in MANY)
    engine.change([NamesLearnt(ONE, names("one.example.com"))])
    change = engine.change([to_names("*.example.com", "one.*.com")])
    assert change.ipcache.keys() == {ONE}
    engine.change([to_names("*.example.com")])
    assert engine.unsettled
    assert engine.change().ipcache.keys() == {ONE}
    assert not engine.unsettled


@pytest.mark.parametrize(("room", "fits"), [(1000, True), (999, False)])
def test_addresses_that_have_no_room_are_refused_before_anything_is_written(room: int, fits: bool) -> None:
    engine, tables = engine_with("*", capacity=Capacity(ipcache_hosts=room)), Tables()
    tables.apply(Engine().change())
    before = engine.snapshot()
    told = [NamesLearnt(each, names("a.com")) for each in MANY]
    if fits:
        engine.change(told)
        return
    with pytest.raises(CapacityError, match="ipcache_hosts would need 1000 entries and has room for 999"):
        engine.change(told)
    assert engine.snapshot() == before


def test_an_address_by_name_is_still_in_the_prefixes_around_it() -> None:
    engine = engine_with("*.example.com")
    engine.change([NamesLearnt(ONE, names("a.example.com"))])
    by_prefix = rule(has(app="a"), [cidr("203.0.113.0/24")], [tcp(80)], direction=Direction.EGRESS)
    engine.change([PolicyUpserted(policy("q", by_prefix))])

    def kind(port: int) -> VerdictKind:
        peer = engine.identity_of_address(ONE.packed)
        return engine.verdict(EndpointId(1), Direction.EGRESS, peer, TCP, port).kind

    assert [kind(port) for port in (443, 80, 22)] == [VerdictKind.ALLOW, VerdictKind.ALLOW, VerdictKind.DENY]
    engine.change([to_names("*.example.org")])
    engine.change()
    assert [kind(port) for port in (443, 80)] == [VerdictKind.DENY, VerdictKind.ALLOW]
    assert engine.identity_of_address(ONE.packed) in engine.snapshot().ipcache.values()


@settings(max_examples=40, deadline=None)
@given(name_batches)
def test_every_moment_and_every_way_gives_what_the_facts_say(steps: list[list[Fact]]) -> None:
    """Where there is little but names: each moment is old or new, and nothing of the way stays."""
    start: list[Fact] = [EndpointUpserted(endpoint(1, True)), EndpointUpserted(endpoint(3, True))]
    engine, tables, world = Engine(), Tables(), World()
    for facts in (start, *steps, []):
        take(engine, tables, world, facts)
        check(engine, tables, world)
    assert not engine.unsettled
    fresh = Engine()
    fresh.change(facts_of(world))
    assert canonical(engine) == canonical(fresh)
