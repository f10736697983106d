"""Wires: two network namespaces and what joins them. The things the packet path is compared on.

``bare``    two veth pairs, routed by the kernel of a node namespace; no program, no rule.
``bridge``  two veth pairs on a Linux bridge; the node's nftables forward chain drops by default, accepts
            what belongs to a connection, and then has one rule per source: how container hosts are set up
            today. The rule that lets the client in stands in the middle, neither favoured nor punished.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from ipaddress import IPv4Address

from kinety.kernel.namespace import Namespace

__all__ = ["PORTS", "Wire", "bare", "bridge", "inside", "namespace", "spawn"]

PORTS = range(7000, 7010)
SERVER, CLIENT = "10.96.2.2", "10.96.1.2"


@dataclass(frozen=True, slots=True)
class Wire:
    """Where the load generator sends from, where it is received, and the receiver's address."""

    name: str
    client: Namespace
    server: Namespace
    address: str


def inside(space: Namespace, *command: str) -> list[str]:
    """The command line that runs ``command`` in a namespace; only the network differs there."""
    return ["nsenter", f"--net={space.name}", "--", *command]


def do(space: Namespace, *command: str, text: str | None = None) -> None:
    """Run a set-up command in a namespace. Raises RuntimeError with what it wrote when it fails."""
    done = subprocess.run(inside(space, *command), input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed: {done.stderr.strip() or done.stdout.strip()}")


@contextlib.contextmanager
def spawn(space: Namespace, *command: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process in the namespace while the context lasts; what it forks ends with it."""
    silent = subprocess.DEVNULL
    process = subprocess.Popen(
        inside(space, *command), stdin=silent, stdout=silent, stderr=silent, start_new_session=True
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextlib.contextmanager
def namespace(role: str) -> Iterator[Namespace]:
    """A network namespace with a random name and its loopback up, removed at the end."""
    space = Namespace.create(f"bench-{role}-{secrets.token_hex(4)}")
    try:
        do(space, "ip", "link", "set", "lo", "up")
        yield space
    finally:
        space.remove()


def join(node: Namespace, host_side: str, peer: Namespace) -> None:
    """A veth pair: ``host_side`` up in the node, ``eth0`` up in the peer."""
    do(node, "ip", "link", "add", host_side, "type", "veth", "peer", "name", "eth0", "netns", peer.name)
    do(node, "ip", "link", "set", host_side, "up")
    do(peer, "ip", "link", "set", "eth0", "up")


@contextlib.contextmanager
def bare(name: str = "bare veth") -> Iterator[Wire]:
    with ExitStack() as stack:
        node, client, server = (stack.enter_context(namespace(role)) for role in ("node", "client", "server"))
        for side, peer, address in (("client0", client, CLIENT), ("server0", server, SERVER)):
            gateway = address.removesuffix("2") + "1"
            join(node, side, peer)
            do(node, "ip", "address", "add", f"{gateway}/24", "dev", side)
            do(peer, "ip", "address", "add", f"{address}/24", "dev", "eth0")
            do(peer, "ip", "route", "add", "default", "via", gateway)
        do(node, "sysctl", "--quiet", "--write", "net.ipv4.ip_forward=1")
        yield Wire(name, client, server, SERVER)


@contextlib.contextmanager
def bridge(rules: int, name: str | None = None) -> Iterator[Wire]:
    with ExitStack() as stack:
        node, client, server = (stack.enter_context(namespace(role)) for role in ("node", "client", "server"))
        do(node, "ip", "link", "add", "bridge0", "type", "bridge", "stp_state", "0", "forward_delay", "0")
        do(node, "ip", "link", "set", "bridge0", "up")
        for side, peer, address in (("client0", client, CLIENT), ("server0", server, SERVER)):
            join(node, side, peer)
            do(node, "ip", "link", "set", side, "master", "bridge0")
            do(peer, "ip", "address", "add", f"{address}/16", "dev", "eth0")
        do(node, "sysctl", "--quiet", "--write", "net.bridge.bridge-nf-call-iptables=1")
        do(node, "nft", "--file", "-", text=ruleset(sources(rules)))
        yield Wire(name or f"bridge + nftables, {rules} rules", client, server, SERVER)


def sources(count: int) -> list[str]:
    """Addresses a rule each is written for, the client's in the middle."""
    strangers = [str(IPv4Address("10.97.0.1") + number) for number in range(count - 1)]
    return [*strangers[: count // 2], CLIENT, *strangers[count // 2 :]]


def ruleset(allowed: Sequence[str]) -> str:
    """The table in nftables' own language."""
    ports = f"{PORTS.start}-{PORTS.stop - 1}"
    rules = "\n".join(
        f"    ip saddr {address} ip daddr {SERVER} meta l4proto {{ tcp, udp }} th dport {ports} accept"
        for address in allowed
    )
    return f"""table ip filter {{
  chain forward {{
    type filter hook forward priority filter; policy drop;
    ct state established,related accept
{rules}
  }}
}}
"""
