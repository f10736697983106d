import pytest

from kinety.model.address import Prefix, pack_address
from kinety.model.endpoint import Endpoint, EndpointId
from kinety.model.label import Label
from kinety.model.reference import CidrGroup, Service
from kinety.plan.fact import (
    CidrGroupRemoved,
    CidrGroupUpserted,
    EndpointRemoved,
    EndpointUpserted,
    Fact,
    HostAddressesChanged,
    NamesLearnt,
    NodeLabelsChanged,
    PeerRemoved,
    PeerUpserted,
    PolicyRemoved,
    PolicyUpserted,
    ServiceRemoved,
    ServiceUpserted,
)
from kinety.plan.news import News, fold
from tests.unit.plan.saying import endpoint, labels, policy, rule

ONE, RELABELLED = endpoint(1, app="a"), endpoint(1, app="b")
P, Q = policy("p", rule()), policy("p", rule(default_deny=False))
NET = Prefix.parse("172.16.0.0/16")
GROUP, WEB = CidrGroup("vpn", labels(), (NET,)), Service("default", "web", labels(), None, (NET,))
A_COM, ZONE = frozenset({"a.com"}), frozenset({Label("node", "zone", "a")})
HOSTS = frozenset({pack_address("10.9.0.1"), pack_address("fd00::9")})


@pytest.mark.parametrize(
    ("facts", "news"),
    [
        ([], News()),
        ([EndpointUpserted(ONE), EndpointUpserted(RELABELLED)], News(endpoints={ONE.id: RELABELLED})),
        ([EndpointUpserted(ONE), EndpointRemoved(ONE.id)], News(endpoints={ONE.id: None})),
        ([EndpointRemoved(ONE.id), EndpointUpserted(ONE)], News(endpoints={ONE.id: ONE})),
        ([PolicyUpserted(P), PolicyUpserted(Q)], News(policies={P.key: Q})),
        ([PolicyUpserted(P), PolicyRemoved(P.key)], News(policies={P.key: None})),
        ([PeerUpserted(NET, labels(app="a")), PeerRemoved(NET)], News(peers={NET: None})),
        ([PeerRemoved(NET), PeerUpserted(NET, labels())], News(peers={NET: labels()})),
        ([HostAddressesChanged(HOSTS), HostAddressesChanged(frozenset())], News(hosts=frozenset())),
        ([CidrGroupUpserted(GROUP), CidrGroupRemoved("vpn")], News(groups={"vpn": None})),
        ([CidrGroupRemoved("vpn"), CidrGroupUpserted(GROUP)], News(groups={"vpn": GROUP})),
        ([ServiceUpserted(WEB), ServiceRemoved("default", "web")], News(services={("default", "web"): None})),
        ([ServiceRemoved("default", "web"), ServiceUpserted(WEB)], News(services={("default", "web"): WEB})),
        ([NamesLearnt(NET, A_COM), NamesLearnt(NET, frozenset())], News(names={NET: frozenset()})),
        ([NodeLabelsChanged(ZONE), NodeLabelsChanged(frozenset())], News(node=frozenset())),
    ],
)
def test_the_last_word_on_each_thing_counts(facts: list[Fact], news: News) -> None:
    assert fold(facts) == news
    assert fold(iter(facts)) == news


def test_no_addresses_and_no_word_about_them_are_different() -> None:
    assert fold([]).hosts is None
    assert fold([HostAddressesChanged(frozenset())]).hosts == frozenset()


@pytest.mark.parametrize("address", [b"", b"\x0a\x00\x00\x01", bytes(17)])
def test_an_address_is_sixteen_bytes(address: bytes) -> None:
    ipv4 = Endpoint(EndpointId(1), "default", "x", labels(), address, None)
    ipv6 = Endpoint(EndpointId(1), "default", "x", labels(), None, address)
    for fact in (
        EndpointUpserted(ipv4),
        EndpointUpserted(ipv6),
        HostAddressesChanged(HOSTS | {address}),
    ):
        with pytest.raises(ValueError, match=f"has {len(address)} bytes, not 16"):
            fold([fact])


def test_only_labels_of_nodes_are_a_nodes() -> None:
    with pytest.raises(ValueError, match="k8s:app=a is no label of a node; write node:key=value"):
        fold([NodeLabelsChanged(labels(app="a"))])
