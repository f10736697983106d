"""What proxies send on in a client's name, when policy changes between it and its answer.

A proxy's end is a socket of the test's, so that nothing of the client's comes in between.
"""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from kinety.abi import Reason, Redirect
from tests.netns.datapath_node import (
    ANSWER_SECONDS,
    HOST,
    OUTSIDE,
    Node,
    address,
    listening,
    plan,
    socket_to,
)
from tests.netns.redirect_lab import (
    CLIENT,
    EGRESS,
    EMPIRE,
    INGRESS,
    NEEDS,
    PORT,
    SERVER,
    Proxies,
    Talk,
    both_proxies,
    counted,
    families,
    is_reset,
    reach_endpoints,
    redirect_lab,
)

pytestmark = pytest.mark.needs(*NEEDS)

#: One of the proxies'.
FREE_PORT = 64321
clients = pytest.mark.parametrize("client", ["endpoint", "node", "outside"])


@pytest.fixture
def lab(redirect: Redirect) -> Iterator[Node]:
    with redirect_lab(redirect=redirect) as built:
        reach_endpoints(built)
        lead(built, "ingress")
        yield built


@pytest.fixture
def proxies(lab: Node) -> Iterator[Proxies]:
    with both_proxies(lab) as made:
        yield made


def lead(lab: Node, listener: str | None) -> None:
    """The server is asked through one of the listeners, or directly."""
    lab.put({SERVER: plan(EMPIRE, ingress=listener)})


def own(client: str, family: int) -> str:
    return {"endpoint": address(CLIENT, family), "node": HOST[family], "outside": OUTSIDE[family]}[client]


def speaking(proxies: Proxies, client: str, family: int, port: int = 0) -> socket.socket:
    """A socket of the first listener's, that is to speak for a client, from a port that may be said."""
    of = socket.AF_INET if family == 4 else socket.AF_INET6
    made = proxies[INGRESS].upstream(of, socket.SOCK_STREAM, own(client, family), port)
    made.settimeout(ANSWER_SECONDS)
    return made


def connected(listener: socket.socket, proxy: socket.socket, where: str) -> Talk:
    proxy.connect((where, PORT))
    listener.settimeout(ANSWER_SECONDS)
    server, peer = listener.accept()
    server.settimeout(ANSWER_SECONDS)
    return Talk(proxy, server, peer[:2])


@contextmanager
def asked_by(lab: Node, proxies: Proxies, client: str, family: int) -> Iterator[Talk]:
    """The server, and a proxy that speaks to it for a client."""
    where = address(SERVER, family)
    with (
        listening(lab.endpoints["server"], where, PORT) as listener,
        speaking(proxies, client, family) as proxy,
    ):
        talk = connected(listener, proxy, where)
        with talk.server:
            yield talk


@families
@clients
@pytest.mark.parametrize("first", ["proxy", "server"])
def test_a_proxy_is_reset_when_its_listener_is_not_the_one_any_more(
    lab: Node, proxies: Proxies, family: int, client: str, first: str
) -> None:
    """Whoever speaks first, and wherever the client is: what tells the proxy must not go to the client."""
    with asked_by(lab, proxies, client, family) as talk:
        assert talk.works()
        lead(lab, "egress")
        if first == "proxy":
            talk.client.sendall(b"question")
        else:
            talk.server.sendall(b"answer")
        with pytest.raises(ConnectionResetError):
            talk.client.recv(100)
        talk.server.setblocking(False)
        with pytest.raises(BlockingIOError):
            talk.server.recv(100)


@families
@clients
def test_what_a_former_listener_opens_is_led_on_to_the_one_of_now(
    lab: Node, proxies: Proxies, family: int, client: str
) -> None:
    """The request that it has let through is judged again, as by two rules."""
    lead(lab, "egress")
    with asked_by(lab, proxies, client, family) as talk:
        assert talk.works()
        assert talk.refuses()
        assert talk.seen[0] == own(client, family)
        [accepted] = proxies[EGRESS].accepted
        assert accepted.client == talk.client.getsockname()[:2]
    assert counted(lab, Reason.PROXY_UNAVAILABLE) == 0


@families
@clients
def test_a_proxy_goes_on_when_nobody_is_to_look_any_more(
    lab: Node, proxies: Proxies, family: int, client: str
) -> None:
    with asked_by(lab, proxies, client, family) as talk:
        assert talk.works()
        lead(lab, None)
        assert talk.works()
        assert talk.hears()


@families
@pytest.mark.parametrize("client", ["node", "outside"])
def test_ports_of_connections_that_were_reset_are_free(
    lab: Node, proxies: Proxies, family: int, client: str
) -> None:
    """A client's own, for the proxy that speaks in its name, and the other way round."""
    where, home = address(SERVER, family), {"node": lab.namespace, "outside": lab.outside}[client]
    with listening(lab.endpoints["server"], where, PORT) as listener:
        for turn in range(2):
            lead(lab, None)
            with socket_to(home, where, socket.SOCK_STREAM) as asking:
                asking.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                asking.bind((own(client, family), FREE_PORT))
                asking.settimeout(ANSWER_SECONDS)
                talk = connected(listener, asking, where)
                with talk.server:
                    assert talk.works()
                    lead(lab, "ingress")
                    assert is_reset(asking), turn
            with speaking(proxies, client, family, FREE_PORT) as proxy:
                talk = connected(listener, proxy, where)
                with talk.server:
                    assert talk.works()
                    lead(lab, "egress")
                    assert is_reset(proxy), turn
    assert counted(lab, Reason.PROXY_PORT_TAKEN) == 0
