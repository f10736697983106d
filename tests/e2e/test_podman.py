"""Podman's containers on Kinety's network: what its commands do, and that nothing is left of them."""

from collections.abc import Iterator

import pytest

from tests.e2e.podman import Podman
from tests.e2e.podman import podman as make_podman
from tests.e2e.real_node import TcpServer, connect, family_of
from tests.e2e.real_node import node as make_node

pytestmark = pytest.mark.needs("root", "bpf", "netns", "bpffs", "nft", "objects", "ip", "ipv6", "podman")


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Podman]:
    """A node with Podman, whose containers every test takes away."""
    with make_node(tmp_path_factory.mktemp("podman")) as node, make_podman(node) as made:
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
