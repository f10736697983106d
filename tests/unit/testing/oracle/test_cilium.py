"""CiliumNetworkPolicy: subjects, sections, what isolates, ports and types."""

from typing import Any

import pytest

from tests.unit.testing.oracle.asking import check, opinion

A = "fromEndpoints: [{matchLabels: {app: a}}]"


def policy(spec: str, kind: str = "CiliumNetworkPolicy", name: str = "p") -> str:
    return f"apiVersion: cilium.io/v2\nkind: {kind}\nmetadata: {{name: {name}}}\nspec: {{{spec}}}\n---\n"


def clusterwide(spec: str) -> str:
    return policy(spec, "CiliumClusterwideNetworkPolicy")


SUBJECT = "endpointSelector: {matchLabels: {app: s}}"
CASES = {
    "a subject is of the policy's namespace": (
        policy(f"endpointSelector: {{}}, ingress: [{{{A}}}]"),
        "from b tcp/80 deny\nforeign from b tcp/80 allow\nb from a tcp/80 allow p ingress[0]",
    ),
    "of any, when the policy has none": (
        clusterwide("endpointSelector: {matchLabels: {app: a}}, ingress: [{}]"),
        "foreign from b tcp/80 deny\na from b tcp/80 deny\nb from a tcp/80 allow",
    ),
    "an endpoint selector is not about nodes": (
        clusterwide("endpointSelector: {}, egress: [{}]"),
        "host to world tcp/80 allow\na to world tcp/80 deny",
    ),
    "a node selector is about this node, when it is selected": (
        clusterwide("nodeSelector: {matchLabels: {zone: east}}, ingress: [{fromEndpoints: [{}]}]"),
        "host from a tcp/22 allow p ingress[0]\nhost from world tcp/22 deny\na from b tcp/22 allow",
    ),
    "and about no other": (
        clusterwide("nodeSelector: {matchLabels: {zone: west}}, ingress: [{}]"),
        "host from world tcp/22 allow",
    ),
    "a rule that says nothing isolates": (
        policy(f"{SUBJECT}, ingress: [{{}}]"),
        "from a tcp/80 deny\nto a tcp/80 allow",
    ),
    "a switch isolates without a rule": (
        policy(
            f"{SUBJECT}, enableDefaultDeny: {{ingress: true, egress: false}}, egress: [{{{'toCIDR: []'}}}]"
        ),
        "from a tcp/80 deny\nto a tcp/80 allow",
    ),
    "ports and ranges": (
        policy(
            f"{SUBJECT}, ingress: [{{toPorts: [{{ports: [{{port: '80'}}, "
            "{port: 1000, endPort: 1002, protocol: UDP}]}]}]"
        ),
        "from a tcp/80 allow p ingress[0]\nfrom a sctp/80 allow p ingress[0]\nfrom a udp/999 deny\n"
        "from a udp/1000 allow p ingress[0]\nfrom a udp/1002 allow p ingress[0]\nfrom a udp/1003 deny\n"
        "from a tcp/1001 deny\nfrom a icmp/8 deny",
    ),
    "port 0 is every port": (
        policy(f"{SUBJECT}, ingress: [{{toPorts: [{{ports: [{{port: '0', protocol: TCP}}]}}]}}]"),
        "from a tcp/1 allow p ingress[0]\nfrom a tcp/65535 allow p ingress[0]\nfrom a udp/1 deny",
    ),
    "a protocol without ports is all of it": (
        policy(f"{SUBJECT}, ingress: [{{toPorts: [{{ports: [{{protocol: GRE}}]}}]}}]"),
        "from a gre/0 allow p ingress[0]\nfrom a tcp/80 deny",
    ),
    "a name is the subject's on ingress": (
        policy(f"{SUBJECT}, ingress: [{{toPorts: [{{ports: [{{port: WEB}}]}}]}}]"),
        "from a tcp/80 allow p ingress[0]\nfrom a tcp/8080 deny\nfrom a udp/80 deny\nfrom a udp/53 deny",
    ),
    "and the peer's on egress": (
        policy(f"{SUBJECT}, egress: [{{toPorts: [{{ports: [{{port: web, protocol: TCP}}]}}]}}]"),
        "to a tcp/8080 allow p egress[0]\nto a tcp/80 deny\nto b tcp/81 allow p egress[0]\nto b tcp/80 deny\n"
        "to a-front tcp/80 deny\nto world tcp/80 deny",
    ),
    "message types": (
        policy(
            f"{SUBJECT}, ingress: [{{icmps: "
            "[{fields: [{type: EchoRequest}, {family: IPv6, type: 1}]}]}]"
        ),
        "from a icmp/8 allow p ingress[0]\nfrom a icmp/0 deny\nfrom a/6 icmpv6/1 allow p ingress[0]\n"
        "from a/6 icmpv6/128 deny\nfrom a tcp/8 deny",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_reading(name: str) -> None:
    check(*CASES[name])


def test_several_specs_all_count() -> None:
    text = policy("x").replace(
        "spec: {x}", f"specs: [{{{SUBJECT}, ingress: [{{{A}}}]}}, {{{SUBJECT}, ingress: [{{}}]}}]"
    )
    assert opinion(text, "from a tcp/80").rules == {("p", "specs[0].ingress[0]")}
    assert opinion(text, "from b tcp/80").verdict == "deny"


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("rules: {http: [{}]}", {("http", "", "", "", frozenset())}),
        (
            "rules: {http: [{method: GET, path: /x, host: h, headers: [X-A, 'X-B: 1', 'X-C 2']}]}",
            {
                (
                    "http",
                    "GET",
                    "/x",
                    "h",
                    frozenset(
                        {("X-A", None, None, None), ("X-B", "1", None, None), ("X-C", "2", None, None)}
                    ),
                )
            },
        ),
        (
            "rules: {http: [{headerMatches: [{name: X, mismatch: ADD, secret: {name: t}}]}]}",
            {("http", "", "", "", frozenset({("X", None, ("default", "t"), "ADD")}))},
        ),
        (
            "rules: {dns: [{matchName: Example.COM.}, {matchPattern: '*.x.org'}]}",
            {("dns", "example.com"), ("dns", "*.x.org")},
        ),
        ("serverNames: [a.example.com]", {("server name", "a.example.com")}),
    ],
)
def test_content(written: str, meant: Any) -> None:
    text = policy(
        f"{SUBJECT}, egress: [{{toPorts: [{{ports: [{{port: '80', protocol: TCP}}], {written}}}]}}]"
    )
    found = opinion(text, "to a tcp/80")
    assert (found.verdict, found.content) == ("redirect", meant)
    assert opinion(text, "to a tcp/81").verdict == "deny"
