"""Every refusal names the line, says what is wrong, and what to write instead."""

from pathlib import Path

import pytest

from tests.unit.policy.sample import FIRST, NAMESPACED, refused, refused_rule, text

EXAMPLES = Path(__file__).parents[3] / "examples" / "star-wars"


def test_the_slide_as_printed_is_told_where_to_ports_belongs() -> None:
    printed = (EXAMPLES / "policy-as-printed.yaml").read_text()
    (finding,) = refused(printed)
    assert printed.splitlines()[finding.line - 1] == "  toPorts:"
    assert finding.path == "spec.toPorts"
    assert "belongs inside a rule, not beside ingress" in finding.message
    rule_line = printed.splitlines().index("  - fromEndpoints:") + 1
    assert f"spec.ingress[0] (line {rule_line})" in finding.hint
    assert "beside fromEndpoints" in finding.hint


@pytest.mark.parametrize(
    ("spec", "path", "message", "hint"),
    [
        ("egress: [{toEntities: [world]}]\ntoPorts: []", "spec.toPorts", "inside a rule", "spec.egress[0]"),
        ("ingress: [{}]\nicmps: []", "spec.icmps", "inside a rule", "spec.ingress[0]"),
        (
            "egress: [{}]\ntoEntities: [world]",
            "spec.toEntities",
            "inside a rule, not beside egress",
            "egress[0]",
        ),
        ("egress: [{}]\nfromCIDR: []", "spec.fromCIDR", "inside an item of ingress", "ingress: [{fromCIDR"),
        ("ingress: [{}]\nmatchLabels: {a: b}", "spec.matchLabels", "inside endpointSelector", ""),
        ("ingress: [{}]\npodSelector: {}", "spec.podSelector", "NetworkPolicy", "endpointSelector"),
        ("ingres: [{}]", "spec.ingres", "unknown field 'ingres'", "did you mean ingress?"),
        ("Ingress: [{}]", "spec.Ingress", "unknown field 'Ingress'", "did you mean ingress?"),
        ("ingress: [{}]\nfoo: 1", "spec.foo", "unknown field 'foo'", "known here: endpointSelector"),
        ("ingress: [{}]\nlogs: {value: x}", "spec.logs", "unknown field 'logs'", "did you mean log?"),
        ("ingress: [{}]\nfromRequires: [{}]", "spec.fromRequires", "inside a rule", "spec.ingress[0]"),
    ],
)
def test_strays_in_a_spec(spec: str, path: str, message: str, hint: str) -> None:
    (found,) = refused(text(f"endpointSelector: {{}}\n{spec}"))
    assert found.path == path
    assert message in found.message
    assert hint in found.hint
    assert found.line > FIRST or "ingres" in path.lower()


