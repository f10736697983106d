"""A node between a client and a server that redirects what it forwards to a port of its loopback.

By nftables (TPROXY), so that a proxy can be tried without a datapath::

    client ══ node (redirect, proxy) ══ server
"""

import contextlib
import os
import secrets
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

from kinety.kernel.namespace import Namespace

CLIENT = {4: "10.91.1.2", 6: "fd91:1::2"}
SERVER = {4: "10.91.2.2", 6: "fd91:2::2"}
_NODE = {"client": {4: "10.91.1.1", 6: "fd91:1::1"}, "server": {4: "10.91.2.1", 6: "fd91:2::1"}}
_BITS = {4: 24, 6: 64}
#: The mark of what goes to a proxy, as the datapath sets it: identity 12345 of a client.
MARK, MAGIC = 0x30390200, "0x200/0xf00"
_TABLE = 100


@dataclass(frozen=True, slots=True)
class Redirected:
    """The three namespaces."""

    client: Namespace
    node: Namespace
    server: Namespace

    def redirect(self, listener: int, port: int = 53) -> None:
        """Send what the client sends to ``port``, by UDP and TCP, to a listener on the node's loopback."""
        answers = f"socket transparent 1 meta mark set {MARK:#x} accept"
        rules = "\n".join(
            f'iifname "client" meta nfproto {family} meta l4proto {{ tcp, udp }} th dport {port} '
            f"tproxy {kind} to {loopback}:{listener} meta mark set {MARK:#x} accept"
            for family, kind, loopback in (("ipv4", "ip", "127.0.0.1"), ("ipv6", "ip6", "[::1]"))
        )
        # Where nobody listens, nothing passes.
        rules += f'\niifname "client" meta l4proto {{ tcp, udp }} th dport {port} drop'
        run(
            self.node,
            "nft -f -",
            f"""table inet redirected
            delete table inet redirected
            table inet redirected {{
              chain prerouting {{
                type filter hook prerouting priority mangle;
                {rules}
                meta l4proto {{ tcp, udp, icmp, ipv6-icmp }} {answers}
              }}
            }}""",
        )

    def direct(self) -> None:
        """Redirect nothing any more."""
        run(self.node, "nft flush ruleset")


def run(namespace: Namespace, command: str, text: str | None = None) -> str:
    """What a command in a namespace prints. Raises RuntimeError with what it complains of."""
    words = ["nsenter", f"--net={namespace.name}", "--", *command.split()]
    done = subprocess.run(words, input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{command}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


@contextlib.contextmanager
def redirected() -> Iterator[Redirected]:
    """The namespaces, joined and routed, with nothing redirected yet; removed at the end."""
    prefix = f"kinety-{os.getpid()}-{secrets.token_hex(4)}"
    with contextlib.ExitStack() as stack:
        made = {}
        for name in ("client", "node", "server"):
            made[name] = Namespace.create(f"{prefix}-{name}")
            stack.callback(made[name].remove)
        built = Redirected(**made)
        for each in made.values():
            run(each, "sysctl -qw net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.lo.disable_ipv6=0")
            run(each, "ip link set lo up")
        run(built.node, "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1")
        run(built.node, "sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0")
        run(built.node, "sysctl -qw net.ipv4.tcp_fwmark_accept=1")
        for name, addresses in (("client", CLIENT), ("server", SERVER)):
            _join(built.node, made[name], name, addresses)
        for family in "46":
            for rule in (f"pref 8 iif lo fwmark {MAGIC} goto 10", f"pref 9 fwmark {MAGIC} table {_TABLE}"):
                run(built.node, f"ip -{family} rule add {rule}")
            run(built.node, f"ip -{family} rule add pref 10 nop")
            run(built.node, f"ip -{family} route add local default dev lo table {_TABLE}")
        yield built


def _join(node: Namespace, peer: Namespace, name: str, addresses: dict[int, str]) -> None:
    run(node, f"ip link add {name} type veth peer name eth0 netns {peer.name.rpartition('/')[2]}")
    for family, address in addresses.items():
        run(node, f"ip address add {_NODE[name][family]}/{_BITS[family]} dev {name}")
        run(peer, f"ip address add {address}/{_BITS[family]} dev eth0")
    run(node, f"ip link set {name} up")
    run(peer, "ip link set eth0 up")
    for family in addresses:
        run(peer, f"ip -{family} route add default via {_NODE[name][family]}")
