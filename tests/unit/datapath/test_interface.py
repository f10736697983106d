"""The wiring of an endpoint, as the kernel lists it on both sides, and what is not Kinety's left alone."""

from __future__ import annotations

import json
import secrets
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from kinety import abi
from kinety.datapath.interface import HostLink, Interface, Wiring
from kinety.datapath.settings import Settings
from kinety.datapath.template import PROGRAMS
from kinety.kernel.namespace import Namespace
from kinety.kernel.netlink import Netlink
from kinety.kernel.program import Program
from kinety.kernel.spec import ProgramSpec
from kinety.kernel.uapi import ProgramType
from kinety.model.address import pack_address
from kinety.plan.change import Capacity

#: ``return 0``.
RETURN = bytes((0xB7, 0, 0, 0, 0, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0))
BASE, SLOTS, SLOT, MTU = 70000, 8, 5, 1400
SETTINGS = Settings(pins=Path("unused"), interface_base=BASE, capacity=Capacity(endpoints=SLOTS))
ADDRESSES = {4: "10.1.2.3", 6: "fd00::2:3"}
HOST_MAC, CONTAINER_MAC = b"\2\0\0\0\0\1", b"\2\0\0\0\0\2"
ROW = replace(
    abi.Endpoint.unpack(bytes(abi.Endpoint.SIZE)),
    id=9,
    interface=BASE + SLOT,
    host_mac=HOST_MAC,
    container_mac=CONTAINER_MAC,
    ipv4=pack_address(ADDRESSES[4]),
    ipv6=pack_address(ADDRESSES[6]),
)
needs_kernel = pytest.mark.needs("root", "bpf", "netns", "ip")


@dataclass
class Place:
    node: Namespace
    pod: Namespace
    wiring: Wiring

    def create(self, row: abi.Endpoint = ROW, name: str = "eth0") -> Interface:
        return self.node.call(self.wiring.create, SLOT, row, self.pod, name, MTU)


def ip(space: Namespace, *words: str) -> Any:
    """What iproute2 says, which shares no code with us."""
    done = space.call(subprocess.run, ["ip", "-j", *words], check=True, capture_output=True, text=True)
    return json.loads(done.stdout or "[]")


def tc(space: Namespace, device: str) -> str:
    words = ["tc", "filter", "show", "dev", device]
    run = (
        space.call(subprocess.run, [*words, way], check=True, capture_output=True, text=True).stdout
        for way in ("ingress", "egress")
    )
    return "".join(run)


@pytest.fixture
def place() -> Iterator[Place]:
    name = f"kt-{secrets.token_hex(4)}"
    spec = ProgramSpec("", "tc", ProgramType.SCHED_CLS, None, RETURN, (), b"", b"", "GPL")
    programs = {each: Program.load(replace(spec, name=each), {}) for each in PROGRAMS}
    node, pod = Namespace.create(f"{name}-node"), Namespace.create(f"{name}-pod")
    wiring = node.call(Wiring, SETTINGS, programs)
    try:
        yield Place(node, pod, wiring)
    finally:
        wiring.close()
        for program in programs.values():
            program.close()
        node.remove()
        pod.remove()


def test_macs_are_unicast_locally_administered_and_nobody_elses() -> None:
    macs = [mac for _ in range(500) for mac in Wiring.new_macs()]
    assert all(len(mac) == 6 and mac[0] & 0b11 == 0b10 for mac in macs)
    assert len(set(macs)) == len(macs)


@needs_kernel
def test_both_sides_are_as_the_row_says(place: Place) -> None:
    made = place.create()
    assert made == Interface.of(SLOT, ROW, HostLink(BASE + SLOT, f"kinety{SLOT}", MTU))
    (host,) = ip(place.node, "link", "show", "dev", made.name)
    (pod,) = ip(place.pod, "link", "show", "dev", "eth0")
    assert (host["ifindex"], host["mtu"], host["operstate"]) == (BASE + SLOT, MTU, "UP")
    assert (host["address"], pod["address"]) == (HOST_MAC.hex(":"), CONTAINER_MAC.hex(":"))
    assert (pod["mtu"], pod["operstate"], pod["link_index"]) == (MTU, "UP", BASE + SLOT)
    for program in PROGRAMS:
        assert program in tc(place.node, made.name)
    assert place.wiring.writes == 1


@needs_kernel
def test_the_endpoint_has_its_addresses_and_one_way_out(place: Place) -> None:
    place.create()
    (found,) = ip(place.pod, "address", "show", "dev", "eth0")
    addresses = {each["local"]: each for each in found["addr_info"] if each["scope"] == "global"}
    assert {text: each["prefixlen"] for text, each in addresses.items()} == {
        ADDRESSES[4]: 32,
        ADDRESSES[6]: 128,
    }
    assert not any(each.get("tentative") for each in addresses.values()), "usable at once"
    for family, gateway in (("-4", "169.254.0.1"), ("-6", "fe80::1")):
        (default,) = ip(place.pod, family, "route", "show", "default")
        assert (default["gateway"], default["dev"]) == (gateway, "eth0")
    (loopback,) = ip(place.pod, "link", "show", "dev", "lo")
    assert "UP" in loopback["flags"]


