"""Flows through a proxy, with real packets: who is led there, who is not, and what everybody sees."""

from collections.abc import Iterator

import pytest

from kinety import abi
from kinety.abi import Redirect
from kinety.model.identity import Identity
from tests.netns.datapath_node import HOST, OUTSIDE, Node, address, plan, refused, rule_sets
from tests.netns.redirect_lab import (
    ALLIANCE,
    ALLIANCE_CLASS,
    CLIENT,
    EGRESS,
    EMPIRE,
    HOST_CLASS,
    HOST_IDENTITY,
    INGRESS,
    NEEDS,
    PORT,
    SERVER,
    WORLD,
    WORLD_CLASS,
    Proxies,
    both_proxies,
    families,
    reach_endpoints,
    redirect_lab,
    talking,
    to_proxy,
)

pytestmark = pytest.mark.needs(*NEEDS)


@pytest.fixture
def lab(request: pytest.FixtureRequest, redirect: Redirect) -> Iterator[Node]:
    """Whether the node masquerades may be said."""
    with redirect_lab(masquerade=getattr(request, "param", True), redirect=redirect) as built:
        yield built


@pytest.fixture
def proxies(lab: Node) -> Iterator[Proxies]:
    with both_proxies(lab) as made:
        yield made


@families
def test_egress_to_an_endpoint(lab: Node, proxies: Proxies, family: int) -> None:
    lab.put({CLIENT: plan(ALLIANCE, egress="egress")})
    where = address(SERVER, family)
    with talking(lab.endpoints["client"], lab.endpoints["server"], where) as talk:
        assert talk.works()
        assert talk.refuses()
        assert talk.seen[0] == address(CLIENT, family)
        [accepted] = proxies[EGRESS].accepted
        assert accepted.client == talk.client.getsockname()[:2]
        assert accepted.destination == (where, PORT)
        assert accepted.identity == ALLIANCE
        assert not proxies[INGRESS].accepted


@families
def test_ingress_of_an_endpoint(lab: Node, proxies: Proxies, family: int) -> None:
    lab.put({SERVER: plan(EMPIRE, ingress="ingress")})
    where = address(SERVER, family)
    with talking(lab.endpoints["client"], lab.endpoints["server"], where) as talk:
        assert talk.works()
        assert talk.refuses()
        assert talk.seen[0] == address(CLIENT, family)
        [accepted] = proxies[INGRESS].accepted
        assert accepted.identity == ALLIANCE
        assert not proxies[EGRESS].accepted


@families
def test_egress_and_ingress(lab: Node, proxies: Proxies, family: int) -> None:
    lab.put({CLIENT: plan(ALLIANCE, egress="egress"), SERVER: plan(EMPIRE, ingress="ingress")})
    where = address(SERVER, family)
    with talking(lab.endpoints["client"], lab.endpoints["server"], where) as talk:
        assert talk.works()
        assert talk.refuses()
        assert talk.seen[0] == address(CLIENT, family)
        for proxy in proxies.values():
            [accepted] = proxy.accepted
            assert accepted.client[0] == address(CLIENT, family)
            assert accepted.destination == (where, PORT)
            assert accepted.identity == ALLIANCE


@families
def test_ingress_from_the_node_itself(lab: Node, proxies: Proxies, family: int) -> None:
    lab.put({SERVER: plan(EMPIRE, ingress="ingress")})
    with talking(lab.namespace, lab.endpoints["server"], address(SERVER, family)) as talk:
        assert talk.works()
        assert talk.refuses()
        assert talk.seen[0] == talk.client.getsockname()[0]
        [accepted] = proxies[INGRESS].accepted
        assert accepted.identity == HOST_IDENTITY
        assert accepted.client == talk.client.getsockname()[:2]


@families
def test_who_a_client_is_counts_before_the_proxy_and_behind(lab: Node, proxies: Proxies, family: int) -> None:
    """Rules for one class, and nothing for others: each client is judged twice, and is itself each time."""
    reach_endpoints(lab)
    clients = {
        ALLIANCE_CLASS: lab.endpoints["client"],
        HOST_CLASS: lab.namespace,
        WORLD_CLASS: lab.outside,
    }
    where = address(SERVER, family)
    for chosen in clients:
        name = f"only-{chosen}"
        lab.put(
            {SERVER: plan(EMPIRE, ingress=name)}, rule_sets=rule_sets(**{name: to_proxy(INGRESS, of=chosen)})
        )
        for each, namespace in clients.items():
            if each != chosen:
                assert refused(namespace, where, PORT)
                continue
            with talking(namespace, lab.endpoints["server"], where) as talk:
                assert talk.works()
    told = {accepted.identity for accepted in proxies[INGRESS].accepted}
    assert told == {ALLIANCE, HOST_IDENTITY, WORLD[family]}


@families
def test_an_identity_of_this_node_alone_is_told_whole(lab: Node, proxies: Proxies, family: int) -> None:
    """It has a bit more than the mark's usual place for it."""
    local = Identity(abi.ReservedIdentity.LOCAL_BIT | 70003)
    lab.put({CLIENT: plan(local, egress="egress")})
    with talking(lab.endpoints["client"], lab.endpoints["server"], address(SERVER, family)) as talk:
        assert talk.works()
    assert [accepted.identity for accepted in proxies[EGRESS].accepted] == [local]


@families
def test_ingress_from_outside(lab: Node, proxies: Proxies, family: int) -> None:
    reach_endpoints(lab)
    lab.put({SERVER: plan(EMPIRE, ingress="ingress")})
    with talking(lab.outside, lab.endpoints["server"], address(SERVER, family)) as talk:
        assert talk.works()
        assert talk.refuses()
        assert talk.seen[0] == OUTSIDE[family]
        [accepted] = proxies[INGRESS].accepted
        assert accepted.identity == WORLD[family]


@families
def test_egress_to_the_node_itself(lab: Node, proxies: Proxies, family: int) -> None:
    lab.put({CLIENT: plan(ALLIANCE, egress="egress")})
    with talking(lab.endpoints["client"], lab.namespace, HOST[family]) as talk:
        assert talk.works()
        assert talk.refuses()
        assert talk.seen[0] == address(CLIENT, family)
        [accepted] = proxies[EGRESS].accepted
        assert (accepted.identity, accepted.destination) == (ALLIANCE, (HOST[family], PORT))


@families
@pytest.mark.parametrize("lab", [True, False], indirect=True, ids=["masquerade", "routed"])
def test_egress_to_the_outside(lab: Node, proxies: Proxies, family: int) -> None:
    reach_endpoints(lab)
    lab.put({CLIENT: plan(ALLIANCE, egress="egress")})
    with talking(lab.endpoints["client"], lab.outside, OUTSIDE[family]) as talk:
        assert talk.works()
        assert talk.refuses()
        seen = HOST[family] if lab.settings.masquerade else address(CLIENT, family)
        assert talk.seen[0] == seen
        [accepted] = proxies[EGRESS].accepted
        assert (accepted.identity, accepted.destination) == (ALLIANCE, (OUTSIDE[family], PORT))
