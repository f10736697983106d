"""Names instead of addresses: who may reach what DNS said, for how long, and over restarts.

The answers come by the API, in the place of a name server. Everybody outside is the node's router.
"""

import signal
import socket
from collections.abc import Iterator
from ipaddress import ip_address

import pytest

from kinety.api.errors import ApiError
from kinety.api.naming import NameAnswer
from kinety.kernel.namespace import Namespace
from kinety.testing.wait import wait_until
from tests.e2e import outside as world
from tests.e2e.outside import FAR, NEAR, ROUTER
from tests.e2e.real_node import SOON, Node, TcpServer, connect, family_of, refused
from tests.e2e.traffic import TcpStream

pytestmark = pytest.mark.needs("root", "bpf", "netns", "bpffs", "nft", "objects", "ip", "ipv6")

FAMILIES = (4, 6)
PORT, OTHER_PORT = 443, 8443
POLICY = """
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: names}
spec:
  endpointSelector: {matchLabels: {app: client}}
  egress:
  - toFQDNs: [PEERS]
    toPorts: [{ports: [{port: "443", protocol: TCP}]}]
"""
#: Longer than mappings last that have expired and that nobody uses.
LATE = 30.0


def policy(*patterns: str) -> str:
    return POLICY.replace("PEERS", ", ".join(f"{{matchPattern: '{each}'}}" for each in patterns))


def say(node: Node, name: str, *addresses: str, ttl: int = 3600) -> None:
    with node.client() as client:
        client.learn_name(name, NameAnswer(addresses, ttl))


@pytest.fixture
def router(node: Node) -> Iterator[Namespace]:
    """The node's router, with servers that take connections; the node has a client under a policy."""
    with world.outside(node) as made:
        node.start("--fqdn-min-ttl=1")
        node.workload("client", "app=client")
        node.workload("free", "app=free")
        node.apply(policy("*.example.com"))
        yield made


def reaches(node: Node, router: Namespace, address: str, port: int = PORT, who: str = "client") -> bool:
    """Whether a connection is made. The server is there all the same."""
    with TcpServer(router, port, family_of(address)):
        source = node.workloads[who]
        if refused(source, address, port):
            return False
        connect(source, address, port).close()
        return True


@pytest.mark.parametrize("family", FAMILIES)
def test_what_dns_said_may_be_reached_and_nothing_else(node: Node, router: Namespace, family: int) -> None:
    near, far = NEAR[family], FAR[family]
    assert reaches(node, router, near, who="free")
    assert not reaches(node, router, near)
    say(node, "www.example.com", near)
    assert reaches(node, router, near)
    assert not reaches(node, router, near, OTHER_PORT)
    say(node, "www.example.org", far)
    assert not reaches(node, router, far), "no rule asks for the name"
    node.apply(policy("*.example.org"))
    assert (reaches(node, router, near), reaches(node, router, far)) == (False, True)
    node.apply(policy("*.example.org", "*.example.com"))
    assert (reaches(node, router, near), reaches(node, router, far)) == (True, True)
    node.kinety("fqdn", "clean", "www.example.org")
    assert (reaches(node, router, near), reaches(node, router, far)) == (True, False)


def test_a_thousand_addresses_are_one_identity(node: Node, router: Namespace) -> None:
    before = len(node.json("identity", "list"))
    addresses = [f"198.51.{number // 250}.{number % 250 + 2}" for number in range(999)]
    say(node, "www.example.com", NEAR[4], *addresses)
    identities = node.json("identity", "list")
    (named,) = (each for each in identities if "fqdn:*.example.com" in each["labels"])
    assert len(identities) == before + 1
    cached = node.json("fqdn", "cache")
    assert {each["identity"] for each in cached["mappings"]} == {named["identity"]}
    assert (cached["known"], cached["evicted"]) == (1000, 0)
    assert reaches(node, router, NEAR[4])
    say(node, "www.example.com", FAR[4])
    assert node.json("fqdn", "cache")["evicted"] == 1
    assert "--fqdn-max-addresses" in node.kinety("fqdn", "cache")
    explained = node.kinety("policy", "explain", "--from", "client", "--to", FAR[4], "--port", str(PORT))
    assert "*.example.com" in explained


def test_a_live_connection_keeps_its_mapping_over_a_killed_agent(node: Node, router: Namespace) -> None:
    client = node.workloads["client"]
    say(node, "www.example.com", NEAR[4], ttl=1)
    with TcpStream(client, router, NEAR[4], PORT) as stream:
        wait_until(lambda: node.json("fqdn", "cache")["held"] == 1, LATE, "it has expired and is held")
        node.end(signal.SIGKILL)
        node.start("--fqdn-min-ttl=1")
        assert node.json("fqdn", "cache")["known"] == 1
        wait_until(lambda: node.json("fqdn", "cache")["held"] == 1, LATE, "the new agent holds it, too")
        arrived = stream.arrived
        wait_until(lambda: stream.arrived > arrived, SOON, "it goes on")
    wait_until(lambda: node.json("fqdn", "cache")["known"] == 0, LATE, "nobody talks any more")
    assert not reaches(node, router, NEAR[4])
    assert node.dropped() > 0


def test_a_connection_ends_when_its_name_is_forgotten(node: Node, router: Namespace) -> None:
    client = node.workloads["client"]
    say(node, "www.example.com", NEAR[6])
    with (
        TcpServer(router, PORT, socket.AF_INET6) as server,
        connect(client, NEAR[6], PORT) as sender,
        server.accept() as receiver,
    ):
        sender.sendall(b"before")
        assert receiver.recv(10) == b"before"
        node.kinety("fqdn", "clean", "--all")
        dropped = node.dropped()
        sender.sendall(b"after")
        wait_until(lambda: node.dropped() > dropped, SOON, "it is denied")
        receiver.settimeout(0.5)
        with pytest.raises(TimeoutError):
            receiver.recv(10)


def test_endpoints_and_the_node_are_selected_by_no_name(node: Node, router: Namespace) -> None:
    """Whatever DNS says: an answer that leads inside opens nothing."""
    inside = node.address("free")
    with node.client() as client:
        own = str(ip_address(world.NODE[4]))
        client.learn_name("evil.example.com", NameAnswer((inside, own), 3600))
        found = client.names("evil.example.com")
    assert all("fqdn:*.example.com" not in labels(node, each.identity) for each in found.mappings)
    with TcpServer(node.workloads["free"], PORT), TcpServer(node.namespace, PORT):
        assert refused(node.workloads["client"], inside, PORT)
        assert refused(node.workloads["client"], own, PORT)


def labels(node: Node, identity: int) -> list[str]:
    found: list[str] = next(
        each["labels"] for each in node.json("identity", "list") if each["identity"] == identity
    )
    return found


@pytest.mark.parametrize(
    ("name", "addresses", "ttl", "message"),
    [
        ("bad name", (ROUTER[4],), 1, "is not a DNS name"),
        ("a.com", ("nonsense",), 1, "does not appear to be"),
        ("a.com", (ROUTER[4],), -1, "none that DNS has"),
    ],
)
def test_nonsense_is_refused(
    running: Node, name: str, addresses: tuple[str, ...], ttl: int, message: str
) -> None:
    with running.client() as client, pytest.raises(ApiError, match=message):
        client.learn_name(name, NameAnswer(addresses, ttl))
    with running.client() as client:
        assert client.names().known == 0
        with pytest.raises(ApiError, match="no address of"):
            client.forget_names("a.com")
        with pytest.raises(ApiError, match="is not a pattern"):
            client.names("a b")