@needs_kernel
def test_a_default_route_that_is_there_stays(place: Place) -> None:
    place.create()
    other = replace(ROW, interface=BASE + 1, ipv4=pack_address("10.9.9.9"), ipv6=pack_address("fd09::9"))
    place.node.call(place.wiring.create, 1, other, place.pod, "net1", MTU)
    for family in ("-4", "-6"):
        (default,) = ip(place.pod, family, "route", "show", "default")
        assert default["dev"] == "eth0"
    (found,) = ip(place.pod, "address", "show", "dev", "net1")
    assert {"10.9.9.9", "fd09::9"} <= {each["local"] for each in found["addr_info"]}


@needs_kernel
def test_the_node_knows_the_way_and_asks_nobody(place: Place) -> None:
    name = place.create().name
    for family, address in (("-4", ADDRESSES[4]), ("-6", ADDRESSES[6])):
        (route,) = ip(place.node, family, "route", "get", address)
        assert route["dev"] == name
        (neighbour,) = ip(place.node, family, "neighbour", "show", address)
        assert (neighbour["lladdr"], neighbour["state"]) == (CONTAINER_MAC.hex(":"), ["PERMANENT"])
    (host,) = ip(place.node, "address", "show", "dev", name)
    assert host["addr_info"] == [], "the node has no address there, not even a link-local one"


@needs_kernel
@pytest.mark.parametrize(("family", "absent"), [(4, "ipv6"), (6, "ipv4")])
def test_an_endpoint_of_one_family_gets_nothing_of_the_other(place: Place, family: int, absent: str) -> None:
    place.create(replace(ROW, **{absent: bytes(16)}))
    (found,) = ip(place.pod, "address", "show", "dev", "eth0")
    assert [each["local"] for each in found["addr_info"] if each["scope"] == "global"] == [ADDRESSES[family]]
    other = "-6" if family == 4 else "-4"
    assert ip(place.pod, other, "route", "show", "default") == []


@needs_kernel
def test_a_name_that_is_taken_is_refused_and_nothing_is_made(place: Place) -> None:
    place.create()
    before = ip(place.node, "link"), ip(place.pod, "link")
    row = replace(ROW, interface=BASE + SLOT + 1)
    with pytest.raises(FileExistsError, match="make veth kinety6 with eth0"):
        place.node.call(place.wiring.create, SLOT + 1, row, place.pod, "eth0", MTU)
    assert (ip(place.node, "link"), ip(place.pod, "link")) == before


@needs_kernel
def test_only_interfaces_in_range_and_of_the_name_are_ours(place: Place) -> None:
    made = place.create()
    strangers = {
        BASE: "kinety0",  # the node's own row has no interface
        BASE + 1: "kinety2",
        BASE + 2: "other",
        BASE + SLOTS + 1: f"kinety{SLOTS + 1}",
    }
    with Netlink(place.node) as netlink, netlink.batch() as batch:
        for number, (index, name) in enumerate(strangers.items()):
            batch.veth(
                index,
                name,
                HOST_MAC,
                peer=f"p{number}",
                peer_mac=CONTAINER_MAC,
                peer_namespace=place.pod,
                mtu=MTU,
            )
    assert place.wiring.interfaces() == {made.index: HostLink(made.index, made.name, MTU)}


@needs_kernel
def test_filters_are_seen_and_put_back(place: Place) -> None:
    made = place.create()
    assert place.wiring.filtered() == {made.index}
    words = ["tc", "qdisc", "del", "dev", made.name, "clsact"]
    place.node.call(subprocess.run, words, check=True, capture_output=True)
    assert place.wiring.filtered() == frozenset()
    place.wiring.add_filters(made.index)
    place.wiring.add_filters(made.index)
    assert place.wiring.filtered() == {made.index}
    shown = tc(place.node, made.name)
    assert all(shown.count(f"{program}") == 1 for program in PROGRAMS), "replaced, not doubled"


@needs_kernel
def test_removing_takes_both_ends_and_is_no_error_twice(place: Place) -> None:
    made = place.create()
    place.wiring.remove(made.index)
    assert place.wiring.interfaces() == {}
    assert [each["ifname"] for each in ip(place.pod, "link")] == ["lo"]
    place.wiring.remove(made.index)
    assert ip(place.node, "-4", "route") == []


@needs_kernel
def test_the_width_is_that_of_the_uplinks(place: Place) -> None:
    def width() -> int:
        return place.node.call(place.wiring.mtu)

    assert width() == 1500
    for name, mtu in (("up4", 1450), ("up6", 1400)):
        ip(place.node, "link", "add", name, "mtu", str(mtu), "type", "veth", "peer", "name", f"{name}p")
        for each in (name, f"{name}p"):
            ip(place.node, "link", "set", each, "up")
    ip(place.node, "route", "add", "default", "dev", "up4")
    assert width() == 1450
    ip(place.node, "-6", "route", "add", "default", "dev", "up6")
    assert width() == 1400, "what fits through both"
    ip(place.node, "link", "set", "up4", "mtu", "9000")
    ip(place.node, "link", "set", "up6", "mtu", "8000")
    assert width() == 8000
    ip(place.node, "link", "set", "up4", "mtu", "576")
    assert width() == 1280
