"""Every line of docs/reference/precedence.md, asked of everything that can answer without a kernel.

The page is read, not copied: a line without a case fails, and so does a case without a line.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from kinety.model.address import pack_address, unpack_address
from kinety.model.endpoint import Endpoint, EndpointId
from kinety.model.label import Label, labels_of_endpoint
from kinety.model.rule import Direction, Policy, RuleId
from kinety.model.verdict import Verdict
from kinety.plan.engine import Engine
from kinety.plan.fact import EndpointUpserted, Fact, HostAddressesChanged, PolicyUpserted
from kinety.policy.document import Document
from kinety.policy.parse import parse_policies
from kinety.testing.oracle import Oracle, Party
from tests.unit.plan.precedence import CASES, Case
from tests.unit.plan.tables import Tables

PAGE = Path(__file__).parents[3] / "docs/reference/precedence.md"
LINES = dict(re.findall(r"^\| `([a-z-]+)` \| (.+) \|$", PAGE.read_text(), re.M))

#: Lines that speak of one outcome only.
ONE_SIDED = {"open", "other-subject", "no-peers", "deny-more-peers", "deny-more-ports"}
PROTOCOLS = {"tcp": 6, "udp": 17, "sctp": 132, "icmp": 1, "icmpv6": 58, "gre": 47}
#: Labels and namespace of each endpoint; ``newcomer`` comes after the policies.
ENDPOINTS = {
    "subject": ({"app": "s"}, "default"),
    "a": ({"app": "a"}, "default"),
    "b": ({"app": "b"}, "default"),
    "a-front": ({"app": "a", "tier": "front"}, "default"),
    "b-front": ({"app": "b", "tier": "front"}, "default"),
    "stranger": ({"app": "stranger"}, "default"),
    "foreign": ({"app": "a"}, "elsewhere"),
    "newcomer": ({"app": "newcomer"}, "default"),
}
NUMBERS = {name: EndpointId(number) for number, name in enumerate(ENDPOINTS, 1)}
#: Addresses out in the world, and the host's. ``narrow`` is inside ``wide``'s prefix.
ELSEWHERE = {
    "host": ("10.0.0.254", "fd00::fe"),
    "world": ("192.0.2.1", "2a00::1"),
    "wide": ("198.51.7.1", "2001:db8:7::1"),
    "narrow": ("198.51.100.1", "2001:db8:1::1"),
    "world4": ("192.0.2.1",),
    "world6": ("2a00::1",),
}


@dataclass(frozen=True)
class Probe:
    """A question, and the answer it must get: outcome, policy and path of the rule."""

    text: str
    direction: Direction
    peer: str
    protocol: int
    port: int
    answer: tuple[str, str, str]


def probes(text: str) -> Iterator[Probe]:
    for line in text.splitlines():
        way, peer, service, outcome, *rule = line.split()
        protocol, _, port = service.partition("/")
        direction = {"from": Direction.INGRESS, "to": Direction.EGRESS}[way]
        if rule == ["option"]:
            rule = ["", "allow-localhost"]
        elif rule:
            rule[1] = f"spec.{rule[1]}"
        name, path = rule or ("", "")
        yield Probe(line, direction, peer, PROTOCOLS[protocol], int(port), (outcome, name, path))


def document(name: str, spec: str) -> dict[str, object]:
    """A policy about the subject, unless its spec names another; ``cluster/…`` is of the other kind."""
    body = yaml.safe_load(spec)
    body["endpointSelector"] = {"matchLabels": body.pop("subject", {"app": "s"})}
    clusterwide, _, short = name.rpartition("/")
    return {
        "apiVersion": "cilium.io/v2",
        "kind": "CiliumClusterwideNetworkPolicy" if clusterwide else "CiliumNetworkPolicy",
        "metadata": {"name": short},
        "spec": body,
    }


def policies(named: dict[str, str]) -> list[Policy]:
    return [
        each
        for name, spec in named.items()
        for each in parse_policies([Document(f"{name}.yaml", yaml.safe_dump(document(name, spec)))])
    ]


def endpoint(name: str) -> Endpoint:
    found, namespace = ENDPOINTS[name]
    number = NUMBERS[name]
    carried = labels_of_endpoint(namespace, [Label("k8s", key, value) for key, value in found.items()])
    addresses = [pack_address(f"10.0.0.{number}"), pack_address(f"fd00::{number}")]
    return Endpoint(number, namespace, name, carried, *addresses)


class Judges:
    """The engine, the tables that its changes make, and the oracle, on one world."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.engine, self.tables = Engine(allow_localhost=case.allow_localhost), Tables()
        self.documents: dict[str, str] = {}
        self.change([HostAddressesChanged(frozenset(map(pack_address, ELSEWHERE["host"])))])
        self.change(EndpointUpserted(endpoint(name)) for name in ENDPOINTS if name != "newcomer")

    def change(self, facts: Iterator[Fact] | list[Fact]) -> None:
        self.tables.apply(self.engine.change(facts))

    def apply(self, named: dict[str, str], *, backwards: bool) -> None:
        self.documents |= named
        order = [PolicyUpserted(each) for each in policies(named)]
        for each in reversed(order) if backwards else order:
            self.change([each])
        self.change([EndpointUpserted(endpoint("newcomer"))])

    def ask(self, probe: Probe) -> None:
        """Every address of the peer, every judge."""
        subject = NUMBERS["subject"]
        oracle = Oracle(
            [document(*each) for each in self.documents.items()], allow_localhost=self.case.allow_localhost
        )
        rules = self.engine.rules
        for address in self.addresses(probe.peer):
            peer = self.engine.identity_of_address(address)
            question = (probe.direction, peer, probe.protocol, probe.port)
            told = self.engine.verdict(subject, *question)
            assert self.outcome(told) == probe.answer, (probe.text, unpack_address(address))
            assert self.tables.judge(subject, *question) == told
            assert self.engine.verdict(endpoint("subject").labels, *question) == told
            assert not told.rule or RuleId(told.rule) in rules
            opinion = oracle.judge(
                party("subject"), probe.direction.name.lower(), party(probe.peer, address), *question[2:]
            )
            outcome, name, path = probe.answer
            assert opinion.verdict == outcome, (probe.text, "the oracle")
            named = (name.rpartition("/")[2], path)
            assert named in opinion.rules if path else not opinion.rules

    def addresses(self, peer: str) -> list[bytes]:
        if peer in ELSEWHERE:
            return [pack_address(each) for each in ELSEWHERE[peer]]
        found = endpoint(peer)
        return [each for each in (found.ipv4, found.ipv6) if each is not None]

    def outcome(self, verdict: Verdict) -> tuple[str, str, str]:
        kind = verdict.kind.name.lower()
        if not verdict.rule:
            return kind, "", ""
        origin = self.engine.rules[verdict.rule].origin
        if not origin.line:
            return kind, "", origin.path
        scope = "" if origin.policy.namespace else "cluster/"
        return kind, scope + origin.policy.name, origin.path


def party(name: str, address: bytes = b"") -> Party:
    if name in ENDPOINTS:
        labels = frozenset((each.source, each.key, each.value) for each in endpoint(name).labels)
        return Party("endpoint", labels, str(unpack_address(address or endpoint(name).ipv4 or b"")))
    return Party("host" if name == "host" else "outside", address=str(unpack_address(address)))


def test_every_line_of_the_page_has_a_case_and_every_case_a_line() -> None:
    assert LINES.keys() == CASES.keys()
    assert len(re.findall(r"^\| `", PAGE.read_text(), re.M)) == len(LINES), "no id twice"


@pytest.mark.parametrize("order", ["forwards", "backwards"])
@pytest.mark.parametrize("line", LINES)
def test_line(line: str, order: str) -> None:
    case = CASES[line]
    judges = Judges(case)
    judges.apply(case.policies, backwards=order == "backwards")
    asked = [*probes(case.probes)]
    outcomes = {probe.answer[0] for probe in [*asked, *probes(case.later)]}
    assert outcomes == {"allow", "deny"} or line in ONE_SIDED
    for probe in asked:
        judges.ask(probe)
    if case.then:
        judges.apply(case.then, backwards=order == "backwards")
        for probe in probes(case.later):
            judges.ask(probe)
