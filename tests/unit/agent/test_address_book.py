"""Who has which address: what the store says, what nobody gets, and what a kill leaves."""

import logging
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kinety.agent.address_book import AddressBook, PoolExhausted
from kinety.agent.lease import Lease, Moment
from kinety.agent.pool import AddressPool
from kinety.agent.store import EndpointRecord, Store, StoreError
from kinety.model.address import pack_address
from kinety.model.endpoint import Endpoint, EndpointId
from tests.unit.agent.conftest import Agent

QUARANTINE = 30.0


class Failure(Exception):
    """A step of an attach failed."""


class Keeper:
    """A book on a store, endpoints by name, and a machine that starts and stops."""

    def __init__(self, path: Path, *prefixes: str, reserved: tuple[str, ...] = ()) -> None:
        self.path = path
        self.prefixes = prefixes
        self.reserved = reserved
        self.quarantine = QUARANTINE
        self.boot, self.uptime, self.wall = "first", 50.0, 1000.0
        self.last = 0
        self.start()

    def start(self) -> None:
        """What an agent does with its store."""
        self.store = Store(self.path)
        pools = [AddressPool(ip_network(each), map(ip_network, self.reserved)) for each in self.prefixes]
        self.book = AddressBook(
            self.store, pools, self.quarantine, lambda: Moment(self.boot, self.uptime), lambda: self.wall
        )
        self.endpoints = {str(each.endpoint): each.endpoint for each in self.store.endpoints()}
        self.book.start(self.endpoints.values())

    def restart(self) -> None:
        self.store.close()
        self.start()

    def reboot(self, uptime: float = 5.0) -> None:
        self.boot, self.uptime = f"{self.boot}, again", uptime
        self.restart()

    def killed_at(self, step: str) -> Callable[[str], None]:
        """Set aside what is in the store's files at a step, and let the rest not happen."""

        def at(reached: str) -> None:
            if reached == step:
                for suffix in ("", "-wal"):
                    shutil.copy(f"{self.path}{suffix}", f"{self.path}.killed{suffix}")
                raise Failure

        return at

    def start_killed(self) -> None:
        """Start with what was set aside."""
        self.store.close()
        for suffix in ("", "-wal"):
            Path(f"{self.path}.killed{suffix}").rename(f"{self.path}{suffix}")
        self.start()

    def refuse_to_write(self) -> None:
        """From now on the store cannot be written."""
        self.store._connection.execute("PRAGMA query_only = ON")

    def endpoint(self, name: str, address: str | None = None) -> Endpoint:
        """One to attach, with an address of its own or the next free one."""
        given = self.book.next(4, lambda each: False) if address is None else ip_address(address)
        self.last += 1
        return Endpoint(EndpointId(self.last), "default", name, frozenset(), pack_address(given), None)

    def attach(self, endpoint: Endpoint, at: Callable[[str], None] = lambda step: None) -> None:
        """What the agent does; ``at`` is told each step, and may fail it."""
        with self.book.claim(endpoint) as claim:
            at("claimed")
            with self.store.transaction():
                self.store.put_endpoint(EndpointRecord(endpoint, "/run/netns/x", 1, "eth0"))
                claim.keep()
                at("written")
                claim.seen = True
                at("seen")
        self.endpoints[str(endpoint)] = endpoint

    def detach(self, name: str, at: Callable[[str], None] = lambda step: None) -> None:
        endpoint = self.endpoints[f"default/{name}"]
        with self.store.transaction():
            self.store.delete_endpoint(endpoint.id)
            released = self.book.write_release(endpoint)
            at("written")
        self.book.release(endpoint, released)
        del self.endpoints[f"default/{name}"]

    def shown(self) -> dict[str, tuple[str, float | None]]:
        """Owner and seconds left by address."""
        return {
            str(ip_address(each.lease.address[12:])): (each.lease.owner, each.seconds_left)
            for each in self.book.entries()
        }


@pytest.fixture
def keeper(tmp_path: Path) -> Iterator[Keeper]:
    made = Keeper(tmp_path / "s.db", "10.0.0.0/30")
    yield made
    made.store.close()


