"""What the node needs beside the programs, for flows to come to the listeners of proxies (decision 0034).

Nothing of it is there before the first listener is. A packet that bears the mark of a proxy's is delivered
to this host whatever its destination: two rules and a route, in each family. What the proxy itself sends,
which bears the mark that its client came with, goes its way as ever: the first rule leads past the second.
But where that client is a proxy itself, which speaks for somebody elsewhere, a third comes before them.

A packet to an endpoint that is turned back at its interface (bpf/lib/proxy.h) comes in by the wrong one for
its source, which may even be the node's own: the interface must not mind. It has been through connection
tracking before, perhaps under another destination, so it is not tracked again.

Where the kernel looks for sockets of packets that it is about to forward (early demultiplexing), it drops
those that have one: answers to a proxy from elsewhere, which have a socket and are turned back only later.

What the kernel answers before a connection is accepted bears no mark, so it is tracked; to one who takes the
middle of a connection for its beginning, the server calls the client. Proxies ask connection tracking first
whom a client had asked (SO_ORIGINAL_DST), and would be told: itself.

A proxy has few ports to speak to one server in the name of one client. Those that rest after a connection
(TIME_WAIT) may be used again after a second, which timestamps make safe (RFC 6191), instead of a minute.
"""

import contextlib
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path

from kinety import abi
from kinety.kernel.link import Link
from kinety.kernel.map import Map
from kinety.kernel.netlink import Batch, Netlink
from kinety.kernel.policy_route import (
    FAMILIES,
    Rule,
    local_route_add,
    local_route_delete,
    rule_add,
    rule_delete,
)
from kinety.kernel.program import Program
from kinety.kernel.uapi import AttachType
from kinety.model.layer7 import Layer7Id

from . import nft, proxy_cgroup
from .interface import Interface
from .proxy_program import attach_once
from .settings import Settings
from .sockmap import attach_sockmap, retire_sockmap
from .sysctl import NET, lower, set_sysctl
from .template import remove_tree
from .tproxy import TproxyTable

#: Objects and their programs: which listener a packet is for, and whom its sender had asked.
LISTENERS = ("proxy.o", "choose_listener")
DESTINATIONS = ("nat.o", "original_destination")
#: Directories of pins, of redirects that have programs of their own.
NAT, SOCKMAP = "nat", "sockmap"
#: Of the nftables table, and of the routing table whose one route delivers here.
NFT_TABLE = "kinety_proxy"
ROUTING_TABLE = 19284
_MARK, _KIND = int(abi.Mark.TO_PROXY), int(abi.Mark.KIND)
_ANSWERED_HERE = int(abi.Mark.ANSWERED_HERE)
#: Of all packets to proxies.
_MASK = _KIND & ~_ANSWERED_HERE
#: The target of the third comes before it.
RULES = (
    Rule(10),
    Rule(7, _MARK | _ANSWERED_HERE, _KIND, table=ROUTING_TABLE),
    Rule(8, _MARK, _KIND, incoming="lo", goto=10),
    Rule(9, _MARK, _KIND, table=ROUTING_TABLE),
)
#: With ``tproxy``: what nftables should have led and did not.
UNLED = Rule(9, _MARK | int(abi.Mark.UNLED), _MASK, blackhole=True)
#: Before connection tracking (NF_IP_PRI_RAW).
_RAW_PRIORITY = -300
_HERE = "/proc/thread-self/ns/net"
#: Whether connection tracking takes a packet from the middle for the beginning of a connection.
_LOOSE = NET / "netfilter/nf_conntrack_tcp_loose"


