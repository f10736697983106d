"""A client that asks for endless names, and one beside it that asks for a few, through the real DNS proxy."""

import signal
from collections.abc import Iterator

import dns.rcode
import pytest

from kinety.kernel.namespace import Namespace
from tests.e2e import outside as world
from tests.e2e.outside import FAR, NEAR
from tests.e2e.real_node import Node, TcpServer, connect
from tests.layer7.name_server import Name, addresses_in, name_server, resolve

pytestmark = pytest.mark.needs("root", "bpf", "netns", "bpffs", "nft", "objects", "ip", "ipv6")

#: Rows of the map of addresses. Names may have 48 of them; a client that is alone brings 24.
OPTIONS = ("--map-size", "ipcache_hosts=64")
SHARE, ENDLESS, PORT = 24, 60, 443
POLICY = f"""
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {{name: names}}
spec:
  endpointSelector: {{matchLabels: {{app: client}}}}
  egress:
  - toFQDNs: [{{matchPattern: "**.example.com"}}]
    toPorts: [{{ports: [{{port: "{PORT}", protocol: TCP}}]}}]
  - toCIDR: [{NEAR[4]}/32]
    toPorts:
    - ports: [{{port: "53", protocol: ANY}}]
      rules: {{dns: [{{matchPattern: "*"}}]}}
"""
NAMES = {
    "www.example.com": Name((FAR[4],), lifetime=3600),
    **{f"e{each}.example.com": Name((f"198.18.0.{each}",), lifetime=2**31 - 1) for each in range(ENDLESS)},
}


@pytest.fixture
def crowded(node: Node) -> Iterator[Node]:
    """A node with a greedy client and a modest one, and a name server that knows everything."""
    with world.outside(node) as router, name_server(router, NEAR[4], NAMES):
        node.start(*OPTIONS)
        for name in ("greedy", "modest"):
            node.workload(name, "app=client")
        node.apply(POLICY)
        yield node


def code(client: Namespace, name: str, how: str = "UDP") -> dns.rcode.Rcode:
    return resolve(client, NEAR[4], name, how=how).rcode()


def test_who_asks_for_endless_names_leaves_room_for_others(crowded: Node) -> None:
    greedy, modest = (crowded.workloads[name] for name in ("greedy", "modest"))
    codes = [code(greedy, f"e{each}.example.com") for each in range(ENDLESS)]
    assert codes == [dns.rcode.NOERROR] * SHARE + [dns.rcode.SERVFAIL] * (ENDLESS - SHARE)
    assert code(greedy, "e59.example.com", "TCP") == dns.rcode.SERVFAIL
    assert code(greedy, "e3.example.com") == dns.rcode.NOERROR, "what is known passes"
    assert addresses_in(resolve(modest, NEAR[4], "www.example.com")) == [FAR[4]]
    with TcpServer(Namespace.open(world.path_of_router(crowded)), PORT):
        connect(modest, FAR[4], PORT).close()
    found = crowded.json("fqdn", "cache")
    assert (found["known"], found["crowded"], found["mappings_at_most"]) == (
        SHARE + 1,
        ENDLESS - SHARE + 1,
        48,
    )
    assert max(each["seconds_left"] for each in found["mappings"]) <= 86400, "none lasts longer"
    status = crowded.json("status")
    assert (status["names"]["known"], status["names"]["crowded"]) == (SHARE + 1, ENDLESS - SHARE + 1)
    assert [each["problem"] for each in status["proxies"] if each["name"] == "dns"] == [None]
    assert f"who asked, {crowded.address('greedy')}, has brought {SHARE} of the 48" in crowded.log.read_text()


def test_what_was_brought_can_be_forgotten_and_a_killed_agent_keeps_it(crowded: Node) -> None:
    greedy = crowded.workloads["greedy"]
    for each in range(SHARE):
        assert code(greedy, f"e{each}.example.com") == dns.rcode.NOERROR
    crowded.end(signal.SIGKILL)
    assert code(greedy, "e3.example.com") == dns.rcode.NOERROR
    crowded.start(*OPTIONS)
    assert crowded.json("fqdn", "cache")["known"] == SHARE
    crowded.kinety("fqdn", "clean", "--all")
    assert [code(greedy, f"e{each}.example.com") for each in (3, 40)] == [dns.rcode.NOERROR] * 2
    assert crowded.json("fqdn", "cache")["known"] == 2
