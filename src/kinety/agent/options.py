"""The agent's command line."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path

from kinety import __version__
from kinety.abi import EventLevel, Redirect
from kinety.agent.names.cache import DEFAULT_LEAST, DEFAULT_MOST
from kinety.agent.option_value import (
    MAP_SIZES,
    RUNTIMES,
    address,
    domain,
    map_size,
    mtu,
    name_pattern,
    node_label,
    pool4,
    pool6,
    ports,
    positive,
    prefix,
    runtime,
    seconds,
    store,
)
from kinety.agent.pool import DEFAULT_QUARANTINE, AddressPool, Network, overlap
from kinety.api.types import DEFAULT_SOCKET, Dns
from kinety.model.label import Labels
from kinety.model.layer7 import NamePattern
from kinety.plan.change import Capacity

DEFAULT_STATE_DIR = Path("/var/lib/kinety")
DEFAULT_POOLS = {4: "10.240.0.0/16", 6: "fd4b:696e:6574:79::/64"}
SYSTEM_BPFFS = Path("/sys/fs/bpf")
OWN_BPFFS = Path("/run/kinety/bpf")
DEFAULT_CONNTRACK = 131072
#: Ports of this node's proxies: those that rule sets send flows to, and those that proxies speak from. Others
#: speak from 32768-60999 unless told otherwise (kernel documentation, ip-sysctl, ip_local_port_range).
DEFAULT_PROXY_PORTS = "10000-14999"
DEFAULT_PROXY_SOURCE_PORTS = "61000-65535"
EVENTS = tuple(level.name.lower() for level in EventLevel)
#: A resolver asks no more. Source: resolv.conf(5), MAXNS.
_MOST_SERVERS = 3
#: What answers of DNS may not lead to.
PROTECTIONS = ("none", "local", "private")
LOG_LEVELS = ("debug", "info", "warning", "error")


@dataclass(frozen=True, slots=True)
class Options:
    """What the operator decided. ``bpffs`` None: find one. ``pools`` are tried in their order.

    ``address_quarantine`` is in seconds; ``runtimes`` are kinds of container runtime, each with its address.
    """

    state_dir: Path
    socket: Path
    store: Path
    bpffs: Path | None
    pools: tuple[Network, ...]
    pool_reserve: tuple[Network, ...]
    address_quarantine: float
    allow_localhost: bool
    node_labels: Labels
    runtimes: tuple[tuple[str, str], ...]
    masquerade: bool
    conntrack_entries: int
    capacity: Capacity
    clsact_only: bool
    ipv4: bool
    ipv6: bool
    events: EventLevel
    hooks: bool
    shadow: bool
    fragments: bool
    bandwidth: bool
    mtu: int | None
    dns: Dns | None
    l7_redirect: Redirect
    envoy: str
    proxy_ports: range
    proxy_source_ports: range
    l7_denied_body: str
    dns_denied: str
    dns_protect: str
    dns_protect_exempt: tuple[NamePattern, ...]
    fqdn_min_ttl: float
    fqdn_max_addresses: int
    log_level: str
    cleanup: bool


def parse(arguments: Sequence[str]) -> Options:
    """Options from the command line; leaves the process with status 2 and one line when they are wrong."""
    parser = _parser()
    given = parser.parse_args(arguments)
    sizes: Mapping[str, int] = dict(given.map_size)
    _apart(parser, given)
    return Options(
        state_dir=given.state_dir,
        socket=given.socket,
        store=given.store or given.state_dir / "kinety.db",
        bpffs=given.bpffs,
        pools=_pools(parser, given),
        pool_reserve=tuple(given.pool_reserve),
        address_quarantine=given.address_quarantine,
        allow_localhost=given.allow_localhost,
        node_labels=frozenset(given.node_label),
        runtimes=_runtimes(parser, given),
        masquerade=given.masquerade,
        conntrack_entries=given.conntrack_entries,
        capacity=Capacity(**sizes),
        clsact_only=given.attach_mode == "clsact",
        ipv4=given.ipv4,
        ipv6=given.ipv6,
        events=EventLevel[given.events.upper()],
        hooks=given.hooks,
        shadow=given.shadow,
        fragments=given.fragments,
        bandwidth=given.bandwidth,
        mtu=given.mtu,
        dns=_dns(parser, given),
        l7_redirect=Redirect[given.l7_redirect.upper()],
        envoy=given.envoy,
        proxy_ports=given.proxy_ports,
        proxy_source_ports=given.proxy_source_ports,
        l7_denied_body=given.l7_denied_body,
        dns_denied=given.dns_denied,
        dns_protect=given.dns_protect,
        dns_protect_exempt=tuple(given.dns_protect_exempt),
        fqdn_min_ttl=given.fqdn_min_ttl,
        fqdn_max_addresses=given.fqdn_max_addresses,
        log_level=given.log_level,
        cleanup=given.cleanup,
    )


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> None:  # type: ignore[override]
        self.exit(2, f"kinety: {message} (see kinety agent --help)\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="kinety agent",
        description="Run the agent of this node. SIGTERM stops it and leaves the datapath forwarding.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    switch = argparse.BooleanOptionalAction
    add = parser.add_argument
    add("--version", action="version", version=f"kinety {__version__}")
    add("--state-dir", type=Path, default=DEFAULT_STATE_DIR, metavar="DIR", help="what survives restarts")
    add("--socket", type=Path, default=Path(DEFAULT_SOCKET), metavar="PATH", help="where the API listens")
    add(
        "--store",
        type=store,
        metavar="[sqlite:]PATH",
        help="the store; kinety.db in DIR if not given",
    )
    add(
        "--bpffs",
        type=Path,
        metavar="DIR",
        help="where to pin; mounted as a BPF file system if needed",
    )
    for version, parse_pool in ((4, pool4), (6, pool6)):
        add(
            f"--ipv{version}-pool",
            type=parse_pool,
            action="append",
            default=argparse.SUPPRESS,
            metavar="PREFIX",
            help=f"endpoints get addresses of it; repeatable, or 'none' (default: {DEFAULT_POOLS[version]})",
        )
    add(
        "--pool-reserve",
        type=prefix,
        action="append",
        default=[],
        metavar="PREFIX",
        help="addresses of the pools that are given to nobody who does not ask for them; repeatable",
    )
    add(
        "--address-quarantine",
        type=seconds,
        default=DEFAULT_QUARANTINE,
        metavar="SECONDS",
        help="for how long nobody gets an address that was given up",
    )
    add(
        "--allow-localhost",
        action=switch,
        default=True,
        help="the node may reach its endpoints",
    )
    add(
        "--node-label",
        type=node_label,
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a label of this node, which fromNodes and toNodes select by; repeatable",
    )
    add(
        "--runtime",
        type=runtime,
        action="append",
        default=[],
        metavar="KIND[=PATH]",
        help="a container runtime that containers get labels from, and ADD waits for; repeatable; KIND is "
        + " or ".join(f"{kind} ({address})" for kind, address in RUNTIMES.items())
        + ", by its socket or program",
    )
    add(
        "--masquerade",
        action=switch,
        default=True,
        help="use the node's address outside",
    )
    add(
        "--conntrack-entries",
        type=positive,
        default=DEFAULT_CONNTRACK,
        metavar="N",
        help="flows known",
    )
    add(
        "--map-size",
        type=map_size,
        action="append",
        default=[],
        metavar="NAME=N",
        help=f"entries of a map; repeatable; NAME is one of {', '.join(MAP_SIZES)}",
    )
    add(
        "--attach-mode",
        choices=("auto", "clsact", "tcx"),
        default="auto",
        help="how programs stay attached: tcx where the kernel has it, or always clsact",
    )
    add("--ipv4", action=switch, default=True, help="without it, IPv4 is dropped and its pool not used")
    add("--ipv6", action=switch, default=True, help="without it, IPv6 is dropped and its pool not used")
    add(
        "--events",
        choices=EVENTS,
        default="flows",
        help="new flows, drops and changes; not the first; or none",
    )
    add("--hooks", action=switch, default=True, help="filters of your own may be loaded behind the verdict")
    add("--shadow", action=switch, default=True, help="judge policies that are staged or in audit")
    add("--fragments", action=switch, default=True, help="let fragments pass as their first one may")
    add("--bandwidth", action=switch, default=True, help="endpoints may have a bandwidth")
    add(
        "--mtu",
        type=mtu,
        metavar="BYTES",
        help="of endpoint interfaces; if not given, that of the uplink when an endpoint comes",
    )
    add(
        "--dns-server",
        type=address,
        action="append",
        default=[],
        metavar="ADDRESS",
        help=f"a name server that endpoints are told to ask; up to {_MOST_SERVERS}",
    )
    add(
        "--dns-search",
        type=domain,
        action="append",
        default=[],
        metavar="DOMAIN",
        help="what endpoints are told to complete names with; repeatable",
    )
    _add_layer7(parser)
    add(
        "--fqdn-min-ttl",
        type=seconds,
        default=DEFAULT_LEAST,
        metavar="SECONDS",
        help="for how long rules with toFQDNs know an address at least, whatever DNS says",
    )
    add(
        "--fqdn-max-addresses",
        type=positive,
        default=DEFAULT_MOST,
        metavar="N",
        help="addresses of a name that they know; the oldest go first",
    )
    add("--log-level", choices=LOG_LEVELS, default="info", help="least important message to log")
    add(
        "--cleanup",
        action="store_true",
        help="remove everything Kinety made, and end",
    )
    return parser


def _add_layer7(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--l7-redirect",
        choices=[each.name.lower() for each in Redirect],
        default=Redirect.SK_ASSIGN.name.lower(),
        help="how flows get to the proxy, where rules are about content",
    )
    add(
        "--envoy",
        default="envoy",
        metavar="PROGRAM",
        help="the proxy for HTTP and TLS; a path, or found on PATH",
    )
    add(
        "--proxy-ports",
        type=ports,
        default=DEFAULT_PROXY_PORTS,
        metavar="FIRST-LAST",
        help="of the loopback addresses; each set of rules about content has one",
    )
    add(
        "--proxy-source-ports",
        type=ports,
        default=DEFAULT_PROXY_SOURCE_PORTS,
        metavar="FIRST-LAST",
        help="that proxies speak from in a client's place; no client may have them",
    )
    add(
        "--l7-denied-body",
        choices=("policy", "plain"),
        default="policy",
        help="what a refused HTTP request is told: the names of the policies, or only that it is denied",
    )
    add(
        "--dns-denied", choices=("refused", "nxdomain"), default="refused", help="what is said of other names"
    )
    add(
        "--dns-protect",
        choices=PROTECTIONS,
        default=PROTECTIONS[0],
        help="refuse answers of DNS that lead to this node or the link, or to private addresses as well",
    )
    add(
        "--dns-protect-exempt",
        type=name_pattern,
        action="append",
        default=[],
        metavar="PATTERN",
        help="names whose answers may have them; repeatable",
    )


def _apart(parser: argparse.ArgumentParser, given: argparse.Namespace) -> None:
    """Leaves the process when listeners of proxies and what these speak from could meet."""
    listening, speaking = given.proxy_ports, given.proxy_source_ports
    if listening.start < speaking.stop and speaking.start < listening.stop:
        parser.error(
            f"--proxy-ports {listening.start}-{listening.stop - 1} and --proxy-source-ports "
            f"{speaking.start}-{speaking.stop - 1} overlap; give each ports of its own"
        )


def _dns(parser: argparse.ArgumentParser, given: argparse.Namespace) -> Dns | None:
    """What endpoints' resolvers are told; leaves the process when that is more than they read."""
    if len(given.dns_server) > _MOST_SERVERS:
        parser.error(f"--dns-server is given {len(given.dns_server)} times; resolvers ask {_MOST_SERVERS}")
    found = Dns(tuple(given.dns_server), tuple(given.dns_search))
    return found if found != Dns() else None


