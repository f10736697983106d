"""toPorts[].rules and .serverNames."""

import pytest

from kinety.model.layer7 import HeaderMatch, HttpRule, Layer7, Mismatch, NamePattern
from kinety.model.rule import PortRange
from tests.unit.policy.sample import FIRST, NAMESPACED, parse, refused_rule, rule, rules

WEB = "ports: [{port: '80', protocol: TCP}]"
SEVEN = ", ".join(f"{{name: H{number}, mismatch: LOG}}" for number in range(7))
DNS = "ports: [{port: '53', protocol: UDP}]"


def content(item: str, ports: str = WEB, section: str = "egress") -> Layer7:
    found = rule(f"toPorts: [{{{ports}, {item}}}]", section)
    assert found.layer7 is not None
    return found.layer7


def http(item: str) -> HttpRule:
    (found,) = content(f"rules: {{http: [{item}]}}").http
    return found


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        ("{}", HttpRule()),
        ("{method: GET}", HttpRule(method="GET")),
        ("{method: GET|HEAD, path: /public/.*, host: a.b}", HttpRule("GET|HEAD", "/public/.*", "a.b")),
        ("{method: ''}", HttpRule()),
        ("{headers: [X-Token]}", HttpRule(headers=(HeaderMatch("X-Token"),))),
        ("{headers: [X-Token secret]}", HttpRule(headers=(HeaderMatch("X-Token", "secret"),))),
        ("{headers: ['X-Token: se cret']}", HttpRule(headers=(HeaderMatch("X-Token", "se cret"),))),
        ("{headers: [A, A]}", HttpRule(headers=(HeaderMatch("A"),))),
        ("{headerMatches: [{name: A}]}", HttpRule(headers=(HeaderMatch("A"),))),
        ("{headerMatches: [{name: A, value: b}]}", HttpRule(headers=(HeaderMatch("A", "b"),))),
        (
            "{headers: [C], headerMatches: [{name: A, value: b, mismatch: REPLACE}]}",
            HttpRule(headers=(HeaderMatch("C"), HeaderMatch("A", "b", mismatch=Mismatch.REPLACE))),
        ),
        (
            "{headerMatches: [{name: A, mismatch: LOG}]}",
            HttpRule(headers=(HeaderMatch("A", mismatch=Mismatch.LOG),)),
        ),
        (
            "{headerMatches: [{name: A, mismatch: ADD, secret: {name: s}}]}",
            HttpRule(headers=(HeaderMatch("A", secret=("default", "s"), mismatch=Mismatch.ADD),)),
        ),
        (
            "{headerMatches: [{name: A, secret: {name: s, namespace: n}}]}",
            HttpRule(headers=(HeaderMatch("A", secret=("n", "s")),)),
        ),
    ],
)
def test_requests(item: str, expected: HttpRule) -> None:
    assert http(item) == expected


def test_secrets_are_in_the_policy_s_namespace() -> None:
    (policy,) = parse(
        f"apiVersion: cilium.io/v2\nkind: {NAMESPACED}\nmetadata: {{name: a, namespace: prod}}\n"
        f"spec: {{endpointSelector: {{}}, ingress: [{{toPorts: [{{{WEB}, rules: {{http: "
        "[{headerMatches: [{name: A, secret: {name: s}}]}]}}]}]}\n"
    )
    layer7 = policy.rules[0].layer7
    assert layer7 is not None
    assert layer7.http[0].headers[0].secret == ("prod", "s")


def test_several_requests() -> None:
    found = content("rules: {http: [{method: GET}, {method: PUT}, {method: GET}]}")
    assert found == Layer7(http=(HttpRule("GET"), HttpRule("PUT")))


def test_questions() -> None:
    found = content("rules: {dns: [{matchPattern: '*.b'}, {matchName: A.b}, {matchName: a.b}]}", DNS)
    assert found == Layer7(dns=(NamePattern("*.b"), NamePattern("a.b")))


@pytest.mark.parametrize("protocol", ["TCP", "UDP", "ANY"])
def test_questions_come_by_tcp_and_udp(protocol: str) -> None:
    ports = f"ports: [{{port: '53', protocol: {protocol}}}, {{port: '5353', endPort: 5353, protocol: UDP}}]"
    assert content("rules: {dns: [{matchName: a}]}", ports).dns == (NamePattern("a"),)


