"""Peers of CiliumNetworkPolicy: every list, absent, empty and full."""

import pytest

from tests.unit.testing.oracle.asking import check
from tests.unit.testing.oracle.test_cilium import SUBJECT, clusterwide, policy

GROUP = """
apiVersion: cilium.io/v2
kind: CiliumCIDRGroup
metadata: {name: g, labels: {of: us}}
spec: {externalCIDRs: [198.51.0.0/16, 10.0.0.0/8]}
---
"""


def ingress(peers: str) -> str:
    return policy(f"{SUBJECT}, ingress: [{{{peers}}}]")


def egress(peers: str) -> str:
    return policy(f"{SUBJECT}, egress: [{{{peers}}}]")


PORT = "toPorts: [{ports: [{port: '80'}]}]"
NAMED = "k8s:io.kubernetes.pod.namespace"
LABELLED = "io.cilium.k8s.namespace.labels.team"
CASES = {
    "without a list, everybody": (
        ingress(PORT),
        "from a tcp/80 allow p ingress[0]\nfrom world tcp/80 allow p ingress[0]\n"
        "from foreign tcp/80 allow p ingress[0]",
    ),
    "with an empty one, nobody": (
        ingress(f"fromEndpoints: [], {PORT}"),
        "from a tcp/80 deny\nfrom world tcp/80 deny",
    ),
    "every endpoint of the namespace": (
        ingress("fromEndpoints: [{}]"),
        "from a tcp/80 allow p ingress[0]\nfrom foreign tcp/80 deny\nfrom world tcp/80 deny\n"
        "from node tcp/80 deny",
    ),
    "of every one": (
        clusterwide(f"{SUBJECT}, ingress: [{{fromEndpoints: [{{}}]}}]"),
        "from foreign tcp/80 allow p ingress[0]\nfrom world tcp/80 deny\nfrom node tcp/80 deny",
    ),
    "of another, by its name": (
        ingress(f"fromEndpoints: [{{matchLabels: {{{NAMED}: red}}}}]"),
        "from foreign tcp/80 allow p ingress[0]\nfrom a tcp/80 deny",
    ),
    "or by its labels": (
        ingress(f"fromEndpoints: [{{matchExpressions: [{{key: {LABELLED}, operator: Exists}}]}}]"),
        "from foreign tcp/80 allow p ingress[0]\nfrom a tcp/80 deny",
    ),
    "by lacking them": (
        ingress(f"fromEndpoints: [{{matchExpressions: [{{key: {LABELLED}, operator: DoesNotExist}}]}}]"),
        "from a tcp/80 allow p ingress[0]\nfrom foreign tcp/80 deny\nfrom world tcp/80 deny",
    ),
    "a reserved label": (
        ingress("fromEndpoints: [{matchLabels: {'reserved:world-ipv4': ''}}]"),
        "from world tcp/80 allow p ingress[0]\nfrom world6 tcp/80 deny\nfrom a tcp/80 deny",
    ),
    "a node's label is none of an endpoint's": (
        clusterwide(f"{SUBJECT}, ingress: [{{fromEndpoints: [{{matchLabels: {{zone: west}}}}]}}]"),
        "from node tcp/80 deny",
    ),
    "only those who meet what is required": (
        ingress("fromEndpoints: [{matchLabels: {app: a}}], fromRequires: [{matchLabels: {tier: front}}]"),
        "from a tcp/80 deny\nfrom a-front tcp/80 allow p ingress[0]",
    ),
    "required, and nothing else": (
        ingress("fromRequires: [{matchLabels: {tier: front}}]"),
        "from a-front tcp/80 allow p ingress[0]\nfrom a tcp/80 deny\nfrom world tcp/80 deny",
    ),
    "entities": (
        ingress("fromEntities: [remote-node, world-ipv6]"),
        "from node tcp/80 allow p ingress[0]\nfrom world6 tcp/80 allow p ingress[0]\nfrom world tcp/80 deny\n"
        "from a tcp/80 deny",
    ),
    "the cluster": (
        ingress("fromEntities: [cluster]"),
        "from node tcp/80 allow p ingress[0]\nfrom foreign tcp/80 allow p ingress[0]\nfrom world tcp/80 deny",
    ),
    "none": (ingress("fromEntities: [none]"), "from a tcp/80 deny\nfrom world tcp/80 deny"),
    "a prefix never selects an endpoint or a node": (
        ingress("fromCIDR: [0.0.0.0/0]"),
        "from world tcp/80 allow p ingress[0]\nfrom a tcp/80 deny\nfrom node tcp/80 deny\n"
        "from world6 tcp/80 deny",
    ),
    "less what is left out": (
        ingress("fromCIDRSet: [{cidr: 198.51.0.0/16, except: [198.51.100.0/24]}]"),
        "from wide tcp/80 allow p ingress[0]\nfrom narrow tcp/80 deny",
    ),
    "a group by its name": (
        GROUP + ingress("fromCIDRSet: [{cidrGroupRef: g, except: [198.51.100.0/24]}]"),
        "from wide tcp/80 allow p ingress[0]\nfrom narrow tcp/80 deny\nfrom a tcp/80 deny",
    ),
    "groups by their labels": (
        GROUP + ingress("fromCIDRSet: [{cidrGroupSelector: {matchLabels: {of: us}}}]"),
        "from narrow tcp/80 allow p ingress[0]\nfrom world tcp/80 deny",
    ),
    "a group that is missing is nobody, and isolates": (
        GROUP + ingress("fromCIDRSet: [{cidrGroupRef: other}]"),
        "from wide tcp/80 deny",
    ),
    "nodes by their labels": (
        clusterwide(f"{SUBJECT}, egress: [{{toNodes: [{{matchLabels: {{zone: west}}}}]}}]"),
        "to node tcp/80 allow p egress[0]\nto host tcp/80 deny\nto a tcp/80 deny",
    ),
    "every node": (
        clusterwide(f"{SUBJECT}, egress: [{{toNodes: [{{}}]}}]"),
        "to node tcp/80 allow p egress[0]\nto host tcp/80 allow p egress[0]\nto a tcp/80 deny\n"
        "to world tcp/80 deny",
    ),
    "names that answers gave": (
        egress("toFQDNs: [{matchPattern: '*.example.com'}]"),
        "to example tcp/80 allow p egress[0]\nto world tcp/80 deny\nto a tcp/80 deny",
    ),
    "any name at all": (
        egress("toFQDNs: [{matchPattern: '*'}]"),
        "to example tcp/80 allow p egress[0]\nto world tcp/80 deny",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_peers(name: str) -> None:
    check(*CASES[name])
