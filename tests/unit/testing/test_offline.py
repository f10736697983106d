"""The plan's answers to scenarios: verdicts and rules of both ends, each family and direction."""

from dataclasses import replace

import pytest

from kinety.policy.document import Document
from kinety.policy.parse import parse_objects
from kinety.testing import offline
from kinety.testing.outcome import UNJUDGED, Result
from kinety.testing.parse import parse_scenarios
from tests.unit.testing.both_sides import SCENARIO
from tests.unit.testing.content_rules import CONTENT

TWO = """
apiVersion: kinety.io/v1alpha1
kind: Scenario
endpoints: [{name: client}, {name: server, labels: {app: server}}]
probes:
- {from: client, to: server, port: 80, expect: allow}
- {from: client, to: server, port: 81, expect: deny}
"""
ASKING = """apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: p}
spec:
  endpointSelector: {matchLabels: {app: server}}
  ingress:
  - toPorts: [{ports: [{port: '80', protocol: TCP}], rules: {http: [{method: GET}]}}]
"""


def results() -> list[Result]:
    def none(scenario: str, path: str) -> Document:
        raise AssertionError("no policy is in another file")

    (scenario,) = parse_scenarios([Document("s.yaml", SCENARIO)], none)
    return list(offline.run(scenario))


def test_every_probe_is_as_expected_in_every_family() -> None:
    for result in results():
        assert result.ok, (str(result.probe), result.telling)
        assert tuple(answer.family for answer in result.answers) == result.probe.families


def test_sides_say_which_rule_decided_or_that_the_default_did() -> None:
    sides = [(str(result.telling.egress), str(result.telling.ingress)) for result in results()]
    assert sides == [
        ("allow: s.yaml:13", "allow: s.yaml:27"),
        ("default deny", "allow: s.yaml:27"),
        ("default deny", "allow: s.yaml:25"),
        ("allow: s.yaml:15", "-"),
        ("default deny", "-"),
        ("allow: s.yaml:16", "-"),
        ("deny: s.yaml:18", "-"),
        ("-", "allow: option allow-localhost"),
        ("-", "default deny"),
        ("default allow", "default allow"),
        ("-", "allow: s.yaml:29"),
        ("-", "default deny"),
        ("-", "allow: s.yaml:29"),
        ("-", "default deny"),
        ("default allow", "-"),
    ]


def test_an_end_that_is_no_endpoint_has_no_say() -> None:
    outward = results()[3].telling
    assert outward.ingress is UNJUDGED


def test_what_goes_to_a_proxy_is_not_allowed_as_such() -> None:
    """Neither is it denied: the content decides, of which a probe says nothing."""

    def none(scenario: str, path: str) -> Document:
        raise AssertionError("no policy is in another file")

    (scenario,) = parse_scenarios([Document("s.yaml", TWO)], none)
    scenario = replace(scenario, objects=parse_objects([Document("p.yaml", ASKING)]))
    (web, other) = offline.run(scenario)
    assert (web.telling.outcome, str(web.telling.ingress)) == ("redirect", "redirect: p.yaml:7")
    assert other.telling.outcome == "deny"
    assert not web.ok


def asked_about_content(probe: str) -> Result:
    """The answer to one probe among the rules about content."""
    text = CONTENT[: CONTENT.index("probes:")] + f"probes:\n  - {probe}\n"
    (scenario,) = parse_scenarios([Document("s.yaml", text)], lambda *_: Document("", ""))
    (result,) = offline.run(scenario)
    return result


def test_content_passes_or_is_refused_in_the_way_of_its_kind() -> None:
    (scenario,) = parse_scenarios([Document("s.yaml", CONTENT)], lambda *_: Document("", ""))
    for result in offline.run(scenario):
        assert result.ok, (str(result.probe.content), result.telling)
        assert not result.telling.remark
    sides = [(str(each.telling.egress), str(each.telling.ingress)) for each in offline.run(scenario)]
    assert sides[0] == ("redirect: s.yaml:30", "redirect: s.yaml:14")
    assert sides[7] == ("allow: s.yaml:30", "redirect: s.yaml:14")
    assert sides[9] == ("redirect: s.yaml:35", "-")


