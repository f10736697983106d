"""What cannot be enforced is refused before it is in force, with the place it was written at."""

import pytest

from kinety.policy.error import PolicyError
from kinety.policy.gate import refuse_unenforced
from tests.unit.policy.sample import CLUSTERWIDE, FIRST, NAMESPACED, parse, text

SUBJECT = "endpointSelector: {}\n"
KUBERNETES = """\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: sample}
spec:
  podSelector: {}
  ingress:
  - %s
"""
CLUSTER = """\
apiVersion: policy.networking.k8s.io/v1alpha2
kind: ClusterNetworkPolicy
metadata: {name: sample}
spec:
  tier: %s
  priority: 1
  subject: {namespaces: {}}
  ingress: [{action: %s, from: [{namespaces: {}}]}]
"""


@pytest.mark.parametrize(
    "document",
    [
        text(SUBJECT + "ingress:\n- fromEndpoints: [{}]\n  toPorts: [{ports: [{port: '80'}]}]"),
        text(SUBJECT + "ingressDeny:\n- fromEntities: [world]\n  icmps: [{fields: [{type: 8}]}]"),
        text(SUBJECT + "egress:\n- toCIDRSet: [{cidr: 10.0.0.0/8, except: [10.1.0.0/16]}]"),
        text(SUBJECT + "egress:\n- toRequires: [{matchLabels: {a: b}}]"),
        text(SUBJECT + "ingress: [{}]\nenableDefaultDeny: {egress: true}\nlog: {value: seen}"),
        text(SUBJECT + "ingress: [{fromNodes: [{}]}]", CLUSTERWIDE),
        KUBERNETES % "{}",
        KUBERNETES % "from: [{podSelector: {}}, {namespaceSelector: {}}]",
        KUBERNETES % "ports: [{port: 80, endPort: 90}]",
    ],
)
def test_what_is_enforced_passes(document: str) -> None:
    policies = parse(document)
    assert policies[0].rules
    refuse_unenforced(policies)


@pytest.mark.parametrize(
    ("rule", "section", "kind", "what"),
    [
        (
            "toPorts: [{ports: [{port: '80', protocol: TCP}], rules: {http: [{}]}}]",
            "ingress",
            NAMESPACED,
            "content",
        ),
        (
            "toPorts: [{ports: [{port: '53'}], rules: {dns: [{matchPattern: '*'}]}}]",
            "egress",
            NAMESPACED,
            "content",
        ),
        (
            "toPorts: [{ports: [{port: '443', protocol: TCP}], serverNames: [a.com]}]",
            "egress",
            NAMESPACED,
            "content",
        ),
    ],
)
def test_what_is_not_enforced_is_refused(rule: str, section: str, kind: str, what: str) -> None:
    policies = parse(text(f"{SUBJECT}{section}:\n- {rule}", kind))
    with pytest.raises(PolicyError) as caught:
        refuse_unenforced(policies)
    (finding,) = caught.value.findings
    assert what in finding.message
    assert finding.message.endswith("are not enforced yet")
    assert finding.hint
    assert (finding.file, finding.line, finding.path) == ("p.yaml", FIRST + 2, f"spec.{section}[0]")


def test_rules_about_nodes_are_let_through() -> None:
    (policy,) = parse(text("nodeSelector: {}\ningress: [{}]", CLUSTERWIDE))
    assert all(rule.about_nodes for rule in policy.rules)
    refuse_unenforced([policy])
    (other,) = parse(text("endpointSelector: {}\ningress: [{fromNodes: [{}]}]", CLUSTERWIDE))
    assert not any(rule.about_nodes for rule in other.rules)


@pytest.mark.parametrize("item", ["from: [{ipBlock: {cidr: 10.0.0.0/8}}]", "ports: [{port: http}]"])
def test_every_network_policy_is_let_through(item: str) -> None:
    refuse_unenforced(parse(KUBERNETES % item))


@pytest.mark.parametrize(
    ("rule", "section"),
    [
        ("fromCIDRSet: [{cidrGroupRef: vpn}]", "ingressDeny"),
        ("fromCIDRSet: [{cidrGroupSelector: {}}]", "ingress"),
        ("toServices: [{k8sService: {serviceName: a}}]", "egress"),
        ("toPorts: [{ports: [{port: http}]}]", "ingress"),
        ("toFQDNs: [{matchName: example.com}]", "egress"),
    ],
)
def test_what_is_told_elsewhere_is_let_through(rule: str, section: str) -> None:
    refuse_unenforced(parse(text(f"{SUBJECT}{section}:\n- {rule}", NAMESPACED)))


def test_nodes_by_their_labels_are_let_through() -> None:
    for section, rule in (("ingress", "fromNodes"), ("egressDeny", "toNodes")):
        refuse_unenforced(
            parse(text(f"{SUBJECT}{section}:\n- {rule}: [{{matchLabels: {{zone: a}}}}]", CLUSTERWIDE))
        )


@pytest.mark.parametrize(("tier", "action"), [("Admin", "Accept"), ("Admin", "Pass"), ("Baseline", "Deny")])
def test_other_tiers_are_let_through(tier: str, action: str) -> None:
    refuse_unenforced(parse(CLUSTER % (tier, action)))


def test_everything_that_is_not_enforced_is_named_at_once() -> None:
    content = "toPorts: [{ports: [{port: '80', protocol: TCP}], rules: {http: [{}]}}]"
    first = text(f"{SUBJECT}ingress:\n- {content}\n- {content}")
    with pytest.raises(PolicyError) as caught:
        refuse_unenforced([*parse(first), *parse(KUBERNETES % "{}"), *parse(CLUSTER % ("Admin", "Deny"))])
    assert [finding.line for finding in caught.value.findings] == [FIRST + 2, FIRST + 3]
