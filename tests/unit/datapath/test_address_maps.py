"""Addresses in their maps: batches, differences, and the generation that follows every change."""

from collections.abc import Callable, Iterator

import pytest

from kinety import abi
from kinety.datapath.address_maps import Ipcache, LocalAddresses
from kinety.datapath.node_state import NodeState
from kinety.kernel.map import Map
from kinety.model.address import Prefix, pack_address
from kinety.model.identity import Identity

pytestmark = pytest.mark.needs("objects")

HOST = Prefix.parse("192.0.2.7/32")
NET = Prefix.parse("192.0.2.0/24")
HOST6 = Prefix.parse("2001:db8::7")
ALL6 = Prefix.parse("::/0")
IDENTITIES = {HOST: Identity(300), NET: Identity(301), HOST6: Identity(302), ALL6: Identity(303)}


class World:
    def __init__(self, make: Callable[[str], Map]) -> None:
        self.hosts, self.prefixes = make("ipcache_hosts"), make("ipcache_prefixes")
        self.state = NodeState(make("node_state"))
        self.ipcache = Ipcache(self.hosts, self.prefixes, self.state)

    def held(self) -> dict[Prefix, int]:
        rows = {Prefix(key, 128): abi.IpcacheEntry.unpack(value) for key, value in self.hosts.items()}
        for packed, value in self.prefixes.items():
            key = abi.IpcachePrefixKey.unpack(packed)
            rows[Prefix(key.address, key.prefix_length)] = abi.IpcacheEntry.unpack(value)
        return {prefix: entry.identity for prefix, entry in rows.items()}


@pytest.fixture
def world(make: Callable[[str], Map]) -> Iterator[World]:
    made = World(make)
    yield made
    made.state.close()


def test_single_addresses_and_prefixes_go_to_their_maps(world: World) -> None:
    world.ipcache.update(IDENTITIES)
    assert world.held() == IDENTITIES
    assert len(dict(world.hosts.items())) == 2
    assert world.state.ipcache_generation == 2


def test_removal_of_what_is_not_there_is_no_error(world: World) -> None:
    world.ipcache.update(IDENTITIES)
    world.ipcache.remove([HOST, Prefix.parse("198.51.100.1"), HOST6, NET, Prefix.parse("198.51.100.0/24")])
    assert world.held() == {ALL6: 303}
    assert world.state.ipcache_generation == 3


def test_nothing_to_do_changes_no_generation(world: World) -> None:
    world.ipcache.update({})
    world.ipcache.remove([])
    assert world.state.ipcache_generation == 1


def test_only_differences_are_written(world: World) -> None:
    world.ipcache.update({HOST: Identity(300), NET: Identity(999), HOST6: Identity(302)})
    before = world.ipcache.writes
    excess = world.ipcache.write_differences({HOST: Identity(300), NET: Identity(301)})
    assert world.ipcache.writes == before + 1
    assert world.held() == {HOST: 300, NET: 301, HOST6: 302}, "what is too many stays until it is erased"
    world.ipcache.erase(excess)
    assert world.held() == {HOST: 300, NET: 301}
    generation, before = world.state.ipcache_generation, world.ipcache.writes
    world.ipcache.erase(world.ipcache.write_differences({HOST: Identity(300), NET: Identity(301)}))
    assert (world.state.ipcache_generation, world.ipcache.writes) == (generation, before)


def test_local_addresses_belong_to_one_slot(make: Callable[[str], Map]) -> None:
    held = make("local_addresses")
    local = LocalAddresses(held)
    one, two = pack_address("10.0.0.1"), pack_address("fd00::1")
    local.add(4, [one, two])
    assert abi.LocalAddress.unpack(held.lookup(one) or b"").slot == 4
    with pytest.raises(ValueError, match=r"10\.0\.0\.1 is another endpoint's"):
        local.check_free(one)
    local.remove(5, [one])
    assert held.lookup(one), "not slot 5's to remove"
    local.remove(4, [one])
    local.check_free(one)
    assert held.lookup(two)
    local.restore({7: [one]})
    assert {key: abi.LocalAddress.unpack(value).slot for key, value in held.items()} == {one: 7}
    before = local.writes
    local.restore({7: [one]})
    assert local.writes == before
