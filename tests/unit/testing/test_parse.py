"""Scenarios from documents: what they mean, and for everything wrong its file, line and what to write."""

from ipaddress import ip_address
from pathlib import Path

import pytest

from kinety.policy.document import Document
from kinety.policy.error import PolicyError
from kinety.testing.parse import parse_scenarios, speaks_of_scenarios
from kinety.testing.scenario import (
    ENDPOINT_NETWORKS,
    HOST_ADDRESSES,
    WORLD_ADDRESSES,
    Host,
    Outside,
    Scenario,
    ScenarioEndpoint,
)
from tests.feature import ROOT

HEAD = "apiVersion: kinety.io/v1alpha1\nkind: Scenario\n"
ENDS = "endpoints:\n  - name: a\n    labels: {app: a}\n  - name: b\n"
PROBE = "probes:\n  - {from: a, to: b, port: 80, expect: allow}\n"
POLICY = """\
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: p}
spec:
  endpointSelector: {}
  ingress: [{fromEntities: [host]}]
"""


def files(scenario: str, path: str) -> Document:
    """Policies beside any scenario: one file and nothing else."""
    if path != "policy.yaml":
        raise FileNotFoundError(2, "No such file or directory", path)
    return Document(str(Path(scenario).parent / path), POLICY)


def parse(text: str, file: str = "dir/s.yaml") -> tuple[Scenario, ...]:
    return parse_scenarios([Document(file, text)], files)


def one(text: str) -> Scenario:
    (scenario,) = parse(text)
    return scenario


def refusal(text: str) -> list[str]:
    with pytest.raises(PolicyError) as caught:
        parse(text)
    return list(caught.value.lines())


def probe_line(rest: str) -> str:
    return f"{HEAD}{ENDS}probes:\n  - {{{rest}}}\n"


def endpoint_line(rest: str) -> str:
    return f"{HEAD}endpoints:\n  - {{{rest}}}\n  - name: b\n{PROBE}"


def test_endpoints_get_addresses_and_labels_as_on_a_node() -> None:
    text = f"""{HEAD}
namespaces: {{prod: {{env: live}}}}
endpoints:
  - {{name: a, labels: {{app: web, bare: ""}}, listens: [{{port: 80}}, {{port: 53, protocol: UDP}}]}}
  - {{name: b, namespace: prod, addresses: [10.1.2.3]}}
{PROBE.replace("to: b", "to: prod/b")}"""
    first, second = one(text).endpoints
    assert first.addresses == {version: start + 10 for version, start in ENDPOINT_NETWORKS.items()}
    assert set(map(str, first.own_labels)) == {"k8s:app=web", "k8s:bare"}
    assert "k8s:io.kubernetes.pod.namespace=default" in map(str, first.endpoint.labels)
    assert first.listens == {("TCP", 80), ("UDP", 53)}
    assert (str(first), str(second)) == ("a", "prod/b")
    assert second.addresses == {4: ip_address("10.1.2.3")}
    assert "k8s:io.cilium.k8s.namespace.labels.env=live" in map(str, second.endpoint.labels)


def test_probes_are_asked_in_every_family_both_ends_have() -> None:
    text = f"""{HEAD}
endpoints:
  - {{name: both}}
  - {{name: old, addresses: [10.1.2.3]}}
probes:
  - {{from: both, to: world, port: 1, expect: allow}}
  - {{from: both, to: old, port: 1, expect: allow}}
  - {{from: both, to: host, port: 1, family: 6, expect: allow}}
  - {{from: both, to: host, protocol: ICMP, expect: deny}}
  - {{from: host, to: both, protocol: ICMPv6, expect: deny}}
  - {{from: both, to: "2001:db8::9", port: 1, expect: deny}}
"""
    probes = one(text).probes
    assert [probe.families for probe in probes] == [(4, 6), (4,), (6,), (4,), (6,), (6,)]
    assert [probe.port for probe in probes] == [1, 1, 1, 8, 128, 1]
    assert [probe.line for probe in probes] == list(range(8, 14))


