import json

import pytest

from kinety.api.types import Document
from kinety.cli.check import print_check

GOOD = """apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: rule1}
spec:
  endpointSelector: {}
  ingress:
  - fromEndpoints: [{matchLabels: {org: empire}}]
  egressDeny:
  - toEntities: [world]
"""


def test_what_is_well_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert print_check([Document("a.yaml", GOOD)], "table")
    shown = capsys.readouterr()
    assert shown.out.splitlines()[1].split() == ["CiliumNetworkPolicy", "default", "rule1", "2"]
    assert shown.err == ""


def test_programs_get_the_rules_with_their_places(capsys: pytest.CaptureFixture[str]) -> None:
    assert print_check([Document("a.yaml", GOOD)], "json")
    (policy,) = json.loads(capsys.readouterr().out)
    assert [(rule["line"], rule["path"], rule["direction"], rule["action"]) for rule in policy["rules"]] == [
        (7, "spec.ingress[0]", "ingress", "allow"),
        (9, "spec.egressDeny[0]", "egress", "deny"),
    ]


def test_every_finding_of_every_file_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    bad = GOOD.replace("ingress:", "ingres:").replace("toEntities:", "toEntity:")
    assert not print_check(
        [Document("a.yaml", bad), Document("b.yaml", GOOD), Document("c.yaml", "[")], "json"
    )
    shown = capsys.readouterr()
    assert shown.out == ""
    places = [line.split(": ")[1] for line in shown.err.splitlines()]
    assert places == ["a.yaml:6", "a.yaml:9", "c.yaml:1"]
    assert all(line.startswith("kinety: ") for line in shown.err.splitlines())


@pytest.mark.parametrize(
    ("kind", "spec", "namespace"),
    [
        ("networking.k8s.io/v1 NetworkPolicy", "podSelector: {}", "default"),
        (
            "cilium.io/v2 CiliumClusterwideNetworkPolicy",
            "endpointSelector: {}\n  ingress: [{}]",
            "-",
        ),
    ],
)
def test_policies_of_every_kind_that_is_enforced(
    kind: str, spec: str, namespace: str, capsys: pytest.CaptureFixture[str]
) -> None:
    version, name = kind.split()
    text = f"apiVersion: {version}\nkind: {name}\nmetadata: {{name: a}}\nspec:\n  {spec}\n"
    assert print_check([Document("a.yaml", text)], "table")
    assert capsys.readouterr().out.splitlines()[1].split() == [name, namespace, "a", "1"]


def test_what_the_agent_would_refuse_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    request = "{headerMatches: [{name: x-token, secret: {name: token}}]}"
    content = f"[{{ports: [{{port: '80', protocol: TCP}}], rules: {{http: [{request}]}}}}]"
    assert not print_check(
        [Document("a.yaml", f"{GOOD}    toPorts: {content}\n".replace("Deny", ""))], "table"
    )
    assert capsys.readouterr().err.startswith("kinety: a.yaml:9: spec.egress[0]: values of headers")


INVARIANT = """apiVersion: kinety.io/v1alpha1
kind: Invariant
metadata: {name: door, namespace: default}
spec:
  mustDeny:
  - from: {endpoints: {matchLabels: {org: alliance}}}
    to: {endpoints: {matchLabels: {class: deathstar}}}
"""
OPEN = """apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: rule1}
spec:
  endpointSelector: {matchLabels: {class: deathstar}}
  ingress:
  - toPorts: [{ports: [{port: "443", protocol: TCP}]}]
"""
SHIPS = "examples/star-wars/scenario.yaml"


def test_an_invariant_is_proved_for_those_of_a_scenario(capsys: pytest.CaptureFixture[str]) -> None:
    assert print_check([Document("i.yaml", INVARIANT)], "table", (SHIPS,))
    shown = capsys.readouterr()
    assert shown.out.splitlines()[1].split() == ["Invariant", "default", "door", "-"]
    assert shown.err == ""


def test_a_broken_invariant_is_told_with_a_flow(capsys: pytest.CaptureFixture[str]) -> None:
    documents = [Document("i.yaml", INVARIANT), Document("p.yaml", OPEN)]
    assert not print_check(documents, "table", (SHIPS,))
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err == (
        "kinety: i.yaml:6: spec.mustDeny[0]: broken by default/xwing → default/deathstar, TCP/443: it must be"
        " denied (egress allow: default, ingress allow: p.yaml:7)\n"
    )


def test_what_is_not_proved_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert print_check([Document("i.yaml", INVARIANT)], "table")
    assert "the invariants are not proved: say who there is with --file" in capsys.readouterr().err
