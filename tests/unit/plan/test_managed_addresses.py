"""Who addresses are to others, by way of the engine: identities split where a live block tells apart."""

from dataclasses import replace

import pytest

from kinety.model.address import Prefix, pack_address
from kinety.model.endpoint import EndpointId
from kinety.model.identity import ReservedIdentity
from kinety.model.label import Labels
from kinety.model.rule import Direction, PolicyKey
from kinety.model.verdict import VerdictKind
from kinety.plan.engine import Engine
from kinety.plan.fact import (
    EndpointUpserted,
    Fact,
    HostAddressesChanged,
    PeerUpserted,
    PolicyRemoved,
    PolicyUpserted,
)
from tests.unit.plan.saying import TCP, block, endpoint, has, labels, policy, rule

SERVER, CLIENT, FAR = (EndpointId(number) for number in (1, 2, 9))
NEAR = PolicyUpserted(policy("near", rule(has(app="server"), [block("10.0.0.0/29", "10.0.0.5/32")])))
NO_NEAR = PolicyRemoved(PolicyKey("CiliumNetworkPolicy", "default", "near"))


def node(*facts: Fact) -> Engine:
    engine = Engine()
    engine.change(
        [
            EndpointUpserted(endpoint(SERVER, app="server")),
            EndpointUpserted(endpoint(CLIENT, ipv6=True, app="client")),
            EndpointUpserted(endpoint(FAR, ipv6=True, app="client")),
            *facts,
        ]
    )
    return engine


def to_others(engine: Engine, number: EndpointId) -> tuple[Labels, Labels]:
    plan = engine.endpoint_plan(number)
    return engine.identities[plan.ipv4], engine.identities[plan.ipv6]


def verdict(engine: Engine, address: str) -> VerdictKind:
    peer = engine.identity_of_address(pack_address(address))
    return engine.verdict(SERVER, Direction.INGRESS, peer, TCP, 80).kind


def told(found: Labels) -> set[str]:
    return {str(each) for each in found if each.source == "block"}


def test_without_blocks_an_endpoint_is_its_labels() -> None:
    engine = node()
    plan = engine.endpoint_plan(CLIENT)
    assert plan.ipv4 == plan.ipv6 == plan.identity == engine.endpoint_plan(FAR).identity


def test_a_block_holds_one_address_and_not_the_other() -> None:
    """IPv4 inside lets nothing in over IPv6: to the server these are two."""
    engine = node(NEAR)
    inside, outside = to_others(engine, CLIENT)
    assert told(inside) == {"block:10.0.0.0/29 except 10.0.0.5/32"}
    assert outside == labels(app="client")
    assert to_others(engine, FAR) == (outside, outside)
    assert verdict(engine, "10.0.0.2") is VerdictKind.ALLOW
    assert verdict(engine, "fd00::2") is VerdictKind.DENY
    assert verdict(engine, "10.0.0.9") is VerdictKind.DENY


def test_what_is_left_out_of_a_block_is_not_in_it() -> None:
    engine = node(NEAR, EndpointUpserted(endpoint(5, app="client")))
    assert told(to_others(engine, EndpointId(5))[0]) == set()
    assert verdict(engine, "10.0.0.5") is VerdictKind.DENY


def test_the_label_comes_with_the_rule_and_goes_one_change_later() -> None:
    """Until endpoints were flipped, former rules still ask for it."""
    engine = node()
    change = engine.change([NEAR])
    assert change.endpoints.keys() == {SERVER, CLIENT}
    gone = engine.change([NO_NEAR])
    assert gone.endpoints.keys() == {SERVER}
    assert told(to_others(engine, CLIENT)[0])
    assert engine.unsettled
    settled = engine.change()
    assert settled.endpoints.keys() == {SERVER, CLIENT}, "the server has an address in it, too"
    assert settled.identities_freed
    assert not engine.unsettled
    assert to_others(engine, CLIENT) == (labels(app="client"), labels(app="client"))


def test_a_block_that_comes_back_meanwhile_stays() -> None:
    engine = node(NEAR)
    before = to_others(engine, CLIENT)
    engine.change([NO_NEAR])
    change = engine.change([NEAR])
    assert to_others(engine, CLIENT) == before
    assert change.endpoints.keys() == {SERVER}


def test_an_endpoint_that_moves_into_a_block_is_another_to_others() -> None:
    engine = node(NEAR)
    moved = replace(endpoint(FAR, ipv6=True, app="client"), ipv4=pack_address("10.0.0.3"))
    change = engine.change([EndpointUpserted(moved)])
    assert change.endpoints.keys() == {FAR}
    assert to_others(engine, FAR) == to_others(engine, CLIENT)


def test_workloads_elsewhere_are_in_blocks_too_and_the_host_is_not() -> None:
    peer, host = Prefix.parse("10.0.0.6"), pack_address("10.0.0.7")
    engine = node(NEAR, PeerUpserted(peer, labels(app="client")), HostAddressesChanged(frozenset({host})))
    assert told(engine.identities[engine.identity_of_address(peer.packed)])
    assert verdict(engine, "10.0.0.6") is VerdictKind.ALLOW
    assert engine.identity_of_address(host) == ReservedIdentity.HOST
    engine.change([NO_NEAR])
    engine.change()
    assert not told(engine.identities[engine.identity_of_address(peer.packed)])


def test_an_address_outside_is_in_a_block_as_in_a_cidr() -> None:
    engine = node(NEAR)
    outside = engine.identity_of_address(pack_address("10.0.0.4"))
    assert verdict(engine, "10.0.0.4") is VerdictKind.ALLOW
    assert verdict(engine, "10.0.0.200") is VerdictKind.DENY
    assert outside > 1 << 24


def test_nobody_but_kinety_says_who_is_in_a_block() -> None:
    engine = node(NEAR)
    honest = endpoint(7, app="client")
    forged = replace(honest, labels=honest.labels | {block("10.0.0.0/29", "10.0.0.5/32").label})
    before = engine.snapshot()
    with pytest.raises(ValueError, match="nobody but Kinety sets labels of 'block'"):
        engine.change([EndpointUpserted(forged)])
    assert engine.snapshot() == before