def test_ends_are_endpoints_host_world_and_addresses_of_any_of_them() -> None:
    text = f"""{HEAD}{ENDS}probes:
  - {{from: a, to: host, port: 1, expect: allow}}
  - {{from: a, to: {HOST_ADDRESSES[6]}, port: 1, expect: allow}}
  - {{from: a, to: world, port: 1, expect: allow}}
  - {{from: a, to: 198.51.100.7, port: 1, expect: allow}}
  - {{from: a, to: {ENDPOINT_NETWORKS[4] + 11}, port: 1, expect: allow}}
"""
    host, by_address, world, outside, endpoint = (probe.destination for probe in one(text).probes)
    assert host == by_address == Host()
    assert world == Outside("world", WORLD_ADDRESSES)
    assert outside == Outside("198.51.100.7", {4: ip_address("198.51.100.7")})
    assert isinstance(endpoint, ScenarioEndpoint)
    assert str(endpoint) == "b"


def test_policies_come_from_files_and_from_the_scenario_itself() -> None:
    inline = POLICY.replace("name: p", "name: q").replace("\n", "\n    ").rstrip()
    scenario = one(f"{HEAD}{ENDS}policies:\n  - policy.yaml\n  - {inline}\n{PROBE}")
    places = [(str(policy.key), str(policy.rules[0].origin)) for policy in scenario.policies]
    assert places == [
        ("CiliumNetworkPolicy/default/p", "dir/policy.yaml:6"),
        ("CiliumNetworkPolicy/default/q", "dir/s.yaml:14"),
    ]
    assert [document.file for document in scenario.policy_documents] == ["dir/policy.yaml", "dir/s.yaml"]


def test_a_file_may_hold_several_and_names_tell_them_apart() -> None:
    named = HEAD + "name: named\n" + ENDS + PROBE
    scenarios = parse(f"{HEAD}{ENDS}{PROBE}---\n{named}---\n{HEAD}{ENDS}{PROBE}")
    assert [scenario.name for scenario in scenarios] == ["dir/s.yaml#1", "named", "dir/s.yaml#3"]
    assert one(HEAD + ENDS + PROBE).name == "dir/s.yaml"


def test_examples_are_scenarios() -> None:
    found = sorted((ROOT / "examples").rglob("*.yaml"))
    documents = [Document(str(path), path.read_text()) for path in found]
    scenarios = [each for each in documents if speaks_of_scenarios(each)]
    assert scenarios
    assert len(scenarios) < len(documents), "policies lie beside them"
    parsed = parse_scenarios(
        scenarios, lambda file, path: Document(path, (Path(file).parent / path).read_text())
    )
    assert len(parsed) >= len(scenarios)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        (HEAD + ENDS, True),
        (POLICY, False),
        (f"{POLICY}---\n{HEAD}", True),
        ("kind: Scenaro\n", True),
        ("a: [\n", True),
        ("- a list\n", True),
    ],
)
def test_what_speaks_of_scenarios(text: str, meant: bool) -> None:
    assert speaks_of_scenarios(Document("f", text)) is meant


AGAIN = "apiVersion: apiVersion is not kinety.io/v1alpha1; write `apiVersion: kinety.io/v1alpha1`"
NAMING = "write lower-case letters, digits and -; host and world are taken"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "there is no scenario in it"),
        ("- 1\n", "expected a Scenario, found a list"),
        ("kind: Scenario\n" + ENDS, AGAIN),
        (HEAD.replace("Scenario", "Scenaro") + ENDS, "kind: kind is not Scenario; write `kind: Scenario`"),
        (HEAD + ENDS, "probes is missing"),
        (HEAD + ENDS + "probes: []\n", "probes: there is no probe, so nothing is tested"),
        (HEAD + PROBE, "endpoints is missing"),
        (HEAD + ENDS + "prob: []\n" + PROBE, "prob: unknown field 'prob'; did you mean probes?"),
        (HEAD + ENDS + "services: []\n" + PROBE, "services: services is not supported yet"),
        (HEAD + ENDS + "policies:\n" + PROBE, "policies: there is no value"),
        (HEAD + "namespaces: {Bad_: {}}\n" + ENDS + PROBE, f"cannot be a namespace's name; {NAMING}"),
        (
            HEAD + "namespaces: {x: {env: 5}}\n" + ENDS + PROBE,
            'namespaces.x.env: expected text, found the unquoted 5; quote it: "5"',
        ),
        (HEAD + "endpoints: [\n", "not YAML: "),
    ],
)
def test_whole_scenarios_that_are_refused(text: str, said: str) -> None:
    (line,) = refusal(text)
    assert line.startswith("dir/s.yaml")
    assert said in line


