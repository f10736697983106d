"""The third judge against the second, and what it makes of packets that the plan did not foresee."""

import os
from ipaddress import ip_address

import pytest

from kinety.api.types import Event, EventEnd, EventRule
from kinety.kernel.namespace import Namespace
from kinety.policy.document import Document
from kinety.testing import live, offline
from kinety.testing.lab import lab
from kinety.testing.live import EventLog, deploy, probe_all
from kinety.testing.outcome import ALLOW, DENY, Answer, Result, Side
from kinety.testing.parse import parse_scenarios
from kinety.testing.scenario import Scenario
from tests.feature import ENVOY, ROOT
from tests.unit.testing.both_sides import SCENARIO
from tests.unit.testing.content_rules import CONTENT

LIVE = pytest.mark.needs("root", "bpf", "netns", "bpffs", "nft", "ipv6", "objects")


def read(name: str) -> tuple[Scenario, ...]:
    path = ROOT / "examples" / name

    def policy(file: str, relative: str) -> Document:
        return Document(relative, (path.parent / relative).read_text())

    return parse_scenarios([Document(path.name, path.read_text())], policy)


def parse(text: str) -> Scenario:
    (scenario,) = parse_scenarios([Document("s.yaml", text)], lambda *_: Document("", ""))
    return scenario


def values(results: list[Result]) -> list[dict[str, object]]:
    return [{key: value for key, value in result.value().items() if key != "remark"} for result in results]


@LIVE
@pytest.mark.parametrize(
    "name", ["star-wars/scenario.yaml", "star-wars/selecting.yaml", "shop/scenario.yaml"]
)
def test_packets_and_plan_agree_down_to_the_rule(name: str) -> None:
    for scenario in read(name):
        results = list(live.run(scenario))
        assert values(results) == values(list(offline.run(scenario)))
        assert all(result.ok for result in results)
        assert not any(answer.remark for result in results for answer in result.answers)


@LIVE
def test_addresses_ranges_and_both_directions_agree_too() -> None:
    scenario = parse(SCENARIO)
    results = list(live.run(scenario))
    assert values(results) == values(list(offline.run(scenario)))
    remarks = {result.probe.protocol: result.telling.remark for result in results if result.telling.remark}
    assert remarks == {"SCTP": "SCTP was not sent: judged by the plan alone"}


ASKING = """
apiVersion: kinety.io/v1alpha1
kind: Scenario
names: {198.51.100.7: [api.example.com]}
endpoints:
  - {name: client, labels: {app: client}}
  - {name: web, labels: {app: web}}
policies:
  - apiVersion: cilium.io/v2
    kind: CiliumNetworkPolicy
    metadata: {name: web-in}
    spec:
      endpointSelector: {matchLabels: {app: web}}
      ingress:
        - fromEndpoints: [{matchLabels: {app: client}}]
          toPorts: [{ports: [{port: "80"}, {port: "443"}]}]
probes:
  - {from: client, to: web, port: 80, http: {method: PUT, path: "/v1/x?y", host: web.example}, expect: allow}
  - {from: client, to: web, port: 81, http: {}, expect: deny}
  - {from: client, to: web, port: 443, tls: {serverName: web.example}, expect: allow}
  - {from: client, to: web, dns: {name: api.example.com}, expect: deny}
  - {from: client, to: world, dns: {name: api.example.com}, expect: allow}
  - {from: client, to: world, protocol: TCP, dns: {name: nobody.example}, expect: allow}
  - {from: client, to: web, port: 80, expect: allow}
  - {from: client, to: world, port: 53, protocol: UDP, expect: allow}
"""


@LIVE
def test_what_is_asked_arrives_where_no_proxy_looks() -> None:
    scenario = parse(ASKING)
    results = list(live.run(scenario))
    assert values(results) == values(list(offline.run(scenario)))
    assert all(result.ok for result in results)
    assert not any(answer.remark for result in results for answer in result.answers)