def test_server_names() -> None:
    found = content("serverNames: [B.com, '*.a.com']", section="ingress")
    assert found == Layer7(server_names=(NamePattern("*.a.com"), NamePattern("b.com")))


def test_each_content_of_a_rule_is_a_rule_of_its_own() -> None:
    one, two = rules(
        "endpointSelector: {}\negress:\n- toPorts:\n"
        f"  - {{{WEB}, rules: {{http: [{{}}]}}}}\n  - {DNS}\n"
        "  - {ports: [{port: '81', protocol: TCP}], rules: {http: [{}]}}\n"
    )
    assert (one.layer7, one.ports) == (
        Layer7(http=(HttpRule(),)),
        (PortRange(6, 80, 80), PortRange(6, 81, 81)),
    )
    assert (two.layer7, two.ports) == (None, (PortRange(17, 53, 53),))
    assert one.origin == two.origin


@pytest.mark.parametrize(
    ("item", "path", "message", "hint"),
    [
        # What may stand together.
        (f"{WEB}, rules: {{}}", "rules", "no rules are named", "leave rules out"),
        (f"{WEB}, rules: {{http: []}}", "rules.http", "http is empty", "`http: [{}]`"),
        (f"{DNS}, rules: {{dns: []}}", "rules.dns", "dns is empty", "matchPattern: '*'"),
        (f"{WEB}, serverNames: []", "serverNames", "serverNames is empty", "leave it out"),
        (
            f"{WEB}, rules: {{http: [{{}}]}}, serverNames: [a]",
            "serverNames",
            "serverNames and rules cannot be in one item",
            "another port",
        ),
        # Which ports.
        ("ports: [{port: '80'}], rules: {http: [{}]}", "ports[0]", "about TCP, not ANY", "protocol: TCP"),
        (
            "ports: [{port: '80', protocol: UDP}], rules: {http: [{}]}",
            "ports[0]",
            "HTTP rules are about TCP, not UDP",
            "`protocol: TCP`",
        ),
        (
            "ports: [{port: '443', protocol: UDP}], serverNames: [a]",
            "ports[0]",
            "serverNames are about TCP",
            "",
        ),
        (
            "ports: [{port: '53', protocol: SCTP}], rules: {dns: [{matchName: a}]}",
            "ports[0]",
            "DNS rules are about TCP and UDP, not SCTP",
            "",
        ),
        (
            "ports: [{port: '0', protocol: TCP}], rules: {http: [{}]}",
            "ports[0].port",
            "content cannot be judged at every port",
            "name the port",
        ),
        ("ports: [{port: 0, protocol: TCP}], serverNames: [a]", "ports[0].port", "at every port", ""),
        ("ports: [{port: '0'}], rules: {dns: [{matchName: a}]}", "ports[0].port", "at every port", ""),
        (
            "ports: [{port: '53', endPort: 54}], rules: {dns: [{matchName: a}]}",
            "ports[0].endPort",
            "DNS rules are for single ports",
            "port: 53",
        ),
        ("ports: [], rules: {http: [{}]}", "", "no ports are named", ""),
        # Requests.
        (
            f"{WEB}, rules: {{http: [{{path: '/('}}]}}",
            "rules.http[0].path",
            "'/(' is no expression: missing )",
            "/public/.*",
        ),
        (f"{WEB}, rules: {{http: [{{method: '(?=G)'}}]}}", "rules.http[0].method", "looks ahead", ""),
        (f"{WEB}, rules: {{http: [{{host: '*.a.com'}}]}}", "rules.http[0].host", "no expression: no", ""),
        (
            f"{WEB}, rules: {{http: [{{headers: ['a b: c', '']}}]}}",
            "rules.http[0].headers[1]",
            "'' cannot",
            "",
        ),
        (
            f"{WEB}, rules: {{http: [{{headers: ['a(b c']}}]}}",
            "rules.http[0].headers[0]",
            "the name of a",
            "",
        ),
        (f"{WEB}, rules: {{http: [{{headers: ['A ']}}]}}", "rules.http[0].headers[0]", "value is empty", ""),
        (
            f"{WEB}, rules: {{http: [{{headers: [A-1-2-3-4-5-6-7]}}]}}",
            "rules.http[0].headers[0]",
            "has 8 words, and at most 7",
            "another header",
        ),
        (
            f"{WEB}, rules: {{http: [{{headerMatches: [{{name: Upgrade, value: a, mismatch: ADD}}]}}]}}",
            "rules.http[0].headerMatches[0].mismatch",
            "Upgrade cannot be changed",
            "write LOG",
        ),
        (
            f"{WEB}, rules: {{http: [{{headerMatches: [{SEVEN}]}}]}}",
            "rules.http[0].headerMatches",
            "7 headers may mismatch, and at most 6",
            "leave mismatch out",
        ),
        (
            f"{WEB}, rules: {{http: [{{headerMatches: [{{value: a}}]}}]}}",
            "rules.http[0].headerMatches[0]",
            "name is missing",
            "",
        ),
        (
            f"{WEB}, rules: {{http: [{{headerMatches: [{{name: A, value: ''}}]}}]}}",
            "rules.http[0].headerMatches[0].value",
            "the value is empty",
            "leave it out",
        ),
        (
            f'{WEB}, rules: {{http: [{{headerMatches: [{{name: A, value: "a\\nb"}}]}}]}}',
            "rules.http[0].headerMatches[0].value",
            "no line breaks",
            "",
        ),
        (
            f"{WEB}, rules: {{http: [{{headerMatches: [{{name: A, value: b, secret: {{name: c}}}}]}}]}}",
            "rules.http[0].headerMatches[0].secret",
            "value and secret cannot both be given",
            "one of them",
        ),
        (
            f"{WEB}, rules: {{http: [{{headerMatches: [{{name: A, mismatch: add}}]}}]}}",
            "rules.http[0].headerMatches[0].mismatch",
            "unknown mismatch 'add'",
            "did you mean ADD?",
        ),
        (
            f"{WEB}, rules: {{http: [{{headerMatches: [{{name: A, mismatch: DROP}}]}}]}}",
            "rules.http[0].headerMatches[0].mismatch",
            "unknown mismatch 'DROP'",
            "LOG, ADD, DELETE, REPLACE",
        ),
        *(
            (
                f"{WEB}, rules: {{http: [{{headerMatches: [{{name: A, mismatch: {word}}}]}}]}}",
                "rules.http[0].headerMatches[0].mismatch",
                f"there is no value to {word}",
                "secret",
            )
            for word in ("ADD", "REPLACE")
        ),
        (
            f"{WEB}, rules: {{http: [{{headerMatches: [{{name: A, secret: {{name: B_}}}}]}}]}}",
            "rules.http[0].headerMatches[0].secret.name",
            "cannot be a name",
            "",
        ),
        (f"{WEB}, rules: {{http: [{{verb: GET}}]}}", "rules.http[0].verb", "unknown field 'verb'", "method"),
        # Names.
        (f"{DNS}, rules: {{dns: [{{}}]}}", "rules.dns[0]", "neither matchName nor", ""),
        (f"{WEB}, serverNames: [a, '']", "serverNames[1]", "the name is empty", "example.com"),
        (f"{WEB}, serverNames: [1]", "serverNames[0]", "expected text", 'quote it: "1"'),
    ],
)
def test_what_cannot_be_said(item: str, path: str, message: str, hint: str) -> None:
    found = refused_rule(f"toPorts:\n- {{{item}}}", "egress")
    assert found.path == f"spec.egress[0].toPorts[0].{path}".rstrip(".")
    assert found.line == FIRST + 3
    assert message in found.message
    assert hint in found.hint


def test_two_kinds_of_content_in_one_item() -> None:
    item = "{ports: [{port: '53', protocol: TCP}], rules: {http: [{}], dns: [{matchName: a}]}}"
    found = refused_rule(f"toPorts: [{item}]", "egress")
    assert found.path == "spec.egress[0].toPorts[0].rules.dns"
    assert found.message == "http and dns cannot be in one item"
    assert "second item" in found.hint


def test_questions_are_asked_by_endpoints() -> None:
    found = refused_rule(f"toPorts: [{{{DNS}, rules: {{dns: [{{matchName: a}}]}}}}]", "ingress")
    assert found.path == "spec.ingress[0].toPorts[0].rules.dns"
    assert "egress rule" in found.hint
