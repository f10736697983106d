"""The DNS proxy's process with real packets, redirected by nftables: what reaches whom, in whose name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dns.flags
import dns.message
import dns.rcode
import pytest

from kinety.testing.redirected import Redirected, redirected
from tests.netns.dns_world import LISTENER, Client, NameServer, answer, proxy, state

pytestmark = pytest.mark.needs("root", "netns", "nft", "ip", "ipv6")

FAMILIES = (4, 6)


@pytest.fixture(scope="module")
def world() -> Iterator[Redirected]:
    with redirected() as built:
        built.redirect(LISTENER)
        yield built


@pytest.fixture(scope="module")
def server(world: Redirected) -> Iterator[NameServer]:
    made = NameServer(world.server, lambda query, tcp: [])
    yield made
    made.close()


@pytest.fixture(scope="module", autouse=True)
def served(world: Redirected, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    directory = tmp_path_factory.mktemp("run")
    with proxy(world, directory, state(set=(LISTENER, ["*.example.com", "example.org"]))):
        yield directory


@pytest.fixture(params=FAMILIES)
def client(world: Redirected, server: NameServer, request: pytest.FixtureRequest) -> Client:
    server.asked.clear()
    server.answering = lambda query, tcp: [answer(query, "www.example.com. 60 IN A 192.0.2.1")]
    return Client(world, request.param)


def test_what_is_allowed_is_asked_in_the_clients_name_and_answered_in_the_servers(
    client: Client, server: NameServer
) -> None:
    query = dns.message.make_query("www.example.com", "A")
    got = dns.message.from_wire(client.ask(query.to_wire()))
    assert got.id == query.id
    assert got.answer[0][0].to_text() == "192.0.2.1"
    [(address, port, _)] = server.asked
    assert address == client.address
    assert port >= 61000


def test_what_is_denied_is_refused_and_never_asked(client: Client, server: NameServer) -> None:
    query = dns.message.make_query("www.example.net", "A", use_edns=0, payload=4096, want_dnssec=True)
    got = dns.message.from_wire(client.ask(query.to_wire()))
    assert got.rcode() == dns.rcode.REFUSED
    assert got.question == query.question
    assert got.edns == 0
    assert got.ednsflags & dns.flags.DO
    assert not server.asked


def test_by_tcp_questions_follow_each_other(client: Client, server: NameServer) -> None:
    queries = [dns.message.make_query(f"{name}.example.com", "A") for name in ("a", "b", "c")]
    queries.insert(1, dns.message.make_query("example.net", "A"))
    server.answering = lambda query, tcp: [answer(query, "x.example.com. 60 IN A 192.0.2.1")] if tcp else []
    got = [dns.message.from_wire(each) for each in client.ask_by_tcp(*(each.to_wire() for each in queries))]
    assert {each.id: each.rcode() for each in got} == {
        each.id: dns.rcode.REFUSED if index == 1 else dns.rcode.NOERROR for index, each in enumerate(queries)
    }
    assert len(server.asked) == 3
    assert {(address, port >= 61000) for address, port, _ in server.asked} == {(client.address, True)}
    assert len({port for _, port, _ in server.asked}) == 1
