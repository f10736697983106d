"""Whatever the text, the answer is policies or a PolicyError with places inside the text."""

import json
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from kinety.model.rule import Policy
from kinety.policy.document import Document
from kinety.policy.error import Finding, PolicyError
from kinety.policy.parse import parse_policies

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
GOOD: dict[str, Any] = {
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


def answered(text: str) -> None:
    policies: tuple[Policy, ...] = ()
    findings: tuple[Finding, ...] = ()
    try:
        policies = parse_policies([Document("p.yaml", text)])
    except PolicyError as error:
        findings = error.findings
    assert bool(policies) != bool(findings)
    lines = max(1, len(text.splitlines()))
    assert all(0 <= finding.line <= lines and "\n" not in str(finding) for finding in findings)
    assert all(policy.rules for policy in policies)
    assert all(rule.origin.policy == policy.key for policy in policies for rule in policy.rules)


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


@settings(max_examples=500)
@given(st.data())
def test_a_policy_with_one_thing_replaced(data: st.DataObject) -> None:
    policy = json.loads(json.dumps(GOOD))
    holder, key = data.draw(st.sampled_from(places(policy)))
    if data.draw(st.booleans()):
        holder[key] = data.draw(values)
    elif isinstance(holder, dict):
        holder[data.draw(st.sampled_from(FIELDS))] = holder.pop(key)
    answered(json.dumps(policy, indent=data.draw(st.sampled_from([None, 1]))))
