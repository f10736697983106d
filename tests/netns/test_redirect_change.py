"""Policy changes, proxies come and go, and the agent does, while connections live."""

import fcntl
import socket
import struct
import termios
import time
from collections.abc import Iterator

import pytest

from kinety.abi import Reason, Redirect
from kinety.model.endpoint import EndpointId
from kinety.plan.change import Snapshot
from tests.netns.datapath_node import (
    ANSWER_SECONDS,
    HOST,
    OUTSIDE,
    Node,
    address,
    listening,
    plan,
    refused,
    socket_to,
    wait_until,
)
from tests.netns.redirect_lab import (
    ALLIANCE,
    CLASSES,
    CLIENT,
    EGRESS,
    EMPIRE,
    INGRESS,
    NEEDS,
    PORT,
    SERVER,
    SETS,
    Talk,
    both_proxies,
    counted,
    families,
    is_reset,
    reach_endpoints,
    redirect_lab,
    talking,
)

pytestmark = pytest.mark.needs(*NEEDS)

OPEN, LED = plan(ALLIANCE), plan(ALLIANCE, egress="egress")
ways = pytest.mark.parametrize("way", ["egress", "ingress"])


@pytest.fixture
def lab(redirect: Redirect) -> Iterator[Node]:
    with redirect_lab(redirect=redirect) as built:
        yield built


def unheard(end: socket.socket) -> int:
    """Bytes that were sent and are not acknowledged. Source: SIOCOUTQ in tcp(7)."""
    return struct.unpack("=i", fcntl.ioctl(end, termios.TIOCOUTQ, bytes(4)))[0]


def lead(lab: Node, way: str | None) -> None:
    """Flows go by the client's egress, by the server's ingress, or straight."""
    lab.put(
        {
            CLIENT: plan(ALLIANCE, egress="egress" if way == "egress" else None),
            SERVER: plan(EMPIRE, ingress="ingress" if way == "ingress" else None),
        }
    )


@families
@ways
def test_a_direct_connection_is_reset_on_both_sides_when_a_proxy_is_to_see_it(
    lab: Node, family: int, way: str
) -> None:
    where = address(SERVER, family)
    with (
        both_proxies(lab) as proxies,
        talking(lab.endpoints["client"], lab.endpoints["server"], where) as talk,
    ):
        assert talk.works()
        lead(lab, way)
        assert is_reset(talk.client)
        assert is_reset(talk.server)
        assert not any(proxy.accepted for proxy in proxies.values())
        with talking(lab.endpoints["client"], lab.endpoints["server"], where) as again:
            assert again.works()
            assert again.refuses()


@families
@pytest.mark.parametrize(
    ("way", "server"),
    [("egress", "server"), ("ingress", "server"), ("egress", "outside"), ("egress", "node")],
)
def test_a_client_that_waits_is_reset_when_a_proxy_is_to_see_the_answer(
    lab: Node, family: int, way: str, server: str
) -> None:
    """It has asked already, and would say nothing more to anybody who could tell it."""
    where = {"server": address(SERVER, family), "outside": OUTSIDE[family], "node": HOST[family]}[server]
    home = {"outside": lab.outside, "node": lab.namespace}.get(server) or lab.endpoints["server"]
    reach_endpoints(lab)
    with both_proxies(lab), talking(lab.endpoints["client"], home, where) as talk:
        talk.client.sendall(b"question")
        assert talk.server.recv(100) == b"question"
        wait_until(lambda: not unheard(talk.client))
        lead(lab, way)
        talk.server.sendall(b"answer" * 5000)
        with pytest.raises(ConnectionResetError):
            talk.client.recv(100)
        assert is_reset(talk.server)


@families
@ways
def test_a_proxied_connection_is_reset_when_none_is_to_see_it(lab: Node, family: int, way: str) -> None:
    where = address(SERVER, family)
    lead(lab, way)
    with both_proxies(lab) as proxies:
        with talking(lab.endpoints["client"], lab.endpoints["server"], where) as talk:
            assert talk.works()
            lead(lab, None)
            assert is_reset(talk.client)
        before = [len(proxy.accepted) for proxy in proxies.values()]
        with talking(lab.endpoints["client"], lab.endpoints["server"], where) as again:
            assert again.works()
            assert again.hears()
        assert [len(proxy.accepted) for proxy in proxies.values()] == before


