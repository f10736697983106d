"""Rules about DNS questions, and peers by the names that were asked for, with real name servers."""

import os
import secrets
import signal
import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import dns.exception
import dns.flags
import dns.message
import dns.query
import dns.rcode
import pytest

from kinety.kernel.namespace import Namespace
from kinety.testing.live import EventLog
from kinety.testing.wait import wait_until
from tests.e2e import outside
from tests.e2e.layer7_node import FAMILIES, NEEDS, OUTSIDE, REDIRECTS, WEB, Layer7Node, layer7_node
from tests.e2e.real_node import SOON, connect
from tests.layer7.http_server import http_server
from tests.layer7.name_server import Name, NameServer, addresses_in, name_server, resolve

pytestmark = pytest.mark.needs(*NEEDS)

EITHER_FAMILY = pytest.mark.parametrize("family", FAMILIES)
EITHER_WAY = pytest.mark.parametrize("how", ["UDP", "TCP"])
#: The resolver may ask an endpoint and a server outside about some names, and then go where they are.
POLICY = f"""
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {{name: names}}
spec:
  endpointSelector: {{matchLabels: {{looks: names}}}}
  egress:
  - toCIDR: [{outside.NEAR[4]}/32, '{outside.NEAR[6]}/128']
    toPorts: &asking
    - ports: [{{port: "53", protocol: ANY}}]
      rules:
        dns:
        - {{matchPattern: "*.example.org"}}
        - {{matchPattern: "*.web.example.org"}}
        - {{matchName: exact.example.com}}
  - toEndpoints: [{{matchLabels: {{looks: free}}}}]
    toPorts: *asking
  - toFQDNs: [{{matchPattern: "*.web.example.org"}}]
    toPorts: [{{ports: [{{port: "80"}}]}}]
"""
BOTH = (outside.FAR[4], outside.FAR[6])
RESOLVERS_PORT = 45053
MANY = tuple(f"198.51.100.{number}" for number in range(1, 101))
NAMES = {
    "web.example.org": Name(BOTH),
    "alias.example.org": Name(alias="web.example.org"),
    "home.example.org": Name((outside.NODE[4],)),
    "exact.example.com": Name(("192.0.2.7",)),
    "other.example.com": Name(("192.0.2.8",)),
    "a.b.example.org": Name(("192.0.2.9",)),
    "long.example.org": Name(MANY),
    "cut.example.org": Name(MANY, truncated=True),
    "slow.example.org": Name(("192.0.2.10",), delay=0.3),
    "broken.example.org": Name(raw=b"\x81\x80\0\1\0\1\0\0\0\0\xc0\x0c"),
}


@contextmanager
def asking(directory: Path, redirect: str) -> Iterator[Layer7Node]:
    """A node with somebody who may ask for some names."""
    with layer7_node(directory, redirect, "--dns-protect", "local") as made:
        made.node.workload("resolver", "looks=names")
        made.node.apply(POLICY)
        yield made


@pytest.fixture(scope="module", params=REDIRECTS)
def node(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Layer7Node]:
    with asking(tmp_path_factory.mktemp("names"), request.param) as made:
        yield made


@pytest.fixture(params=REDIRECTS)
def fresh(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Layer7Node]:
    """For a test that ends a process: what is started again in its place must end with it."""
    with asking(tmp_path, request.param) as made:
        yield made


@pytest.fixture
def servers(node: Layer7Node) -> Iterator["Servers"]:
    """Name servers that know the names above, by whose they are and family."""
    with ExitStack() as stack:
        places = {
            (name, family): (node.home(name), address(node, name, family))
            for name in ("free-server", OUTSIDE)
            for family in FAMILIES
        }
        yield {key: stack.enter_context(name_server(*place, NAMES)) for key, place in places.items()}


def address(node: Layer7Node, name: str, family: int) -> str:
    """Where a name server is."""
    return outside.NEAR[family] if name == OUTSIDE else node.address(name, family)


Servers = Mapping[tuple[str, int], NameServer]


