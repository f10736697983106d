"""Whatever the text, the answer is objects or a PolicyError with places inside the text."""

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kinety.model.invariant import Invariant
from kinety.model.rule import Policy
from kinety.policy.document import Document
from kinety.policy.error import Finding, PolicyError
from kinety.policy.parse import Objects, parse_objects

FIELDS = [
    "apiVersion",
    "kind",
    "metadata",
    "name",
    "namespace",
    "spec",
    "specs",
    "items",
    "endpointSelector",
    "ingress",
    "egress",
    "ingressDeny",
    "egressDeny",
    "fromEndpoints",
    "toEndpoints",
    "fromCIDR",
    "toCIDRSet",
    "cidr",
    "except",
    "fromEntities",
    "toPorts",
    "ports",
    "port",
    "endPort",
    "protocol",
    "icmps",
    "fields",
    "family",
    "type",
    "rules",
    "matchLabels",
    "matchExpressions",
    "key",
    "operator",
    "values",
    "enableDefaultDeny",
    "labels",
    "podSelector",
    "namespaceSelector",
    "policyTypes",
    "from",
    "to",
    "ipBlock",
    "tier",
    "priority",
    "subject",
    "namespaces",
    "pods",
    "networks",
    "protocols",
    "tcp",
    "destinationPort",
    "number",
    "range",
    "mustDeny",
    "entity",
    "http",
    "toFQDNs",
    "matchName",
]
WORDS = [
    "cilium.io/v2",
    "CiliumNetworkPolicy",
    "CiliumClusterwideNetworkPolicy",
    "List",
    "TCP",
    "80",
    "10.0.0.0/8",
]
WORDS += ["reserved:host", "In", "all", "", "k8s:app"]

scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 70000), st.sampled_from(WORDS), st.text(max_size=5)
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=4), inner, max_size=4),
    ),
    max_leaves=12,
)
_EVERYBODY = {"namespaceSelector": {}, "podSelector": {"matchLabels": {"a": "b"}}}
CILIUM = {
    "apiVersion": "cilium.io/v2",
    "kind": "CiliumNetworkPolicy",
    "metadata": {"name": "a"},
    "spec": {
        "endpointSelector": {"matchLabels": {"app": "web"}},
        "ingress": [
            {
                "fromEndpoints": [{"matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]}]}],
                "toPorts": [{"ports": [{"port": "80", "endPort": 90, "protocol": "TCP"}]}],
            },
            {"fromCIDRSet": [{"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}]},
        ],
        "egressDeny": [{"toEntities": ["world"], "icmps": [{"fields": [{"type": 8, "family": "IPv4"}]}]}],
        "enableDefaultDeny": {"ingress": False},
    },
}
KUBERNETES = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "NetworkPolicy",
    "metadata": {"name": "a"},
    "spec": {
        "podSelector": {},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [
            {"from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}}, _EVERYBODY]},
            {"ports": [{"port": 80, "endPort": 90}, {"port": "http", "protocol": "UDP"}, {}]},
        ],
    },
}
CLUSTER = {
    "apiVersion": "policy.networking.k8s.io/v1alpha2",
    "kind": "ClusterNetworkPolicy",
    "metadata": {"name": "a"},
    "spec": {
        "tier": "Admin",
        "priority": 3,
        "subject": {"pods": _EVERYBODY},
        "ingress": [
            {
                "action": "Pass",
                "from": [{"namespaces": {}}],
                "protocols": [{"tcp": {"destinationPort": {"range": {"start": 1, "end": 2}}}}],
            }
        ],
        "egress": [{"action": "Accept", "to": [{"networks": ["::/0"]}, {"domainNames": ["*.a.b"]}]}],
    },
}
ADMIN = {
    "apiVersion": "policy.networking.k8s.io/v1alpha1",
    "kind": "AdminNetworkPolicy",
    "metadata": {"name": "a"},
    "spec": {
        "priority": 3,
        "subject": {"namespaces": {}},
        "egress": [{"action": "Deny", "to": [{"nodes": {}}], "ports": [{"portNumber": {"port": 80}}]}],
    },
}
INVARIANT = {
    "apiVersion": "kinety.io/v1alpha1",
    "kind": "Invariant",
    "metadata": {"name": "a"},
    "spec": {
        "mustDeny": [{"from": {"entity": "world"}, "to": {"endpoints": {}}, "ports": [{"port": 80}]}],
        "mustAllow": [{"from": {"endpoints": {}}, "to": {"cidr": "10.0.0.0/8"}}],
    },
}
OTHERS = {
    "apiVersion": "v1",
    "kind": "List",
    "items": [
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "spec": {"selector": {"a": "b"}}},
        {
            "apiVersion": "cilium.io/v2",
            "kind": "CiliumCIDRGroup",
            "metadata": {"name": "a"},
            "spec": {"externalCIDRs": ["10.0.0.0/8"]},
        },
    ],
}
GOOD: list[Any] = [CILIUM, KUBERNETES, CLUSTER, ADMIN, INVARIANT, OTHERS]


def answered(text: str) -> None:
    objects = Objects({})
    findings: tuple[Finding, ...] = ()
    try:
        objects = parse_objects([Document("p.yaml", text)])
    except PolicyError as error:
        findings = error.findings
    assert bool(objects.by_key) != bool(findings)
    lines = max(1, len(text.splitlines()))
    assert all(0 <= finding.line <= lines and "\n" not in str(finding) for finding in findings)
    for key, found in objects.by_key.items():
        match found:
            case Policy():
                assert found.rules
                assert all(rule.origin.policy == found.key == key for rule in found.rules)
            case Invariant():
                assert found.claims
                assert all(claim.origin.policy == found.key == key for claim in found.claims)
            case _:
                assert found.name == key.name


@settings(max_examples=300)
@example("\ufeff")
@example("? |\n a\n: - !<b> c")
@given(st.text(max_size=80))
def test_any_text(text: str) -> None:
    answered(text)


@settings(max_examples=300)
@given(st.text(alphabet="ab:-[]{}?&*!|>'\"%#,\n \t0~", max_size=60))
def test_text_that_looks_like_yaml(text: str) -> None:
    answered(text)


@settings(max_examples=300)
@given(values)
def test_any_value(value: Any) -> None:
    answered(json.dumps(value))


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every (holder, key or index) inside a value."""
    inner = list(value.items()) if isinstance(value, dict) else list(enumerate(value))
    found = [(value, key) for key, _ in inner]
    for _, each in inner:
        if isinstance(each, dict | list):
            found += places(each)
    return found


@pytest.mark.parametrize("good", GOOD, ids=[each["kind"] for each in GOOD])
def test_what_is_good_is_accepted(good: Any) -> None:
    assert parse_objects([Document("p.json", json.dumps(good))]).by_key


@settings(max_examples=1000)
@given(st.data())
def test_an_object_with_one_thing_replaced(data: st.DataObject) -> None:
    policy = json.loads(json.dumps(data.draw(st.sampled_from(GOOD))))
    holder, key = data.draw(st.sampled_from(places(policy)))
    if data.draw(st.booleans()):
        holder[key] = data.draw(values)
    elif isinstance(holder, dict):
        holder[data.draw(st.sampled_from(FIELDS))] = holder.pop(key)
    answered(json.dumps(policy, indent=data.draw(st.sampled_from([None, 1]))))
