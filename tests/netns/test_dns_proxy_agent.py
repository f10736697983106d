"""The DNS proxy and its agent: orders, answers that wait for the kernel, and either without the other."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from pathlib import Path

import dns.message
import dns.rcode
import pytest

from kinety.model.layer7 import Layer7Id, NamePattern
from kinety.proxy.dns import Listener, Protection
from kinety.proxy.dns.question import ResponseCode, Why
from kinety.proxy.error import ProxyError
from kinety.testing.redirected import Redirected, redirected
from kinety.testing.wait import wait_until
from tests.netns.dns_world import LISTENER, Agent, Client, NameServer, agent, answer, proxy, serves

pytestmark = pytest.mark.needs("root", "netns", "nft", "ip", "ipv6")

RULES = Layer7Id("abc")
ADDRESS = ip_address("192.0.2.1")
PATTERN = NamePattern("*.example.com")


@pytest.fixture(scope="module")
def world() -> Iterator[Redirected]:
    with redirected() as built:
        built.redirect(LISTENER)
        yield built


@pytest.fixture(scope="module")
def names(world: Redirected) -> Iterator[NameServer]:
    made = NameServer(world.server, lambda query, tcp: [])
    yield made
    made.close()


@pytest.fixture
def server(names: NameServer) -> NameServer:
    names.answering = lambda query, tcp: [answer(query, "www.example.com. 60 IN A 192.0.2.1")]
    names.asked.clear()
    return names


@pytest.fixture
def node(world: Redirected, server: NameServer, tmp_path: Path) -> Iterator[Agent]:
    """An agent that watches, with a listener that lets the same names through."""
    with agent(world, tmp_path / "run") as made:
        made.call(made.proxy.put({RULES: Listener(LISTENER, (PATTERN,))}))
        made.call(made.proxy.watch(frozenset((PATTERN,))))
        yield made


@pytest.fixture
def client(world: Redirected) -> Client:
    return Client(world, 4)


def query(name: str = "www.example.com", kind: str = "A") -> bytes:
    return dns.message.make_query(name, kind).to_wire()


def code(message: bytes) -> dns.rcode.Rcode:
    return dns.message.from_wire(message).rcode()


def test_an_answer_is_released_when_the_agent_has_its_addresses(node: Agent, client: Client) -> None:
    may = threading.Event()
    node.learning = lambda _: wait_until(may.is_set, 5)
    with client.datagrams() as asking:
        asking.send(query())
        asking.settimeout(0.3)
        with pytest.raises(TimeoutError):
            asking.recv(512)
        may.set()
        asking.settimeout(2)
        assert code(asking.recv(512)) == dns.rcode.NOERROR
    [learnt] = node.learnt
    assert (learnt.name, learnt.addresses, learnt.chain) == ("www.example.com", ((ADDRESS, 60),), ())


def test_what_the_kernel_has_is_not_asked_for_again(node: Agent, client: Client) -> None:
    for _ in range(3):
        assert code(client.ask(query())) == dns.rcode.NOERROR
    assert len(node.learnt) == 1
    node.call(node.proxy.forget([("www.example.com", ADDRESS)]))
    assert code(client.ask(query())) == dns.rcode.NOERROR
    assert len(node.learnt) == 2


def test_a_proxy_that_hangs_holds_up_no_mapping_and_forgets_it_all_the_same(
    node: Agent, client: Client
) -> None:
    assert code(client.ask(query())) == dns.rcode.NOERROR
    pid = node.call(node.proxy.status()).pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(ProxyError, match="does not answer"):
            node.call(node.proxy.forget([("www.example.com", ADDRESS)]))
    finally:
        os.kill(pid, signal.SIGCONT)
    assert code(client.ask(query())) == dns.rcode.NOERROR
    assert len(node.learnt) == 2


def broken(_: object) -> None:
    raise OSError("the map is full")


@pytest.mark.parametrize("learning", [broken, lambda _: False])
def test_an_answer_that_cannot_be_learnt_is_a_failure(
    node: Agent, client: Client, learning: Callable[[object], object]
) -> None:
    node.learning = learning
    assert code(client.ask(query())) == dns.rcode.SERVFAIL


def test_denials_reach_the_agent(node: Agent, client: Client, server: NameServer) -> None:
    assert code(client.ask(query("www.example.net"))) == dns.rcode.REFUSED
    wait_until(lambda: node.denied, 2)
    [denied] = node.denied
    assert (denied.listener, denied.name, denied.kind, denied.why) == (RULES, "www.example.net", 1, Why.NAME)
    assert (denied.client.host, *denied.server) == (client.address, "10.91.2.2", 53)
    assert not server.asked


def test_rules_change_at_the_next_question(node: Agent, client: Client) -> None:
    assert code(client.ask(query())) == dns.rcode.NOERROR
    node.call(node.proxy.put({RULES: Listener(LISTENER, (NamePattern("other.example.com"),))}))
    assert code(client.ask(query())) == dns.rcode.REFUSED


def test_a_port_that_is_taken_is_refused_and_nothing_changes(
    node: Agent, client: Client, world: Redirected
) -> None:
    more = {RULES: Listener(LISTENER, ()), Layer7Id("other"): Listener(LISTENER, (PATTERN,))}
    with pytest.raises(ProxyError, match="refuses"):
        node.call(node.proxy.put(more))
    assert code(client.ask(query())) == dns.rcode.NOERROR


def test_a_listener_that_is_removed_serves_no_longer(node: Agent, client: Client, world: Redirected) -> None:
    assert serves(world)
    with client.stream() as asking:
        asking.sendall(len(query()).to_bytes(2, "big") + query())
        assert asking.recv(2)
        node.call(node.proxy.remove([RULES]))
        assert not serves(world)
        with contextlib.suppress(ConnectionResetError):
            while asking.recv(512):
                pass


def test_a_protected_address_does_not_reach_the_client(
    node: Agent, client: Client, server: NameServer
) -> None:
    node.call(node.proxy.protect(Protection.of([ADDRESS])))
    assert code(client.ask(query())) == dns.rcode.REFUSED
    wait_until(lambda: node.denied, 2)
    assert node.denied[0].why == Why.REBINDING
    assert not node.learnt
    server.answering = lambda query, tcp: [answer(query, "www.example.com. 60 IN A 192.0.2.2")]
    assert code(client.ask(query())) == dns.rcode.NOERROR


def test_a_killed_process_serves_again_within_a_second(
    node: Agent, client: Client, world: Redirected
) -> None:
    before = node.call(node.proxy.status())
    assert before.pid is not None
    assert before.problem is None
    os.kill(before.pid, signal.SIGKILL)
    killed = time.monotonic()
    wait_until(lambda: not serves(world) or node.call(node.proxy.status()).pid != before.pid, 1)
    wait_until(lambda: serves(world), 1)
    assert time.monotonic() - killed < 1
    assert code(client.ask(query())) == dns.rcode.NOERROR
    assert node.call(node.proxy.status()).pid != before.pid


def test_without_an_agent_known_names_pass_and_others_fail(
    world: Redirected, server: NameServer, client: Client, tmp_path: Path
) -> None:
    with agent(world, tmp_path / "run", stays=True) as first:
        first.call(first.proxy.put({RULES: Listener(LISTENER, (PATTERN,))}))
        first.call(first.proxy.watch(frozenset((PATTERN,))))
        assert code(client.ask(query())) == dns.rcode.NOERROR
        pid = first.call(first.proxy.status()).pid
    assert code(client.ask(query())) == dns.rcode.NOERROR
    server.answering = lambda query, tcp: [answer(query, "www.example.com. 60 IN A 192.0.2.9")]
    with client.datagrams() as asking:
        asking.settimeout(4)
        asking.send(query())
        assert code(asking.recv(512)) == dns.rcode.SERVFAIL
    with agent(
        world, tmp_path / "run", restored=({RULES: Listener(LISTENER, (PATTERN,))}, [PATTERN])
    ) as second:
        assert code(client.ask(query())) == dns.rcode.NOERROR
        assert second.call(second.proxy.status()).pid == pid
        assert [each.addresses[0][0] for each in second.learnt] == [ip_address("192.0.2.9")]


def test_a_proxy_that_is_killed_without_an_agent_knows_what_it_knew(
    world: Redirected, server: NameServer, client: Client, tmp_path: Path
) -> None:
    with agent(world, tmp_path / "run", stays=True) as gone:
        gone.call(gone.proxy.put({RULES: Listener(LISTENER, (PATTERN,))}))
        gone.call(gone.proxy.watch(frozenset((PATTERN,))))
        assert code(client.ask(query())) == dns.rcode.NOERROR
        known = tmp_path / "run" / "dns-known.json"
        wait_until(lambda: "www.example.com" in known.read_text(), 3)
        pid = gone.call(gone.proxy.status()).pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    wait_until(lambda: not serves(world), 2)
    with proxy(world, tmp_path / "run"):
        assert code(client.ask(query())) == dns.rcode.NOERROR
        assert code(client.ask(query("www.example.net"))) == dns.rcode.REFUSED


def test_killed_again_and_again_under_load_nothing_denied_passes(
    node: Agent, client: Client, server: NameServer
) -> None:
    over = threading.Event()
    answered: list[float] = []

    def load() -> None:
        with client.datagrams() as asking:
            asking.settimeout(0.02)
            while not over.is_set():
                asking.send(query("denied.example.net"))
                asking.send(query())
                with contextlib.suppress(OSError):
                    while True:
                        if code(asking.recv(512)) == dns.rcode.NOERROR:
                            answered.append(time.monotonic())

    loader = threading.Thread(target=load)
    loader.start()
    try:
        for _ in range(3):
            pid = node.call(node.proxy.status()).pid
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            wait_until(lambda pid=pid: node.call(node.proxy.status()).pid not in (pid, None), 2)
            enough = len(answered) + 20
            wait_until(lambda enough=enough: len(answered) > enough, 5)
    finally:
        over.set()
        loader.join()
    assert len(server.asked) > 10
    assert not [each for _, _, each in server.asked if b"denied" in each]
    longest = max(after - before for before, after in itertools.pairwise(answered))
    assert longest < 1.5


def test_a_process_that_nobody_can_find_again_ends(world: Redirected, tmp_path: Path) -> None:
    with agent(world, tmp_path / "run", stays=True) as gone:
        gone.call(gone.proxy.put({RULES: Listener(LISTENER, (PATTERN,))}))
        pid = gone.call(gone.proxy.status()).pid
    assert pid is not None
    shutil.rmtree(tmp_path / "run")
    wait_until(lambda: not serves(world), 4)
    os.waitpid(pid, 0)


def test_what_is_said_of_other_names_is_the_agents_to_say(
    world: Redirected, server: NameServer, client: Client, tmp_path: Path
) -> None:
    rules = {RULES: Listener(LISTENER, (PATTERN,))}
    with agent(world, tmp_path / "run", stays=True, denied=ResponseCode.NAME_ERROR) as first:
        first.call(first.proxy.put(rules))
        pid = first.call(first.proxy.status()).pid
        assert code(client.ask(query("www.example.net"))) == dns.rcode.NXDOMAIN
        assert code(client.ask(query())) == dns.rcode.NOERROR
    assert code(client.ask(query("www.example.net"))) == dns.rcode.NXDOMAIN, "without an agent"
    with agent(world, tmp_path / "run", restored=(rules, [])) as second:
        assert second.call(second.proxy.status()).pid == pid
        wait_until(lambda: code(client.ask(query("www.example.net"))) == dns.rcode.REFUSED, 3)
    assert len(server.asked) == 1
