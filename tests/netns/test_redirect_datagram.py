"""Datagrams through a proxy: questions and answers, in fragments, past it, and without it."""

import socket
from collections.abc import Iterator

import pytest

from kinety.abi import Reason, Redirect
from kinety.kernel.namespace import Namespace
from tests.netns.datapath_node import (
    ANSWER_SECONDS,
    HOST,
    OUTSIDE,
    SILENCE_SECONDS,
    Node,
    address,
    plan,
    rule_sets,
    socket_to,
)
from tests.netns.redirect_lab import (
    ALLIANCE,
    CLIENT,
    EGRESS,
    EMPIRE,
    HOST_IDENTITY,
    INGRESS,
    NEEDS,
    SERVER,
    WORLD,
    Proxies,
    both_proxies,
    counted,
    families,
    reach_endpoints,
    redirect_lab,
    to_proxy,
)
from tests.netns.splice_proxy import FORBIDDEN, REFUSED

pytestmark = pytest.mark.needs(*NEEDS)

DNS = 53
#: More than an interface takes in one piece.
LONG = b"long" * 1000
SETS = rule_sets(**{f"dns-{each}": to_proxy(each, socket.IPPROTO_UDP, DNS) for each in (EGRESS, INGRESS)})


@pytest.fixture
def lab(redirect: Redirect) -> Iterator[Node]:
    with redirect_lab(redirect=redirect) as built:
        built.put({}, rule_sets=SETS)
        yield built


@pytest.fixture
def proxies(lab: Node) -> Iterator[Proxies]:
    with both_proxies(lab) as made:
        yield made


def lead(lab: Node, *ways: str) -> None:
    """By the client's egress, by the server's ingress, by both or straight."""
    lab.put(
        {
            CLIENT: plan(ALLIANCE, egress="dns-egress" if "egress" in ways else None),
            SERVER: plan(EMPIRE, ingress="dns-ingress" if "ingress" in ways else None),
        }
    )


class Conversation:
    """A client and a server of datagrams."""

    def __init__(self, client: Namespace, server: Namespace, where: str) -> None:
        self.client, self.server = (socket_to(each, where, socket.SOCK_DGRAM) for each in (client, server))
        for each in (self.client, self.server):
            each.settimeout(ANSWER_SECONDS)
        self.server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # the proxy answers from there, too
        self.server.bind((where, DNS))
        self.client.connect((where, DNS))
        self.seen = ("", 0)

    def works(self, question: bytes = b"question") -> bool:
        """A question and its answer, as long; who asked is kept."""
        self.client.send(question)
        data, peer = self.server.recvfrom(65536)
        self.seen = peer[:2]
        if data != question:
            return False
        self.server.sendto(question[::-1], peer)
        return self.client.recv(65536) == question[::-1]

    def refuses(self) -> bool:
        """A proxy keeps the word from the server."""
        self.client.send(FORBIDDEN)
        return self.client.recv(100) == REFUSED

    def close(self) -> None:
        """End both."""
        self.client.close()
        self.server.close()


def conversation(lab: Node, client: Namespace, server: Namespace, where: str) -> Conversation:
    """One that works already, with short datagrams and long ones, and through a proxy."""
    found = Conversation(client, server, where)
    assert found.works()
    assert found.works(LONG)
    assert found.refuses()
    return found


@families
@pytest.mark.parametrize("ways", [("egress",), ("ingress",), ("egress", "ingress")], ids="+".join)
def test_between_endpoints(lab: Node, proxies: Proxies, family: int, ways: tuple[str, ...]) -> None:
    lead(lab, *ways)
    where = address(SERVER, family)
    talk = conversation(lab, lab.endpoints["client"], lab.endpoints["server"], where)
    assert talk.seen[0] == address(CLIENT, family)
    for layer7, proxy in proxies.items():
        told = {(each.identity, each.client[0], each.destination) for each in proxy.accepted}
        assert told == ({(ALLIANCE, address(CLIENT, family), (where, DNS))} if layer7 in ways else set())
    talk.close()


