import pytest

from kinety.model.address import Prefix, pack_address
from kinety.model.endpoint import Endpoint, EndpointId
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
from kinety.plan.news import News, fold
from tests.unit.plan.saying import endpoint, labels, policy, rule

ONE, RELABELLED = endpoint(1, app="a"), endpoint(1, app="b")
P, Q = policy("p", rule()), policy("p", rule(default_deny=False))
NET = Prefix.parse("172.16.0.0/16")
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
