from ipaddress import IPv4Network, IPv6Network, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroaring import BitMap

from kinety.identity.journal import Journal
from kinety.identity.prefix_index import (
    IPV4_WORLD,
    IPV6_WORLD,
    LengthTable,
    PrefixIndex,
    labels_of,
    selects,
)
from kinety.model.address import Prefix, pack_address
from kinety.model.identity import Identity, ReservedIdentity
from kinety.model.label import Label
from kinety.model.selector import CidrSelector
from tests.unit.plan.saying import cidr

Network = IPv4Network | IPv6Network

# Few bits that vary, so that prefixes nest; zeroes included, so that IPv6 comes near mapped IPv4.
v4 = st.builds(
    lambda top, low, length: ip_network(((top << 24) | low, length), strict=False),
    st.sampled_from((0, 10, 11, 255)),
    st.integers(0, 3),
    st.sampled_from((0, 1, 7, 8, 9, 24, 30, 31, 32)),
)
v6 = st.builds(
    lambda top, low, length: IPv6Network(((top << 112) | low, length), strict=False),
    st.sampled_from((0, 0x2001, 0x2002, 0xFFFF)),
    st.sampled_from((0, 1, 2, 0xFFFF0A000001)),
    st.sampled_from((0, 1, 3, 15, 16, 64, 80, 96, 97, 127, 128)),
)


def is_mapped(network: Network) -> bool:
    return network.version == 6 and network.subnet_of(IPv6Network("::ffff:0:0/96"))


networks = st.one_of(v4, v6).filter(lambda network: not is_mapped(network))


def prefix(network: Network) -> Prefix:
    return Prefix.parse(str(network))


def inside(inner: Network, outer: Network) -> bool:
    """What the standard library says, families kept apart."""
    return inner.version == outer.version and inner.subnet_of(outer)  # type: ignore[arg-type]


@given(networks, networks)
def test_covers_agrees_with_the_standard_library(outer: Network, inner: Network) -> None:
    assert prefix(outer).covers(prefix(inner)) is inside(inner, outer)


def test_the_ipv6_world_does_not_cover_mapped_ipv4() -> None:
    assert Prefix.parse("::/0").contains(Prefix.parse("10.0.0.1"))
    assert not Prefix.parse("::/0").covers(Prefix.parse("10.0.0.1"))
    assert not Prefix.parse("0.0.0.0/0").covers(Prefix.parse("2001:db8::1"))


@given(st.lists(networks, max_size=6), networks)
def test_around_finds_every_prefix_that_holds_one_longest_first(known: list[Network], asked: Network) -> None:
    table = LengthTable()
    for each in known:
        table.add(prefix(each).length)
    found = table.around(prefix(asked).packed, prefix(asked).length)
    assert [each.length for each in found] == sorted({each.length for each in found}, reverse=True)
    assert {prefix(each) for each in known if inside(asked, each)} <= set(found)
    assert all(each.contains(prefix(asked)) for each in found)
    for each in known:
        table.remove(prefix(each).length)
    assert table.around(prefix(asked).packed) == []


def test_a_length_is_in_use_as_long_as_one_prefix_has_it() -> None:
    table = LengthTable()
    table.add(104)
    table.add(104)
    table.remove(104)
    assert table.around(pack_address("10.1.2.3")) == [Prefix.parse("10.0.0.0/8")]


selectors = st.builds(
    lambda outer, holes: CidrSelector(prefix(outer), tuple(prefix(each) for each in holes)),
    networks,
    st.lists(networks, max_size=2),
)


@given(st.sets(networks, max_size=8), st.sets(networks, max_size=3), selectors)
def test_select_asks_each_prefix(kept: set[Network], undone: set[Network], selector: CidrSelector) -> None:
    journal = Journal()
    index = PrefixIndex(journal)
    held = {IPV4_WORLD: Identity(9), IPV6_WORLD: Identity(10)}
    for number, network in enumerate(kept - {ip_network("0.0.0.0/0"), ip_network("::/0")}):
        held[prefix(network)] = Identity((1 << 24) + 1 + number)
        index.add(prefix(network), held[prefix(network)])
    journal.commit()
    change(index, undone, held)
    journal.rollback()

    assert index.select(selector) == naive(held, selector)
    assert all(index.prefix(identity) == each for each, identity in held.items())
    for network in undone:
        assert index.identity(prefix(network)) == held.get(prefix(network))
    index.select(selector).clear()
    assert index.select(selector) == naive(held, selector), "the bitmap is the caller's own"


def change(index: PrefixIndex, networks: set[Network], held: dict[Prefix, Identity]) -> None:
    """Remove what is there and add what is not, and see that it took."""
    for number, network in enumerate(networks):
        each = prefix(network)
        if each in held:
            index.remove(each)
            assert index.identity(each) is None
            assert index.prefix(held[each]) is None
        else:
            index.add(each, Identity((1 << 24) + 100 + number))
            assert index.identity(each) == (1 << 24) + 100 + number


def naive(held: dict[Prefix, Identity], selector: CidrSelector) -> BitMap:
    def network(each: Prefix) -> Network:
        return ip_network(str(each))

    return BitMap(
        identity
        for each, identity in held.items()
        if inside(network(each), network(selector.prefix))
        and not any(inside(network(each), network(hole)) for hole in selector.except_)
    )


@pytest.mark.parametrize(
    ("selector", "text", "selected"),
    [
        (cidr("10.0.0.0/8"), "10.0.0.0/8", True),
        (cidr("10.0.0.0/8"), "10.1.0.0/16", True),
        (cidr("10.0.0.0/8"), "0.0.0.0/0", False),
        (cidr("10.0.0.0/8", "10.1.0.0/16"), "10.1.0.0/16", False),
        (cidr("10.0.0.0/8", "10.1.0.0/16"), "10.1.2.3/32", False),
        (cidr("10.0.0.0/8", "10.1.0.0/16"), "10.2.0.0/16", True),
        # It holds the exception, but addresses of that have an identity of their own.
        (cidr("10.0.0.0/8", "10.1.0.0/16"), "10.0.0.0/15", True),
        (cidr("2001:db8::/32", "2001:db8:1::/48"), "2001:db8:1::1/128", False),
        (cidr("2001:db8::/32", "2001:db8:1::/48"), "2001:db8:2::1/128", True),
        (cidr("::/0"), "10.0.0.0/8", False),
    ],
)
def test_selects(selector: CidrSelector, text: str, selected: bool) -> None:
    assert selects(selector, Prefix.parse(text)) is selected


def test_a_prefix_carries_itself_and_the_world_of_its_family() -> None:
    assert labels_of(Prefix.parse("10.0.0.0/8")) == {
        Label("cidr", "10.0.0.0/8"),
        Label("reserved", "world-ipv4"),
    }
    assert labels_of(Prefix.parse("2001:db8::/32")) == {
        Label("cidr", "2001:db8::/32"),
        Label("reserved", "world-ipv6"),
    }
    assert labels_of(IPV4_WORLD) == ReservedIdentity.WORLD_IPV4.labels
    assert labels_of(IPV6_WORLD) == ReservedIdentity.WORLD_IPV6.labels
