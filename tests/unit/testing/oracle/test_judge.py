"""Who wins, tier after tier, and what is left of rules that ask for content."""

import pytest

from kinety.testing.oracle import Opinion, Oracle
from tests.unit.testing.oracle.asking import check, documents, opinion, party

HEAD = """
apiVersion: policy.networking.k8s.io/v1alpha2
kind: ClusterNetworkPolicy
metadata: {name: %s}
spec:
  tier: %s
  priority: %d
  subject: {namespaces: {}}
"""
A = "{pods: {namespaceSelector: {}, podSelector: {matchLabels: {app: a}}}}"
EVERY_POD = "{namespaces: {}}"


def tier(name: str, tier: str, priority: int, rules: str) -> str:
    """A policy about every pod, with rules of ingress."""
    return HEAD % (name, tier, priority) + f"  ingress: [{rules}]\n---\n"


def rule(action: str, peer: str = EVERY_POD, ports: str = "") -> str:
    named = f", protocols: [{{tcp: {{destinationPort: {{{ports}}}}}}}]" if ports else ""
    return f"{{action: {action}, from: [{peer}]{named}}}"


def cilium(name: str, spec: str) -> str:
    return f"""
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {{name: {name}}}
spec:
  endpointSelector: {{matchLabels: {{app: s}}}}
  {spec}
---
"""


ALLOW_A = cilium("cnp", "ingress: [{fromEndpoints: [{matchLabels: {app: a}}]}]")
DENY_A = cilium("cnp", "ingressDeny: [{fromEndpoints: [{matchLabels: {app: a}}]}]")
OPEN_DENY_A = cilium(
    "cnp",
    "enableDefaultDeny: {ingress: false}\n  ingressDeny: [{fromEndpoints: [{matchLabels: {app: a}}]}]",
)

TIERS = {
    "an admin policy allows what a policy denies": (
        tier("admin", "Admin", 5, rule("Accept", A)) + DENY_A,
        "from a tcp/80 allow admin ingress[0]\nfrom b tcp/80 deny",
    ),
    "and denies what a policy allows": (
        tier("admin", "Admin", 5, rule("Deny", A, "number: 80")) + ALLOW_A,
        "from a tcp/80 deny admin ingress[0]\nfrom a tcp/81 allow cnp ingress[0]",
    ),
    "in a tier the lower priority is first, whatever it says": (
        tier("z", "Admin", 1, rule("Accept", A)) + tier("a", "Admin", 2, rule("Deny")),
        "from a tcp/80 allow z ingress[0]\nfrom b tcp/80 deny a ingress[0]",
    ),
    "of one priority, the first by name": (
        tier("z", "Admin", 1, rule("Accept", A)) + tier("a", "Admin", 1, rule("Deny")),
        "from a tcp/80 deny a ingress[0]",
    ),
    "in a policy, the first as written": (
        tier("p", "Admin", 1, rule("Accept", A, "number: 80") + ", " + rule("Deny", A)),
        "from a tcp/80 allow p ingress[0]\nfrom a tcp/81 deny p ingress[1]\nfrom b tcp/81 allow",
    ),
    "pass leaves the rest of the tier out": (
        tier("p", "Admin", 1, rule("Pass", A)) + tier("q", "Admin", 2, rule("Deny")) + ALLOW_A,
        "from a tcp/80 allow cnp ingress[0]\nfrom b tcp/80 deny q ingress[0]",
    ),
    "and is no answer": (
        tier("p", "Admin", 1, rule("Pass", A)) + tier("q", "Baseline", 1, rule("Deny")),
        "from a tcp/80 deny q ingress[0]",
    ),
    "the baseline is not asked of a pod that a policy isolates": (
        tier("base", "Baseline", 1, rule("Accept")) + ALLOW_A,
        "from a tcp/80 allow cnp ingress[0]\nfrom b tcp/80 deny\nb from a tcp/80 allow base ingress[0]",
    ),
    "it is where the policy isolates nobody": (
        tier("base", "Baseline", 1, rule("Deny")) + OPEN_DENY_A,
        "from a tcp/80 deny cnp ingressDeny[0]\nfrom b tcp/80 deny base ingress[0]\nfrom world tcp/80 allow",
    ),
    "pass in the baseline leaves the default": (
        tier("base", "Baseline", 1, rule("Pass", A) + ", " + rule("Deny")),
        "from a tcp/80 allow\nfrom b tcp/80 deny base ingress[1]",
    ),
    "tiers isolate nobody": (
        tier("p", "Admin", 1, rule("Accept", A)),
        "from a tcp/80 allow p ingress[0]\nfrom world tcp/80 allow\nto a tcp/80 allow",
    ),
}


@pytest.mark.parametrize("name", TIERS)
def test_tiers(name: str) -> None:
    check(*TIERS[name])


A_CNP = "fromEndpoints: [{matchLabels: {app: a}}]"
GET = "rules: {http: [{method: GET}]}"
PUT = "rules: {http: [{method: PUT}]}"


def item(ports: str, content: str = "") -> str:
    first, _, last = ports.partition("-")
    end = f", endPort: {last}" if last else ""
    return f"{{ports: [{{port: '{first}', protocol: TCP{end}}}]{content and ', '}{content}}}"


