"""Host ports and what else a runtime asks for at run time, from the plugin's ADD to its DEL."""

import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path

import pytest

from kinety.kernel.netlink import Netlink
from tests.e2e.real_node import Node, TcpServer, connect
from tests.e2e.real_node import node as make_node
from tests.e2e.runtime import Runtime

pytestmark = pytest.mark.needs("root", "bpf", "netns", "bpffs", "nft", "objects", "ip", "ipv6")

LOOPBACK = "127.0.0.1"


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    """An agent with nobody to serve yet, on a node with an address."""
    with make_node(tmp_path) as made:
        with Netlink(made.namespace) as netlink:
            with netlink.batch() as batch:
                batch.link("uplink", "bridge")
            link = netlink.link_named("uplink")
            assert link is not None
            with netlink.batch() as batch:
                batch.address_add(link.index, ip_address("192.0.2.1"), 24)
                batch.link_set(link.index, up=True)
        made.start()
        yield made


def mapped(*ports: tuple[int, int], protocol: str = "tcp", address: str = "") -> dict[str, object]:
    """What a runtime adds to the configuration."""
    where = {"protocol": protocol, "hostIP": address}
    mappings = [{"hostPort": port, "containerPort": own, **where} for port, own in ports]
    return {"runtimeConfig": {"portMappings": mappings}}


def answers(node: Node, container: str, host_port: int, port: int) -> bool:
    """Whether a container serves a port of the node."""
    with TcpServer(node.workloads[container], port) as server:
        connect(node.namespace, LOOPBACK, host_port).close()
        server.accept().close()
    return True


def leads_nowhere(node: Node, host_port: int) -> bool:
    """Whether the node itself says that nobody listens."""
    with pytest.raises(ConnectionRefusedError):
        connect(node.namespace, LOOPBACK, host_port)
    return True


def test_a_host_port_lives_as_long_as_its_container(node: Node) -> None:
    runtime, before = Runtime(node), node.ruleset()
    runtime.add("web", **mapped((8080, 80), (8081, 81)))
    assert answers(node, "web", 8080, 80)
    [shown] = node.json("endpoint", "list")
    assert shown["host_ports"] == ["8080:80/TCP", "8081:81/TCP"]
    runtime.container("other")
    taken = runtime.call("ADD", "other", **mapped((8081, 80)))
    assert taken.error == 101
    assert taken.said["msg"] == "host port 8081:80/TCP is taken: 8081:81/TCP leads to endpoint default/web"
    runtime.add("other", **mapped((8082, 80)))
    assert answers(node, "other", 8082, 80)
    runtime.delete("web")
    assert leads_nowhere(node, 8080)
    assert answers(node, "other", 8082, 80)
    runtime.delete("other")
    assert node.ruleset() == before
    runtime.container("last")
    runtime.add("last", **mapped((8080, 80)))
    assert answers(node, "last", 8080, 80)


def test_an_agent_that_dies_leaves_host_ports_alone(node: Node) -> None:
    runtime, before = Runtime(node), node.ruleset()
    runtime.add("web", **mapped((8080, 80)))
    runtime.add("gone", **mapped((8081, 80)))
    node.end(signal.SIGKILL)
    assert answers(node, "web", 8080, 80)
    runtime.delete("gone")
    node.start()
    assert answers(node, "web", 8080, 80)
    assert leads_nowhere(node, 8081)
    node.end()
    held = node.ruleset()
    node.start()
    assert node.ruleset() == held
    runtime.delete("web")
    assert node.ruleset() == before


@pytest.mark.parametrize(
    ("fields", "code", "why"),
    [
        (mapped((0, 80)), 7, "each 1 to 65535"),
        (mapped((8080, 80), protocol="icmp"), 7, "'icmp' is no protocol with ports"),
        (mapped((8080, 80), address="nonsense"), 7, "'nonsense' is no IP address"),
        (mapped((8080, 80), (8080, 81)), 7, "are one port"),
        ({"runtimeConfig": {"mac": "nonsense"}}, 7, "is no MAC address"),
    ],
)
def test_what_cannot_be_is_refused(node: Node, fields: dict[str, object], code: int, why: str) -> None:
    runtime, before = Runtime(node), node.ruleset()
    runtime.container("c1")
    refusal = runtime.call("ADD", "c1", **fields)
    assert refusal.error == code
    assert why in refusal.said["msg"]
    assert node.json("endpoint", "list") == []
    assert node.ruleset() == before


def test_a_container_has_the_mac_that_it_was_to_have(node: Node) -> None:
    runtime = Runtime(node)
    said = runtime.add("c1", runtimeConfig={"mac": "02:00:00:AB:CD:EF"})
    assert said["interfaces"][1]["mac"] == "02:00:00:ab:cd:ef"
    with Netlink(runtime.container("c1")) as netlink:
        link = netlink.link_named("eth0")
    assert link is not None
    assert link.mac.hex(":") == "02:00:00:ab:cd:ef"
    assert runtime.check("c1").nothing


def test_a_command_has_host_ports_too(node: Node) -> None:
    namespace = node.workload("web", "app=web", more=("--publish", "127.0.0.1:8080:80/tcp"))
    with TcpServer(namespace, 80) as server:
        connect(node.namespace, LOOPBACK, 8080).close()
        server.accept().close()
    assert "127.0.0.1:8080:80/TCP" in node.kinety("endpoint", "list", "-o", "wide")


def test_a_bandwidth_is_kept_and_counted(node: Node) -> None:
    """A kilobit a second: of a hundred datagrams at once, the burst passes, and one more."""
    runtime = Runtime(node)
    runtime.add("quiet", runtimeConfig={"bandwidth": {"egressRate": 1000, "egressBurst": 8 * 5000}})
    runtime.add("plain")
    address = node.address("plain")
    with (
        node.workloads["plain"].socket(socket.AF_INET, socket.SOCK_DGRAM) as server,
        node.workloads["quiet"].socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
    ):
        server.bind((address, 7777))
        server.setblocking(False)
        for _ in range(100):
            client.sendto(bytes(1000), (address, 7777))
        arrived = 0
        with suppress(BlockingIOError):
            while server.recv(2000):
                arrived += 1
    assert arrived == 5, "of 1042 bytes each"
    shown = {each["name"]: each for each in node.json("endpoint", "list")}
    assert shown["quiet"]["rate_exceeded"] == 95
    assert shown["quiet"]["bandwidth"]["egress_rate"] == 1000
    assert (shown["plain"]["rate_exceeded"], shown["plain"]["bandwidth"]) == (0, None)
    assert node.dropped("rate-exceeded") == 95
    assert "egress=1kbit/s" in node.kinety("endpoint", "list", "-o", "wide")
    assert node.end() == 0
    refused = subprocess.run(node.agent("--no-bandwidth"), capture_output=True, text=True, check=False)
    assert refused.returncode != 0
    assert "with --no-bandwidth endpoint default/quiet would be as fast as it can" in refused.stderr
    node.start()
    assert node.json("endpoint", "get", "quiet")["rate_exceeded"] == 95


def test_an_agent_without_bandwidth_refuses_it(node: Node) -> None:
    runtime = Runtime(node)
    node.end()
    node.start("--no-bandwidth")
    runtime.container("c1")
    refusal = runtime.call("ADD", "c1", runtimeConfig={"bandwidth": {"ingressRate": 1000}})
    assert refusal.error == 101
    assert "the agent runs with --no-bandwidth" in refusal.said["msg"]
    assert node.json("endpoint", "list") == []
    runtime.add("c1")
