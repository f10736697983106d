import pytest

from kinety.model.label import Label, Labels, labels_of_endpoint
from kinety.model.reference import Service
from kinety.policy.document import Document
from kinety.policy.error import PolicyError
from kinety.policy.parse import parse_objects

GOOD = """\
apiVersion: v1
kind: Service
metadata: {name: web, namespace: prod, labels: {team: blue}}
spec:
  type: ClusterIP
  selector: {app: web, tier: front}
  ports: [{name: http, port: 80, targetPort: 8080}]
"""


def services(document: str) -> tuple[Service, ...]:
    return parse_objects([Document("s.yaml", document)]).services


def pod(namespace: str, **own: str) -> Labels:
    return labels_of_endpoint(namespace, (Label("k8s", key, value) for key, value in own.items()))


def test_a_service_leads_to_pods_of_its_namespace() -> None:
    (found,) = services(GOOD)
    assert (found.namespace, found.name, found.addresses) == ("prod", "web", ())
    assert found.labels == {Label("k8s", "team", "blue")}
    assert found.pods is not None
    assert found.pods.matches(pod("prod", app="web", tier="front"))
    assert not found.pods.matches(pod("prod", app="web"))
    assert not found.pods.matches(pod("test", app="web", tier="front"))


@pytest.mark.parametrize("line", ["  selector: {}", "  clusterIP: None"])
def test_without_a_selector_it_leads_to_no_pods(line: str) -> None:
    """In particular an empty one does not lead to every pod."""
    (found,) = services(GOOD.replace("  selector: {app: web, tier: front}", line))
    assert found.pods is None


def test_without_a_namespace_it_is_in_the_one_called_default() -> None:
    assert services(GOOD.replace(", namespace: prod", ""))[0].namespace == "default"


@pytest.mark.parametrize(
    ("change", "line", "path", "message"),
    [
        (("selector: {app: web,", "selector: {'': web,"), 6, 'spec.selector[""]', "is not a label key"),
        (("selector: {app: web,", "selector: {app: a b,"), 6, "spec.selector.app", "is not a label value"),
        (("selector:", "slector:"), 6, "spec.slector", "unknown field 'slector'"),
        (("team: blue", "team: a b"), 3, "metadata.labels.team", "is not a label value"),
        (("name: web", "name: Web"), 3, "metadata.name", "cannot be a name"),
    ],
)
def test_bad_services(change: tuple[str, str], line: int, path: str, message: str) -> None:
    with pytest.raises(PolicyError) as caught:
        services(GOOD.replace(*change))
    (found,) = caught.value.findings
    assert (found.line, found.path) == (line, path)
    assert message in found.message
