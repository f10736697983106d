import os
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from kinety.agent.address_book import AddressBook, PoolExhausted
from kinety.agent.pool import AddressPool
from kinety.agent.request import addresses_of, check_mtu, check_names, labels_of, listens_of, open_namespace
from kinety.agent.store import Store
from kinety.api.errors import ApiError
from kinety.api.types import EndpointRequest
from kinety.model.address import IPAddress, pack_address
from kinety.model.endpoint import Endpoint, EndpointId, Listen

REQUEST = EndpointRequest("xwing", netns="/run/netns/x")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path / "s.db")
    yield made
    made.close()


@pytest.fixture
def book(store: Store) -> AddressBook:
    return AddressBook(store, [AddressPool.parse("10.0.0.0/29"), AddressPool.parse("fd00::/64")])


def nobody(address: IPAddress) -> bool:
    return False


def claim(book: AddressBook, name: str, ipv4: IPAddress, ipv6: IPAddress | None = None) -> None:
    """Let an endpoint have addresses."""
    second = None if ipv6 is None else pack_address(ipv6)
    with book.claim(Endpoint(EndpointId(1), "default", name, frozenset(), pack_address(ipv4), second)):
        pass


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"name": ""}, "name"),
        ({"name": "a/b"}, "name"),
        ({"name": "-a"}, "name"),
        ({"name": "a" * 254}, "name"),
        ({"namespace": "a b"}, "namespace"),
        ({"namespace": "a\n"}, "namespace"),
        ({"interface": "x" * 16}, "interface"),
        ({"interface": ".."}, "interface"),
        ({"interface": "a:1"}, "interface"),
        ({"mtu": 67}, "mtu"),
    ],
)
def test_impossible_names(change: dict[str, object], path: str) -> None:
    check_names(REQUEST)
    with pytest.raises(ApiError) as raised:
        check_names(replace(REQUEST, **change))
    assert (raised.value.status, raised.value.problem.path) == (400, path)


def test_ipv6_needs_its_width() -> None:
    both: dict[int, IPAddress] = {4: ip_address("10.0.0.1"), 6: ip_address("fd00::1")}
    check_mtu(1280, both)
    check_mtu(None, both)
    check_mtu(68, {4: both[4]})
    with pytest.raises(ApiError, match="1280") as raised:
        check_mtu(1279, both)
    assert (raised.value.status, raised.value.problem.path) == (400, "mtu")


def test_labels_are_the_endpoints_and_its_namespaces() -> None:
    request = replace(REQUEST, labels=("org=alliance", "container:x=1"), namespace_labels={"env": "prod"})
    assert sorted(map(str, labels_of(request))) == [
        "container:x=1",
        "k8s:io.cilium.k8s.namespace.labels.env=prod",
        "k8s:io.kubernetes.pod.namespace=default",
        "k8s:org=alliance",
    ]


@pytest.mark.parametrize(
    ("labels", "word"),
    [
        (("reserved:host",), "cannot set"),
        (("cidr:10.0.0.0/8",), "cannot set"),
        (("port:http=80/TCP",), "cannot set"),
        (("block:10.0.0.0/8",), "cannot set"),
        (("=x",), "no key"),
        (("io.kubernetes.pod.namespace=prod",), "speaks for a namespace"),
        (("a=1", "k8s:a=2"), "two values"),
        (("a=" + "x" * 400,), "too long"),
        (("a=\x1b[2J",), "not printable"),
    ],
)
def test_labels_nobody_may_set(labels: tuple[str, ...], word: str) -> None:
    with pytest.raises(ApiError, match=word) as raised:
        labels_of(replace(REQUEST, labels=labels))
    assert raised.value.status == 400


def test_ports_have_names() -> None:
    request = replace(REQUEST, port_names=("http=80/TCP", "dns=53/UDP", "dns=53/TCP", "x-1=9"))
    assert listens_of(request) == {
        Listen("http", 6, 80), Listen("dns", 17, 53), Listen("dns", 6, 53), Listen("x-1", 6, 9),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("names", "word"),
    [
        (("http",), "write name=port/protocol"),
        (("=80",), "write name=port/protocol"),
        (("http=0/TCP",), "0 is not a port"),
        (("http=65536",), "65536 is not a port"),
        (("http=80/ICMP",), "no protocol with ports"),
        (("80=80/TCP",), "no name of a port"),
        (("a--b=80",), "no name of a port"),
        (("HTTP=80",), "lower-case"),
        (("a2345678901234567=80",), "no name of a port"),
        (("http=80/TCP", "http=81/TCP"), "given to two ports"),
    ],
)
def test_port_names_that_cannot_be(names: tuple[str, ...], word: str) -> None:
    with pytest.raises(ApiError, match=word) as raised:
        listens_of(replace(REQUEST, port_names=names))
    assert (raised.value.status, raised.value.problem.path) == (400, "port_names")