@pytest.mark.parametrize(
    ("rest", "said"),
    [
        (
            "from: a, to: b, port: 70000, expect: deny",
            "probes[0].port: 70000 is not a port; write 1 to 65535",
        ),
        ("from: a, to: b, port: 0, expect: deny", "probes[0].port: 0 is not a port; write 1 to 65535"),
        (
            "from: a, to: b, port: http, expect: deny",
            "probes[0].port: expected a number, found the text 'http'",
        ),
        ("from: a, to: b, port: '80', expect: deny", "found the text '80'; write it without quotes: 80"),
        (
            "from: a, to: b, expect: deny",
            "probes[0]: port is missing; write which TCP port, such as `port: 80`",
        ),
        ("from: a, to: b, port: 80", "probes[0]: expect is missing"),
        (
            "from: a, to: b, port: 80, expect: allowed",
            "'allowed' is not one of allow, deny, redirect, http-403, dns-refused, reset; did you mean",
        ),
        (
            "from: a, to: b, port: 80, expect: http-403",
            "probes[0].expect: http-403 is an outcome of probes with http; write `http:` too",
        ),
        ("from: a, to: b, port: 80, expect: reset, http: {}", "reset is an outcome of probes with tls"),
        ("from: a, to: b, expect: deny, http: {}", "port is missing; write which TCP port"),
        (
            "from: a, to: b, port: 80, expect: deny, http: {}, dns: {name: x}",
            "probes[0].dns: a probe cannot be http and dns at once; make two of it",
        ),
        ("from: a, to: b, port: 80, protocol: UDP, expect: deny, http: {}", "http goes over TCP, not UDP"),
        ("from: a, to: b, port: 80, expect: deny, http: {method: GETT}", "did you mean GET?"),
        (
            "from: a, to: b, port: 80, expect: deny, http: {method: 'G T'}",
            "is not a method that a probe can use",
        ),
        ("from: a, to: b, port: 80, expect: deny, http: {path: v1}", "'v1' is not a path; begin with /"),
        (
            "from: a, to: b, port: 80, expect: deny, http: {path: /v1/..%2Fv2}",
            "probes[0].http.path: a proxy would judge another path than '/v1/..%2Fv2'; write it as",
        ),
        ("from: a, to: b, port: 80, expect: deny, http: {path: //v1}", "a proxy would judge another path"),
        ("from: a, to: b, port: 80, expect: deny, http: {path: /v1/.}", "a proxy would judge another path"),
        ("from: a, to: b, port: 80, expect: deny, http: {host: 'A.b:80'}", "in lower case"),
        ("from: a, to: b, port: 80, expect: deny, http: {headers: {Host: b}}", "write `host:` beside method"),
        ("from: a, to: b, port: 80, expect: deny, http: {headers: {a: ''}}", "is not the value of a header"),
        ("from: a, to: b, expect: deny, dns: {name: x.}", "'x.' is not a name to ask for; write a name"),
        ("from: a, to: b, expect: deny, dns: {}", "probes[0].dns: name is missing"),
        (
            "from: a, to: b, port: 443, expect: deny, tls: {serverName: '*.x'}",
            "probes[0].tls.serverName: '*.x' is not a server's name",
        ),
        (
            "from: a, to: b, port: 80, expect: deny, protocol: udp",
            "'udp' is not one of TCP, UDP, SCTP, ICMP, ICMPv6; did you mean UDP?",
        ),
        (
            "from: a, to: b, port: 8, expect: deny, protocol: ICMP",
            "probes[0].port: ICMP has no ports; leave it out: an echo is sent",
        ),
        (
            "from: a, to: cc, port: 80, expect: deny",
            "probes[0].to: there is no endpoint 'cc'; there are a, b, host, world",
        ),
        (
            "from: a, to: wrld, port: 80, expect: deny",
            "probes[0].to: there is no endpoint 'wrld'; did you mean world?",
        ),
        (
            "from: a, to: a, port: 80, expect: deny",
            "probes[0]: nothing from a to a is judged by an endpoint or the node",
        ),
        ("from: host, to: host, port: 80, expect: deny", "nothing from host to host is judged"),
        ("from: 8.8.8.8, to: world, port: 80, expect: deny", "nothing from 8.8.8.8 to world is judged"),
        ("from: a, to: b, port: 80, expect: deny, family: 5", "probes[0].family: 5 is not 4 or 6"),
        (
            "from: a, to: 8.8.8.8, protocol: ICMPv6, expect: deny",
            "a and 8.8.8.8 have no address family in common",
        ),
        (
            "from: a, to: 8.8.8.8, port: 80, family: 6, expect: deny",
            "a and 8.8.8.8 have no address family in common",
        ),
        (
            "from: a, to: 224.0.0.5, port: 80, expect: deny",
            "224.0.0.5 is a multicast address, which no probe can use",
        ),
        ("from: a, to: '::1', port: 80, expect: deny", "::1 is a loopback address"),
        ("from: a, to: 'fe80::1%eth0', port: 80, expect: deny", "is a link-local address"),
        (
            "from: a, to: '::ffff:1.2.3.4', port: 80, expect: deny",
            "is an IPv4 address written as IPv6; write 1.2.3.4",
        ),
    ],
)
def test_probes_that_are_refused(rest: str, said: str) -> None:
    (line,) = refusal(probe_line(rest))
    assert line.startswith("dir/s.yaml:8: ")
    assert said in line


