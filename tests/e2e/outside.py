"""A network beyond a node's uplink: the node's router, which is a host of its own too."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address, ip_network
from pathlib import Path

from kinety.kernel.namespace import DIRECTORY, Namespace
from kinety.kernel.netlink import Netlink
from tests.e2e.real_node import Node

UPLINK = "uplink0"
#: By family: the node's address on its uplink, the router's, and two of the router's that are elsewhere.
NODE = {4: "192.0.2.1", 6: "2001:db8::1"}
ROUTER = {4: "192.0.2.2", 6: "2001:db8::2"}
NEAR = {4: "198.51.100.1", 6: "2001:db8:1::1"}
FAR = {4: "203.0.113.1", 6: "2001:db8:2::1"}
_BITS = {4: 24, 6: 64}
_SOON = 10.0


def path_of_router(node: Node) -> str:
    """Where the namespace of a node's router is."""
    return f"{DIRECTORY}/{node.name}-router"


@contextmanager
def outside(node: Node, mtu: int = 1500) -> Iterator[Namespace]:
    """Give a node an uplink, its default routes, and a router that has the addresses above."""
    router = Namespace.create(Path(path_of_router(node)).name)
    try:
        for each in (node.namespace, router):
            each.call(quick_addresses)
        with Netlink(node.namespace) as netlink, netlink.batch() as batch:
            mac, peer_mac = (b"\x02" + os.urandom(5) for _ in range(2))
            batch.veth(0, UPLINK, mac, peer="eth0", peer_mac=peer_mac, peer_namespace=router, mtu=mtu)
        connect(node.namespace, UPLINK, [NODE], ROUTER)
        connect(router, "eth0", [ROUTER], None)
        connect(router, "lo", [NEAR, FAR], None)
        yield router
    finally:
        router.remove()


@contextmanager
def beyond(node: Node, router: Namespace, mtu: int = 1500) -> Iterator[Namespace]:
    """Move the router's further addresses to a host behind another link."""
    host = Namespace.create(f"{node.name}-beyond")
    try:
        run(router, "ip address flush dev lo scope global")
        for setting in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
            router.call(Path("/proc/sys/net", setting).write_text, "1")
        with Netlink(router) as netlink, netlink.batch() as batch:
            names = {"peer": "eth0", "peer_mac": b"\2\0\0\0\0\2", "peer_namespace": host}
            batch.veth(0, "eth1", b"\2\0\0\0\0\1", mtu=mtu, **names)  # type: ignore[arg-type]
        for namespace, name, ends in ((router, "eth1", (1, 2)), (host, "eth0", (2, 1))):
            run(namespace, f"ip link set {name} up")
            run(namespace, f"ip address add 198.18.0.{ends[0]}/24 dev {name}")
            run(namespace, f"ip address add fd00::{ends[0]}/64 dev {name} nodad")
        for family, via in ((4, "198.18.0.2"), (6, "fd00::2")):
            for address in (NEAR[family], FAR[family]):
                run(router, f"ip route add {address} via {via}")
                run(host, f"ip address add {address} dev lo")
        run(host, "ip link set lo up")
        run(host, "ip route add default via 198.18.0.1")
        run(host, "ip -6 route add default via fd00::1")
        yield host
    finally:
        host.remove()
        connect(router, "lo", [NEAR, FAR], None)


def quick_addresses() -> None:
    """Interfaces to come may use their IPv6 addresses at once. Runs in the namespace."""
    Path("/proc/sys/net/ipv6/conf/default/accept_dad").write_text("0")


def connect(
    namespace: Namespace, name: str, addresses: list[dict[int, str]], gateways: dict[int, str] | None
) -> None:
    """Bring an interface up, with addresses and perhaps default routes."""
    with Netlink(namespace) as netlink:
        link = netlink.link_named(name)
        assert link is not None
        with netlink.batch() as batch:
            batch.link_set(link.index, up=True)
            for each in addresses:
                for family, address in each.items():
                    bits = None if name == "lo" else _BITS[family]
                    batch.address_add(link.index, ip_address(address), bits)
        for each in addresses:
            netlink.wait_local(ip_address(each[6]), _SOON)
        with netlink.batch() as batch:
            for family, gateway in (gateways or {}).items():
                anywhere = ip_network("0.0.0.0/0" if family == 4 else "::/0")
                batch.route_add(anywhere, link.index, via=ip_address(gateway))


def run(namespace: Namespace, command: str) -> str:
    """What a command in a namespace prints; it must succeed."""
    done = namespace.call(
        subprocess.run, command.split(), check=True, timeout=_SOON, capture_output=True, text=True
    )
    return done.stdout
