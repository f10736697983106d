"""Services as peers: of pods, of addresses that other objects tell, by name and by label."""

import pytest

from tests.unit.testing.oracle.asking import check
from tests.unit.testing.oracle.test_cilium import SUBJECT, clusterwide, policy

PODS = """
apiVersion: v1
kind: Service
metadata: {name: svc, namespace: red, labels: {x: y}}
spec: {selector: {app: a}}
---
"""
OUTSIDE = """
{apiVersion: v1, kind: Service, metadata: {name: svc}, spec: {}}
---
{apiVersion: v1, kind: Endpoints, metadata: {name: svc}, subsets: [{addresses: [{ip: 198.51.100.1}]}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: svc-1, labels: {kubernetes.io/service-name: svc}}
endpoints: [{addresses: [203.0.113.1, 10.0.0.2]}]
---
"""


def to(services: str) -> str:
    return policy(f"{SUBJECT}, egress: [{{toServices: [{services}]}}]")


FOREIGN = "to foreign tcp/80 allow p egress[0]\nto a tcp/80 deny\nto world tcp/80 deny"
CASES = {
    "pods of the service's namespace": (
        PODS + to("{k8sService: {serviceName: svc, namespace: red}}"),
        FOREIGN,
    ),
    "the policy's namespace when none is named": (
        PODS + to("{k8sService: {serviceName: svc}}"),
        "to foreign tcp/80 deny\nto a tcp/80 deny",
    ),
    "any, when the policy has none": (
        PODS + clusterwide(f"{SUBJECT}, egress: [{{toServices: [{{k8sService: {{serviceName: svc}}}}]}}]"),
        FOREIGN,
    ),
    "by labels": (
        PODS + to("{k8sServiceSelector: {namespace: red, selector: {matchLabels: {x: y}}}}"),
        FOREIGN,
    ),
    "by labels that it has not": (
        PODS + to("{k8sServiceSelector: {namespace: red, selector: {matchLabels: {x: z}}}}"),
        "to foreign tcp/80 deny",
    ),
    "addresses outside, and no pods by address": (
        OUTSIDE + to("{k8sService: {serviceName: svc}}"),
        "to narrow tcp/80 allow p egress[0]\nto world tcp/80 allow p egress[0]\nto wide tcp/80 deny\n"
        "to a tcp/80 deny",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_services(name: str) -> None:
    check(*CASES[name])
