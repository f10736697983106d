"""ClusterNetworkPolicy and its older kinds: subjects, peers, ports, in the words of each version."""

import pytest

from tests.unit.testing.oracle.asking import check

_GROUP = "policy.networking.k8s.io"


def policy(rules: str, subject: str = "{namespaces: {}}", tier: str = "Admin") -> str:
    head = f"apiVersion: {_GROUP}/v1alpha2\nkind: ClusterNetworkPolicy\nmetadata: {{name: p}}\n"
    return f"{head}spec: {{tier: {tier}, priority: 1, subject: {subject}, {rules}}}\n---\n"


def older(kind: str, name: str, rest: str) -> str:
    head = f"apiVersion: {_GROUP}/v1alpha1\nkind: {kind}\nmetadata: {{name: {name}}}\n"
    return f"{head}spec: {{subject: {{namespaces: {{}}}}, {rest}}}\n---\n"


def deny_to(peer: str, rest: str = "") -> str:
    return policy(f"egress: [{{action: Deny, to: [{peer}]{rest}}}]")


EVERY_POD = "{namespaces: {}}"
OF_TEAM = "{namespaces: {matchLabels: {team: red}}}"
APP_A = "{pods: {namespaceSelector: {}, podSelector: {matchLabels: {app: a}}}}"
CASES = {
    "subjects by namespace": (
        policy(f"ingress: [{{action: Deny, from: [{EVERY_POD}]}}]", OF_TEAM),
        "foreign from a tcp/80 deny p ingress[0]\na from b tcp/80 allow",
    ),
    "subjects by namespace and label": (
        policy(f"ingress: [{{action: Deny, from: [{EVERY_POD}]}}]", APP_A),
        "foreign from b tcp/80 deny p ingress[0]\na from b tcp/80 deny p ingress[0]\nb from a tcp/80 allow\n"
        "host from a tcp/80 allow",
    ),
    "pods as peers": (
        deny_to(APP_A),
        "to foreign tcp/80 deny p egress[0]\nto b tcp/80 allow\nto host tcp/80 allow",
    ),
    "nodes as peers": (
        deny_to("{nodes: {matchLabels: {zone: west}}}"),
        "to node tcp/80 deny p egress[0]\nto host tcp/80 allow\nto a tcp/80 allow",
    ),
    "networks cover pods, but no node": (
        deny_to("{networks: [10.0.0.2/31, 198.51.100.0/24]}"),
        "to a tcp/80 deny p egress[0]\nto a/6 tcp/80 allow\nto b tcp/80 deny p egress[0]\n"
        "to a-front tcp/80 allow\n"
        "to narrow icmp/8 deny p egress[0]\nto wide tcp/80 allow",
    ),
    "names": (
        policy(
            "egress: [{action: Accept, to: [{domainNames: ['*.Example.com']}]}, "
            "{action: Deny, to: [{networks: [0.0.0.0/0]}]}]"
        ),
        "to example tcp/80 allow p egress[0]\nto world tcp/80 deny p egress[1]",
    ),
    "a name is no name below it": (
        policy(
            "egress: [{action: Accept, to: [{domainNames: [example.com]}]}, "
            "{action: Deny, to: [{networks: [0.0.0.0/0]}]}]"
        ),
        "to example tcp/80 deny p egress[1]",
    ),
    "protocols": (
        deny_to(
            EVERY_POD,
            ", protocols: [{tcp: {destinationPort: {number: 80}}}, "
            "{udp: {destinationPort: {range: {start: 1, end: 9}}}}]",
        ),
        "to a tcp/80 deny p egress[0]\nto a udp/80 allow\nto a udp/9 deny p egress[0]\nto a udp/10 allow",
    ),
    "a port by the peer's name, in whichever protocol": (
        deny_to(EVERY_POD, ", protocols: [{destinationNamedPort: web}]"),
        "to a tcp/8080 deny p egress[0]\nto a tcp/80 allow\nto foreign tcp/80 deny p egress[0]",
    ),
    "the older words for ports": (
        older(
            "AdminNetworkPolicy",
            "p",
            f"priority: 1, egress: [{{action: Deny, to: [{EVERY_POD}], ports: "
            "[{portNumber: {port: 80, protocol: TCP}}, {portRange: {start: 90, end: 91}}, "
            "{namedPort: web}]}]",
        ),
        "to a tcp/80 deny p egress[0]\nto a tcp/91 deny p egress[0]\nto a udp/91 allow\n"
        "to a tcp/8080 deny p egress[0]\nto b tcp/8080 allow",
    ),
    "the older baseline comes last": (
        older("BaselineAdminNetworkPolicy", "default", f"ingress: [{{action: Allow, from: [{EVERY_POD}]}}]")
        + policy(f"ingress: [{{action: Deny, from: [{APP_A}]}}]", tier="Baseline"),
        "from a tcp/80 deny p ingress[0]\nfrom b tcp/80 allow default ingress[0]\nfrom world tcp/80 allow",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_reading(name: str) -> None:
    check(*CASES[name])
