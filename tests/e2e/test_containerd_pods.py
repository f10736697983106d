"""Pods, as a kubelet has containerd's CRI plugin run them: containerd itself runs the plugin there."""

import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from kinety.kernel.namespace import Namespace
from kinety.testing.wait import wait_until
from tests.e2e.containerd import ContainerdNode, containerd_node
from tests.e2e.cri import Kubelet, pack_image
from tests.e2e.real_node import SOON
from tests.e2e.test_containerd import FAMILIES, open_to, start

pytestmark = pytest.mark.needs("root", "bpf", "netns", "bpffs", "nft", "objects", "ip", "ipv6", "runtimes")

CRI = ("--namespace", "k8s.io")
#: Which counts labels of pods alone.
POLICY = """
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web}
spec:
  podSelector: {matchLabels: {app: web}}
  ingress:
  - from: [{podSelector: {matchLabels: {role: client}}}]
"""


@pytest.fixture
def node(tmp_path: Path) -> Iterator[ContainerdNode]:
    """A node with an image that a pod's sandbox can be made of."""
    with containerd_node(tmp_path) as made:
        start(made, POLICY)
        pack_image(made.root, "kinety.test/pause:1", ["/bin/sleep", "600"], tmp_path / "pause.tar")
        made.ctr(*CRI, "images", "import", str(tmp_path / "pause.tar"))
        wait_until(lambda: "cri-containerd.image=managed" in made.ctr(*CRI, "images", "list"), SOON)
        yield made


@pytest.fixture
def kubelet(node: ContainerdNode) -> Iterator[Kubelet]:
    with Kubelet(node.containerd_socket) as made:
        yield made
    assert node.json("endpoint", "list") == []
    assert node.json("status")["pools"][0]["used"] == 0


def namespace(node: ContainerdNode, sandbox: str) -> Namespace:
    """A pod's network namespace."""
    return Namespace.open(f"/proc/{node.tasks('k8s.io')[sandbox].split()[0]}/ns/net")


def test_a_pod_has_its_labels_when_its_network_is_made(node: ContainerdNode, kubelet: Kubelet) -> None:
    """So containerd answers while it waits for the plugin, which waits for containerd's answer."""
    kubelet.run("prod", "web-1", {"app": "web", "pod": "1"}, **{"kinety.io/labels": "team=blue,pod=2"})
    (item,) = node.json("endpoint", "list")
    assert (item["namespace"], item["name"]) == ("prod", "web-1")
    assert set(item["labels"]) == {
        "k8s:app=web",
        "k8s:team=blue",
        "k8s:pod=2",
        "k8s:io.kubernetes.pod.namespace=prod",
    }
    assert "has other labels" not in node.log.read_text()


def test_pods_are_judged_by_their_labels(node: ContainerdNode, kubelet: Kubelet) -> None:
    with ExitStack() as stack:
        wanted = {"web": {"app": "web"}, "good": {"role": "client"}, "bad": {"role": "admin"}}
        pods = {name: kubelet.run("default", name, own) for name, own in wanted.items()}
        inside = {name: stack.enter_context(namespace(node, pod)) for name, pod in pods.items()}
        addresses = [node.address("web", family) for family in FAMILIES]

        def allowed() -> list[bool]:
            return [
                open_to(inside[name], inside["web"], address, 80)
                for name in ("good", "bad")
                for address in addresses
            ]

        assert allowed() == [True, True, False, False]
        node.end(signal.SIGKILL)
        node.ctr(*CRI, "containers", "label", pods["good"], "role=admin")
        node.ctr(*CRI, "containers", "label", pods["bad"], "role=client")
        start(node, POLICY)
        wait_until(lambda: "k8s:role=client" in labels(node, "bad"), SOON, "the change is followed")
        wait_until(lambda: "k8s:role=admin" in labels(node, "good"), SOON, "the change is followed")
        assert allowed() == [False, False, True, True]


def labels(node: ContainerdNode, name: str) -> list[str]:
    own: list[str] = node.json("endpoint", "get", name)["labels"]
    return own