@pytest.mark.parametrize("place", ["free-server", OUTSIDE])
@EITHER_FAMILY
@EITHER_WAY
def test_questions_pass_or_are_refused(
    node: Layer7Node, servers: Servers, place: str, family: int, how: str
) -> None:
    """A server sees who really asks; of what is refused it sees nothing."""
    home, where = node.home("resolver"), address(node, place, family)
    assert addresses_in(resolve(home, where, "Web.example.ORG", "A", how)) == [BOTH[0]]
    assert addresses_in(resolve(home, where, "alias.example.org", "AAAA", how)) == [BOTH[1]]
    assert addresses_in(resolve(home, where, "exact.example.com", "A", how)) == ["192.0.2.7"]
    assert resolve(home, where, "nobody.example.org", "A", how).rcode() == dns.rcode.NXDOMAIN
    for name in ("other.example.com", "example.org", "a.b.example.org", "web.example.org.evil.example"):
        answer = resolve(home, where, name, "A", how)
        assert (answer.rcode(), answer.answer) == (dns.rcode.REFUSED, []), name
    asked = servers[place, family].questions
    seen = outside.NODE[family] if place == OUTSIDE else node.address("resolver", family)
    assert asked == [
        ("web.example.org", "A", how, seen),
        ("alias.example.org", "AAAA", how, seen),
        ("exact.example.com", "A", how, seen),
        ("nobody.example.org", "A", how, seen),
    ]


@pytest.mark.parametrize("place", ["free-server", OUTSIDE])
@pytest.mark.parametrize("name", ["long.example.org", "cut.example.org"])
@EITHER_FAMILY
def test_answers_that_are_cut_off_are_asked_for_again_by_tcp(
    node: Layer7Node, servers: Servers, place: str, name: str, family: int
) -> None:
    """Because they are too long, or because the server says so."""
    home, where = node.home("resolver"), address(node, place, family)
    first = resolve(home, where, name)
    assert first.flags & dns.flags.TC
    assert addresses_in(first) != sorted(MANY)
    assert addresses_in(resolve(home, where, name, how="TCP")) == sorted(MANY)
    answer, by_tcp = home.call(dns.query.udp_with_fallback, dns.message.make_query(name, "A"), where, SOON)
    assert (addresses_in(answer), by_tcp) == (sorted(MANY), True)
    assert [how for _, how in servers[place, family].asked] == ["UDP", "TCP", "UDP", "TCP"]


def conversation(home: Namespace, where: str, port: int) -> socket.socket:
    """A connection to a name server, from a port."""
    of = socket.AF_INET6 if ":" in where else socket.AF_INET
    stream = home.socket(of, socket.SOCK_STREAM)
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    stream.settimeout(SOON)
    stream.bind(("::" if ":" in where else "0.0.0.0", port))
    stream.connect((where, 53))
    return stream


def ask(stream: socket.socket, name: str) -> dns.message.Message:
    """One question of several."""
    dns.query.send_tcp(stream, dns.message.make_query(name, "A"))
    answer: dns.message.Message = dns.query.receive_tcp(stream)[0]
    return answer


@EITHER_FAMILY
def test_connections_that_stay_lead_to_whom_they_were_made_to(
    node: Layer7Node, servers: Servers, family: int
) -> None:
    """From one port to two servers, by one listener: to it both are the same client's."""
    home, told = node.home("resolver"), {"free-server": "192.0.2.11", OUTSIDE: "192.0.2.12"}
    with ExitStack() as stack:
        streams = {
            place: stack.enter_context(conversation(home, address(node, place, family), RESOLVERS_PORT))
            for place in told
        }
        for place, own in told.items():
            servers[place, family].names["which.example.org"] = Name((own,))
        for _ in range(3):
            for place, own in told.items():
                assert addresses_in(ask(streams[place], "which.example.org")) == [own]
                assert ask(streams[place], "other.example.com").rcode() == dns.rcode.REFUSED
        if node.redirect == "nat":
            rows = node.node.json("map", "dump", "proxy")
            mine = (node.address("resolver", family), RESOLVERS_PORT)
            (row,) = (each for each in rows if (each["client"], each["client_port"]) == mine)
            assert row["destination"] == address(node, "free-server", family), "the second has its socket"
    for place in told:
        assert servers[place, family].asked == [("which.example.org", "TCP")] * 3


@EITHER_FAMILY
def test_slow_and_broken_answers_stay_what_they_are(node: Layer7Node, servers: Servers, family: int) -> None:
    home, where = node.home("resolver"), address(node, "free-server", family)
    assert addresses_in(resolve(home, where, "slow.example.org")) == ["192.0.2.10"]
    try:
        answer = resolve(home, where, "broken.example.org", timeout=1)
    except dns.exception.DNSException:
        return
    assert answer.rcode() == dns.rcode.SERVFAIL


