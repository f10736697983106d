from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinety.model.address import Prefix, pack_address, unpack_address


@given(st.ip_addresses())
def test_addresses_survive_packing(address: object) -> None:
    packed = pack_address(str(address))
    assert len(packed) == 16
    if str(address).startswith("::ffff:") and "." not in str(address):
        return
    assert unpack_address(packed) == ip_address(str(address))


def test_ipv4_is_mapped() -> None:
    assert pack_address("10.1.2.3") == bytes(10) + b"\xff\xff\x0a\x01\x02\x03"


@pytest.mark.parametrize(
    ("text", "shown", "length"),
    [
        ("10.1.2.3/8", "10.0.0.0/8", 104),
        ("10.1.2.3", "10.1.2.3/32", 128),
        ("0.0.0.0/0", "0.0.0.0/0", 96),
        ("fd00::1/64", "fd00::/64", 64),
        ("::/0", "::/0", 0),
    ],
)
def test_prefix_parse(text: str, shown: str, length: int) -> None:
    prefix = Prefix.parse(text)
    assert (str(prefix), prefix.length) == (shown, length)


@pytest.mark.parametrize(
    "text", ["10.0.0.0/255.0.255.0", "10.0.0.0/255.0.0.0", "10.0.0/8", "x", "10.0.0.0/33"]
)
def test_prefix_refuses(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the message is ipaddress's own in most of these
        Prefix.parse(text)


@given(st.ip_addresses(v=4), st.integers(0, 32), st.ip_addresses(v=4), st.integers(0, 32))
def test_contains_agrees_with_the_standard_library(a: object, n: int, b: object, m: int) -> None:
    outer, inner = ip_network(f"{a}/{n}", strict=False), ip_network(f"{b}/{m}", strict=False)
    expected = inner.subnet_of(outer)  # type: ignore[arg-type]
    assert Prefix.parse(f"{a}/{n}").contains(Prefix.parse(f"{b}/{m}")) is expected


def test_the_families_do_not_contain_each_other() -> None:
    assert not Prefix.parse("0.0.0.0/0").contains(Prefix.parse("fd00::/8"))
    assert not Prefix.parse("fd00::/8").contains(Prefix.parse("10.0.0.0/8"))
