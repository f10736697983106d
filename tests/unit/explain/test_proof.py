"""Proofs against the naive judge, asked about every pair of addresses of small worlds."""

from collections.abc import Iterator
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from kinety.explain.proof import Breach, breaches
from kinety.explain.traffic import number_of
from kinety.model.address import Prefix
from kinety.model.invariant import Claim, Demand, Invariant
from kinety.model.layer7 import HttpRule, Layer7
from kinety.model.rule import Direction, Origin, PolicyKey, PortRange
from kinety.model.selector import BlockSelector, PeerSelector
from kinety.model.verdict import VerdictKind
from kinety.plan.engine import Engine
from kinety.plan.fact import EndpointUpserted, Fact, PeerUpserted, PolicyUpserted
from tests.unit.explain.everyone import told
from tests.unit.plan.generation import (
    ADDRESSES,
    PORTS,
    batches,
    cidr_selectors,
    entities,
    label_selectors,
    port_ranges,
)
from tests.unit.plan.naive import World, selects
from tests.unit.plan.saying import ANYONE, cidr, endpoint, entity, has, labels, policy, rule, tcp

ALLOW, DENY = Demand.MUST_ALLOW, Demand.MUST_DENY
KEY = PolicyKey("Invariant", "default", "i")


def claim(
    demand: Demand,
    source: PeerSelector | None,
    destination: PeerSelector | None,
    ports: tuple[PortRange, ...] | None = None,
) -> Invariant:
    origin = Origin(KEY, "i.yaml", 1, "spec.mustDeny[0]")
    return Invariant(KEY, (Claim(demand, source, destination, ports, origin),))


ends = st.one_of(label_selectors, cidr_selectors, entities)
claims = st.builds(
    claim,
    st.sampled_from(Demand),
    st.none() | ends,
    st.none() | ends,
    st.none() | st.lists(port_ranges, min_size=1, max_size=2).map(tuple),
)


@settings(max_examples=200, deadline=None)
@given(batches, claims)
def test_what_is_proved_holds_for_every_pair(former: list[list[Fact]], invariant: Invariant) -> None:
    engine, world = told([each for batch in former for each in batch])
    snapshot = engine.snapshot()
    found = breaches(engine, [invariant])
    if not found and not only_elsewhere(world):
        assert list(broken(world, invariant.claims[0])) == []
    assert engine.snapshot() == snapshot


def only_elsewhere(world: World) -> bool:
    """Whether workloads elsewhere may have rules about blocks, which nobody here tells apart."""
    rules = [rule for each in world.policies.values() for rule in each.rules]
    return bool(world.peers) and any(
        isinstance(each, BlockSelector) for rule in rules for each in rule.peers or ()
    )


def broken(world: World, asked: Claim) -> Iterator[tuple[bytes, bytes, int, int]]:
    """Flows between the addresses of these worlds that break a claim."""
    for source in ADDRESSES:
        for destination in ADDRESSES:
            if not meant(world, asked, source, destination):
                continue
            for protocol, port in PORTS:
                if in_ports(asked.ports, protocol, port) and not holds(
                    world, asked.demand, source, destination, protocol, port
                ):
                    yield source, destination, protocol, port


def meant(world: World, asked: Claim, source: bytes, destination: bytes) -> bool:
    """Whether a claim is about a flow between two addresses, one of them here."""
    one, other = world.owner(source), world.owner(destination)
    same_family = Prefix(source, 128).is_ipv4 == Prefix(destination, 128).is_ipv4
    apart = holder(world, source) != holder(world, destination)
    ends = (asked.source, one), (asked.destination, other)
    here = any(is_here(world, each) for each in (source, destination))
    return same_family and apart and here and all(each is None or selects(each, who) for each, who in ends)


def is_here(world: World, address: bytes) -> bool:
    """Whether an endpoint of this node has an address, or the node itself, once it has rules."""
    return not isinstance(holder(world, address), bytes) or (
        world.node is not None and address in world.hosts
    )


def holder(world: World, address: bytes) -> object:
    """The endpoint that has an address, or else the address."""
    return next((each.id for each in world.endpoints.values() if address in (each.ipv4, each.ipv6)), address)


def in_ports(ports: tuple[PortRange, ...] | None, protocol: int, port: int) -> bool:
    return ports is None or any(
        each.protocol == 0 or (each.protocol == protocol and each.first <= port <= each.last)
        for each in ports
    )


def holds(world: World, demand: Demand, source: bytes, destination: bytes, protocol: int, port: int) -> bool:
    kinds = []
    for direction, own, peer in (
        (Direction.EGRESS, source, destination),
        (Direction.INGRESS, destination, source),
    ):
        owner = world.owner(own)
        is_host = own in world.hosts and owner == world.host
        if not owner.outside and (not is_host or world.node is not None):
            say = world.judge(
                owner, direction, world.owner(peer), protocol, port, allow_localhost=not is_host
            )
            kinds.append(say[0])
    if demand is DENY:
        return VerdictKind.DENY in kinds
    return all(kind is VerdictKind.ALLOW for kind in kinds)


