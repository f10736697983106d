"""Endpoints and identities come and go, and Envoy hears nothing of it: its listeners know neither."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.layer7_node import FAMILIES, NEEDS, WEB
from tests.e2e.real_node import Node, refused
from tests.e2e.real_node import node as make_node
from tests.feature import ENVOY
from tests.layer7.http_client import ask
from tests.layer7.http_server import http_server

pytestmark = pytest.mark.needs(*NEEDS)

CROWD = 4
#: Servers are looked at, for guests with a label and from a network; guests may come there and nowhere else.
POLICY = """
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {{name: servers}}
spec:
  endpointSelector: {{matchLabels: {{is: server}}}}
  ingress:
  - fromEndpoints: [{{matchLabels: {{is: guest}}}}]
    toPorts:
    - ports: [{{port: "80", protocol: TCP}}]
      rules: {{http: [{{method: {method}}}]}}
"""
#: Rules that are about nobody's content, and name identities that nobody had before.
OTHERS = """
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: others}
spec:
  endpointSelector: {matchLabels: {is: server}}
  ingress:
  - fromCIDR: [203.0.113.0/24, 2001:db8:99::/48]
    toPorts: [{ports: [{port: "8080", protocol: TCP}]}]
  - fromEndpoints: [{matchExpressions: [{key: number, operator: In, values: ["0", "2"]}]}]
    toPorts: [{ports: [{port: "9090", protocol: TCP}]}]
"""


@dataclass(frozen=True, slots=True)
class Counted:
    """A node, and the file in which its agent writes down what it tells Envoy."""

    node: Node
    file: Path

    @property
    def messages(self) -> int:
        return len(self.file.read_bytes())


@pytest.fixture
def counted(tmp_path: Path) -> Iterator[Counted]:
    """A node with a server under policy, and a first guest: rules about nobody yet have no listener."""
    with make_node(tmp_path) as node:
        file = tmp_path / "messages"
        file.touch()
        node.module = ("tests.e2e.counting_agent", str(file))
        node.start("--envoy", str(ENVOY), "--no-allow-localhost")
        node.workload("server", "is=server")
        node.apply(POLICY.format(method="GET"))
        node.workload("guest", "is=guest")
        yield Counted(node, file)


def test_endpoints_and_identities_come_and_go_without_a_word_to_envoy(counted: Counted) -> None:
    """Each guest has labels of its own, and so an identity; what it may do is enforced all the same."""
    node = counted.node
    before = counted.messages
    assert before > 0, "the agent that counts does not count"
    identities = len(node.json("identity", "list"))
    for number in range(CROWD):
        node.workload(f"guest-{number}", "is=guest", f"number={number}")
        node.workload(f"stranger-{number}", "is=stranger", f"number={number}")
    assert len(node.json("identity", "list")) >= identities + 2 * CROWD
    node.workload("second", "is=server", "number=two")
    node.apply(OTHERS)
    with (
        http_server(node.workloads["server"], WEB) as first,
        http_server(node.workloads["second"], WEB) as second,
    ):
        for number in range(CROWD):
            guest = node.workloads[f"guest-{number}"]
            for family in FAMILIES:
                for name in ("server", "second"):
                    where = node.address(name, f"ipv{family}")
                    assert ask(guest, where, WEB).status == 200
                    assert ask(guest, where, WEB, "PUT").status == 403
        where = node.address("second")
        assert all(refused(node.workloads[f"stranger-{number}"], where, WEB) for number in range(CROWD))
        assert first.paths() == second.paths() == ["GET /"] * CROWD * len(FAMILIES)
    for number in range(CROWD):
        node.kinety("endpoint", "detach", f"guest-{number}")
        node.kinety("endpoint", "detach", f"stranger-{number}")
    node.kinety("policy", "delete", "others")
    node.kinety("endpoint", "detach", "second")
    assert counted.messages == before


def test_rules_that_change_are_told_once(counted: Counted) -> None:
    """However many endpoints they are about."""
    node = counted.node
    for number in range(CROWD):
        node.workload(f"server-{number}", "is=server", f"number={number}")
    guest = node.workloads["guest"]
    before = counted.messages
    node.apply(POLICY.format(method="PUT"))
    assert counted.messages == before + 1
    with http_server(node.workloads["server-1"], WEB):
        where = node.address("server-1")
        assert ask(guest, where, WEB, "PUT").status == 200
        assert ask(guest, where, WEB, "GET").status == 403