@pytest.mark.parametrize(
    ("section", "item", "path", "message", "hint"),
    [
        ("ingress", "toEndpoints: [{}]", "toEndpoints", "not a field of ingress", "write fromEndpoints"),
        ("egress", "fromCIDR: [10.0.0.0/8]", "fromCIDR", "not a field of egress", "write toCIDR"),
        ("egressDeny", "fromNodes: [{}]", "fromNodes", "not a field of egressDeny", "write toNodes"),
        ("ingress", "matchLabels: {a: b}", "matchLabels", "inside an item of fromEndpoints", "indent"),
        ("egress", "matchLabels: {a: b}", "matchLabels", "inside an item of toEndpoints", "indent"),
        ("ingress", "cidr: 10.0.0.0/8", "cidr", "inside an item of fromCIDRSet", ""),
        ("ingress", "ports: [{port: '80'}]", "ports", "inside an item of toPorts", ""),
        ("ingress", "toPorts: [{port: '80'}]", "toPorts[0].port", "inside an item of toPorts' ports", ""),
        ("ingress", "fields: []", "fields", "inside an item of icmps", ""),
        ("ingress", "endpointSelector: {}", "endpointSelector", "directly under spec", "indent it less"),
        ("ingress", "egress: [{}]", "egress", "belongs beside ingress", ""),
        ("ingress", "fromEndpoint: [{}]", "fromEndpoint", "unknown field", "did you mean fromEndpoints?"),
        ("egress", "toFQDN: []", "toFQDN", "unknown field", "did you mean toFQDNs?"),
        (
            "ingress",
            "fromEndpoints: {matchLabels: {a: b}}",
            "fromEndpoints",
            "a list, found a mapping",
            "`- `",
        ),
        (
            "ingress",
            "fromEndpoints: [[{}]]",
            "fromEndpoints[0]",
            "a mapping, found a list",
            "remove the `- `",
        ),
        ("ingress", "fromEndpoints: web", "fromEndpoints", "expected a list, found the text 'web'", ""),
        ("ingress", "fromEndpoints:", "fromEndpoints", "there is no value", "[] for no peer"),
        ("egress", "toCIDR: null", "toCIDR", "there is no value", "leave the field out for any peer"),
        ("ingress", "toPorts:", "toPorts", "there is no value", "leave the field out"),
        ("ingress", "fromEntities: [80]", "fromEntities[0]", "text, found the unquoted 80", 'quote it: "80"'),
        (
            "ingress",
            "fromEndpoints: [{matchLabels: {on-call: yes}}]",
            "fromEndpoints[0].matchLabels.on-call",
            "expected text, found the unquoted yes",
            'quote it: "yes"',
        ),
        (
            "ingress",
            "fromEndpoints: [{matchLabels: {new: true}}]",
            "fromEndpoints[0].matchLabels.new",
            "expected text, found the boolean true",
            'quote it: "true"',
        ),
        ("ingress", "toPorts: [{ports: [{protocol: TCP}]}]", "toPorts[0].ports[0]", "port is missing", "80"),
        (
            "ingress",
            "fromEndpoints: [{matchExpressions: [{key: a}]}]",
            "fromEndpoints[0].matchExpressions[0]",
            "operator is missing",
            "NotIn",
        ),
        ("ingress", "fromCIDRSet: [{except: []}]", "fromCIDRSet[0]", "cidr is missing", ""),
    ],
)
def test_strays_and_wrong_shapes_in_a_rule(
    section: str, item: str, path: str, message: str, hint: str
) -> None:
    found = refused_rule(item, section)
    assert found.path == f"spec.{section}[0].{path}"
    assert found.line == FIRST + 2
    assert message in found.message
    assert hint in found.hint


@pytest.mark.parametrize(
    ("item", "path", "hint"),
    [
        ("toPorts: [{ports: [{port: '80'}], listener: {}}]", "toPorts[0].listener", "own listeners"),
        (
            "toPorts: [{ports: [{port: '443'}], terminatingTLS: {}}]",
            "toPorts[0].terminatingTLS",
            "serverNames",
        ),
        ("toPorts: [{ports: [{port: '443'}], originatingTLS: {}}]", "toPorts[0].originatingTLS", "TLS"),
    ],
)
@pytest.mark.parametrize("section", ["ingress", "egress"])
def test_fields_that_do_not_work_yet_are_refused_by_name(
    section: str, item: str, path: str, hint: str
) -> None:
    found = refused_rule(item, section)
    assert (found.path, found.line) == (f"spec.{section}[0].{path}", FIRST + 2)
    assert found.message == f"{path.rpartition('.')[2]} is not supported yet"
    assert hint in found.hint


