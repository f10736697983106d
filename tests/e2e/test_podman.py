"""Podman's containers on Kinety's network: what its commands do, and that nothing is left of them."""

import json
from collections.abc import Iterator
from ipaddress import ip_address

import pytest

from kinety.kernel.netlink import Netlink
from tests.e2e.podman import Podman
from tests.e2e.podman import podman as make_podman
from tests.e2e.real_node import TcpServer, connect, family_of
from tests.e2e.real_node import node as make_node

pytestmark = pytest.mark.needs("root", "bpf", "netns", "bpffs", "nft", "objects", "ip", "ipv6", "runtimes")


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Podman]:
    """A node with an address and Podman, whose containers every test takes away."""
    with make_node(tmp_path_factory.mktemp("podman")) as node, make_podman(node) as made:
        with Netlink(node.namespace) as netlink:
            link = netlink.link_named("lo")
            assert link is not None
            with netlink.batch() as batch:
                batch.address_add(link.index, ip_address("192.0.2.1"), 32)
        node.start()
        yield made


@pytest.fixture
def podman(calm: Podman) -> Iterator[Podman]:
    yield calm
    calm.remove()
    assert calm.node.json("endpoint", "list") == []
    assert calm.left() == []


def addresses(podman: Podman, name: str) -> dict[str, str]:
    """An endpoint's address of each family."""
    found = podman.node.json("endpoint", "get", name)
    return {family: found[family] for family in ("ipv4", "ipv6")}


def test_a_container_has_the_addresses_of_its_endpoint(podman: Podman) -> None:
    podman.start("web")
    own = addresses(podman, "web")
    known = podman.network("web")
    assert (known["IPAddress"], known["GlobalIPv6Address"]) == (own["ipv4"], own["ipv6"])
    assert known["MacAddress"] == podman.node.json("endpoint", "get", "web")["mac"]
    inside = podman("exec", "web", "ip", "address", "show", "eth0")
    assert f"{own['ipv4']}/32" in inside
    assert f"{own['ipv6']}/128" in inside
    podman("rm", "--force", "--time", "0", "web")
    assert podman.node.json("endpoint", "list") == []


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_containers_reach_each_other(podman: Podman, family: str) -> None:
    podman.start("web")
    address = addresses(podman, "web")[family]
    with podman.namespace("web") as web, TcpServer(web, 80, family_of(address)) as server:
        podman.start("front")
        with podman.namespace("front") as front:
            connect(front, address, 80).close()
            server.accept().close()


def test_a_container_has_the_addresses_that_it_asks_for(podman: Podman) -> None:
    podman.start("v4", more=("--ip", "10.240.7.7"))
    podman.start("v6", more=("--ip6", "fd4b:696e:6574:79::77"))
    podman.start("both", more=("--ip", "10.240.7.8", "--ip6", "fd4b:696e:6574:79::78"))
    assert addresses(podman, "v4")["ipv4"] == "10.240.7.7"
    assert addresses(podman, "v6")["ipv6"] == "fd4b:696e:6574:79::77"
    assert addresses(podman, "both") == {"ipv4": "10.240.7.8", "ipv6": "fd4b:696e:6574:79::78"}
    refused = podman.run("run", "--rm", *podman.container("--ip", "10.240.7.7"))
    assert refused.returncode != 0
    assert "address 10.240.7.7 is in use by endpoint default/v4" in refused.stderr


def test_a_container_has_the_mac_that_it_asks_for(podman: Podman) -> None:
    podman.start("web", more=("--mac-address", "02:11:22:33:44:55"))
    assert "02:11:22:33:44:55" in podman("exec", "web", "ip", "link", "show", "eth0")
    assert podman.network("web")["MacAddress"] == "02:11:22:33:44:55"


def test_a_published_port_of_the_node_leads_to_the_container(podman: Podman) -> None:
    podman.start("web", more=("--publish", "8080:80"))
    with podman.namespace("web") as web, TcpServer(web, 80) as server:
        connect(podman.node.namespace, "127.0.0.1", 8080).close()
        server.accept().close()
    taken = podman.run("run", "--rm", *podman.container("--publish", "8080:81"))
    assert taken.returncode != 0
    assert "host port 8080:81/TCP is taken: 8080:80/TCP leads to endpoint default/web" in taken.stderr
    podman("restart", "--time", "0", "web")
    with podman.namespace("web") as web, TcpServer(web, 80) as server:
        connect(podman.node.namespace, "127.0.0.1", 8080).close()
        server.accept().close()
    podman("rm", "--force", "--time", "0", "web")
    with pytest.raises(ConnectionRefusedError):
        connect(podman.node.namespace, "127.0.0.1", 8080)


def test_a_network_is_left_and_joined_while_a_container_runs(podman: Podman) -> None:
    podman.start("web")
    podman("network", "disconnect", "kinety", "web")
    assert podman.node.json("endpoint", "list") == []
    podman("network", "connect", "--ip", "10.240.7.9", "kinety", "web")
    assert addresses(podman, "web")["ipv4"] == "10.240.7.9" == podman.network("web")["IPAddress"]
    before = addresses(podman, "web")
    podman("network", "reload", "web")
    assert addresses(podman, "web") == before, "it keeps its addresses"
    assert "10.240.7.9/32" in podman("exec", "web", "ip", "address", "show", "eth0")


def test_a_container_in_two_networks_is_two_endpoints(podman: Podman) -> None:
    podman.install("other")
    podman.start("web", more=("--network", "other"))
    listed = {each["name"]: each["interface"] for each in podman.node.json("endpoint", "list")}
    assert listed == {"web": "eth0", "web-eth1": "eth1"}
    # Podman joins them in any order.
    endpoints = {addresses(podman, name)["ipv4"] for name in listed}
    assert endpoints == {podman.network("web", name)["IPAddress"] for name in ("kinety", "other")}


def test_podman_lists_the_network(podman: Podman) -> None:
    assert "kinety" in podman("network", "ls", "--format", "{{.Name}}").split()
    (network,) = json.loads(podman("network", "inspect", "kinety"))
    assert (network["name"], network["driver"]) == ("kinety", "kinety-cni")
    podman.start("web")
    assert "associated containers" in podman.run("network", "rm", "kinety").stderr


def test_name_servers_are_the_networks_or_the_containers_own(podman: Podman) -> None:
    """Podman puts those of the network first, and its own, the node's, behind them."""
    path = podman.networks / "10-kinety.conflist"
    before = path.read_text()
    network = json.loads(before)
    network["plugins"][0]["dns"] = {"nameservers": ["10.96.0.10", "fd00::53"], "search": ["kinety.example"]}
    path.write_text(json.dumps(network))
    try:
        shown = podman("run", "--rm", *podman.container(command=("cat", "/etc/resolv.conf"))).splitlines()
        own = ("--dns", "10.96.0.11", "--dns-search", "own.example")
        chosen = podman("run", "--rm", *podman.container(*own, command=("cat", "/etc/resolv.conf")))
    finally:
        path.write_text(before)
    assert shown[:3] == ["search kinety.example", "nameserver 10.96.0.10", "nameserver fd00::53"]
    assert chosen.splitlines() == ["search own.example", "nameserver 10.96.0.11"]


def test_a_name_is_an_endpoints_only_once(podman: Podman) -> None:
    """Podman's names are its own; the node's endpoints may have others."""
    podman.node.workload("web")
    done = podman.run("run", "--rm", *podman.container("--name", "web"))
    assert done.returncode != 0
    assert "there is an endpoint default/web already" in done.stderr
    podman.node.kinety("endpoint", "detach", "web")
    podman.node.workloads.pop("web").remove()
