import pytest

from kinety.model.rule import Mode
from tests.unit.policy.sample import CLUSTERWIDE, NAMESPACED, parse, refused, text

OTHERS = {
    "NetworkPolicy": """\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: sample}
spec: {podSelector: {}, policyTypes: [Ingress, Egress]}
""",
    "ClusterNetworkPolicy": """\
apiVersion: policy.networking.k8s.io/v1alpha2
kind: ClusterNetworkPolicy
metadata: {name: sample}
spec:
  tier: Admin
  priority: 5
  subject: {namespaces: {}}
  ingress: [{action: Deny, from: [{namespaces: {}}]}]
""",
}


def document(kind: str = NAMESPACED) -> str:
    return OTHERS.get(kind) or text("endpointSelector: {}\ningress: [{}]\negressDeny: [{}]", kind)


def annotated(annotations: str, kind: str = NAMESPACED) -> str:
    name = "name: sample"
    if f"{{{name}}}" in document(kind):
        return document(kind).replace(name, f"{name}, annotations: {annotations}")
    return document(kind).replace(name, f"{name}\n  annotations: {annotations}")


@pytest.mark.parametrize("kind", [NAMESPACED, CLUSTERWIDE, *OTHERS])
@pytest.mark.parametrize(("annotation", "mode"), [("staged", Mode.STAGED), ("audit", Mode.AUDIT)])
def test_every_rule_of_every_kind_has_the_policys_mode(kind: str, annotation: str, mode: Mode) -> None:
    (plain,) = parse(document(kind))
    (policy,) = parse(annotated(f'{{kinety.io/{annotation}: "true"}}', kind))
    assert {rule.mode for rule in plain.rules} == {plain.mode} == {Mode.ENFORCED}
    assert {rule.mode for rule in policy.rules} == {policy.mode} == {mode}
    assert len(policy.rules) == len(plain.rules) > 0


@pytest.mark.parametrize("annotations", ['{kinety.io/staged: "false"}', "{example.com/staged: x}", ""])
def test_in_force_otherwise(annotations: str) -> None:
    (policy,) = parse(annotated(annotations))
    assert policy.mode is Mode.ENFORCED


@pytest.mark.parametrize(
    ("annotations", "message", "hint"),
    [
        (
            '{kinety.io/stage: "true"}',
            "unknown annotation 'kinety.io/stage'",
            "did you mean kinety.io/staged?",
        ),
        ('{kinety.io/x: ""}', "unknown annotation 'kinety.io/x'", "kinety.io/staged, kinety.io/audit"),
        ('{kinety.io/audit: "on"}', "'on' is neither true nor false", 'write "true", in quotes'),
        (
            '{kinety.io/staged: "true", kinety.io/audit: "true"}',
            "either staged or in audit",
            "audit it instead",
        ),
    ],
)
def test_a_mode_that_is_none_is_refused(annotations: str, message: str, hint: str) -> None:
    (finding,) = refused(annotated(annotations))
    assert message in finding.message
    assert hint in finding.hint
    assert finding.line == 5
    assert finding.path.startswith("metadata.annotations")


def test_what_policies_refer_to_has_no_mode() -> None:
    group = """\
apiVersion: cilium.io/v2
kind: CiliumCIDRGroup
metadata: {name: sample, annotations: {a: b, kinety.io/staged: "true"}}
spec: {externalCIDRs: [192.0.2.0/24]}
"""
    (finding,) = refused(group)
    assert (finding.line, finding.hint) == (3, "remove it")
    assert finding.message == "the annotation 'kinety.io/staged' is for policies"
