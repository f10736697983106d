"""A node whose policies look into traffic: who is there, who is looked at, and what may pass.

Every client and every server comes twice: free, and under rules about content. What those let through is
told by the first part of a path, a gRPC method, a server's name: ``out`` passes where the client is looked
at, ``in`` where the server is, ``both`` at either. So three requests tell which of the two looked.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from kinety.kernel.namespace import Namespace
from tests.e2e import outside
from tests.e2e.real_node import Node
from tests.e2e.real_node import node as make_node
from tests.feature import ENVOY

NEEDS = ("root", "bpf", "netns", "bpffs", "nft", "objects", "ip", "ipv6", "envoy")
#: How flows get to proxies; every test is run with each.
REDIRECTS = ("sk_assign", "tproxy", "nat", "sockmap")
FAMILIES = (4, 6)
WEB, WEB2, GRPC, TLS, FREE = 80, 8080, 50051, 443, 9999
KINDS = ("out", "in", "both")
NODE, OUTSIDE = "node", "outside"
METHODS = {kind: f"/empire.Star/{kind.capitalize()}" for kind in KINDS}
NAMES = {kind: f"{kind}.example" for kind in KINDS}
_PORTS = """
    toPorts:
    - ports: [{{port: "80", protocol: TCP}}, {{port: "8080", protocol: TCP}}]
      rules: {{http: [{{path: "/({0}|both)/.*"}}]}}
    - ports: [{{port: "50051", protocol: TCP}}]
      rules: {{http: [{{method: POST, path: "/empire[.]Star/({1}|Both)"}}]}}
    - ports: [{{port: "443", protocol: TCP}}]
      serverNames: [{0}.example, both.example]
    - ports: [{{port: "9999"}}]
"""
POLICY = f"""
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {{name: looks-out}}
spec:
  endpointSelector: {{matchLabels: {{looks: out}}}}
  egress:
  - toEntities: [all]{_PORTS.format("out", "Out")}
---
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {{name: looks-in}}
spec:
  endpointSelector: {{matchLabels: {{looks: in}}}}
  ingress:
  - fromEntities: [all]{_PORTS.format("in", "In")}
"""
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Route:
    """From whom to whom, and who of them is looked at."""

    client: str
    server: str
    looks: frozenset[str]

    def passes(self, kind: str) -> bool:
        """Whether what is of a kind gets through all that look."""
        return kind == "both" or self.looks <= {kind}

    def __str__(self) -> str:
        return f"{self.client}-{self.server}"


#: Where both ends are endpoints, and where one is not.
WITHIN = (
    Route("out-client", "free-server", frozenset({"out"})),
    Route("free-client", "in-server", frozenset({"in"})),
    Route("out-client", "in-server", frozenset({"out", "in"})),
)
ACROSS = (
    Route("out-client", NODE, frozenset({"out"})),
    Route("out-client", OUTSIDE, frozenset({"out"})),
    Route(NODE, "in-server", frozenset({"in"})),
    Route(OUTSIDE, "in-server", frozenset({"in"})),
)


class Layer7Node:
    """A node with proxies, an uplink and workloads of both kinds. Make one with `layer7_node`."""

    def __init__(self, node: Node, router: Namespace, redirect: str, options: Sequence[str] = ()) -> None:
        """``options`` are more of the agent's."""
        self._options = options
        self.node = node
        self.router = router
        self.redirect = redirect
        self._addresses: dict[tuple[str, int], str] = {}

    def start(self) -> None:
        """Start the agent."""
        options = ("--envoy", str(ENVOY), "--l7-redirect", self.redirect, "--no-allow-localhost")
        self.node.start(*options, *self._options)

    def populate(self) -> None:
        """Attach the workloads, and apply the policy."""
        for name in ("out-client", "free-client", "in-server", "free-server"):
            self.node.workload(name, f"looks={name.partition('-')[0]}")
        for family in FAMILIES:
            for name in ("in-server", "free-server"):
                back = f"ip -{family} route add {self.address(name, family)} via {outside.NODE[family]}"
                outside.run(self.router, back)
        self.node.apply(POLICY)

    def home(self, name: str) -> Namespace:
        """The namespace of somebody."""
        return {NODE: self.node.namespace, OUTSIDE: self.router}.get(name) or self.node.workloads[name]

    def address(self, name: str, family: int) -> str:
        """An address of somebody, for others to reach."""
        if name in (NODE, OUTSIDE):
            return {NODE: outside.NODE, OUTSIDE: outside.FAR}[name][family]
        if (name, family) not in self._addresses:
            self._addresses[name, family] = self.node.address(name, f"ipv{family}")
        return self._addresses[name, family]

    def seen_as(self, route: Route, family: int, own: str) -> str:
        """Which address a server sees; ``own`` is the client's. Outside, the node speaks for endpoints."""
        return outside.NODE[family] if route.server == OUTSIDE else own

    def proxy(self, name: str) -> dict[str, Any]:
        """What status says of a proxy: ``envoy`` or ``dns``."""
        (found,) = (each for each in self.node.json("proxy", "status")["proxies"] if each["name"] == name)
        return dict(found)

    def pid(self, name: str) -> int:
        """The process of a proxy, which must be well."""
        found = self.proxy(name)
        assert found["problem"] is None, found
        return int(found["pid"])


def policy(end: str, rules: str) -> str:
    """A policy of one end that allows a port, to requests of some rules or to all."""
    looks, peers = ("in", "fromEntities") if end == "ingress" else ("out", "toEntities")
    return f"""
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {{name: looks-{looks}}}
spec:
  endpointSelector: {{matchLabels: {{looks: {looks}}}}}
  {end}:
  - {peers}: [all]
    toPorts:
    - ports: [{{port: "80", protocol: TCP}}]
      {rules}
"""


@contextmanager
def layer7_node(directory: Path, redirect: str, *options: str) -> Iterator[Layer7Node]:
    """A node while the block runs; ``options`` are more of the agent's."""
    with make_node(directory) as node, outside.outside(node) as router:
        made = Layer7Node(node, router, redirect, options)
        made.start()
        made.populate()
        yield made


@contextmanager
def serving(
    node: Layer7Node,
    routes: tuple[Route, ...],
    port: int,
    serve: Callable[[Namespace, int], AbstractContextManager[T]],
) -> Iterator[Mapping[str, T]]:
    """A server at a port of everybody who is one in some routes, by name."""
    with ExitStack() as stack:
        names = dict.fromkeys(route.server for route in routes)
        yield {name: stack.enter_context(serve(node.home(name), port)) for name in names}