def _runtimes(parser: argparse.ArgumentParser, given: argparse.Namespace) -> tuple[tuple[str, str], ...]:
    """Leaves the process when one is given twice."""
    found: list[tuple[str, str]] = given.runtime
    if twice := next((each for each in found if found.count(each) > 1), None):
        parser.error(f"--runtime {'='.join(twice)} is given twice")
    return tuple(found)


def _pools(parser: argparse.ArgumentParser, given: argparse.Namespace) -> tuple[Network, ...]:
    """The pools of families that are not off. Leaves the process when they contradict each other."""
    found: list[Network] = []
    for version, on in ((4, given.ipv4), (6, given.ipv6)):
        asked: list[Network | None] = getattr(
            given, f"ipv{version}_pool", [ip_network(DEFAULT_POOLS[version])]
        )
        prefixes = [each for each in asked if each is not None]
        if len(prefixes) < len(asked) and len(asked) > 1:
            parser.error(f"--ipv{version}-pool is given 'none' and something else")
        found += prefixes if on else []
    if pair := overlap(found):
        parser.error(f"pools {pair[0]} and {pair[1]} overlap; an address can be of one pool only")
    try:
        for prefix in found:
            AddressPool(prefix, given.pool_reserve)
    except ValueError as error:
        parser.error(str(error))
    return tuple(found)
