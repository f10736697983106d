import pytest

from kinety.model.address import Prefix
from kinety.policy.document import Document
from kinety.policy.error import PolicyError
from kinety.policy.parse import parse_objects

SERVICE = """\
apiVersion: v1
kind: Service
metadata: {name: db, namespace: prod}
spec: {clusterIP: None}
---
"""
ENDPOINTS = """\
apiVersion: v1
kind: Endpoints
metadata: {name: db, namespace: prod}
subsets:
- addresses: [{ip: 192.0.2.7, nodeName: n}, {ip: "2001:db8::7"}]
  notReadyAddresses: [{ip: 192.0.2.8}]
  ports: [{port: 5432}]
"""
SLICE = """\
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: db-x7k2p, namespace: prod, labels: {kubernetes.io/service-name: db}}
addressType: IPv4
endpoints:
- addresses: [192.0.2.9]
- addresses: [192.0.2.10]
  conditions: {ready: false, serving: true}
ports: [{port: 5432}]
"""


def addresses(*documents: str) -> tuple[Prefix, ...]:
    (found,) = parse_objects([Document("s.yaml", "---\n".join(documents))]).services
    return found.addresses


def test_a_service_without_a_selector_leads_to_addresses_that_are_ready() -> None:
    assert addresses(SERVICE + ENDPOINTS) == tuple(map(Prefix.parse, ("192.0.2.7", "2001:db8::7")))
    assert addresses(SERVICE + SLICE) == (Prefix.parse("192.0.2.9"),)
    assert set(addresses(SERVICE + ENDPOINTS, SLICE)) == {
        *map(Prefix.parse, ("192.0.2.7", "2001:db8::7", "192.0.2.9"))
    }


@pytest.mark.parametrize("word", [("name: db,", "name: other,"), ("namespace: prod", "namespace: test")])
def test_they_are_those_of_the_service_that_is_named(word: tuple[str, str]) -> None:
    assert addresses(SERVICE + ENDPOINTS.replace(*word)) == ()


def test_with_a_selector_it_leads_to_pods_alone() -> None:
    assert addresses(SERVICE.replace("clusterIP: None", "selector: {app: db}") + ENDPOINTS) == ()


@pytest.mark.parametrize(
    ("document", "change", "line", "path", "message"),
    [
        (ENDPOINTS, ("192.0.2.7", "192.0.2.300"), 5, "subsets[0].addresses[0].ip", "not an address prefix"),
        (ENDPOINTS, ("192.0.2.7", "192.0.2.0/24"), 5, "subsets[0].addresses[0].ip", "is not an address"),
        (ENDPOINTS, ("subsets", "subset"), 4, "subset", "unknown field"),
        (SLICE, ("192.0.2.9", '"2001:db8::9"'), 6, "endpoints[0].addresses[0]", "is no IPv4 address"),
        (SLICE, ("IPv4", "FQDN"), 4, "addressType", "write IPv4 or IPv6"),
        (SLICE, (", labels: {kubernetes.io/service-name: db}", ""), 3, "metadata.labels", "by a label"),
        (SLICE, ("service-name: db", "service-name: D"), 3, "metadata.labels", "cannot be a name"),
        (SLICE, ("addressType: IPv4\n", ""), 1, "", "addressType is missing"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(
    document: str, change: tuple[str, str], line: int, path: str, message: str
) -> None:
    with pytest.raises(PolicyError) as caught:
        parse_objects([Document("s.yaml", document.replace(*change))])
    (found,) = caught.value.findings
    assert (found.line, found.path.startswith(path)) == (line, True)
    assert message in f"{found.message}; {found.hint}"