@EITHER_FAMILY
def test_an_address_may_be_reached_once_its_name_was_asked_for(
    node: Layer7Node, servers: Servers, family: int
) -> None:
    """At once: the answer is not there before the kernel knows. Under a name of another kind it never may."""
    home, where = node.home("resolver"), address(node, OUTSIDE, family)
    token, own = secrets.token_hex(4), outside.FAR[family]
    server = servers[OUTSIDE, family]
    server.names[f"{token}.web.example.org"] = Name((own,), lifetime=2)
    server.names[f"{token}.example.org"] = Name((own,))
    kind = "A" if family == 4 else "AAAA"
    with http_server(node.home(OUTSIDE), WEB, own):
        for name in (None, f"{token}.example.org"):
            if name is not None:
                assert addresses_in(resolve(home, where, name, kind)) == [own]
            with pytest.raises(TimeoutError):
                connect(home, own, WEB, 0.3)
        assert addresses_in(resolve(home, where, f"{token}.web.example.org", kind)) == [own]
        connect(home, own, WEB, 0.5).close()
    known = {each["name"]: each["address"] for each in node.node.json("fqdn", "cache")["mappings"]}
    assert known[f"{token}.web.example.org"] == own
    assert f"{token}.example.org" not in known, "no rule is about it"


@EITHER_WAY
def test_watchers_are_told_of_refused_questions(node: Layer7Node, servers: Servers, how: str) -> None:
    token = secrets.token_hex(4)
    log = EventLog()
    with node.node.client() as watching:
        log.follow(watching)
        resolve(node.home("resolver"), address(node, "free-server", 4), f"{token}.example.com", "A", how)

        def told() -> bool:
            return any(each.request and token in each.request.host for each in log.events)

        wait_until(told, SOON, "the refusal is told of")
    (event,) = (each for each in log.events if each.request and token in each.request.host)
    assert (event.kind, event.verdict, event.protocol, event.request.kind) == ("request", "deny", how, "dns")
    assert event.source.endpoint == "default/resolver"
    assert event.request.policies == ("CiliumNetworkPolicy/default/names",)


def test_answers_that_lead_to_the_node_are_refused(node: Layer7Node, servers: Servers) -> None:
    home, where = node.home("resolver"), address(node, "free-server", 4)
    answer = resolve(home, where, "home.example.org")
    assert (answer.rcode(), answer.answer) == (dns.rcode.REFUSED, [])
    assert servers["free-server", 4].questions, "it was asked for, and what came was not passed on"


def rcode(node: Layer7Node, name: str) -> dns.rcode.Rcode | None:
    """What the server within answers, None where nobody does."""
    try:
        where = address(node, "free-server", 4)
        return resolve(node.home("resolver"), where, name, timeout=0.3).rcode()
    except (OSError, dns.exception.DNSException):
        return None


def judged_again(node: Layer7Node) -> None:
    """Questions are answered and refused as before."""
    wait_until(lambda: rcode(node, "web.example.org") == dns.rcode.NOERROR, SOON, "some are answered")
    wait_until(lambda: rcode(node, "other.example.com") == dns.rcode.REFUSED, SOON, "others are refused")


def test_the_dns_proxy_is_killed(fresh: Layer7Node) -> None:
    """Questions may go unanswered for a while; none that is refused reaches a server, then or afterwards."""
    place = fresh.home("free-server"), address(fresh, "free-server", 4)
    with name_server(*place, NAMES) as server:
        judged_again(fresh)
        os.kill(fresh.pid("dns"), signal.SIGKILL)
        assert rcode(fresh, "other.example.com") in (None, dns.rcode.REFUSED)
        judged_again(fresh)
    assert {name for name, _ in server.asked} == {"web.example.org"}


def test_the_agent_is_killed_and_questions_are_answered(fresh: Layer7Node) -> None:
    place = fresh.home("free-server"), address(fresh, "free-server", 4)
    with name_server(*place, NAMES) as server:
        judged_again(fresh)
        fresh.node.end(signal.SIGKILL)
        judged_again(fresh)
        fresh.start()
        judged_again(fresh)
    assert {name for name, _ in server.asked} == {"web.example.org"}
