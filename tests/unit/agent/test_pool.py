from ipaddress import ip_address, ip_network

import pytest

from kinety.agent.pool import AddressPool, PoolExhausted


def test_addresses_are_given_in_turn_and_reused_late() -> None:
    pool = AddressPool.parse("10.0.0.0/29")
    first = [pool.take() for _ in range(3)]
    assert [str(address) for address in first] == ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
    pool.release(first[0])
    assert str(pool.take()) == "10.0.0.4"
    assert [str(pool.take()) for _ in range(3)] == ["10.0.0.5", "10.0.0.6", "10.0.0.1"]
    assert (pool.used, pool.size) == (6, 6)
    with pytest.raises(PoolExhausted, match=r"10\.0\.0\.0/29 is exhausted: 6 of 6"):
        pool.take()


def test_a_restart_goes_on_after_the_highest() -> None:
    used = [ip_address("10.0.0.2"), ip_address("10.0.0.4"), ip_address("192.0.2.1")]
    pool = AddressPool(ip_network("10.0.0.0/29"), used)
    assert pool.used == 2
    assert [str(pool.take()) for _ in range(4)] == ["10.0.0.5", "10.0.0.6", "10.0.0.1", "10.0.0.3"]


def test_given_addresses_are_taken_too() -> None:
    pool = AddressPool.parse("fd00::/126")
    pool.reserve(ip_address("fd00::2"))
    pool.reserve(ip_address("2001:db8::1"))
    assert [str(pool.take()) for _ in range(2)] == ["fd00::1", "fd00::3"]
    pool.release(ip_address("2001:db8::1"))
    pool.release(ip_address("fd00::2"))
    assert str(pool.take()) == "fd00::2"


def test_a_large_prefix_costs_nothing() -> None:
    pool = AddressPool.parse("fd00::/64")
    assert pool.size == 2**64 - 1
    assert str(pool.take()) == "fd00::1"


@pytest.mark.parametrize("prefix", ["10.0.0.1/32", "10.0.0.0/31", "fd00::1/128", "10.0.0.1/24", "x"])
def test_impossible_prefixes(prefix: str) -> None:
    with pytest.raises(ValueError, match=r"no address to give|host bits|IPv4 or IPv6"):
        AddressPool.parse(prefix)