@families
def test_a_connection_is_reset_when_another_listener_is_to_see_it(lab: Node, family: int) -> None:
    where = address(SERVER, family)
    lead(lab, "egress")
    with both_proxies(lab) as proxies:
        with talking(lab.endpoints["client"], lab.endpoints["server"], where) as talk:
            assert talk.works()
            lead(lab, "ingress")
            assert is_reset(talk.client)
        with talking(lab.endpoints["client"], lab.endpoints["server"], where) as again:
            assert again.works()
        assert [len(proxies[each].accepted) for each in (EGRESS, INGRESS)] == [1, 1]


@families
@ways
def test_a_port_is_used_again_at_once(lab: Node, family: int, way: str) -> None:
    """The proxy closes first, so that its socket waits for a minute; the client has one source port.

    Were no program asked for the listener, it would take 11 ms: the kernel would reset the client first.
    """
    where = address(SERVER, family)
    lead(lab, way)
    with both_proxies(lab), listening(lab.endpoints["server"], where, PORT) as listener:
        listener.settimeout(ANSWER_SECONDS)
        took: list[float] = []
        for _ in range(6):
            started = time.monotonic()
            with socket_to(lab.endpoints["client"], where, socket.SOCK_STREAM) as client:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                client.settimeout(ANSWER_SECONDS)
                client.bind((address(CLIENT, family), 45678))
                client.connect((where, PORT))
                took.append(time.monotonic() - started)
                server, _ = listener.accept()
                with server:
                    assert Talk(client, server, ("", 0)).works()
                assert client.recv(10) == b"", "the server has closed, and so the proxy"
        assert max(took) < 0.05
        assert min(took[1:]) < 0.005


@families
@ways
def test_without_its_listener_nothing_passes(lab: Node, family: int, way: str) -> None:
    where = address(SERVER, family)
    lead(lab, way)
    with (
        listening(lab.endpoints["server"], where, PORT) as listener,
        listening(lab.namespace, "0.0.0.0" if family == 4 else "::", PORT) as of_the_node,
    ):
        before = counted(lab, Reason.PROXY_UNAVAILABLE)
        assert refused(lab.endpoints["client"], where, PORT)
        assert counted(lab, Reason.PROXY_UNAVAILABLE) > before
        for each in (listener, of_the_node):
            each.settimeout(0)
            with pytest.raises(BlockingIOError):
                each.accept()


@families
@ways
def test_a_proxy_that_dies_takes_its_connections_with_it_and_the_next_serves(
    lab: Node, family: int, way: str
) -> None:
    where = address(SERVER, family)
    lead(lab, way)
    with both_proxies(lab):
        pass
    with both_proxies(lab), talking(lab.endpoints["client"], lab.endpoints["server"], where) as talk:
        assert talk.works()
        kept = talk
        client, server = talk.client.dup(), talk.server.dup()
    with client, server:
        assert is_reset(client)
    assert kept is not None
    with both_proxies(lab), talking(lab.endpoints["client"], lab.endpoints["server"], where) as talk:
        assert talk.works()


@families
def test_connections_survive_the_agent_and_it_writes_nothing_again(lab: Node, family: int) -> None:
    where = address(SERVER, family)
    plans = {
        EndpointId(CLIENT): plan(ALLIANCE, egress="egress"),
        EndpointId(SERVER): plan(EMPIRE, ingress="ingress"),
    }
    lab.put(plans)
    snapshot = Snapshot({}, SETS, CLASSES, {}, plans)
    with both_proxies(lab), talking(lab.endpoints["client"], lab.endpoints["server"], where) as talk:
        assert talk.works()
        lab.forget()
        assert talk.works()
        with talking(lab.endpoints["client"], lab.endpoints["server"], where) as while_away:
            assert while_away.works()
            assert while_away.refuses()
        lab.open(snapshot, plans)
        assert talk.works()
        lab.forget()
        lab.open(snapshot, plans)
        assert lab.restoration is not None
        assert lab.restoration.writes == 0
        assert talk.works()
        assert talk.refuses()