class Redirection:
    """The owner of the node's part."""

    def __init__(self, settings: Settings, directory: Path, maps: Mapping[str, Map]) -> None:
        """``directory`` is for the link's pin, ``maps`` are those of the endpoints' programs."""
        self._settings = settings
        self._directory = directory
        self._maps = maps
        self._tproxy = TproxyTable(NFT_TABLE) if settings.redirect is abi.Redirect.TPROXY else None
        self._up = self._alone = False
        #: Rules, routes, settings and links changed since this object was made.
        self.writes = 0

    def serve(self, ports: Mapping[Layer7Id, int], interfaces: Iterable[Interface]) -> None:
        """When there are listeners, have packets come to them; ``interfaces`` are those of the endpoints.

        What is there already stays as it is; what only another redirect needs goes, listeners or not. Raises
        OSError, and may be repeated then.
        """
        if not self._alone:
            self._leave_others()
            self._alone = True
        if not ports or self._settings.redirect is abi.Redirect.NONE:
            return
        if self._tproxy is not None:
            self.writes += self._tproxy.lead(frozenset(ports.values()))
        if self._up:
            return
        self._route()
        if self._tproxy is None:
            self._choose_listeners()
            self._track_once()
        self.writes += set_sysctl(NET / "ipv4/tcp_fwmark_accept", "1")
        self.writes += set_sysctl(NET / "ipv4/ip_early_demux", "0")
        self.writes += set_sysctl(NET / "ipv4/tcp_tw_reuse", "1")
        self.writes += _widen_ports(self._settings.proxy_source_ports[1])
        if _LOOSE.exists():
            self.writes += set_sysctl(_LOOSE, "0")
        self.writes += lower("rp_filter")
        self.writes += set_sysctl(NET / "ipv4/conf/lo/rp_filter", "0")
        if self._settings.redirect is abi.Redirect.NAT:
            self._translate()
        elif self._settings.redirect is abi.Redirect.SOCKMAP:
            self.writes += attach_sockmap(self._settings, self._home(SOCKMAP), self._maps)
        self._up = True
        for interface in interfaces:
            self.admit(interface)

    def admit(self, interface: Interface) -> None:
        """An endpoint has come: its interface must not mind what is turned back there."""
        if not self._up:
            return
        with contextlib.suppress(FileNotFoundError):  # it went away with its namespace
            self.writes += set_sysctl(NET / "ipv4/conf" / interface.name / "rp_filter", "0")
            self.writes += set_sysctl(NET / "ipv4/conf" / interface.name / "accept_local", "1")
            if self._settings.redirect is abi.Redirect.NAT:
                self.writes += set_sysctl(NET / "ipv4/conf" / interface.name / "route_localnet", "1")

    def _home(self, name: str) -> Path:
        """For pins of what only one redirect has."""
        return self._directory.with_name(name)

    def _leave_others(self) -> None:
        """Remove what a former agent's redirect has put here and this one does without.

        A program of theirs would go on with maps that are nobody's any more.
        """
        redirect = self._settings.redirect
        if redirect is not abi.Redirect.SOCKMAP:
            self.writes += retire_sockmap(self._home(SOCKMAP))
        if redirect is not abi.Redirect.NAT:
            remove_tree(self._home(NAT))
            proxy_cgroup.remove(self._settings.pins)
        if redirect in (abi.Redirect.TPROXY, abi.Redirect.NONE):
            remove_tree(self._directory)
        if redirect is not abi.Redirect.TPROXY:
            with Netlink() as netlink:
                for family in FAMILIES:
                    delete = partial(rule_delete, family=family, rule=UNLED)
                    self.writes += _changed(netlink, delete, FileNotFoundError)

    def _choose_listeners(self) -> None:
        """Have the kernel ask the program which listener a packet is for."""

        def attach(program: Program) -> Link:
            here = os.open(_HERE, os.O_RDONLY | os.O_CLOEXEC)
            try:
                return Link.attach_namespace(program, here, AttachType.SK_LOOKUP)
            finally:
                os.close(here)

        self.writes += attach_once(self._settings, self._directory, self._maps, LISTENERS, attach)

    def _translate(self) -> None:
        """Tell proxies whom a client had asked; have the kernel pass what is for them, and their answers."""
        cgroup = proxy_cgroup.make_proxy_cgroup(self._settings.pins)

        def attach(program: Program) -> Link:
            return Link.attach_cgroup(program, cgroup, AttachType.CGROUP_GETSOCKOPT)

        self.writes += attach_once(self._settings, self._home(NAT), self._maps, DESTINATIONS, attach)
        self.writes += set_sysctl(NET / "ipv4/conf/lo/route_localnet", "1")

    def _route(self) -> None:
        with Netlink() as netlink:
            for family in FAMILIES:
                adding = [partial(rule_add, family=family, rule=rule) for rule in self._rules()]
                for add in (*adding, partial(local_route_add, family=family, table=ROUTING_TABLE)):
                    self.writes += _changed(netlink, add, FileExistsError)

    def _rules(self) -> tuple[Rule, ...]:
        return RULES if self._tproxy is None else (*RULES, UNLED)

    def _track_once(self) -> None:
        """Without nftables there is nothing of Kinety's that tracks connections."""
        if shutil.which("nft") is None:
            return
        found = nft.list_table(NFT_TABLE)
        chains = {each["chain"]["name"] for each in found if "chain" in each}
        if chains == {"prerouting", "output"} and not any("map" in each for each in found):
            return
        commands = _untracked("prerouting", _MASK) + _untracked("output", _MASK | int(abi.Mark.TURNED))
        nft.replace_table(NFT_TABLE, commands)
        self.writes += 1


def take_down() -> None:
    """Remove rules, routes and the table from this network namespace; the program goes with its pin.

    Settings of the kernel stay: others may have come to rely on them.
    """
    nft.delete_table(NFT_TABLE)
    with Netlink() as netlink:
        for family in FAMILIES:
            for rule in (*RULES, UNLED):
                _changed(netlink, partial(rule_delete, family=family, rule=rule), FileNotFoundError)
            delete = partial(local_route_delete, family=family, table=ROUTING_TABLE)
            _changed(netlink, delete, ProcessLookupError)


def _untracked(hook: str, mask: int) -> list[nft.Json]:
    """A chain before connection tracking, for which what clients and proxies say to each other is nothing.

    But for answers to what was tracked before it was turned back, which may have to be rewritten.
    """
    place = {"family": nft.FAMILY, "table": NFT_TABLE}
    chain = {"name": hook, "type": "filter", "hook": hook, "prio": _RAW_PRIORITY, "policy": "accept"}
    marked = {"match": {"op": "==", "left": {"&": [{"meta": {"key": "mark"}}, mask]}, "right": _MARK}}
    rule = {**place, "chain": hook, "expr": [marked, {"notrack": None}]}
    return [{"add": {"chain": {**place, **chain}}}, {"add": {"rule": rule}}]


def _changed(netlink: Netlink, change: Callable[[Batch], None], unless: type[OSError]) -> bool:
    """Add something or remove it; False when it is so already, which is that error."""
    try:
        with netlink.batch() as batch:
            change(batch)
    except unless:
        return False
    return True


def _widen_ports(last: int) -> int:
    """Sockets may choose only among ports of the node's range, whatever they ask for."""
    path = NET / "ipv4/ip_local_port_range"
    low, high = path.read_text().split()
    return set_sysctl(path, f"{low} {last}") if int(high) < last else 0
