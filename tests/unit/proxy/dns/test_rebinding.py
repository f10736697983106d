"""Which addresses are protected."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from kinety.model.layer7 import NamePattern
from kinety.proxy.dns.rebinding import Protection

OWN = ip_address("198.51.100.7")
ALL = Protection.of([OWN], exempt=[NamePattern("**.cluster.local")])
PUBLIC = Protection.of([OWN], private=False)


LOCAL = ("127.0.0.1", "0.0.0.0", "169.254.169.254", "::1", "::", "fe80::1", "198.51.100.7")
HIDDEN = ("::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "::ffff:198.51.100.7")


@pytest.mark.parametrize("address", [*LOCAL, *HIDDEN])
def test_the_node_is_protected_in_every_form(address: str) -> None:
    assert ALL.refuses("www.example.com", [ip_address("192.0.2.1"), ip_address(address)])
    assert PUBLIC.refuses("www.example.com", [ip_address(address)])


@pytest.mark.parametrize(
    "address", ["10.0.0.1", "172.31.0.1", "192.168.1.1", "100.64.0.1", "fd00::1", "64:ff9b::a00:1"]
)
def test_private_addresses_are_unless_asked_otherwise(address: str) -> None:
    assert ALL.refuses("www.example.com", [ip_address(address)])
    assert not PUBLIC.refuses("www.example.com", [ip_address(address)])


@pytest.mark.parametrize("address", ["192.0.2.1", "2001:db8::1", "64:ff9b::c000:201"])
def test_other_addresses_are_not(address: str) -> None:
    assert not ALL.refuses("www.example.com", [ip_address(address)])


def test_some_names_may_and_it_can_be_off() -> None:
    assert not ALL.refuses("db.default.svc.cluster.local", [ip_address("10.0.0.1")])
    assert not Protection().refuses("www.example.com", [ip_address("127.0.0.1")])


def test_it_survives_json() -> None:
    assert Protection.from_json(ALL.to_json()) == ALL
