"""A node with a server, a client and two proxies, for tests about flows that are led to them."""

import contextlib
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest

from kinety.abi import Reason, Redirect
from kinety.datapath.proxy_cgroup import proxy_cgroup
from kinety.kernel.namespace import Namespace
from kinety.model.address import Prefix
from kinety.model.identity import ClassId, Identity
from kinety.model.layer7 import Layer7Id
from kinety.model.rule import RuleId
from kinety.model.verdict import RuleSet, Verdict, VerdictKind
from tests.netns.datapath_node import (
    ANSWER_SECONDS,
    HOST,
    OUTSIDE,
    POOLS,
    Node,
    echo,
    listening,
    node,
    plan,
    rule_sets,
    socket_to,
    table,
    wait_until,
)
from tests.netns.splice_proxy import FORBIDDEN, REFUSED, SpliceProxy, splicing

EMPIRE, ALLIANCE, HOST_IDENTITY, WORLD = Identity(256), Identity(70003), Identity(1), {4: 9, 6: 10}
EMPIRE_CLASS, ALLIANCE_CLASS, HOST_CLASS, WORLD_CLASS = ClassId(3), ClassId(4), ClassId(5), ClassId(6)
ANYBODY = ClassId(0)
CLASSES = {
    EMPIRE: EMPIRE_CLASS,
    ALLIANCE: ALLIANCE_CLASS,
    HOST_IDENTITY: HOST_CLASS,
    Identity(9): WORLD_CLASS,
    Identity(10): WORLD_CLASS,
}
SERVER, CLIENT = 11, 12
PORT = 8080
EGRESS, INGRESS = Layer7Id("egress"), Layer7Id("ingress")
PORTS = {EGRESS: 10001, INGRESS: 10002}
families = pytest.mark.parametrize("family", [4, 6])
NEEDS = ("root", "bpf", "tcx", "netns", "bpffs", "nft", "objects")


def to_proxy(
    layer7: Layer7Id, protocol: int = socket.IPPROTO_TCP, port: int = PORT, of: ClassId = ANYBODY
) -> RuleSet:
    """Whoever is of a class goes to a listener, at one port, and nowhere else."""
    led = Verdict(VerdictKind.REDIRECT, RuleId(7), layer7)
    denied = Verdict(VerdictKind.DENY, RuleId(9))
    return table({(0, 0, 0, 0): denied, (of, 0, 0, 0): denied, (of, 24, protocol, port): led})


SETS = rule_sets(egress=to_proxy(EGRESS), ingress=to_proxy(INGRESS))


@contextlib.contextmanager
def redirect_lab(**settings: Any) -> Iterator[Node]:
    """A node with a server and a client, whose plans the tests give."""
    with node(**settings) as built:
        built.open()
        built.attach("server", SERVER)
        built.attach("client", CLIENT)
        built.ports = dict(PORTS)
        built.put(
            {SERVER: plan(EMPIRE), CLIENT: plan(ALLIANCE)},
            identity_classes=CLASSES,
            rule_sets=SETS,
            ipcache={Prefix.parse(HOST[family]): HOST_IDENTITY for family in (4, 6)},
        )
        yield built


@dataclass
class Talk:
    """A connection's two ends, as client and server see it."""

    client: socket.socket
    server: socket.socket
    seen: tuple[str, int]

    def works(self) -> bool:
        """Bytes in both directions."""
        self.client.sendall(b"question")
        if self.server.recv(100) != b"question":
            return False
        self.server.sendall(b"answer")
        return self.client.recv(100) == b"answer"

    def refuses(self) -> bool:
        """A proxy keeps the word from the server."""
        self.client.sendall(FORBIDDEN)
        return self.client.recv(100) == REFUSED

    def hears(self) -> bool:
        """Nobody keeps the word from the server."""
        self.client.sendall(FORBIDDEN)
        return self.server.recv(100) == FORBIDDEN


@contextlib.contextmanager
def talking(client: Namespace, server: Namespace, where: str, port: int = PORT) -> Iterator[Talk]:
    """Connect, and have it accepted."""
    with socket_to(client, where, socket.SOCK_STREAM) as asking:
        asking.settimeout(ANSWER_SECONDS)
        with listening(server, where, port) as listener:
            listener.settimeout(ANSWER_SECONDS)
            asking.connect((where, port))
            answering, peer = listener.accept()
        with answering:
            answering.settimeout(ANSWER_SECONDS)
            yield Talk(asking, answering, peer[:2])


Proxies = dict[Layer7Id, SpliceProxy]


@contextlib.contextmanager
def both_proxies(lab: Node) -> Iterator[Proxies]:
    """One proxy for each listener."""
    nat = lab.settings.redirect is Redirect.NAT
    cgroup = proxy_cgroup(lab.settings.pins) if nat else None
    with contextlib.ExitStack() as stack:
        yield {
            layer7: stack.enter_context(splicing(lab.namespace, port, cgroup))
            for layer7, port in PORTS.items()
        }


def reach_endpoints(lab: Node) -> None:
    """The outside knows the way to endpoints."""
    for family, pool in zip((4, 6), POOLS, strict=True):
        command = ["ip", f"-{family}", "route", "add", str(pool), "via", HOST[family]]
        lab.outside.call(partial(subprocess.run, command, check=True))
        # Its first packets are lost while the kernel makes sure of link-local addresses.
        wait_until(partial(echo, lab.namespace, OUTSIDE[family], 0.1))


def counted(lab: Node, reason: Reason) -> int:
    """Packets that went that way, or did not."""
    assert lab.datapath is not None
    return sum(each.packets for (found, _), each in lab.run(lab.datapath.counters).items() if found == reason)


def is_reset(end: socket.socket) -> bool:
    """Send something and hear that there is no such connection."""
    end.settimeout(ANSWER_SECONDS)
    try:
        end.sendall(b"anybody?")
        return end.recv(100) == b""
    except ConnectionResetError:
        return True
    except TimeoutError:
        return False
