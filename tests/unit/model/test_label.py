import pytest

from kinety.model.label import Label, labels_of_endpoint


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("org=empire", Label("k8s", "org", "empire")),
        ("container:org=empire", Label("container", "org", "empire")),
        ("k8s:app", Label("k8s", "app", "")),
        ("reserved:host", Label("reserved", "host", "")),
        ("image=registry:5000/x", Label("k8s", "image", "registry:5000/x")),
        ("expr=a=b", Label("k8s", "expr", "a=b")),
    ],
)
def test_parse(text: str, label: Label) -> None:
    assert Label.parse(text) == label
    assert Label.parse(str(label)) == label


@pytest.mark.parametrize("text", ["", "=x", ":key", "k8s:", "k8s:=v"])
def test_parse_refuses_labels_without_key_or_source(text: str) -> None:
    with pytest.raises(ValueError, match="no key"):
        Label.parse(text)


def test_an_endpoint_carries_its_namespace_and_the_namespaces_labels() -> None:
    labels = labels_of_endpoint("prod", [Label.parse("org=empire")], {"env": "prod"})
    assert {str(label) for label in labels} == {
        "k8s:org=empire",
        "k8s:io.kubernetes.pod.namespace=prod",
        "k8s:io.cilium.k8s.namespace.labels.env=prod",
    }


@pytest.mark.parametrize("text", ["reserved:host", "cidr:10.0.0.0/8"])
def test_a_workload_cannot_claim_a_reserved_source(text: str) -> None:
    with pytest.raises(ValueError, match="workloads cannot set"):
        labels_of_endpoint("default", [Label.parse(text)])


@pytest.mark.parametrize(
    "text",
    [
        "io.kubernetes.pod.namespace=prod",
        "container:io.kubernetes.pod.namespace=prod",
        "io.cilium.k8s.namespace.labels.env=prod",
    ],
)
def test_a_workload_cannot_claim_another_namespace(text: str) -> None:
    with pytest.raises(ValueError, match="namespace"):
        labels_of_endpoint("default", [Label.parse(text)])
