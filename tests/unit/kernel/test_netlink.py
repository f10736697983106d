"""Against the real kernel, and against iproute2 as the outside judge of what was set."""

import errno
import json
import os
import secrets
import subprocess
from collections.abc import Iterator
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Any

import pytest

from kinety.kernel.namespace import DIRECTORY, Namespace
from kinety.kernel.netlink import LinkInfo, Netlink

pytestmark = pytest.mark.needs("root")

INDEX = 70001
MAC, PEER_MAC = b"\x02\0\0\0\0\x01", b"\x02\0\0\0\0\x02"


@pytest.fixture
def pair() -> Iterator[tuple[Namespace, Namespace]]:
    node, container = (Namespace.create(f"kt-{os.getpid()}-{secrets.token_hex(4)}") for _ in range(2))
    try:
        yield node, container
    finally:
        node.remove()
        container.remove()


def ip(namespace: Namespace, *words: str) -> Any:
    command = ["nsenter", f"--net={DIRECTORY / namespace.name.rpartition('/')[2]}", "ip", "-json", *words]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout or "[]")


def wire(node: Namespace, container: Namespace) -> None:
    with Netlink(node) as netlink, netlink.batch() as batch:
        batch.veth(INDEX, "kt0", MAC, peer="eth0", peer_mac=PEER_MAC, peer_namespace=container, mtu=1400)


def test_a_veth_pair_is_made_across_namespaces_down_and_as_asked(pair: tuple[Namespace, Namespace]) -> None:
    node, container = pair
    wire(node, container)
    with Netlink(node) as here, Netlink(container) as there:
        assert here.link_named("kt0") == LinkInfo(INDEX, "kt0", 1400, False, MAC, operational=False)
        peer = there.link_named("eth0")
        assert peer is not None
        assert (peer.mtu, peer.up, peer.mac) == (1400, False, PEER_MAC)
        assert here.link_named("eth0") is None
        with here.batch() as batch:
            batch.link_delete(INDEX)
        assert there.link_named("eth0") is None


def test_addresses_routes_and_neighbours_as_iproute2_sees_them(pair: tuple[Namespace, Namespace]) -> None:
    node, container = pair
    wire(node, container)
    with Netlink(container) as netlink:
        peer = netlink.link_named("eth0")
        assert peer is not None
        with netlink.batch() as batch:
            batch.link_set("eth0", up=True, link_local=False)
            batch.address_add(peer.index, ip_address("10.1.0.1"))
            batch.address_add(peer.index, ip_address("fd00::1"))
            batch.route_add(ip_network("0.0.0.0/0"), peer.index, via=ip_address("169.254.0.1"))
            batch.route_add(ip_network("::/0"), peer.index, via=ip_address("fe80::1"))
        assert {(str(a.address), a.bits) for a in netlink.addresses()} == {("10.1.0.1", 32), ("fd00::1", 128)}
    with Netlink(node) as netlink:
        with netlink.batch() as batch:
            batch.link_set(INDEX, up=True, link_local=False)
            batch.route_add(ip_network("10.1.0.1/32"), INDEX)
            batch.route_add(ip_network("fd00::1/128"), INDEX)
            batch.neighbour_add(INDEX, ip_address("10.1.0.1"), PEER_MAC)
            batch.neighbour_add(INDEX, ip_address("fd00::1"), PEER_MAC)
        (default,) = ip(container, "route")
        assert (default["gateway"], "onlink" in default["flags"]) == ("169.254.0.1", True)
        assert "fe80::1" in {route.get("gateway") for route in ip(container, "-6", "route")}
        assert [route["dst"] for route in ip(node, "route")] == ["10.1.0.1"]
        neighbours = {(n["dst"], n["lladdr"], *n["state"]) for n in ip(node, "neigh")}
        assert neighbours == {(a, "02:00:00:00:00:02", "PERMANENT") for a in ("10.1.0.1", "fd00::1")}
        assert not [a for a in netlink.addresses() if a.index == INDEX], "a link-local address appeared"
        with netlink.batch() as batch:
            batch.route_delete(ip_network("10.1.0.1/32"), INDEX)
        assert ip(node, "route") == []


def test_a_failure_names_the_action_and_the_rest_is_carried_out(pair: tuple[Namespace, Namespace]) -> None:
    node, container = pair
    wire(node, container)
    with Netlink(node) as netlink:

        def change() -> None:
            with netlink.batch() as batch:
                batch.link_set("nosuch", up=True)
                batch.address_add(4242, ip_address("10.0.0.1"))
                batch.link_set(INDEX, up=True)

        with pytest.raises(OSError, match="change interface nosuch") as caught:
            change()
        assert caught.value.errno == errno.ENODEV
        assert "10.0.0.1" in caught.value.__notes__[0]
        link = netlink.link_named("kt0")
        assert link is not None
        assert link.up


def test_an_index_is_taken_once(pair: tuple[Namespace, Namespace]) -> None:
    node, container = pair
    wire(node, container)
    with pytest.raises(OSError, match="make veth kt0") as caught:
        wire(node, container)
    assert caught.value.errno in (errno.EEXIST, errno.EBUSY)


def test_what_does_not_come_is_not_waited_for_for_ever(pair: tuple[Namespace, Namespace]) -> None:
    node, container = pair
    wire(node, container)
    with Netlink(node) as netlink:
        with pytest.raises(TimeoutError, match=f"interface {INDEX} to work"):
            netlink.wait_operational(INDEX, 0.01)
        with pytest.raises(TimeoutError, match="fd00::1 to be local"):
            netlink.wait_local(IPv6Address("fd00::1"), 0.01)
        with pytest.raises(OSError, match="ask for interface 4711"):
            netlink.wait_operational(4711, 0.01)


def test_the_way_to_an_address(pair: tuple[Namespace, Namespace]) -> None:
    node, container = pair
    wire(node, container)
    somewhere = [ip_address("192.0.2.1"), ip_address("2001:db8::1")]
    with Netlink(node) as netlink:
        assert [netlink.link_to(each) for each in somewhere] == [None, None]
        with netlink.batch() as batch:
            batch.link_set("lo", up=True)
            batch.link_set(INDEX, up=True)
            batch.route_add(ip_network("0.0.0.0/0"), INDEX, via=ip_address("169.254.0.1"))
            batch.route_add(ip_network("::/0"), INDEX, via=ip_address("fe80::1"))
        assert [link and link.name for link in map(netlink.link_to, somewhere)] == ["kt0", "kt0"]
        for each, kind in zip(somewhere, ("unreachable", "prohibit"), strict=True):
            ip(node, f"-{each.version}", "route", "add", kind, str(each))
        assert [netlink.link_to(each) for each in somewhere] == [None, None]
