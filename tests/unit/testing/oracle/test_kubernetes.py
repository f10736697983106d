"""NetworkPolicy: which directions it is about, and that empty means everything."""

import pytest

from tests.unit.testing.oracle.asking import check


def policy(spec: str) -> str:
    head = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p}\n"
    return f"{head}spec: {{{spec}}}\n---\n"


S = "podSelector: {matchLabels: {app: s}}"
CASES = {
    "only ingress by itself": (policy(S), "from a tcp/80 deny\nto a tcp/80 allow"),
    "egress too where there are rules": (
        policy(f"{S}, egress: [{{}}]"),
        "from a tcp/80 deny\nto a tcp/80 allow p egress[0]",
    ),
    "what policyTypes says": (policy(f"{S}, policyTypes: [Egress]"), "from a tcp/80 allow\nto a tcp/80 deny"),
    "pods of its own namespace": (
        policy("podSelector: {}"),
        "b from a tcp/80 deny\nforeign from a tcp/80 allow",
    ),
    "an empty list of peers is everybody": (
        policy(f"{S}, ingress: [{{from: [], ports: [{{port: 80}}]}}]"),
        "from a tcp/80 allow p ingress[0]\nfrom world tcp/80 allow p ingress[0]\nfrom a tcp/81 deny",
    ),
    "an empty list of ports is every port": (
        policy(f"{S}, ingress: [{{from: [{{podSelector: {{}}}}], ports: []}}]"),
        "from a udp/81 allow p ingress[0]\nfrom a gre/0 allow p ingress[0]\nfrom foreign tcp/80 deny",
    ),
    "a port is TCP's unless it says otherwise": (
        policy(f"{S}, ingress: [{{ports: [{{port: 80}}, {{protocol: UDP}}, {{port: 90, endPort: 92}}]}}]"),
        "from a tcp/80 allow p ingress[0]\nfrom a sctp/80 deny\nfrom a udp/7 allow p ingress[0]\n"
        "from a tcp/92 allow p ingress[0]\nfrom a tcp/93 deny",
    ),
    "a name is the pod's": (
        policy(f"{S}, egress: [{{ports: [{{port: web}}]}}]"),
        "to a tcp/8080 allow p egress[0]\nto a tcp/80 deny\nto b tcp/81 allow p egress[0]",
    ),
    "namespaces by their labels": (
        policy(f"{S}, ingress: [{{from: [{{namespaceSelector: {{matchLabels: {{team: red}}}}}}]}}]"),
        "from foreign tcp/80 allow p ingress[0]\nfrom a tcp/80 deny",
    ),
    "and by the name that each has": (
        policy(
            f"{S}, ingress: [{{from: [{{namespaceSelector: "
            "{matchLabels: {kubernetes.io/metadata.name: red}}, podSelector: {matchLabels: {app: b}}}]}]"
        ),
        "from foreign tcp/80 deny\nfrom b tcp/80 deny",
    ),
    "every namespace, and nobody else": (
        policy(f"{S}, ingress: [{{from: [{{namespaceSelector: {{}}}}]}}]"),
        "from foreign tcp/80 allow p ingress[0]\nfrom a tcp/80 allow p ingress[0]\nfrom world tcp/80 deny\n"
        "from node tcp/80 deny",
    ),
    "a block covers pods, by the address they use": (
        policy(f"{S}, ingress: [{{from: [{{ipBlock: {{cidr: 10.0.0.0/8, except: [10.0.0.3/32]}}}}]}}]"),
        "from a tcp/80 allow p ingress[0]\nfrom a/6 tcp/80 deny\nfrom b tcp/80 deny\nfrom world tcp/80 deny",
    ),
    "and whoever is outside, but no node": (
        policy(f"{S}, ingress: [{{from: [{{ipBlock: {{cidr: 0.0.0.0/0}}}}]}}]"),
        "from world tcp/80 allow p ingress[0]\nfrom a tcp/80 allow p ingress[0]\nfrom node tcp/80 deny\n"
        "from world6 tcp/80 deny",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_reading(name: str) -> None:
    check(*CASES[name])
