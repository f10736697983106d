"""What the node needs beside the programs, for flows to come to the listeners of proxies (decision 0034).

Nothing of it is there before the first listener is. A packet that bears the mark of a proxy's is delivered
to this host whatever its destination: two rules and a route, in each family. What the proxy itself sends,
which bears the mark that its client came with, goes its way as ever: the first rule leads past the second.

A packet to an endpoint that is turned back at its interface (bpf/lib/proxy.h) comes in by the wrong one for
its source, which may even be the node's own: the interface must not mind. It has been through connection
tracking before, perhaps under another destination, so it is not tracked again.

Where the kernel looks for sockets of packets that it is about to forward (early demultiplexing), it drops
those that have one: answers to a proxy from elsewhere, which have a socket and are turned back only later.

A proxy has few ports to speak to one server in the name of one client. Those that rest after a connection
(TIME_WAIT) may be used again after a second, which timestamps make safe (RFC 6191), instead of a minute.
"""

import contextlib
import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path

from kinety import abi
from kinety.kernel.collection import Collection
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
from kinety.kernel.reachability import pruned
from kinety.kernel.spec import CollectionSpec
from kinety.kernel.uapi import AttachType
from kinety.model.layer7 import Layer7Id

from . import nft
from .interface import Interface
from .settings import Settings
from .sysctl import NET, lower, set_sysctl
from .template import node_constants, packaged_object, remove_tree
from .tproxy import TproxyTable

OBJECT = "proxy.o"
PROGRAM = "choose_listener"
#: Of the nftables table, and of the routing table whose one route delivers here.
NFT_TABLE = "kinety_proxy"
ROUTING_TABLE = 19284
_MARK, _MASK = int(abi.Mark.TO_PROXY), int(abi.Mark.KIND)
#: The target of the first comes before it.
RULES = (
    Rule(10),
    Rule(8, _MARK, _MASK, incoming="lo", goto=10),
    Rule(9, _MARK, _MASK, table=ROUTING_TABLE),
)
#: With ``tproxy``: what nftables should have led and did not.
UNLED = Rule(9, _MARK | int(abi.Mark.UNLED), _MASK, blackhole=True)
#: Before connection tracking (NF_IP_PRI_RAW).
_RAW_PRIORITY = -300
_HERE = "/proc/thread-self/ns/net"


class Redirection:
    """The owner of the node's part."""

    def __init__(self, settings: Settings, directory: Path, maps: Mapping[str, Map]) -> None:
        """``directory`` is for the link's pin, ``maps`` are those of the endpoints' programs."""
        self._settings = settings
        self._directory = directory
        self._maps = maps
        self._tproxy = TproxyTable(NFT_TABLE) if settings.redirect is abi.Redirect.TPROXY else None
        self._up = False
        #: Rules, routes, settings and links changed since this object was made.
        self.writes = 0

    def serve(self, ports: Mapping[Layer7Id, int], interfaces: Iterable[Interface]) -> None:
        """When there are listeners, have packets come to them; ``interfaces`` are those of the endpoints.

        What is there already stays as it is. Raises OSError, and may be repeated then.
        """
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
        else:
            remove_tree(self._directory)
        self.writes += set_sysctl(NET / "ipv4/tcp_fwmark_accept", "1")
        self.writes += set_sysctl(NET / "ipv4/ip_early_demux", "0")
        self.writes += set_sysctl(NET / "ipv4/tcp_tw_reuse", "1")
        self.writes += _widen_ports(self._settings.proxy_source_ports[1])
        self.writes += lower("rp_filter")
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

    def _choose_listeners(self) -> None:
        """Have the kernel ask the program; one of another version is replaced in one step."""
        elf, constants = packaged_object(OBJECT), node_constants(self._settings)
        version = hashlib.sha256(elf + repr(sorted(constants.items())).encode()).hexdigest()[:16]
        path = self._directory / version
        if path.exists():
            return
        self._directory.mkdir(exist_ok=True)
        spec = CollectionSpec.parse(elf)
        spec.require_contract(abi.CONTRACT_HASH)
        spec = pruned(spec.with_constants(constants))
        used = {name: each for name, each in self._maps.items() if name in spec.maps}
        sizes = {name: each.info.max_entries for name, each in used.items()}
        with Collection.load(spec, max_entries=sizes, maps=used) as collection:
            program = collection.programs[PROGRAM]
            former = next(self._directory.iterdir(), None)
            if former is not None:
                with Link.open(former) as link:
                    link.update(program)
                former.rename(path)
            else:
                here = os.open(_HERE, os.O_RDONLY | os.O_CLOEXEC)
                try:
                    with Link.attach_namespace(program, here, AttachType.SK_LOOKUP) as link:
                        link.pin(path)
                finally:
                    os.close(here)
        self.writes += 1

    def _route(self) -> None:
        with Netlink() as netlink:
            for family in FAMILIES:
                for rule in self._rules():
                    self.writes += _missing(netlink, partial(rule_add, family=family, rule=rule))
                self.writes += _missing(netlink, partial(local_route_add, family=family, table=ROUTING_TABLE))

    def _rules(self) -> tuple[Rule, ...]:
        return RULES if self._tproxy is None else (*RULES, UNLED)

    def _track_once(self) -> None:
        """Without nftables there is nothing of Kinety's that tracks connections."""
        if shutil.which("nft") is None:
            return
        found = nft.list_table(NFT_TABLE)
        if found and not any("map" in each for each in found):
            return
        place = {"family": nft.FAMILY, "table": NFT_TABLE}
        marked = {"&": [{"meta": {"key": "mark"}}, _MASK]}
        rule = [{"match": {"op": "==", "left": marked, "right": _MARK}}, {"notrack": None}]
        commands: list[dict[str, object]] = []
        for hook in ("prerouting", "output"):
            chain = {"name": hook, "type": "filter", "hook": hook, "prio": _RAW_PRIORITY, "policy": "accept"}
            commands.append({"add": {"chain": {**place, **chain}}})
            commands.append({"add": {"rule": {**place, "chain": hook, "expr": rule}}})
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
                with contextlib.suppress(FileNotFoundError), netlink.batch() as batch:
                    rule_delete(batch, family, rule)
            with contextlib.suppress(ProcessLookupError), netlink.batch() as batch:
                local_route_delete(batch, family, ROUTING_TABLE)


def _missing(netlink: Netlink, add: Callable[[Batch], None]) -> bool:
    """Add something; False when it is there."""
    try:
        with netlink.batch() as batch:
            add(batch)
    except FileExistsError:
        return False
    return True


def _widen_ports(last: int) -> int:
    """Sockets may choose only among ports of the node's range, whatever they ask for."""
    path = NET / "ipv4/ip_local_port_range"
    low, high = path.read_text().split()
    return set_sysctl(path, f"{low} {last}") if int(high) < last else 0