def failing_at(step: str) -> Callable[[str], None]:
    def at(reached: str) -> None:
        if reached == step:
            raise Failure

    return at


def test_an_address_is_given_again_when_its_quarantine_is_over(keeper: Keeper) -> None:
    keeper.attach(keeper.endpoint("a"))
    keeper.attach(keeper.endpoint("b"))
    keeper.detach("a")
    keeper.uptime += QUARANTINE - 0.1
    with pytest.raises(PoolExhausted, match=r"1 of 2 in use, 1 in quarantine; the next is free in 1 s"):
        keeper.endpoint("c")
    assert keeper.shown() == {
        "10.0.0.1": ("default/a", pytest.approx(0.1)),
        "10.0.0.2": ("default/b", None),
    }
    keeper.uptime += 0.2
    assert keeper.shown() == {"10.0.0.2": ("default/b", None)}
    keeper.attach(keeper.endpoint("c"))
    assert keeper.shown()["10.0.0.1"] == ("default/c", None)


@pytest.mark.parametrize("seconds", [-3600.0, 3600.0])
def test_the_wall_clock_may_be_set(keeper: Keeper, seconds: float) -> None:
    keeper.attach(keeper.endpoint("a"))
    keeper.detach("a")
    keeper.uptime += 10
    keeper.wall += seconds
    keeper.restart()
    assert keeper.shown() == {"10.0.0.1": ("default/a", 20.0)}


def test_quarantine_goes_on_over_restarts_and_begins_again_with_the_machine(keeper: Keeper) -> None:
    keeper.attach(keeper.endpoint("a"))
    keeper.detach("a")
    for left in (20.0, 10.0):
        keeper.uptime += 10
        keeper.restart()
        assert keeper.shown() == {"10.0.0.1": ("default/a", left)}
    keeper.reboot()
    assert keeper.shown() == {"10.0.0.1": ("default/a", QUARANTINE)}
    keeper.uptime += 10
    keeper.restart()
    assert keeper.shown() == {"10.0.0.1": ("default/a", 20.0)}, "once, not with every restart"
    keeper.uptime += 20
    keeper.restart()
    assert (keeper.shown(), keeper.store.leases.all()) == ({}, ())


def test_another_quarantine_counts_from_when_the_address_was_given_up(keeper: Keeper) -> None:
    keeper.attach(keeper.endpoint("a"))
    keeper.detach("a")
    keeper.uptime += 10
    keeper.quarantine = 100.0
    keeper.restart()
    assert keeper.shown() == {"10.0.0.1": ("default/a", 90.0)}
    keeper.quarantine = 0.0
    keeper.restart()
    assert keeper.shown() == {}
    keeper.attach(keeper.endpoint("a"))
    keeper.detach("a")
    assert (keeper.shown(), keeper.store.leases.all()) == ({}, ())


def test_in_quarantine_an_address_is_only_its_last_endpoints(keeper: Keeper) -> None:
    keeper.attach(keeper.endpoint("a"))
    keeper.detach("a")
    keeper.uptime += 10
    address = ip_address("10.0.0.1")
    assert keeper.book.refusal(address, "default/b") == (
        "address 10.0.0.1 was endpoint default/a's and is in quarantine for another 20 s;"
        " ask again then, or for another address"
    )
    assert keeper.book.refusal(address, "default/a") is None
    with pytest.raises(Failure):
        keeper.attach(keeper.endpoint("a", "10.0.0.1"), failing_at("claimed"))
    assert keeper.shown() == {"10.0.0.1": ("default/a", QUARANTINE)}, "others may still know the last one"
    keeper.attach(keeper.endpoint("a", "10.0.0.1"))
    assert keeper.shown() == {"10.0.0.1": ("default/a", None)}
    keeper.uptime += QUARANTINE
    assert keeper.shown() == {"10.0.0.1": ("default/a", None)}, "the former quarantine is nothing to it"


def test_addresses_of_no_pool_are_for_others_to_keep_apart(keeper: Keeper) -> None:
    keeper.attach(keeper.endpoint("a", "192.0.2.1"))
    assert (keeper.shown(), keeper.book.outside()) == ({"192.0.2.1": ("default/a", None)}, 1)
    keeper.detach("a")
    assert (keeper.shown(), keeper.book.outside()) == ({}, 0)
    assert keeper.book.refusal(ip_address("192.0.2.1"), "default/b") is None