@pytest.mark.parametrize(
    ("rest", "said"),
    [
        ("name: a, addresses: [x]", "endpoints[0].addresses[0]: 'x' is not an address"),
        (
            "name: a, addresses: [10.0.0.1, 10.0.0.2]",
            "endpoints[0].addresses[1]: a second address of IPv4; give one of each family",
        ),
        ("name: a, addresses: [192.0.2.1]", "the address 192.0.2.1 is taken"),
        ("name: a, addresses: [0.0.0.0]", "0.0.0.0 is a"),
        ("name: a, listens: [{port: 0}]", "endpoints[0].listens[0].port: 0 is not a port; write 1 to 65535"),
        ("name: a, listens: [{port: 8, protocol: X}]", "endpoints[0].listens[0].protocol: 'X' is not one of"),
        ("name: a, labels: {'reserved:host': ''}", "endpoints[0].labels: label reserved:host"),
        (
            "name: a, labels: {v: 1}",
            'endpoints[0].labels.v: expected text, found the unquoted 1; quote it: "1"',
        ),
    ],
)
def test_endpoints_that_are_refused_once_and_not_again_by_their_probes(rest: str, said: str) -> None:
    (line,) = refusal(endpoint_line(rest))
    assert line.startswith("dir/s.yaml:4: ")
    assert said in line


@pytest.mark.parametrize("name", ["host", "world", "A", "a_b", "-a", "a" * 64, ""])
def test_names_that_no_endpoint_can_have(name: str) -> None:
    lines = refusal(endpoint_line(f'name: "{name}"'))
    assert lines[0] == f"dir/s.yaml:4: endpoints[0].name: {name!r} cannot be an endpoint's name; {NAMING}"


def test_a_namespace_that_was_not_declared() -> None:
    text = endpoint_line("name: a, namespace: prod").replace("from: a", "from: prod/a")
    (line,) = refusal(text)
    missing = "endpoints[0].namespace: there is no namespace 'prod'; add it under namespaces: `prod: {}`"
    assert line == f"dir/s.yaml:4: {missing}"


def test_the_same_name_twice() -> None:
    (line,) = refusal(f"{HEAD}endpoints:\n  - name: a\n  - name: b\n  - name: a\n{PROBE}")
    assert line == "dir/s.yaml:6: endpoints[2].name: there is an endpoint default/a already"


def test_policies_that_are_refused_are_told_where_they_are_written() -> None:
    (line,) = refusal(f"{HEAD}{ENDS}policies: [nope.yaml]\n{PROBE}")
    assert line == "dir/s.yaml:7: policies[0]: cannot read nope.yaml: No such file or directory"
    (line,) = refusal(f"{HEAD}{ENDS}policies: [5]\n{PROBE}")
    assert line == "dir/s.yaml:7: policies[0]: expected a path or a policy, found the unquoted 5"
    wrong = POLICY.replace("  ingress:", "  ingres:").replace("\n", "\n    ").rstrip()
    lines = refusal(f"{HEAD}{ENDS}policies:\n  - {wrong}\n{PROBE}")
    assert lines[0].startswith("dir/s.yaml:13: spec.ingres: unknown field 'ingres'; did you mean ingress?")


def test_everything_that_is_wrong_is_told_and_nothing_is_returned() -> None:
    bad = probe_line("from: a, to: b, port: 0, expect: maybe")
    with pytest.raises(PolicyError) as caught:
        parse_scenarios([Document("1", bad), Document("2", HEAD + ENDS + PROBE), Document("3", "")], files)
    assert [line.partition(":")[0] for line in caught.value.lines()] == ["1", "1", "3"]