@pytest.mark.parametrize(
    ("section", "item", "path", "reason", "hint"),
    [
        ("ingress", "fromGroups: []", "fromGroups", "a cloud only", "fromCIDR"),
        ("ingressDeny", "fromGroups: []", "fromGroups", "a cloud only", "fromCIDR"),
        ("egress", "toGroups: [{aws: {}}]", "toGroups", "a cloud only", "toCIDR"),
        ("egressDeny", "toGroups: [{aws: {}}]", "toGroups", "a cloud only", "toCIDR"),
        (
            "ingress",
            "toPorts: [{ports: [{port: '1'}], rules: {kafka: []}}]",
            "toPorts[0].rules.kafka",
            "Kafka",
            "",
        ),
        (
            "egress",
            "toPorts: [{ports: [{port: '1'}], rules: {l7proto: a}}]",
            "toPorts[0].rules.l7proto",
            "own",
            "",
        ),
        ("egress", "toPorts: [{ports: [{port: '1'}], rules: {l7: []}}]", "toPorts[0].rules.l7", "own", ""),
    ],
)
def test_fields_that_never_will_work_are_refused_with_a_reason(
    section: str, item: str, path: str, reason: str, hint: str
) -> None:
    found = refused(text(f"endpointSelector: {{}}\n{section}:\n- {item}"))[0]
    assert (found.path, found.line) == (f"spec.{section}[0].{path}", FIRST + 2)
    assert found.message.startswith(f"{path.rpartition('.')[2]} is not supported: ")
    assert reason in found.message
    assert hint in found.hint


@pytest.mark.parametrize("field", ["toFQDNs", "toServices"])
def test_what_only_egress_has(field: str) -> None:
    found = refused_rule(f"{field}: []")
    assert found.message == f"{field} is not a field of ingress"
    assert "egress rule" in found.hint


@pytest.mark.parametrize("field", ["rules", "listener", "serverNames"])
def test_deny_rules_know_ports_only(field: str) -> None:
    found = refused_rule(f"toPorts: [{{ports: [{{port: '80'}}], {field}: []}}]", "ingressDeny")
    assert found.message == f"{field} cannot be in a deny rule"


def test_deny_rules_do_not_authenticate() -> None:
    assert "cannot be in a deny rule" in refused_rule("authentication: {}", "egressDeny").message


def test_fqdns_cannot_be_denied() -> None:
    assert "cannot be in a deny rule" in refused_rule("toFQDNs: []", "egressDeny").message


def test_a_missing_subject() -> None:
    (found,) = refused(text("ingress: [{}]"))
    assert found.message == "endpointSelector is missing"
    assert "endpointSelector: {}" in found.hint


def test_a_blank_subject() -> None:
    (found,) = refused(text("endpointSelector:\ningress: [{}]"))
    assert found.path == "spec.endpointSelector"
    assert "endpointSelector: {}" in found.hint


@pytest.mark.parametrize("value", ["yes", "'true'", "1", "[]"])
def test_switches_are_true_or_false(value: str) -> None:
    (found,) = refused(
        text(f"endpointSelector: {{}}\nenableDefaultDeny: {{ingress: {value}}}\ningress: [{{}}]")
    )
    assert found.path == "spec.enableDefaultDeny.ingress"
    assert "expected true or false" in found.message


def test_a_section_beside_the_spec() -> None:
    (found,) = refused(
        f"apiVersion: cilium.io/v2\nkind: {NAMESPACED}\nmetadata: {{name: a}}\n"
        "spec:\n  endpointSelector: {}\n  egress: [{}]\ningress: [{}]\n"
    )
    assert (found.line, found.path) == (7, "ingress")
    assert found.message == "ingress belongs under spec"


def test_a_rule_s_field_beside_the_spec() -> None:
    (found,) = refused(
        f"apiVersion: cilium.io/v2\nkind: {NAMESPACED}\nmetadata: {{name: a}}\n"
        "spec:\n  endpointSelector: {}\n  ingress:\n  - fromEntities: [host]\ntoPorts: []\n"
    )
    assert (found.line, found.path) == (8, "toPorts")
    assert "spec.ingress[0] (line 7)" in found.hint


def test_fields_in_specs_are_placed_in_their_own_spec() -> None:
    (found,) = refused(
        f"apiVersion: cilium.io/v2\nkind: {NAMESPACED}\nmetadata: {{name: a}}\nspecs:\n"
        "- {endpointSelector: {}, ingress: [{}]}\n- {endpointSelector: {}, ingress: [{}], toPorts: []}\n"
    )
    assert found.path == "specs[1].toPorts"
    assert "specs[1].ingress[0]" in found.hint


def test_long_values_are_shortened() -> None:
    assert len(refused_rule(f"fromEndpoints: {'x' * 5000}").message) < 120
