"""Interfaces that go at once: off every list when the call returns, their names and numbers free again."""

import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from kinety.kernel.link_removal import LinkRemoval
from kinety.kernel.namespace import Namespace
from kinety.kernel.netlink import Netlink

INDEX = 70000
MACS = b"\2\0\0\0\0\1", b"\2\0\0\0\0\2"
pytestmark = pytest.mark.needs("root", "netns")


@dataclass
class Place:
    node: Namespace
    pod: Namespace
    removal: LinkRemoval

    def wire(self, number: int) -> int:
        index = INDEX + number
        with Netlink(self.node) as netlink, netlink.batch() as batch:
            batch.veth(
                index,
                f"kt{number}",
                MACS[0],
                peer=f"eth{number}",
                peer_mac=MACS[1],
                peer_namespace=self.pod,
                mtu=1400,
            )
            batch.link_set(index, up=True)
        return index

    def names(self) -> tuple[set[str], set[str]]:
        with Netlink(self.node) as here, Netlink(self.pod) as there:
            return {each.name for each in here.links()}, {each.name for each in there.links()}


@pytest.fixture
def place() -> Iterator[Place]:
    node, pod = (Namespace.create(f"kt-{secrets.token_hex(4)}") for _ in range(2))
    removal = node.call(LinkRemoval)
    try:
        yield Place(node, pod, removal)
    finally:
        removal.close()
        node.remove()
        pod.remove()


def test_both_ends_are_gone_and_their_names_and_number_may_be_used_at_once(place: Place) -> None:
    for _ in range(20):
        index = place.wire(0)
        assert place.names() == ({"lo", "kt0"}, {"lo", "eth0"})
        place.removal.remove(index)
        assert place.names() == ({"lo"}, {"lo"})


def test_many_at_once_each_gone_when_its_call_returns(place: Place) -> None:
    indexes = [place.wire(number) for number in range(40)]

    def remove(index: int) -> set[str]:
        place.removal.remove(index)
        return place.names()[0]

    with ThreadPoolExecutor(len(indexes)) as pool:
        for number, left in enumerate(pool.map(remove, indexes)):
            assert f"kt{number}" not in left
    assert place.names() == ({"lo"}, {"lo"})


def test_what_is_gone_is_no_error_and_nothing_is_taken_from_another_namespace(place: Place) -> None:
    place.removal.remove(INDEX)
    with Netlink(place.pod) as there, there.batch() as batch:
        batch.link("other", "bridge")
    with Netlink(place.pod) as there:
        other = there.link_named("other")
    assert other is not None
    place.removal.remove(other.index)
    assert place.names()[1] == {"lo", "other"}


def test_what_the_kernel_refuses_is_raised(place: Place) -> None:
    with Netlink(place.node) as here:
        loopback = here.link_named("lo")
    assert loopback is not None
    with pytest.raises(OSError, match="remove interface 1"):
        place.removal.remove(loopback.index)
    assert place.names()[0] == {"lo"}
