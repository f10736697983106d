"""Policy by the labels that Podman's containers have, from their first packet, over restarts and kills."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.e2e.podman import Podman
from tests.e2e.podman import podman as make_podman
from tests.e2e.real_node import Node, TcpServer, connect, family_of, refused
from tests.e2e.real_node import node as make_node

pytestmark = pytest.mark.needs("root", "bpf", "netns", "bpffs", "nft", "objects", "ip", "ipv6", "runtimes")

FAMILIES = ("ipv4", "ipv6")
WEB_FROM_FRONT = """
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: web}
spec:
  endpointSelector: {matchLabels: {app: web}}
  ingress:
  - fromEndpoints: [{matchLabels: {app: front}}]
    toPorts: [{ports: [{port: "80", protocol: TCP}]}]
"""


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Podman]:
    """An agent that asks Podman, with one policy; every test takes its containers away."""
    with make_node(tmp_path_factory.mktemp("labels")) as node, make_podman(node) as made:
        node.start(*made.runtime)
        node.apply(WEB_FROM_FRONT)
        yield made


@pytest.fixture
def podman(calm: Podman) -> Iterator[Podman]:
    yield calm
    calm.remove()
    assert calm.node.json("endpoint", "list") == []
    assert calm.left() == []


def labels(node: Node, name: str) -> set[str]:
    """An endpoint's labels, without that of its namespace."""
    found = node.json("endpoint", "get", name)["labels"]
    return {each for each in found if not each.startswith("k8s:io.kubernetes.pod.namespace=")}


def address(podman: Podman, name: str, family: str) -> str:
    found = podman.node.json("endpoint", "get", name)[family]
    assert isinstance(found, str)
    return found


def assert_policy_holds(podman: Podman, server: str, allowed: str, denied: str) -> None:
    """One container may talk to another's port 80, and a third may not, in both families."""
    with (
        podman.namespace(server) as inside,
        podman.namespace(allowed) as friend,
        podman.namespace(denied) as stranger,
    ):
        for family in FAMILIES:
            place = address(podman, server, family)
            with TcpServer(inside, 80, family_of(place)) as listening:
                connect(friend, place, 80).close()
                listening.accept().close()
                assert refused(stranger, place, 80)


def test_policy_selects_by_the_labels_of_containers(podman: Podman) -> None:
    podman.start("web", "app=web", "name=w", "only")
    podman.start("front", "app=front")
    podman.start("other", "app=other")
    assert labels(podman.node, "web") == {"container:app=web", "container:name=w", "container:only"}
    assert_policy_holds(podman, "web", "front", "other")


def test_a_container_that_sends_at_once_meets_its_policy(podman: Podman) -> None:
    """What it may not send never arrives. What it may is never lost: it tries for a second, and once."""
    podman.start("web", "app=web")
    with podman.namespace("web") as web, ThreadPoolExecutor(1) as pool:
        for family in FAMILIES:
            place = address(podman, "web", family)
            connecting = ("timeout", "5", "nc", "-w", "1", place, "80")
            with TcpServer(web, 80, family_of(place)) as server:
                for app in ("front", "other") * 3:
                    options = ("--rm", "--label", f"app={app}")
                    running = pool.submit(podman.run, "run", *podman.container(*options, command=connecting))
                    if app == "front":
                        server.accept().close()
                    done = running.result()
                    assert done.returncode == (0 if app == "front" else 1), done.stderr
                with pytest.raises(BlockingIOError):
                    server.accept(0.0)


def test_a_container_that_is_started_again_meets_its_policy_at_once(podman: Podman) -> None:
    for name in ("web", "front", "other"):
        podman.start(name, f"app={name}")
    for verbs in (["restart"], ["stop", "start"]):
        for verb in verbs:
            podman(verb, *(() if verb == "start" else ("--time", "0")), "web", "front", "other")
        assert labels(podman.node, "web") == {"container:app=web"}
        assert_policy_holds(podman, "web", "front", "other")


def test_a_pod_is_one_endpoint_with_the_labels_of_the_pod(podman: Podman) -> None:
    podman("pod", "create", "--name", "shop", "--label", "app=web", "--network", "kinety")
    inside = ["--pod", "shop", "--label", "app=front", "--rootfs", str(podman.rootfs)]
    for name in ("one", "two"):
        podman("run", "--detach", "--name", name, *inside, "sleep", "600")
    podman.start("front", "app=front")
    podman.start("other", "app=other")
    assert [each["name"] for each in podman.node.json("endpoint", "list")] == ["front", "other", "shop"]
    assert labels(podman.node, "shop") == {"k8s:app=web"}
    addresses = {podman("exec", name, "ip", "-o", "-4", "address") for name in ("one", "two")}
    assert len(addresses) == 1
    infra = json.loads(podman("pod", "inspect", "shop"))["InfraContainerID"]
    place = address(podman, "shop", "ipv4")
    with (
        podman.namespace(infra) as shop,
        TcpServer(shop, 80) as server,
        podman.namespace("front") as front,
        podman.namespace("other") as other,
    ):
        connect(front, place, 80).close()
        server.accept().close()
        assert refused(other, place, 80)
    podman("pod", "rm", "--force", "--time", "0", "shop")
    assert [each["name"] for each in podman.node.json("endpoint", "list")] == ["front", "other"]
