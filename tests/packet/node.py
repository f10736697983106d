"""The node that the tables play on: who is there, and what they may do.

========== ====== =================================================================================
endpoint   number policy
========== ====== =================================================================================
server     11     ingress `GUARD`
client     12     none; identity EMPIRE, whom the guard names
stranger   13     none; identity ALLIANCE, whom it does not
confined   14     egress `CONFINED`
unready    15     attached, and no plan yet
ipv4-only  16     none
ipv6-only  17     none
========== ====== =================================================================================
"""

import contextlib
import socket
from collections.abc import Iterator
from dataclasses import replace
from socket import IPPROTO_GRE, IPPROTO_ICMP, IPPROTO_ICMPV6, IPPROTO_SCTP, IPPROTO_TCP, IPPROTO_UDP
from typing import Any

from kinety.model.address import Prefix, pack_address
from kinety.model.identity import ClassId, Identity
from kinety.model.layer7 import Layer7Id
from kinety.model.rule import RuleId
from kinety.model.verdict import Verdict, VerdictKind
from kinety.testing.packet import Flow
from tests.netns.datapath_node import HOST, Node, address, endpoint, node, plan, rule_sets, table
from tests.packet.table import EMPTY_SLOT, NOBODY, STACK, UPLINK, World

SERVER, CLIENT, STRANGER, CONFINED, UNREADY, IPV4_ONLY, IPV6_ONLY = range(11, 18)
NUMBERS = {
    "server": SERVER,
    "client": CLIENT,
    "stranger": STRANGER,
    "confined": CONFINED,
    "unready": UNREADY,
    "ipv4-only": IPV4_ONLY,
    "ipv6-only": IPV6_ONLY,
}
EMPIRE, ALLIANCE, REMOTE = Identity(256), Identity(257), Identity(258)
HOST_IDENTITY, WORLD = Identity(1), {4: Identity(9), 6: Identity(10)}
#: The classes; identity ALLIANCE is in none that a rule set names.
EMPIRE_CLASS, ALLIANCE_CLASS, WORLD_CLASS, HOST_CLASS, REMOTE_CLASS, ANY = 3, 4, 5, 6, 7, 0
CLASSES = {
    EMPIRE: ClassId(EMPIRE_CLASS),
    ALLIANCE: ClassId(ALLIANCE_CLASS),
    WORLD[4]: ClassId(WORLD_CLASS),
    WORLD[6]: ClassId(WORLD_CLASS),
    HOST_IDENTITY: ClassId(HOST_CLASS),
    REMOTE: ClassId(REMOTE_CLASS),
}

WORLD_ADDRESS = {4: "198.51.100.7", 6: "2001:db8:7::7"}
REMOTE_ADDRESS = {4: "203.0.113.9", 6: "2001:db8:9::9"}
REMOTE_PREFIX = {4: "203.0.113.0/24", 6: "2001:db8:9::/64"}

NO_RULE, ALLOWS, DENIES, FOR_ANY, RANGE, WHOLE_PROTOCOL, ECHO, PROXY, HOLE, OUT, OUT_DENIES = (
    0,
    *range(7, 17),
)
RULES = (NO_RULE, *range(7, 17))

WEB, PROXIED, DENIED_PORT, ANYONES = 8080, 9090, 81, 443
#: Ports 1024–2047 are one row of six leading bits; 1536–1543 in it are denied by a longer row.
RANGE_FIRST, RANGE_LAST, HOLE_FIRST, HOLE_LAST = 1024, 2047, 1536, 1543


def allow(rule: int) -> Verdict:
    """An allowing row."""
    return Verdict(VerdictKind.ALLOW, RuleId(rule))


def deny(rule: int) -> Verdict:
    """A denying row."""
    return Verdict(VerdictKind.DENY, RuleId(rule))


def redirect(rule: int, proxy_port: int = 0) -> Verdict:
    """A row that sends to a proxy; port 0 as long as no listener is there."""
    return Verdict(VerdictKind.REDIRECT, RuleId(rule), Layer7Id(str(proxy_port)))


