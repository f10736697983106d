"""The agent's command line."""

import argparse
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from ipaddress import ip_address, ip_network
from pathlib import Path

from kinety import __version__
from kinety.abi import EventLevel
from kinety.agent.name_cache import DEFAULT_LEAST, DEFAULT_MOST
from kinety.agent.pool import DEFAULT_QUARANTINE, AddressPool, Network, overlap
from kinety.api.types import DEFAULT_SOCKET, Dns
from kinety.model.label import NODE, Label, Labels
from kinety.plan.change import Capacity

DEFAULT_STATE_DIR = Path("/var/lib/kinety")
DEFAULT_POOLS = {4: "10.240.0.0/16", 6: "fd4b:696e:6574:79::/64"}
SYSTEM_BPFFS = Path("/sys/fs/bpf")
OWN_BPFFS = Path("/run/kinety/bpf")
DEFAULT_CONNTRACK = 131072
#: Maps whose size can be chosen, and what they hold.
MAP_SIZES = tuple(field.name for field in fields(Capacity))
#: Kinds of container runtime, and by default the socket each listens on; of Podman, the program's name.
RUNTIMES = {"containerd": "/run/containerd/containerd.sock", "podman": "podman"}
EVENTS = tuple(level.name.lower() for level in EventLevel)
#: A resolver asks no more. Source: resolv.conf(5), MAXNS.
_MOST_SERVERS = 3
#: Labels with dots between them. Source: RFC 1035, 2.3.1; the underscore, as resolvers take it.
_DOMAIN = re.compile(r"(?=.{1,253}\Z)\w[\w-]{0,62}(?:\.\w[\w-]{0,62})*\.?\Z", re.ASCII)
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
    fqdn_min_ttl: float
    fqdn_max_addresses: int
    log_level: str
    cleanup: bool


def parse(arguments: Sequence[str]) -> Options:
    """Options from the command line; leaves the process with status 2 and one line when they are wrong."""
    parser = _parser()
    given = parser.parse_args(arguments)
    sizes: Mapping[str, int] = dict(given.map_size)
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
        type=_store,
        metavar="[sqlite:]PATH",
        help="the store; kinety.db in DIR if not given",
    )
    add(
        "--bpffs",
        type=Path,
        metavar="DIR",
        help="where to pin; mounted as a BPF file system if needed",
    )
    for version, parse_pool in ((4, _pool4), (6, _pool6)):
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
        type=_prefix,
        action="append",
        default=[],
        metavar="PREFIX",
        help="addresses of the pools that are given to nobody who does not ask for them; repeatable",
    )
    add(
        "--address-quarantine",
        type=_seconds,
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
        type=_node_label,
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a label of this node, which fromNodes and toNodes select by; repeatable",
    )
    add(
        "--runtime",
        type=_runtime,
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
        type=_positive,
        default=DEFAULT_CONNTRACK,
        metavar="N",
        help="flows known",
    )
    add(
        "--map-size",
        type=_map_size,
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
        type=_mtu,
        metavar="BYTES",
        help="of endpoint interfaces; if not given, that of the uplink when an endpoint comes",
    )
    add(
        "--dns-server",
        type=_address,
        action="append",
        default=[],
        metavar="ADDRESS",
        help=f"a name server that endpoints are told to ask; up to {_MOST_SERVERS}",
    )
    add(
        "--dns-search",
        type=_domain,
        action="append",
        default=[],
        metavar="DOMAIN",
        help="what endpoints are told to complete names with; repeatable",
    )
    add(
        "--fqdn-min-ttl",
        type=_seconds,
        default=DEFAULT_LEAST,
        metavar="SECONDS",
        help="for how long rules with toFQDNs know an address at least, whatever DNS says",
    )
    add(
        "--fqdn-max-addresses",
        type=_positive,
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


def _positive(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 2**32:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number")
    return int(text)


def _mtu(text: str) -> int:
    if not text.isdecimal() or not 68 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"an MTU of {text} bytes is impossible; 68 to 65535 are not")
    return int(text)


def _address(text: str) -> str:
    try:
        return str(ip_address(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _domain(text: str) -> str:
    if not _DOMAIN.match(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no domain, such as example.org")
    return text


def _dns(parser: argparse.ArgumentParser, given: argparse.Namespace) -> Dns | None:
    """What endpoints' resolvers are told; leaves the process when that is more than they read."""
    if len(given.dns_server) > _MOST_SERVERS:
        parser.error(f"--dns-server is given {len(given.dns_server)} times; resolvers ask {_MOST_SERVERS}")
    found = Dns(tuple(given.dns_server), tuple(given.dns_search))
    return found if found != Dns() else None


def _map_size(text: str) -> tuple[str, int]:
    name, _, number = text.partition("=")
    if name not in MAP_SIZES:
        raise argparse.ArgumentTypeError(f"{text!r}: write NAME=N with NAME one of {', '.join(MAP_SIZES)}")
    return name, _positive(number)


def _node_label(text: str) -> Label:
    key, equals, value = text.partition("=")
    if not key or not equals or not text.isprintable() or any(map(str.isspace, text)):
        raise argparse.ArgumentTypeError(f"{text!r}: write KEY=VALUE, such as zone=a")
    return Label(NODE, key, value)


def _runtime(text: str) -> tuple[str, str]:
    kind, equals, address = text.partition("=")
    if kind not in RUNTIMES:
        raise argparse.ArgumentTypeError(
            f"{text!r}: write KIND[=PATH] with KIND one of {', '.join(RUNTIMES)}"
        )
    if equals and not address.startswith("/"):
        raise argparse.ArgumentTypeError(f"{text!r}: the path of the socket or program begins with /")
    return kind, address or RUNTIMES[kind]


def _store(text: str) -> Path:
    scheme, colon, path = text.partition(":")
    if colon and scheme != "sqlite" and "/" not in scheme:
        raise argparse.ArgumentTypeError(f"{text!r}: the only kind of store is sqlite:PATH")
    path = path if colon and scheme == "sqlite" else text
    if not path:
        raise argparse.ArgumentTypeError("the store needs a path")
    return Path(path)


def _prefix(text: str) -> Network:
    try:
        return ip_network(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{error}; write ADDRESS/BITS") from error


def _seconds(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds")
    return number


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


def _pool4(text: str) -> Network | None:
    return _pool(text, 4)


def _pool6(text: str) -> Network | None:
    return _pool(text, 6)


def _pool(text: str, version: int) -> Network | None:
    if text == "none":
        return None
    network = _prefix(text)
    if network.version != version:
        raise argparse.ArgumentTypeError(f"{text} is no IPv{version} prefix")
    if network.num_addresses < 4:
        raise argparse.ArgumentTypeError(f"{text} has no address to give; use a shorter prefix")
    return network