@settings(max_examples=200, deadline=None)
@given(batches, claims)
def test_a_breach_is_one(former: list[list[Fact]], invariant: Invariant) -> None:
    engine, world = told([each for batch in former for each in batch])
    for each in breaches(engine, [invariant]):
        ends = [address_of(engine, world, name, each) for name in (each.source, each.destination)]
        if None not in ends:
            protocol, port = divmod(each.traffic[0].first, 1 << 16)
            assert in_ports(each.claim.ports, protocol, port)
            assert not holds(world, each.claim.demand, ends[0], ends[1], protocol, port)  # type: ignore[arg-type]


def address_of(engine: Engine, world: World, name: str, breach: Breach) -> bytes | None:
    """An IPv4 address of somebody whom a breach names; None when there is none in these worlds."""
    for each in world.endpoints.values():
        if str(each) == name:
            return each.ipv4
    if name == "host":
        return next((each for each in sorted(world.hosts)), None)
    return next(
        (each for each in ADDRESSES if Prefix(each, 128).is_ipv4 and text(engine, each) == name),
        None,
    )


def text(engine: Engine, address: bytes) -> str:
    identity = engine.identity_of_address(address)
    prefix = engine.registry.prefix(identity)
    reserved = [label.key for label in engine.identities[identity] if label.source == "reserved"]
    return str(prefix) if prefix is not None else "".join(reserved)


A, B, C = (EndpointUpserted(endpoint(number, app=app)) for number, app in enumerate(("a", "b", "c"), 1))


def prove(policies: list[Fact], invariant: Invariant) -> Breach | None:
    engine = Engine()
    engine.change([A, B, C, *policies])
    return next(iter(breaches(engine, [invariant])), None)


def test_a_counter_example_names_who_and_which_rules() -> None:
    opened = PolicyUpserted(policy("p", rule(has(app="b"), [has(app="a")], [tcp(80)])))
    found = prove([opened], claim(DENY, has(app="a"), has(app="b")))
    assert found is not None
    assert (found.source, found.destination) == ("default/e1", "default/e2")
    assert found.traffic == ((number_of(6, 80), number_of(6, 80)),)
    assert (str(found.egress_rule), str(found.ingress_rule)) == ("None", "p.yaml:1")
    assert prove([opened], claim(DENY, has(app="a"), has(app="b"), (tcp(81),))) is None
    assert prove([opened], claim(ALLOW, has(app="a"), has(app="b"), (tcp(80),))) is None
    assert prove([opened], claim(ALLOW, None, has(app="b"), (tcp(80),))) is not None


def test_an_endpoint_does_not_reach_itself() -> None:
    shut = PolicyUpserted(policy("p", rule(ANYONE, [])))
    assert prove([shut], claim(ALLOW, has(app="a"), has(app="a"))) is None
    twin = EndpointUpserted(endpoint(4, app="a"))
    assert prove([shut, twin], claim(ALLOW, has(app="a"), has(app="a"))) is not None


def test_a_prefix_that_no_rule_names_is_a_part_of_the_world() -> None:
    wide = PolicyUpserted(policy("p", rule(has(app="a"), [cidr("8.8.0.0/16")])))
    assert prove([wide], claim(DENY, cidr("9.9.9.0/24"), has(app="a"))) is None
    assert prove([wide], claim(DENY, cidr("8.0.0.0/8"), has(app="a"))) is not None
    assert prove([wide], claim(ALLOW, cidr("8.8.8.8/32"), has(app="a"))) is None
    assert prove([wide], claim(ALLOW, cidr("8.8.0.0/15"), has(app="a"))) is not None
    halves = PolicyUpserted(policy("p", rule(has(app="a"), [cidr("8.0.0.0/9"), cidr("8.128.0.0/9")])))
    assert prove([halves], claim(ALLOW, cidr("8.0.0.0/8"), has(app="a"))) is None, "nothing is left between"


def test_content_that_may_be_refused_is_neither_allowed_nor_denied() -> None:
    asking = replace(rule(has(app="b"), [has(app="a")], [tcp(80)]), layer7=Layer7(http=(HttpRule("GET"),)))
    asked = PolicyUpserted(policy("p", asking))
    for demand in Demand:
        found = prove([asked], claim(demand, has(app="a"), has(app="b"), (tcp(80),)))
        assert found is not None
        assert found.ingress is VerdictKind.REDIRECT


def test_workloads_elsewhere_have_rules_too() -> None:
    away = PeerUpserted(Prefix.parse("172.16.0.1/32"), labels(app="away"))
    shut = PolicyUpserted(policy("p", rule(has(app="away"), [has(app="b")], direction=Direction.EGRESS)))
    assert prove([away, shut], claim(DENY, has(app="away"), has(app="a"))) is None
    assert prove([away, shut], claim(DENY, has(app="away"), has(app="b"))) is not None
    assert prove([away], claim(DENY, entity("world"), has(app="a"))) is not None