def test_reserved_addresses_rest_too_and_are_not_counted_as_the_pools(tmp_path: Path) -> None:
    keeper = Keeper(tmp_path / "s.db", "10.0.0.0/29", reserved=("10.0.0.4/30",))
    keeper.attach(keeper.endpoint("a", "10.0.0.5"))
    (pool,) = keeper.book.pools
    assert (pool.held, pool.size, keeper.book.outside()) == (0, 3, 1)
    keeper.detach("a")
    assert keeper.shown() == {"10.0.0.5": ("default/a", QUARANTINE)}
    assert (pool.quarantined, keeper.book.outside()) == (0, 0)
    assert "is in quarantine" in (keeper.book.refusal(ip_address("10.0.0.5"), "default/b") or "")
    keeper.uptime += 10
    for name in "bcd":
        keeper.attach(keeper.endpoint(name))
    keeper.detach("c")
    with pytest.raises(PoolExhausted, match="2 of 3 in use, 1 in quarantine; the next is free in 30 s"):
        keeper.endpoint("e")
    keeper.store.close()


@pytest.mark.parametrize(("step", "left"), [("claimed", None), ("written", None), ("seen", QUARANTINE)])
def test_an_attach_that_failed_costs_an_address_only_if_somebody_saw_it(
    keeper: Keeper, step: str, left: float | None
) -> None:
    with pytest.raises(Failure):
        keeper.attach(keeper.endpoint("a"), failing_at(step))
    expected = {} if left is None else {"10.0.0.1": ("default/a", left)}
    for _ in range(2):
        assert keeper.shown() == expected
        keeper.restart()


def test_an_attach_that_cannot_be_written_down_has_not_begun(keeper: Keeper) -> None:
    keeper.refuse_to_write()
    with pytest.raises(StoreError):
        keeper.attach(keeper.endpoint("a"))
    assert keeper.shown() == {}


def test_a_failure_that_cannot_be_written_down_is_remembered(
    keeper: Keeper, caplog: pytest.LogCaptureFixture
) -> None:
    def at(step: str) -> None:
        if step == "seen":
            keeper.refuse_to_write()
            raise Failure

    with pytest.raises(Failure), caplog.at_level(logging.WARNING):
        keeper.attach(keeper.endpoint("a"), at)
    assert "addresses of default/a stay in quarantine after a restart" in caplog.text
    for _ in range(2):
        assert keeper.shown() == {"10.0.0.1": ("default/a", QUARANTINE)}
        keeper.restart()


def test_another_endpoints_address_cannot_be_claimed(keeper: Keeper) -> None:
    keeper.attach(keeper.endpoint("a"))
    with pytest.raises(ValueError, match=r"address 10\.0\.0\.1 is endpoint default/a's"):
        keeper.attach(keeper.endpoint("b", "10.0.0.1"))
    assert keeper.shown() == {"10.0.0.1": ("default/a", None)}


def test_a_store_without_leases_gets_those_of_its_endpoints(keeper: Keeper) -> None:
    endpoint = keeper.endpoint("a")
    keeper.attach(endpoint)
    with keeper.store.transaction():
        keeper.store.leases.delete([pack_address("10.0.0.1")])
        keeper.store.leases.put([Lease(pack_address("10.0.0.2"), "default/lost", 1.0)])
    keeper.restart()
    assert keeper.shown() == {"10.0.0.1": ("default/a", None), "10.0.0.2": ("default/lost", QUARANTINE)}
    assert len(keeper.store.leases.all()) == 2