@LIVE
@pytest.mark.needs("envoy")
def test_proxies_do_what_the_plan_says_they_will(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{ENVOY.parent}:{os.environ['PATH']}")
    scenario = parse(CONTENT)
    results = list(live.run(scenario))
    assert values(results) == values(list(offline.run(scenario)))
    assert all(result.ok for result in results)
    assert not any(answer.remark for result in results for answer in result.answers)


@LIVE
@pytest.mark.needs("envoy")
def test_what_a_probe_leaves_open_is_a_redirection_live_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{ENVOY.parent}:{os.environ['PATH']}")
    probes = """
  - {from: client, to: web, port: 80, expect: redirect}
  - {from: client, to: web, port: 80, http: {method: POST, path: /v}, expect: redirect}
  - {from: client, to: web, port: 443, http: {}, expect: redirect}
"""
    scenario = parse(CONTENT[: CONTENT.index("probes:")] + f"probes:{probes}")
    results = list(live.run(scenario))
    assert values(results) == values(list(offline.run(scenario)))
    assert all(result.ok for result in results)


@LIVE
def test_a_policy_that_another_took_away_shows_as_a_difference() -> None:
    (scenario,) = read("star-wars/scenario.yaml")
    with lab() as built:
        built.start_agent()
        namespaces = deploy(built, scenario)
        with built.client() as client:
            client.delete_policy("CiliumNetworkPolicy", "default", "rule1")
        results = list(probe_all(built, scenario, namespaces))
    failed = [result for result in results if not result.ok]
    expected_denied = [probe for probe in scenario.probes if probe.expect == "deny"]
    assert [result.probe for result in failed] == expected_denied
    assert all(str(result.telling.ingress) == "default allow" for result in failed)


def event(source: str, port: int, destination: str, **more: object) -> Event:
    ends = [EventEnd(source, port, 256, None, ()), EventEnd(destination, 80, 257, None, ())]
    return Event(0.0, "drop", source=ends[0], destination=ends[1], **more)  # type: ignore[arg-type]


def settled(*events: Event) -> Answer:
    """What the kernel's events make of a probe that the plan allows by default on both sides."""
    (scenario,) = read("star-wars/scenario.yaml")
    probe = next(probe for probe in scenario.probes if str(probe.destination) == "xwing")
    planned = Answer(4, ALLOW, Side(ALLOW), Side(ALLOW))
    question = live._Question(probe, 4, planned, Namespace(-1, "nowhere"))
    return live._settled(question, DENY, list(events), "")


def test_what_the_kernel_says_replaces_the_plan_side_by_side() -> None:
    rule = EventRule(3, "CiliumNetworkPolicy/default/p", "p.yaml", 7, "spec.ingress[0]")
    answer = settled(
        event("10.0.0.1", 5, "10.0.0.2", direction="ingress", reason="policy-denied", rule=rule),
    )
    assert (str(answer.egress), str(answer.ingress)) == ("default allow", "deny: p.yaml:7")


def test_a_drop_that_is_not_policys_is_told_with_its_reason() -> None:
    sentence = "The source address is not the endpoint's"
    answer = settled(
        event("10.0.0.1", 5, "10.0.0.2", direction="egress", reason="source-address", sentence=sentence)
    )
    assert (str(answer.egress), str(answer.ingress)) == (f"deny: {sentence}", "default allow")


def test_events_are_found_by_both_ends_and_the_source_port() -> None:
    wanted = event("10.0.0.1", 5, "10.0.0.2")
    others = [event("10.0.0.1", 6, "10.0.0.2"), event("10.0.0.2", 5, "10.0.0.1"), Event(0.0, "lost", count=3)]
    log = EventLog([*others, wanted])
    assert log.of(ip_address("10.0.0.1"), 5, ip_address("10.0.0.2")) == [wanted]


def test_origin_of_an_event_is_the_rules() -> None:
    rule = EventRule(3, "CiliumNetworkPolicy/default/p", "p.yaml", 7, "spec.ingress[0]")
    origin = live._origin(event("10.0.0.1", 5, "10.0.0.2", rule=rule))
    assert (str(origin), str(origin and origin.policy)) == ("p.yaml:7", "CiliumNetworkPolicy/default/p")
    default = EventRule(0, None, None, None, None)
    assert live._origin(event("10.0.0.1", 5, "10.0.0.2", rule=default)) is None
