import pytest

from kinety.agent.container_labels import container_labels
from kinety.model.label import CONTAINER, K8S, Label, labels_of_endpoint
from kinety.source.runtime import Container


def told(labels: dict[str, str], source: str = CONTAINER) -> Container:
    return Container("c1", "web", labels, source)


OWN = labels_of_endpoint("default", [Label.parse("app=web")], {"env": "prod"})


def test_labels_of_a_container_are_said_to_be_its() -> None:
    found = container_labels(OWN, told({"tier": "front", "flag": "", "example.org/team": "a=b"}))
    assert set(map(str, found)) == {
        "container:tier=front",
        "container:flag",
        "container:example.org/team=a=b",
    }


def test_labels_of_a_pod_are_kubernetes() -> None:
    assert container_labels(OWN, told({"tier": "front"}, K8S)) == {Label(K8S, "tier", "front")}


def test_what_the_operator_says_wins() -> None:
    assert container_labels(OWN, told({"app": "db"})) == frozenset()
    assert container_labels(OWN | {Label("team", "tier", "x")}, told({"tier": "front"})) == frozenset()


@pytest.mark.parametrize(
    "key",
    ["io.kubernetes.pod.namespace", "io.cilium.k8s.namespace.labels.env", "io.cilium.k8s.namespace.labels.x"],
)
def test_a_container_does_not_speak_for_a_namespace(key: str) -> None:
    assert container_labels(OWN, told({key: "admin"})) == frozenset()


@pytest.mark.parametrize(
    ("key", "value"), [("", "x"), ("a b", "x"), ("a", "built by x"), ("a", "\x1b[31m"), ("a", "x" * 400)]
)
def test_what_no_policy_could_write_is_left_out(key: str, value: str) -> None:
    assert container_labels(OWN, told({key: value, "tier": "front"})) == {Label("container", "tier", "front")}