def test_pools_change_and_endpoints_keep_their_addresses(keeper: Keeper) -> None:
    keeper.attach(keeper.endpoint("a"))
    keeper.attach(keeper.endpoint("b"))
    for prefixes, outside, following in [
        (("10.9.0.0/30",), 2, "10.9.0.1"),
        ((), 2, None),
        (("10.0.0.0/24",), 0, "10.0.0.3"),
        (("10.0.0.0/30", "10.9.0.0/30"), 0, "10.9.0.1"),
    ]:
        keeper.prefixes = prefixes
        keeper.restart()
        assert keeper.shown() == {"10.0.0.1": ("default/a", None), "10.0.0.2": ("default/b", None)}
        assert keeper.book.outside() == outside
        assert keeper.book.families == ((4,) if prefixes else ())
        if following is not None:
            assert str(keeper.book.next(4, lambda each: False)) == following


def test_several_exhausted_pools_are_named_together(tmp_path: Path) -> None:
    keeper = Keeper(tmp_path / "s.db", "10.0.0.0/30", "10.9.0.0/30")
    for name in "abcd":
        keeper.attach(keeper.endpoint(name))
    with pytest.raises(PoolExhausted) as raised:
        keeper.endpoint("e")
    assert str(raised.value) == (
        "address pools 10.0.0.0/30, 10.9.0.0/30 are exhausted: 4 of 4 in use;"
        " detach endpoints, or give the agent a larger or a further pool"
    )
    keeper.store.close()


def test_addresses_of_the_node_are_told_of_when_a_pool_is_exhausted(keeper: Keeper) -> None:
    keeper.attach(keeper.endpoint("a"))
    with pytest.raises(PoolExhausted, match="exhausted: 1 of 2 in use, 1 the node's own; detach endpoints"):
        keeper.book.next(4, lambda each: str(each) == "10.0.0.2")


def test_the_store_forgets_what_is_free(keeper: Keeper) -> None:
    """One row for each address at most that somebody has or that waits."""
    keeper.prefixes = ("10.0.0.0/16",)
    keeper.restart()
    for number in range(20):
        keeper.attach(keeper.endpoint(f"e{number}"))
        keeper.detach(f"e{number}")
        keeper.uptime += 10
        assert len(keeper.store.leases.all()) <= 4


@pytest.mark.parametrize("step", ["detach", "restart"])
def test_a_detach_that_the_maps_refuse_still_gives_the_addresses_up(agent: Agent, step: str) -> None:
    """The endpoint is gone; the agent's pool must know, not only its store."""
    agent.prefixes = ["10.0.0.0/29"]
    agent.stop()
    agent.start()
    agent.attach(1, "server")
    agent.datapath.failing = "endpoints"
    agent.control.detach("default", "server")
    if step == "restart":
        agent.stop()
        agent.start()
    (entry,) = agent.control.addresses.entries()
    assert (entry.lease.owner, entry.seconds_left) == ("default/server", 30.0)


# Any sequence


@dataclass(frozen=True)
class Turn:
    """Attach an endpoint, or detach it if it is there; and the step at which that fails."""

    name: str
    fails_at: str = ""
    killed: bool = False
    asks_for: str | int = ""


@dataclass(frozen=True)
class Pause:
    """Seconds that pass, and whether the agent or the machine starts again after them."""

    seconds: float
    then: str


TURNS = st.builds(
    Turn,
    st.sampled_from("abc"),
    st.sampled_from(["", "", "claimed", "written", "seen"]),
    st.booleans(),
    st.sampled_from(["", "", "its last", *range(8)]),
)
PAUSES = st.builds(Pause, st.sampled_from([1.0, 29.0, 30.0]), st.sampled_from(["", "restart", "reboot"]))
STEPS = st.lists(st.one_of(TURNS, TURNS, TURNS, PAUSES), min_size=10, max_size=40)


