"""Flows through a proxy, with real packets: who is led there, who is not, and what everybody sees."""

import contextlib
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import pytest

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
    address,
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

pytestmark = pytest.mark.needs("root", "bpf", "tcx", "netns", "bpffs", "nft", "objects")

EMPIRE, ALLIANCE, HOST_IDENTITY, WORLD = Identity(256), Identity(70003), Identity(1), {4: 9, 6: 10}
EMPIRE_CLASS, ALLIANCE_CLASS, HOST_CLASS, WORLD_CLASS = ClassId(3), ClassId(4), ClassId(5), ClassId(6)
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


def to_proxy(layer7: Layer7Id, protocol: int = socket.IPPROTO_TCP, port: int = PORT) -> RuleSet:
    """Whoever it is goes to a listener, at one port, and nowhere else."""
    led = Verdict(VerdictKind.REDIRECT, RuleId(7), layer7)
    denied = Verdict(VerdictKind.DENY, RuleId(9))
    return table({(0, 0, 0, 0): denied, (0, 24, protocol, port): led})


SETS = rule_sets(egress=to_proxy(EGRESS), ingress=to_proxy(INGRESS))


@pytest.fixture
def lab(request: pytest.FixtureRequest) -> Iterator[Node]:
    """A node with a server and a client, whose plans the tests give; whether it masquerades may be said."""
    with node(masquerade=getattr(request, "param", True)) as built:
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
        """The word that no server is to hear."""
        self.client.sendall(FORBIDDEN)
        return self.client.recv(100) == REFUSED


@contextlib.contextmanager
def talking(client: Namespace, server: Namespace, where: str, source_port: int = 0) -> Iterator[Talk]:
    """Connect, and have it accepted."""
    with listening(server, where, PORT) as listener, socket_to(client, where, socket.SOCK_STREAM) as asking:
        asking.settimeout(ANSWER_SECONDS)
        listener.settimeout(ANSWER_SECONDS)
        asking.connect((where, PORT))
        answering, peer = listener.accept()
        with answering:
            answering.settimeout(ANSWER_SECONDS)
            yield Talk(asking, answering, peer[:2])


@pytest.fixture
def proxies(lab: Node) -> Iterator[dict[Layer7Id, SpliceProxy]]:
    with contextlib.ExitStack() as stack:
        yield {layer7: stack.enter_context(splicing(lab.namespace, port)) for layer7, port in PORTS.items()}


Proxies = dict[Layer7Id, SpliceProxy]


@families
def test_egress_to_an_endpoint(lab: Node, proxies: Proxies, family: int) -> None:
    lab.put({CLIENT: plan(ALLIANCE, egress="egress")})
    where = address(SERVER, family)
    with talking(lab.endpoints["client"], lab.endpoints["server"], where) as talk:
        assert talk.works()
        assert talk.refuses()
        assert talk.seen[0] == address(CLIENT, family)
        [accepted] = proxies[EGRESS].accepted
        assert accepted.client == talk.client.getsockname()[:2]
        assert accepted.destination == (where, PORT)
        assert accepted.identity == ALLIANCE
        assert not proxies[INGRESS].accepted


@families
def test_ingress_of_an_endpoint(lab: Node, proxies: Proxies, family: int) -> None:
    lab.put({SERVER: plan(EMPIRE, ingress="ingress")})
    where = address(SERVER, family)
    with talking(lab.endpoints["client"], lab.endpoints["server"], where) as talk:
        assert talk.works()
        assert talk.refuses()
        assert talk.seen[0] == address(CLIENT, family)
        [accepted] = proxies[INGRESS].accepted
        assert accepted.identity == ALLIANCE
        assert not proxies[EGRESS].accepted


@families
def test_egress_and_ingress(lab: Node, proxies: Proxies, family: int) -> None:
    lab.put({CLIENT: plan(ALLIANCE, egress="egress"), SERVER: plan(EMPIRE, ingress="ingress")})
    where = address(SERVER, family)
    with talking(lab.endpoints["client"], lab.endpoints["server"], where) as talk:
        assert talk.works()
        assert talk.refuses()
        assert talk.seen[0] == address(CLIENT, family)
        for proxy in proxies.values():
            [accepted] = proxy.accepted
            assert accepted.client[0] == address(CLIENT, family)
            assert accepted.destination == (where, PORT)
            assert accepted.identity == ALLIANCE


def reach_endpoints(lab: Node) -> None:
    """The outside knows the way to endpoints."""
    for family, pool in zip((4, 6), POOLS, strict=True):
        command = ["ip", f"-{family}", "route", "add", str(pool), "via", HOST[family]]
        lab.outside.call(partial(subprocess.run, command, check=True))
        # Its first packets are lost while the kernel makes sure of link-local addresses.
        wait_until(partial(echo, lab.namespace, OUTSIDE[family], 0.1))


@families
def test_ingress_from_the_node_itself(lab: Node, proxies: Proxies, family: int) -> None:
    lab.put({SERVER: plan(EMPIRE, ingress="ingress")})
    with talking(lab.namespace, lab.endpoints["server"], address(SERVER, family)) as talk:
        assert talk.works()
        assert talk.refuses()
        assert talk.seen[0] == talk.client.getsockname()[0]
        [accepted] = proxies[INGRESS].accepted
        assert accepted.identity == HOST_IDENTITY
        assert accepted.client == talk.client.getsockname()[:2]


@families
def test_ingress_from_outside(lab: Node, proxies: Proxies, family: int) -> None:
    reach_endpoints(lab)
    lab.put({SERVER: plan(EMPIRE, ingress="ingress")})
    with talking(lab.outside, lab.endpoints["server"], address(SERVER, family)) as talk:
        assert talk.works()
        assert talk.refuses()
        assert talk.seen[0] == OUTSIDE[family]
        [accepted] = proxies[INGRESS].accepted
        assert accepted.identity == WORLD[family]


@families
def test_egress_to_the_node_itself(lab: Node, proxies: Proxies, family: int) -> None:
    lab.put({CLIENT: plan(ALLIANCE, egress="egress")})
    with talking(lab.endpoints["client"], lab.namespace, HOST[family]) as talk:
        assert talk.works()
        assert talk.refuses()
        assert talk.seen[0] == address(CLIENT, family)
        [accepted] = proxies[EGRESS].accepted
        assert (accepted.identity, accepted.destination) == (ALLIANCE, (HOST[family], PORT))


@families
@pytest.mark.parametrize("lab", [True, False], indirect=True, ids=["masquerade", "routed"])
def test_egress_to_the_outside(lab: Node, proxies: Proxies, family: int) -> None:
    reach_endpoints(lab)
    lab.put({CLIENT: plan(ALLIANCE, egress="egress")})
    with talking(lab.endpoints["client"], lab.outside, OUTSIDE[family]) as talk:
        assert talk.works()
        assert talk.refuses()
        seen = HOST[family] if lab.settings.masquerade else address(CLIENT, family)
        assert talk.seen[0] == seen
        [accepted] = proxies[EGRESS].accepted
        assert (accepted.identity, accepted.destination) == (ALLIANCE, (OUTSIDE[family], PORT))
