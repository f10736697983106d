"""Host ports on a node with a policy of its own: it is about processes, and nobody who is led past them."""

from collections.abc import Iterator

import pytest

from kinety.api.types import Document, EndpointRequest
from kinety.kernel.namespace import Namespace
from kinety.testing.lab import Lab, lab
from kinety.testing.scenario import HOST_ADDRESSES
from tests.e2e.real_node import TcpServer, connect, family_of, refused

pytestmark = pytest.mark.needs("root", "bpf", "netns", "bpffs", "nft", "objects", "netfilter", "ip", "ipv6")

FRIEND_PORT, STRANGER_PORT = 8080, 8081
#: Nobody may ask the node for anything, and it may ask friends alone.
POLICY = """
apiVersion: cilium.io/v2
kind: CiliumClusterwideNetworkPolicy
metadata: {name: node}
spec:
  nodeSelector: {matchLabels: {zone: a}}
  ingress:
  - fromEntities: [world]
    toPorts: [{ports: [{port: "22", protocol: TCP}]}]
  egress:
  - toEndpoints: [{matchLabels: {"k8s:io.kubernetes.pod.namespace": default, role: friend}}]
    toPorts: [{ports: [{port: "80", protocol: TCP}]}]
"""


@pytest.fixture
def built() -> Iterator[Lab]:
    with lab() as made:
        made.start_agent("--node-label", "zone=a")
        yield made


def endpoint(built: Lab, name: str, *labels: str, host_port: int = 0) -> Namespace:
    namespace = built.namespace(name)
    ports = (f"{host_port}:80/TCP",) if host_port else ()
    with built.client() as client:
        client.attach(EndpointRequest(name=name, netns=namespace.name, labels=labels, host_ports=ports))
    return namespace


def served(server: Namespace, client: Namespace, address: str, port: int) -> bool:
    """Whether a client is answered by an endpoint behind a host port."""
    with TcpServer(server, 80, family_of(address)) as listener:
        connect(client, address, port).close()
        listener.accept().close()
    return True


def test_a_policy_of_the_node_is_about_its_processes(built: Lab) -> None:
    friend = endpoint(built, "friend", "role=friend", host_port=FRIEND_PORT)
    stranger = endpoint(built, "stranger", host_port=STRANGER_PORT)
    client = endpoint(built, "client")
    for _ in range(2):  # without a policy of the node, and with it
        for address in map(str, HOST_ADDRESSES.values()):
            assert served(stranger, built.world, address, STRANGER_PORT)
            assert served(stranger, client, address, STRANGER_PORT)
            assert served(friend, built.node, address, FRIEND_PORT)
        assert served(friend, built.node, "127.0.0.1", FRIEND_PORT)
        with built.client() as agent:
            agent.apply([Document("node.yaml", POLICY)])
    for address in (*map(str, HOST_ADDRESSES.values()), "127.0.0.1"):
        with TcpServer(stranger, 80, family_of(address)):
            assert refused(built.node, address, STRANGER_PORT)