class World:
    """What must be true of a keeper, said without pools: who has what, and what was seen until when."""

    def __init__(self, keeper: Keeper) -> None:
        self.keeper = keeper
        self.held: dict[str, str] = {}
        #: When an address was last somebody's, as ages of the world.
        self.left: dict[str, float] = {}
        #: Whose it was then.
        self.owner: dict[str, str] = {}
        #: The address that an owner had last.
        self.last: dict[str, str] = {}
        self.age = 0.0
        self.rebooted = -QUARANTINE
        self.usable = {f"10.0.0.{number}" for number in (1, 2, 3, 6)} | {"10.0.1.1", "10.0.1.2"}

    def free(self) -> set[str]:
        return {each for each in self.usable - self.held.keys() if not self.waits(each)}

    def waits(self, address: str) -> bool:
        return address in self.left and self.age - self.left[address] < QUARANTINE

    def leave(self, address: str, owner: str) -> None:
        self.left[address], self.owner[address] = self.age, owner

    def pause(self, step: Pause) -> None:
        self.age += step.seconds
        self.keeper.uptime += step.seconds
        if step.then == "restart":
            self.keeper.restart()
        elif step.then == "reboot":
            self.rebooted = self.age
            self.left |= {each: self.age for each in self.left if self.waits(each)}
            self.keeper.reboot(5.0 if self.age % 2 else 5000.0)

    def turn(self, step: Turn) -> None:
        owner = f"default/{step.name}"
        at = (self.keeper.killed_at if step.killed else failing_at)(step.fails_at)
        if owner in self.held.values():
            self.detach(step, owner, at)
        elif isinstance(step.asks_for, int):
            self.attach(step, owner, at, f"10.0.0.{step.asks_for}")
        else:
            self.attach(step, owner, at, self.last.get(owner) if step.asks_for else None)

    def attach(self, step: Turn, owner: str, at: Callable[[str], None], asked: str | None) -> None:
        keeper = self.keeper
        if asked is not None:
            if (reason := keeper.book.refusal(ip_address(asked), owner)) is not None:
                assert asked in self.held or asked in self.left, reason
                return
            assert asked not in self.held
            assert not self.waits(asked) or self.owner[asked] == owner
        try:
            endpoint = keeper.endpoint(step.name, asked)
        except PoolExhausted:
            assert not self.free() or self.age - self.rebooted < QUARANTINE
            return
        assert endpoint.ipv4 is not None
        address = str(ip_address(endpoint.ipv4[12:]))
        assert asked is not None or address in self.free()
        if self.fails(step, lambda: keeper.attach(endpoint, at)):
            if step.killed or step.fails_at == "seen" or self.waits(address):
                self.leave(address, owner)
        else:
            self.held[address], self.last[owner] = owner, address

    def detach(self, step: Turn, owner: str, at: Callable[[str], None]) -> None:
        address = next(each for each, holder in self.held.items() if holder == owner)
        if not self.fails(step, lambda: self.keeper.detach(step.name, at)):
            self.leave(address, self.held.pop(address))

    def fails(self, step: Turn, change: Callable[[], None]) -> bool:
        """Make a change. Whether it failed; when the agent was killed in it, it runs again."""
        try:
            change()
        except Failure:
            if step.killed:
                self.keeper.start_killed()
            return True
        return False

    def check(self) -> None:
        shown = self.keeper.shown()
        assert {each: owner for each, (owner, left) in shown.items() if left is None} == self.held
        for address in filter(self.waits, self.left.keys() - self.held.keys()):
            owner, left = shown[address]
            assert owner == self.owner[address]
            assert left is not None
            assert left >= QUARANTINE - (self.age - self.left[address]) - 1e-6
        stored = {each.address: each for each in self.keeper.store.leases.all()}
        held = {str(ip_address(each[12:])) for each, lease in stored.items() if lease.released is None}
        assert held == self.held.keys()
        assert {each.lease.address for each in self.keeper.book.entries()} <= stored.keys()
        for pool in self.keeper.book.pools:
            given = [each for each in self.usable & shown.keys() if ip_address(each) in pool.prefix]
            inside = [shown[each][1] for each in given]
            assert (pool.held, pool.quarantined) == (inside.count(None), len(inside) - inside.count(None))


@settings(max_examples=150, deadline=None)
@given(STEPS)
def test_whatever_happens_nobody_gets_what_is_anothers_or_was_a_moment_ago(
    steps: list[Turn | Pause],
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        keeper = Keeper(Path(directory) / "s.db", "10.0.0.0/29", "10.0.1.0/30", reserved=("10.0.0.4/31",))
        world = World(keeper)
        try:
            for step in steps:
                world.turn(step) if isinstance(step, Turn) else world.pause(step)
                world.check()
        finally:
            keeper.store.close()