def content(*rules: tuple[str, str]) -> str:
    """A policy with rules of ingress: peers, and items of toPorts."""
    return cilium("p", "ingress: [" + ", ".join(f"{{{who}, toPorts: [{what}]}}" for who, what in rules) + "]")


EVERYBODY = "fromEntities: [all]"
BESIDE = {
    "content alone": (
        content((A_CNP, item("80", GET))),
        "from a tcp/80 redirect p ingress[0]\nfrom a tcp/81 deny\nfrom b tcp/80 deny",
    ),
    "plain for the same peer and port": (
        content((A_CNP, item("80", GET)), (A_CNP, item("80"))),
        "from a tcp/80 allow p ingress[1]",
    ),
    "plain for a wider range swallows nothing": (
        content((A_CNP, item("80", GET)), (A_CNP, item("79-81"))),
        "from a tcp/80 redirect p ingress[0]\nfrom a tcp/79 allow p ingress[1]",
    ),
    "plain for every port swallows nothing": (
        content((A_CNP, item("80", GET))) + ALLOW_A,
        "from a tcp/80 redirect p ingress[0]\nfrom a tcp/81 allow cnp ingress[0]",
    ),
    "plain for a narrower range wins inside": (
        content((A_CNP, item("80-90", GET)), (A_CNP, item("80"))),
        "from a tcp/80 allow p ingress[1]\nfrom a tcp/81 redirect p ingress[0]",
    ),
    "it has to be no wider than each of them": (
        content((A_CNP, item("80-90", GET)), (A_CNP, item("80", PUT)), (A_CNP, item("80-85"))),
        "from a tcp/81 allow p ingress[2]\nfrom a tcp/86 redirect p ingress[0]",
    ),
    "plain for somebody else changes nothing": (
        content((A_CNP, item("80", GET)), ("fromEndpoints: [{matchLabels: {app: b}}]", item("80"))),
        "from a tcp/80 redirect p ingress[0]\nfrom b tcp/80 allow p ingress[1]",
    ),
    "plain for everybody is for this peer too": (
        content((A_CNP, item("80", GET)), (EVERYBODY, item("80"))),
        "from a tcp/80 allow p ingress[1]\nfrom world tcp/80 allow p ingress[1]",
    ),
    "deny beats content": (
        content((A_CNP, item("80", GET))) + DENY_A,
        "from a tcp/80 deny cnp ingressDeny[0]\nfrom b tcp/80 deny",
    ),
    "the option lets the host in where no rule asks for more": (
        content((EVERYBODY, item("80", GET))),
        "from host tcp/80 redirect p ingress[0]\nfrom host tcp/81 allow",
    ),
}


@pytest.mark.parametrize("name", BESIDE)
def test_content_beside_plain_rules(name: str) -> None:
    text, probes = BESIDE[name]
    lines = probes.splitlines()
    by_option = [line for line in lines if line == "from host tcp/81 allow"]
    check(text, "\n".join(line for line in lines if line not in by_option))
    for line in by_option:
        assert opinion(text, line.removesuffix(" allow")).rules == {("", "allow-localhost")}


def test_content_is_united() -> None:
    both = content((A_CNP, item("80-81", GET)), (EVERYBODY, item("80", PUT)))
    found = opinion(both, "from a tcp/80")
    assert found.verdict == "redirect"
    assert found.rules == {("p", "spec.ingress[0]"), ("p", "spec.ingress[1]")}
    get, put = (("http", method, "", "", frozenset()) for method in ("GET", "PUT"))
    assert found.content == {get, put}
    assert opinion(both, "from a tcp/81").content == {get}
    assert opinion(both, "from b tcp/80").content == {put}


def test_two_kinds_of_content_conflict() -> None:
    both = content((A_CNP, item("80", GET)), (A_CNP, item("79-81", "serverNames: [example.com]")))
    assert opinion(both, "from a tcp/80").verdict == "conflict"
    assert opinion(both, "from a tcp/81").verdict == "redirect"


def test_the_host_is_let_in_unless_the_option_is_off() -> None:
    assert opinion(ALLOW_A, "from host tcp/80").verdict == "allow"
    assert opinion(ALLOW_A, "from host tcp/80", allow_localhost=False).verdict == "deny"
    assert opinion(cilium("p", "egress: [{}]"), "to host tcp/80").verdict == "deny"


@pytest.mark.parametrize("annotation", ["staged", "audit"])
def test_what_is_not_in_force_has_a_say_in_the_shadow_alone(annotation: str) -> None:
    text = cilium("p", "ingress: [{fromEndpoints: [{matchLabels: {app: a}}]}]")
    out = text.replace("name: p", f"name: p, annotations: {{kinety.io/{annotation}: 'true'}}")
    oracle = Oracle(documents(out))
    for name, verdict in (("a", "allow"), ("b", "deny")):
        asked = (party("s"), "ingress", party(name), 6, 80)
        assert oracle.judge(*asked) == Opinion("allow")
        assert oracle.judge(*asked, shadow=True) == Oracle(documents(text)).judge(*asked)
        assert oracle.judge(*asked, shadow=True).verdict == verdict
    assert Oracle(documents(out.replace("'true'", "'false'"))).judge(*asked).verdict == "deny"