def test_the_next_free_address_of_each_pool_stays_free(book: AddressBook) -> None:
    for _ in range(2):
        found = addresses_of(REQUEST, book, nobody)
        assert {str(address) for address in found.values()} == {"10.0.0.1", "fd00::1"}
    assert book.entries() == ()


def test_a_given_address_is_taken_and_the_other_family_follows(store: Store, book: AddressBook) -> None:
    found = addresses_of(replace(REQUEST, addresses=("10.0.0.1",)), book, nobody)
    assert [str(found[version]) for version in (4, 6)] == ["10.0.0.1", "fd00::1"]
    claim(book, "x", found[4], found[6])
    after = addresses_of(REQUEST, book, nobody)
    assert [str(address) for address in after.values()] == ["10.0.0.2", "fd00::2"]
    elsewhere = addresses_of(replace(REQUEST, addresses=("192.0.2.7",)), AddressBook(store), nobody)
    assert [str(address) for address in elsewhere.values()] == ["192.0.2.7"]


def test_addresses_of_the_node_are_passed_over(book: AddressBook) -> None:
    own = {ip_address("10.0.0.1"), ip_address("fd00::1")}
    found = addresses_of(REQUEST, book, own.__contains__)
    assert {str(address) for address in found.values()} == {"10.0.0.2", "fd00::2"}


@pytest.mark.parametrize(
    ("addresses", "status"),
    [
        (("10.0.0.9",), 409),
        (("10.0.0.1", "10.0.0.2"), 400),
        (("10.0.0.0/8",), 400),
        (("127.0.0.1",), 400),
        (("224.0.0.1",), 400),
        (("0.0.0.0",), 400),
        (("255.255.255.255",), 400),
        (("fe80::1",), 400),
        (("::ffff:10.0.0.1",), 400),
        (("fd00::1%eth0",), 400),
        (("x",), 400),
    ],
)
def test_impossible_addresses(book: AddressBook, addresses: tuple[str, ...], status: int) -> None:
    own = {ip_address("10.0.0.9")}
    with pytest.raises(ApiError) as raised:
        addresses_of(replace(REQUEST, addresses=addresses), book, own.__contains__)
    assert (raised.value.status, raised.value.problem.path) == (status, "addresses")


def test_an_address_that_is_anothers_is_refused_by_name(book: AddressBook) -> None:
    claim(book, "y", ip_address("10.0.0.3"))
    with pytest.raises(ApiError, match=r"10\.0\.0\.3 is in use by endpoint default/y") as raised:
        addresses_of(replace(REQUEST, addresses=("10.0.0.3",)), book, nobody)
    assert raised.value.status == 409


def test_an_empty_pool_is_no_room(store: Store) -> None:
    book = AddressBook(store, [AddressPool.parse("fd00::/64"), AddressPool.parse("10.0.0.0/30")])
    for number in (1, 2):
        claim(book, f"x{number}", ip_address(f"10.0.0.{number}"))
    with pytest.raises(PoolExhausted, match=r"10\.0\.0\.0/30 is exhausted"):
        addresses_of(REQUEST, book, nobody)
    assert len(book.entries()) == 2


def test_without_pools_an_address_must_be_given(store: Store) -> None:
    with pytest.raises(ApiError, match="no address pools"):
        addresses_of(REQUEST, AddressBook(store), nobody)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"netns": None}, "exactly one"),
        ({"pid": 1}, "exactly one"),
        ({"netns": "relative"}, "absolute"),
        ({"netns": "/run/netns/no-such-thing"}, "No such file"),
        ({"netns": "/etc/passwd"}, "not a namespace"),
        ({"netns": "/proc/self/ns/mnt"}, "another kind"),
        ({"netns": None, "pid": 2**22 + 1}, "no process"),
        ({"netns": None, "pid": os.getpid()}, "the node's own"),
    ],
)
def test_namespaces_that_cannot_be(change: dict[str, object], word: str) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(ApiError, match=word) as raised:
        open_namespace(replace(REQUEST, **change))
    assert raised.value.status == 400
    assert len(list(Path("/proc/self/fd").iterdir())) == before