@pytest.mark.parametrize(
    ("probe", "remark"),
    [
        ("port: 80, http: {method: POST, path: /v}", "the rules ask for more than is known here"),
        ("port: 443, http: {}", "the rules are about TLS server names"),
        ("port: 80, tls: {serverName: web.example}", "the rules are about HTTP requests"),
        ("port: 80", ""),
    ],
)
def test_what_a_probe_does_not_settle_is_a_redirection(probe: str, remark: str) -> None:
    told = asked_about_content(f"{{from: client, to: web, {probe}, expect: redirect}}").telling
    assert (told.outcome, told.remark) == ("redirect", remark)


def test_json_of_a_probe_has_its_content() -> None:
    probe = "{from: client, to: web, port: 80, http: {path: /v1/x, headers: {A: b}}, expect: allow}"
    value = asked_about_content(probe).value()
    assert value["http"] == {"method": "GET", "path": "/v1/x", "host": None, "headers": {"A": "b"}}
    value = asked_about_content("{from: client, to: world, dns: {name: a.b}, expect: dns-refused}").value()
    assert (value["dns"], value["protocol"], value["port"]) == ({"name": "a.b"}, "UDP", 53)


TOLD = """
apiVersion: kinety.io/v1alpha1
kind: Scenario
node: {zone: a}
names: {198.51.100.7: [API.example.com.]}
endpoints:
- {name: client}
- {name: web, labels: {app: web}, listens: [{port: 8080, name: http}]}
- {name: near, addresses: [10.1.0.1, "fd01::1"]}
- {name: other, labels: {app: other}}
policies:
- apiVersion: cilium.io/v2
  kind: CiliumCIDRGroup
  metadata: {name: vpn}
  spec: {externalCIDRs: [203.0.113.0/24]}
- apiVersion: v1
  kind: Service
  metadata: {name: web}
  spec: {selector: {app: web}}
- apiVersion: networking.k8s.io/v1
  kind: NetworkPolicy
  metadata: {name: near}
  spec:
    podSelector: {matchLabels: {app: web}}
    ingress: [{from: [{ipBlock: {cidr: 10.1.0.0/16}}], ports: [{port: http}]}]
- apiVersion: cilium.io/v2
  kind: CiliumNetworkPolicy
  metadata: {name: out}
  spec:
    endpointSelector: {matchLabels: {app: other}}
    egress:
    - toFQDNs: [{matchPattern: "*.example.com"}]
    - toCIDRSet: [{cidrGroupRef: vpn}]
    - toServices: [{k8sService: {serviceName: web}}]
- apiVersion: cilium.io/v2
  kind: CiliumClusterwideNetworkPolicy
  metadata: {name: node}
  spec:
    endpointSelector: {matchLabels: {app: other}}
    ingressDeny: [{fromNodes: [{matchLabels: {zone: a}}]}]
probes:
- {from: near, to: web, port: 8080, family: 4, expect: allow}
- {from: near, to: web, port: 8080, family: 6, expect: deny}
- {from: near, to: web, port: 8081, family: 4, expect: deny}
- {from: client, to: web, port: 8080, expect: deny}
- {from: other, to: 198.51.100.7, port: 443, expect: allow}
- {from: other, to: 198.51.100.8, port: 443, expect: deny}
- {from: other, to: 203.0.113.9, port: 443, expect: allow}
- {from: host, to: other, port: 443, expect: deny}
- {from: other, to: web, port: 1, expect: deny}
"""


def test_what_policies_refer_to_is_told_by_the_scenario() -> None:
    def none(scenario: str, path: str) -> Document:
        raise AssertionError("no policy is in another file")

    (scenario,) = parse_scenarios([Document("s.yaml", TOLD)], none)
    found = list(offline.run(scenario))
    assert [str(each.probe) for each in found if not each.ok] == []
    assert found[-1].telling.egress.verdict == "allow", "the service leads to web, which lets nobody in"
