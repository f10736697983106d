from ipaddress import IPv4Address, ip_address, ip_network

import pytest

from kinety.agent.pool import AddressPool, overlap
from kinety.model.address import IPAddress


def take(pool: AddressPool) -> str:
    """The next address, held."""
    address = pool.next()
    assert address is not None
    pool.hold(address)
    return str(address)


def test_addresses_are_given_in_turn_and_reused_late() -> None:
    pool = AddressPool.parse("10.0.0.0/29")
    assert [take(pool) for _ in range(3)] == ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
    for text in ("10.0.0.2", "10.0.0.1"):
        pool.free(ip_address(text))
    assert [take(pool) for _ in range(4)] == ["10.0.0.4", "10.0.0.5", "10.0.0.6", "10.0.0.2"]
    assert (pool.held, pool.size) == (5, 6)
    assert take(pool) == "10.0.0.1"
    assert pool.next() is None


def test_an_address_that_is_next_is_not_taken() -> None:
    pool = AddressPool.parse("10.0.0.0/29")
    assert [str(pool.next()) for _ in range(2)] == ["10.0.0.1", "10.0.0.1"]
    assert pool.held == 0


def test_what_was_given_up_at_once_has_had_its_turn() -> None:
    pool = AddressPool.parse("10.0.0.0/29")
    pool.free(ip_address(take(pool)))
    assert take(pool) == "10.0.0.2"


def test_nobody_gets_an_address_in_quarantine() -> None:
    pool = AddressPool.parse("10.0.0.0/30")
    pool.quarantine(ip_address(take(pool)))
    assert (pool.held, pool.quarantined) == (0, 1)
    take(pool)
    assert pool.next() is None
    pool.free(ip_address("10.0.0.1"))
    assert (take(pool), pool.quarantined) == ("10.0.0.1", 0)


def test_a_restart_goes_on_after_the_highest() -> None:
    pool = AddressPool(ip_network("10.0.0.0/29"))
    known = [ip_address("10.0.0.2"), ip_address("10.0.0.4")]
    pool.begin_after([*known, ip_address("192.0.2.1"), ip_address("fd00::1")])
    for address in known:
        pool.hold(address)
    assert [take(pool) for _ in range(4)] == ["10.0.0.5", "10.0.0.6", "10.0.0.1", "10.0.0.3"]


def test_addresses_to_avoid_are_tried_again() -> None:
    pool = AddressPool.parse("10.0.0.0/29")
    node = {ip_address("10.0.0.1"), ip_address("10.0.0.6")}
    assert str(pool.next(node.__contains__)) == "10.0.0.2"
    for number in range(2, 6):
        pool.hold(IPv4Address(f"10.0.0.{number}"))
    assert pool.next(node.__contains__) is None
    node.remove(ip_address("10.0.0.6"))
    assert str(pool.next(node.__contains__)) == "10.0.0.6"


@pytest.mark.parametrize(
    ("reserved", "given"),
    [
        (["10.0.0.0/30"], [4, 5, 6]),
        (["10.0.0.4/30"], [1, 2, 3]),
        (["10.0.0.2/32", "10.0.0.3/32", "10.0.0.2/31", "fd00::/8", "10.0.1.0/24"], [1, 4, 5, 6]),
    ],
)
def test_reserved_addresses_are_not_given(reserved: list[str], given: list[int]) -> None:
    pool = AddressPool(ip_network("10.0.0.0/29"), map(ip_network, reserved))
    assert pool.size == len(given)
    assert [pool.gives(ip_address(f"10.0.0.{number}")) for number in range(9)] == [
        number in given for number in range(9)
    ]
    assert sorted(take(pool) for _ in given) == [f"10.0.0.{number}" for number in given]
    assert pool.next() is None


def test_large_prefixes_cost_nothing() -> None:
    pool = AddressPool(ip_network("fd00::/64"), [ip_network("fd00::/65")])
    assert pool.size == 2**63
    assert take(pool) == "fd00::8000:0:0:0"
    last: IPAddress = ip_address("fd00::ffff:ffff:ffff:ffff")
    pool = AddressPool.parse("fd00::/64")
    pool.begin_after([last])
    pool.hold(last)
    assert take(pool) == "fd00::1"


def test_taking_looks_at_no_address_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many are held, and however often they come and go."""
    pool = AddressPool.parse("10.0.0.0/16")
    looked = 0
    is_free = AddressPool._is_free

    def counting(self: AddressPool, offset: int) -> bool:
        nonlocal looked
        looked += 1
        return is_free(self, offset)

    monkeypatch.setattr(AddressPool, "_is_free", counting)
    taken = [ip_address(take(pool)) for _ in range(pool.size)]
    for address in taken[:1000]:
        pool.free(address)
        assert take(pool) == str(address)
    assert looked <= 2 * pool.size


@pytest.mark.parametrize("prefix", ["10.0.0.1/32", "10.0.0.0/31", "fd00::1/128", "10.0.0.1/24", "x"])
def test_impossible_prefixes(prefix: str) -> None:
    with pytest.raises(ValueError, match=r"no address to give|host bits|IPv4 or IPv6"):
        AddressPool.parse(prefix)


def test_a_pool_that_is_reserved_as_a_whole_is_none() -> None:
    with pytest.raises(ValueError, match="no address to give"):
        AddressPool(ip_network("10.0.0.0/29"), [ip_network("10.0.0.0/8")])


@pytest.mark.parametrize(
    ("texts", "pair"),
    [
        (["10.0.0.0/24", "10.0.1.0/24", "::/96"], None),
        (["10.2.0.0/16", "10.0.0.0/8", "10.1.0.0/16"], ("10.0.0.0/8", "10.1.0.0/16")),
        (["fd00::/64", "fd00::/64"], ("fd00::/64", "fd00::/64")),
    ],
)
def test_networks_that_overlap(texts: list[str], pair: tuple[str, str] | None) -> None:
    found = overlap([ip_network(text) for text in texts])
    assert (None if found is None else tuple(map(str, found))) == pair
