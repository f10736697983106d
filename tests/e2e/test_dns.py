"""Names from inside an endpoint: whom a resolver asks, and whether policy lets it, in both families."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kinety.kernel.namespace import Namespace
from tests.e2e.outside import FAR, NEAR, outside, path_of_router, run
from tests.e2e.real_node import Node
from tests.e2e.real_node import node as make_node
from tests.e2e.runtime import Runtime
from tests.layer7.name_server import Name, name_server

pytestmark = pytest.mark.needs("root", "bpf", "netns", "bpffs", "nft", "objects", "ip", "ipv6")

FAMILIES = (4, 6)
CONTAINERS = ("agents", "networks", "pods")
#: Whoever is a client may ask these name servers, by both protocols, and nobody else anything.
ASKING = f"""
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {{name: names}}
spec:
  endpointSelector: {{matchLabels: {{app: client}}}}
  egress:
  - toCIDR: [{NEAR[4]}/32, '{NEAR[6]}/128']
    toPorts: [{{ports: [{{port: "53", protocol: ANY}}]}}]
  - toEndpoints: [{{matchLabels: {{app: names}}}}]
    toPorts: [{{ports: [{{port: "53", protocol: ANY}}]}}]
"""
WEB, LONG = ("192.0.2.80", "2001:db8::80"), ("192.0.2.81",)
NAMES = {"web.example.org": Name(WEB), "long.example.org": Name(LONG, truncated=True)}
#: The addresses of a name, by the C library; it gives up soon where nobody answers.
RESOLVE = """
import json, socket, sys
try:
    found = {each[4][0] for each in socket.getaddrinfo(sys.argv[1], 80, type=socket.SOCK_STREAM)}
except socket.gaierror:
    found = None
print(json.dumps(found and sorted(found)))
"""


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node beyond whose uplink there are name servers; the agent tells endpoints of two."""
    with make_node(tmp_path_factory.mktemp("names")) as node, outside(node) as router:
        servers = [word for family in FAMILIES for word in ("--dns-server", NEAR[family])]
        node.start(*servers, "--dns-search", "example.org")
        node.apply(ASKING)
        node.workload("names", "app=names")
        for container in CONTAINERS:
            node.bare_workload(container)
        with name_server(router, NEAR[4], NAMES), name_server(router, NEAR[6], NAMES):
            yield node


def command_to_resolve(name: str) -> tuple[str, ...]:
    """Behind ``kinety run``. It does not wait long where nobody answers; see resolv.conf(5)."""
    return "--", "env", "RES_OPTIONS=timeout:1 attempts:2", sys.executable, "-c", RESOLVE, name


def resolved(printed: str) -> list[str] | None:
    found: list[str] | None = json.loads(printed)
    return found


@pytest.mark.parametrize("servers", [(), (NEAR[4],), (NEAR[6],)])
def test_a_command_resolves_by_the_agents_servers_or_its_own(named: Node, servers: tuple[str, ...]) -> None:
    words = [word for each in servers for word in ("--dns", each)]

    def ask(name: str) -> list[str] | None:
        return resolved(named.kinety("run", "--label", "app=client", *words, *command_to_resolve(name)))

    assert ask("web.example.org") == sorted(WEB)
    assert ask("web") == sorted(WEB), "the agent says what to complete it with"
    assert ask("long.example.org") == list(LONG), "by TCP"
    assert ask("nobody.example.org") is None


@pytest.mark.parametrize("family", FAMILIES)
def test_policy_decides_whom_a_resolver_may_ask(named: Node, family: int) -> None:
    """The other server is there and knows the name; nobody may ask it."""
    command = command_to_resolve("web.example.org")
    with Namespace.open(path_of_router(named)) as outer, name_server(outer, FAR[family], NAMES) as server:
        denied = named.kinety("run", "--label", "app=client", "--dns", FAR[family], *command)
        assert (resolved(denied), server.asked) == (None, [])
        free = named.kinety("run", "--label", "app=other", "--dns", FAR[family], *command)
        assert resolved(free) == sorted(WEB)
        assert server.asked


@pytest.mark.parametrize("family", FAMILIES)
def test_a_server_may_be_an_endpoint(named: Node, family: int) -> None:
    namespace, address = named.workloads["names"], named.address("names", f"ipv{family}")
    command = command_to_resolve("web.example.org")
    with name_server(namespace, address, NAMES) as server:
        found = named.kinety("run", "--label", "app=client", "--dns", address, *command)
        assert resolved(found) == sorted(WEB)
        assert {how for _, how in server.asked} == {"UDP"}


def test_a_container_resolves_by_what_its_runtime_is_told(named: Node, tmp_path: Path) -> None:
    """The network's word first, then the agent's; the runtime writes it into the container's file."""
    runtime = Runtime(named, labels={"app": "client"})
    said = runtime.add("agents")["dns"]
    assert said == {"nameservers": [NEAR[4], NEAR[6]], "search": ["example.org"]}
    own = {"nameservers": [NEAR[6]], "search": ["org"]}
    assert runtime.add("networks", dns=own)["dns"] == own
    asked = {"servers": [NEAR[4]], "searches": ["example.org"]}
    given = runtime.add("pods", dns=own, runtimeConfig={"dns": asked})["dns"]
    assert given == {"nameservers": [NEAR[4]], "search": ["example.org"]}
    for container, dns, name in (
        ("agents", said, "web"),
        ("networks", own, "web.example"),
        ("pods", given, "web"),
    ):
        file = tmp_path / container
        lines = [f"nameserver {each}" for each in dns["nameservers"]]
        file.write_text("\n".join([*lines, "search " + " ".join(dns["search"]), "options ndots:2", ""]))
        script = tmp_path / f"{container}.sh"
        script.write_text(
            f"mount --bind {file} /etc/resolv.conf && exec {sys.executable} {tmp_path}/resolve {name}"
        )
        (tmp_path / "resolve").write_text(RESOLVE)
        printed = run(runtime.container(container), f"unshare --mount sh {script}")
        assert resolved(printed) == sorted(WEB), container
        runtime.delete(container)