GUARD = table(
    {
        (EMPIRE_CLASS, 0, 0, 0): deny(DENIES),
        (EMPIRE_CLASS, 24, IPPROTO_TCP, WEB): allow(ALLOWS),
        (EMPIRE_CLASS, 24, IPPROTO_UDP, 53): allow(ALLOWS),
        (EMPIRE_CLASS, 24, IPPROTO_SCTP, WEB): allow(ALLOWS),
        (EMPIRE_CLASS, 14, IPPROTO_TCP, RANGE_FIRST): allow(RANGE),
        (EMPIRE_CLASS, 21, IPPROTO_TCP, HOLE_FIRST): deny(HOLE),
        (EMPIRE_CLASS, 8, IPPROTO_GRE, 0): allow(WHOLE_PROTOCOL),
        (EMPIRE_CLASS, 24, IPPROTO_ICMP, 8): allow(ECHO),
        (EMPIRE_CLASS, 24, IPPROTO_ICMPV6, 128): allow(ECHO),
        (EMPIRE_CLASS, 24, IPPROTO_TCP, PROXIED): redirect(PROXY, 10000),
        (HOST_CLASS, 0, 0, 0): allow(ALLOWS),
        (REMOTE_CLASS, 0, 0, 0): deny(DENIES),
        (REMOTE_CLASS, 24, IPPROTO_TCP, WEB): allow(ALLOWS),
        (REMOTE_CLASS, 24, IPPROTO_TCP, PROXIED): redirect(PROXY),
        (ANY, 0, 0, 0): deny(FOR_ANY),
        (ANY, 24, IPPROTO_TCP, ANYONES): allow(FOR_ANY),
    }
)
CONFINEMENT = table(
    {
        (EMPIRE_CLASS, 0, 0, 0): deny(OUT_DENIES),
        (EMPIRE_CLASS, 24, IPPROTO_TCP, WEB): allow(OUT),
        (HOST_CLASS, 0, 0, 0): deny(OUT_DENIES),
        (HOST_CLASS, 24, IPPROTO_TCP, WEB): allow(OUT),
        (WORLD_CLASS, 0, 0, 0): deny(OUT_DENIES),
        (WORLD_CLASS, 24, IPPROTO_TCP, ANYONES): allow(OUT),
        (WORLD_CLASS, 24, IPPROTO_UDP, 53): allow(OUT),
        (WORLD_CLASS, 24, IPPROTO_ICMP, 8): allow(OUT),
        (WORLD_CLASS, 24, IPPROTO_ICMPV6, 128): allow(OUT),
    }
)
PLANS = {
    SERVER: plan(EMPIRE, ingress="guard"),
    CLIENT: plan(EMPIRE),
    STRANGER: plan(ALLIANCE),
    CONFINED: plan(EMPIRE, egress="confinement"),
    IPV4_ONLY: plan(EMPIRE),
    IPV6_ONLY: plan(EMPIRE),
}


@contextlib.contextmanager
def packet_world(**settings: Any) -> Iterator[World]:
    """The node of the table above, removed again whatever happened."""
    with node(**settings) as built:
        built.open()
        world = World(built, _interfaces(built), RULES)
        for name, number in NUMBERS.items():
            _attach(built, name, number)
            world.name(name, number)
        _silence(world)
        built.put(
            PLANS,
            rule_sets=rule_sets(guard=GUARD, confinement=CONFINEMENT),
            identity_classes=CLASSES,
            ipcache={
                **{Prefix.parse(HOST[family]): HOST_IDENTITY for family in (4, 6)},
                **{Prefix.parse(REMOTE_PREFIX[family]): REMOTE for family in (4, 6)},
            },
        )
        world.events()
        yield world


def _silence(world: World) -> None:
    """Take the interfaces down: what the kernel says on its own would be counted. Programs still run."""
    world.events()
    for name in NUMBERS:
        world.node.command("ip", "link", "set", world.interface(name).name, "down")


def _attach(built: Node, name: str, number: int) -> None:
    assert built.datapath is not None
    described = endpoint(name, number)
    if number == IPV4_ONLY:
        described = replace(described, ipv6=None)
    if number == IPV6_ONLY:
        described = replace(described, ipv4=None)
    built.run(built.datapath.attach, described, built.namespace_for(name))


def _interfaces(built: Node) -> dict[str, int]:
    """Interfaces that are no endpoints: the uplink, one far from the rows, and one that has an empty row."""
    spare = built.settings.interface_base + built.settings.capacity.endpoints
    built.command("ip", "link", "add", EMPTY_SLOT, "index", str(spare), "type", "veth")
    uplink = built.run(socket.if_nametoindex, "uplink")
    return {UPLINK: uplink, NOBODY: uplink, STACK: 0, EMPTY_SLOT: spare}


def ends(source: str, destination: str, family: int) -> tuple[bytes, bytes]:
    """Addresses of two parties, 16 bytes each."""
    return where(source, family), where(destination, family)


def where(name: str, family: int) -> bytes:
    """The address of an endpoint, or of ``host``, ``world`` or ``remote``."""
    if name in NUMBERS:
        return pack_address(address(NUMBERS[name], family))
    return pack_address({"host": HOST, "world": WORLD_ADDRESS, "remote": REMOTE_ADDRESS}[name][family])


def tcp(source: str, destination: str, family: int, port: int = WEB, source_port: int = 40000) -> Flow:
    """A TCP connection between two parties."""
    return Flow(*ends(source, destination, family), IPPROTO_TCP, source_port, port)


def udp(source: str, destination: str, family: int, port: int = 53, source_port: int = 40000) -> Flow:
    """A UDP conversation between two parties."""
    return Flow(*ends(source, destination, family), IPPROTO_UDP, source_port, port)


def ping(source: str, destination: str, family: int, identifier: int = 77) -> Flow:
    """An echo request from one party to another."""
    protocol, kind = (IPPROTO_ICMP, 8) if family == 4 else (IPPROTO_ICMPV6, 128)
    return Flow(*ends(source, destination, family), protocol, identifier, kind)


def icmp(source: str, destination: str, family: int, kind: int) -> Flow:
    """An ICMP message of any type."""
    protocol = IPPROTO_ICMP if family == 4 else IPPROTO_ICMPV6
    return Flow(*ends(source, destination, family), protocol, 0, kind)
