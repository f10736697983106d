"""A change that does not fit says which map, how many rows it needs and how many there are.

Each map is given exactly what the second step needs, and then one row less.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import pytest

from kinety.model.address import Prefix, pack_address
from kinety.model.endpoint import EndpointId
from kinety.model.identity import FIRST_CLUSTER_IDENTITY, LAST_CLUSTER_IDENTITY
from kinety.model.rule import Direction
from kinety.plan.change import Capacity, CapacityError
from kinety.plan.engine import Engine
from kinety.plan.fact import (
    EndpointRemoved,
    EndpointUpserted,
    Fact,
    HostAddressesChanged,
    PeerRemoved,
    PeerUpserted,
    PolicyRemoved,
    PolicyUpserted,
)
from tests.unit.plan.saying import cidr, endpoint, has, labels, policy, rule, tcp, udp
from tests.unit.plan.tables import Tables


@dataclass(frozen=True)
class Case:
    """What overflows: the size to choose, the map's name, and what it must hold in the second step.

    ``reserved`` rows of the map are nobody's. ``replaces`` says that the second step takes as much away
    as it brings, so that only old and new together are too many.
    """

    size: str
    map_name: str
    needed: int
    first: Sequence[Fact]
    second: Sequence[Fact]
    reserved: int = 0
    replaces: bool = False


def endpoint_of(number: int) -> EndpointUpserted:
    return EndpointUpserted(endpoint(number, app="a"))


def peer(prefix: str, app: str) -> PeerUpserted:
    return PeerUpserted(Prefix.parse(prefix), labels(app=app))


ONE = endpoint_of(1)
GONE = EndpointRemoved(EndpointId(1))
ALLOW_B = PolicyUpserted(policy("p", rule(has(app="a"), [has(app="b")], [tcp(80)])))
DROP_P = PolicyRemoved(ALLOW_B.policy.key)
B, C = peer("172.16.0.1/32", "b"), peer("172.16.0.2/32", "c")
NET, OTHER = peer("172.16.0.0/16", "b"), peer("2001:db8::/64", "b")


def toward(*prefixes: str) -> PolicyUpserted:
    return PolicyUpserted(
        policy("c", rule(has(app="a"), [cidr(each) for each in prefixes], direction=Direction.EGRESS))
    )


def hosts(*addresses: str) -> HostAddressesChanged:
    return HostAddressesChanged(frozenset(map(pack_address, addresses)))


def named(name: str, *ports: int) -> PolicyUpserted:
    return PolicyUpserted(policy(name, *(rule(has(app="z"), None, [tcp(port)]) for port in ports)))


def peers(selector_value: str) -> PolicyUpserted:
    return PolicyUpserted(policy("p", rule(has(app="a"), [has(app=selector_value)])))


ADDED = {
    "endpoints": Case("endpoints", "endpoints", 3, [ONE], [endpoint_of(2), endpoint_of(3)]),
    "a rule set a direction": Case("rule_sets", "rule_sets", 2, [ONE, ALLOW_B], [toward("10.0.0.0/8")]),
    # Three ports that no prefix joins, and for the host, whom the option lets in, also all the others.
    "rows": Case(
        "rows",
        "rule_set",
        7,
        [ONE],
        [PolicyUpserted(policy("p", rule(has(app="a"), None, [tcp(80), udp(80), tcp(8080)])))],
    ),
    # One for the host; for b one for the port, and one for all the others.
    "rows of a new class": Case("rows", "rule_set", 3, [ONE, ALLOW_B], [B]),
    "classes": Case("identity_classes", "identity_classes", 2, [ONE, ALLOW_B], [B]),
    "addresses of the host": Case(
        "ipcache_hosts",
        "ipcache_hosts",
        3,
        [hosts("10.9.0.1")],
        [hosts("10.9.0.1", "10.9.0.2", "fd00::9")],
    ),
    "addresses in policies": Case(
        "ipcache_hosts", "ipcache_hosts", 3, [ONE, B], [toward("198.51.100.1/32", "2001:db8::1/128")]
    ),
    "prefixes": Case(
        "ipcache_prefixes", "ipcache_prefixes", 3, [ONE, NET], [toward("10.0.0.0/8", "2001:db8::/32")]
    ),
    "prefixes and the fence": Case(
        "ipcache_prefixes", "ipcache_prefixes", 3, [ONE], [toward("::/3", "::/4")]
    ),
    # The option is a rule, too.
    "rules": Case(
        "rules", "rule_counters", 6, [named("p", 1, 2)], [named("q", 3, 4), named("r", 5)], reserved=1
    ),
}
REPLACED = {
    "another rule set": Case("rule_sets", "rule_sets", 2, [ONE, ALLOW_B], [peers("c")], replaces=True),
    "other classes": Case(
        "identity_classes",
        "identity_classes",
        3,
        [ONE, ALLOW_B, B],
        [PeerRemoved(B.prefix), C, peers("c")],
        replaces=True,
    ),
    "other addresses of the host": Case(
        "ipcache_hosts", "ipcache_hosts", 2, [hosts("10.9.0.1")], [hosts("fd00::9")], replaces=True
    ),
    "other prefixes": Case(
        "ipcache_prefixes", "ipcache_prefixes", 2, [NET], [PeerRemoved(NET.prefix), OTHER], replaces=True
    ),
    "rules written elsewhere": Case(
        "rules",
        "rule_counters",
        4,
        [named("p", 1, 2)],
        [PolicyRemoved(named("p").policy.key), named("q", 3)],
        reserved=1,
        replaces=True,
    ),
}
CASES = ADDED | REPLACED


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_what_fits_to_the_row_is_taken_and_one_row_less_refused(case: Case) -> None:
    enough = replace(Capacity(), **{case.size: case.needed + case.reserved})
    engine = Engine(enough)
    engine.change(case.first)
    engine.change(case.second)

    tight = replace(enough, **{case.size: case.needed + case.reserved - 1})
    engine, twin, tables = Engine(tight), Engine(), Tables()
    tables.apply(engine.change(case.first))
    twin.change(case.first)
    with pytest.raises(CapacityError) as refusal:
        engine.change(case.second)
    error = refusal.value
    assert (error.map_name, error.needed, error.available) == (case.map_name, case.needed, case.needed - 1)
    assert str(error) == (
        f"map {case.map_name} would need {case.needed} entries and has room for {case.needed - 1};"
        " nothing was applied"
    )
    assert engine.snapshot() == twin.snapshot() == tables.snapshot()
    assert engine.statistics() == twin.statistics()
    if case.replaces:  # one after the other it fits
        gone = [each for each in case.second if isinstance(each, PeerRemoved | PolicyRemoved)]
        tables.apply(engine.change(gone or [GONE, DROP_P, hosts()]))
        tables.apply(engine.change([ONE] if ONE in case.first else []))
        tables.apply(engine.change(case.second))
        assert engine.snapshot() == tables.snapshot()
    else:  # numbers included, nothing is used up
        engine._capacity = twin._capacity
        assert engine.change(case.second) == twin.change(case.second)


def test_every_map_has_a_case() -> None:
    assert {case.size for case in CASES.values()} == {each.name for each in fields(Capacity)}


def test_an_engine_has_room_for_its_option() -> None:
    with pytest.raises(CapacityError, match="map rule_counters would need 1 entries and has room for 0"):
        Engine(Capacity(rules=1))
    engine = Engine(Capacity(rules=1), allow_localhost=False)
    with pytest.raises(CapacityError, match="map rule_counters would need 2 entries and has room for 0"):
        engine.change([named("p", 1, 2)])


def test_identities_that_have_no_number_are_counted() -> None:
    """The cluster's numbers are as good as a map: an identity number is a VXLAN network identifier."""
    room = LAST_CLUSTER_IDENTITY - FIRST_CLUSTER_IDENTITY + 1
    engine = Engine()
    engine.change(
        PeerUpserted(Prefix.parse(f"2001:db8::{number:x}/128"), labels(app=str(number)))
        for number in range(room)
    )
    before = engine.statistics()
    with pytest.raises(CapacityError, match="identities would need 65283 entries and has room for 65280"):
        engine.change(EndpointUpserted(endpoint(number, app=f"e{number}")) for number in (1, 2, 3))
    assert engine.statistics() == before
    freed = PeerRemoved(Prefix.parse("2001:db8::7/128"))
    with pytest.raises(CapacityError, match="would need 65281"):
        engine.change([freed, ONE])
    engine.change([freed])
    change = engine.change([ONE])
    assert list(change.identities.values()) == [labels(app="a")]
    assert all(identity <= LAST_CLUSTER_IDENTITY for identity in engine.identities)