@families
def test_from_the_node_itself(lab: Node, proxies: Proxies, family: int) -> None:
    lead(lab, "ingress")
    conversation(lab, lab.namespace, lab.endpoints["server"], address(SERVER, family)).close()
    assert {each.identity for each in proxies[INGRESS].accepted} == {HOST_IDENTITY}


@families
def test_from_outside(lab: Node, proxies: Proxies, family: int) -> None:
    reach_endpoints(lab)
    lead(lab, "ingress")
    talk = conversation(lab, lab.outside, lab.endpoints["server"], address(SERVER, family))
    assert talk.seen[0] == OUTSIDE[family]
    assert {each.identity for each in proxies[INGRESS].accepted} == {WORLD[family]}
    talk.close()


@families
@pytest.mark.parametrize("far", [False, True], ids=["node", "outside"])
def test_to_the_node_and_beyond(lab: Node, proxies: Proxies, family: int, far: bool) -> None:
    reach_endpoints(lab)
    lead(lab, "egress")
    server, where = (lab.outside, OUTSIDE[family]) if far else (lab.namespace, HOST[family])
    conversation(lab, lab.endpoints["client"], server, where).close()
    assert {each.destination for each in proxies[EGRESS].accepted} == {(where, DNS)}


@families
@pytest.mark.parametrize("way", ["egress", "ingress"])
def test_datagrams_follow_policy_at_once(lab: Node, proxies: Proxies, family: int, way: str) -> None:
    where = address(SERVER, family)
    talk = Conversation(lab.endpoints["client"], lab.endpoints["server"], where)
    assert talk.works()
    lead(lab, way)
    assert talk.works()
    assert talk.refuses()
    lead(lab)
    before = sum(len(each.accepted) for each in proxies.values())
    assert talk.works()
    assert sum(len(each.accepted) for each in proxies.values()) == before
    talk.close()


@families
@pytest.mark.parametrize("way", ["egress", "ingress"])
def test_the_server_cannot_answer_past_the_proxy(lab: Node, proxies: Proxies, family: int, way: str) -> None:
    lead(lab, way)
    talk = Conversation(lab.endpoints["client"], lab.endpoints["server"], address(SERVER, family))
    assert talk.works()
    before = counted(lab, Reason.PROXY_BYPASSED)
    talk.server.sendto(b"past the proxy", talk.client.getsockname()[:2])
    talk.client.settimeout(SILENCE_SECONDS)
    with pytest.raises(TimeoutError):
        talk.client.recv(100)
    assert counted(lab, Reason.PROXY_BYPASSED) == before + 1
    assert talk.works()
    talk.close()


@families
@pytest.mark.parametrize("way", ["egress", "ingress"])
@pytest.mark.parametrize("question", [b"short", LONG], ids=["whole", "fragments"])
def test_without_its_listener_nothing_passes(lab: Node, family: int, way: str, question: bytes) -> None:
    lead(lab, way)
    where = address(SERVER, family)
    talk = Conversation(lab.endpoints["client"], lab.endpoints["server"], where)
    with socket_to(lab.namespace, where, socket.SOCK_DGRAM) as of_the_node:
        of_the_node.bind(("", DNS))
        before = counted(lab, Reason.PROXY_UNAVAILABLE)
        talk.client.send(question)
        for each in (talk.server, of_the_node):
            each.settimeout(SILENCE_SECONDS)
            with pytest.raises(TimeoutError):
                each.recv(65536)
        assert counted(lab, Reason.PROXY_UNAVAILABLE) > before
    talk.close()


@families
def test_a_server_of_the_node_at_the_same_port_is_not_met(lab: Node, proxies: Proxies, family: int) -> None:
    lead(lab, "egress")
    where = address(SERVER, family)
    with socket_to(lab.namespace, where, socket.SOCK_DGRAM) as of_the_node:
        of_the_node.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        of_the_node.bind(("", DNS))
        of_the_node.setblocking(False)
        conversation(lab, lab.endpoints["client"], lab.endpoints["server"], where).close()
        with pytest.raises(BlockingIOError):
            of_the_node.recv(65536)
