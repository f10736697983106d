"""Cases of `tests.unit.plan.precedence`, asked of everything that can answer without a kernel."""

from collections.abc import Iterator
from dataclasses import dataclass

import yaml

from kinety.model.address import pack_address, unpack_address
from kinety.model.endpoint import Endpoint, EndpointId
from kinety.model.label import Label, labels_of_endpoint
from kinety.model.rule import Direction, Policy, Rule, RuleId, Tier
from kinety.model.verdict import Verdict
from kinety.plan.engine import Engine
from kinety.plan.fact import EndpointUpserted, Fact, HostAddressesChanged, PolicyUpserted
from kinety.policy.document import Document
from kinety.policy.parse import parse_policies
from kinety.testing.oracle import Oracle, Party
from tests.unit.plan.precedence import Case
from tests.unit.plan.tables import Tables

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
    """A question, and the answer it must get: outcome, policy and path of the rule, and paths to redirect."""

    text: str
    direction: Direction
    peer: str
    protocol: int
    port: int
    answer: tuple[str, str, str]
    paths: tuple[str, ...]


def probes(text: str) -> Iterator[Probe]:
    for line in text.splitlines():
        way, peer, service, outcome, *rule = line.split()
        protocol, _, port = service.partition("/")
        direction = {"from": Direction.INGRESS, "to": Direction.EGRESS}[way]
        if rule == ["option"]:
            rule = ["", "allow-localhost"]
        elif rule:
            rule[1] = f"spec.{rule[1]}"
        name, path, *paths = rule or ("", "")
        answer = (outcome, name, path)
        yield Probe(line, direction, peer, PROTOCOLS[protocol], int(port), answer, tuple(paths))


def document(name: str, spec: str) -> dict[str, object]:
    """A policy about the subject, unless its spec names another.

    ``cluster/…`` is clusterwide, ``TIER-PRIORITY/…`` a ClusterNetworkPolicy, ``netpol/…`` a NetworkPolicy.
    """
    body = yaml.safe_load(spec)
    scope, _, short = name.rpartition("/")
    if "-" in scope:
        return cluster_network_policy(scope, short, body)
    if scope == "netpol":
        return {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {"name": short, "namespace": "default"},
            "spec": {"podSelector": {"matchLabels": {"app": "s"}}, **body},
        }
    body["endpointSelector"] = {"matchLabels": body.pop("subject", {"app": "s"})}
    return {
        "apiVersion": "cilium.io/v2",
        "kind": "CiliumClusterwideNetworkPolicy" if scope else "CiliumNetworkPolicy",
        "metadata": {"name": short},
        "spec": body,
    }


def cluster_network_policy(scope: str, name: str, body: dict[str, object]) -> dict[str, object]:
    tier, _, priority = scope.partition("-")
    subject = {"pods": {"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "s"}}}}
    return {
        "apiVersion": "policy.networking.k8s.io/v1alpha2",
        "kind": "ClusterNetworkPolicy",
        "metadata": {"name": name},
        "spec": {"tier": tier.title(), "priority": int(priority), "subject": subject, **body},
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

    def ask_all(self, text: str) -> None:
        for probe in probes(text):
            self.ask(probe)

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
            assert self.paths(told) == probe.paths, probe.text
            assert self.tables.judge(subject, *question) == told
            assert self.engine.verdict(endpoint("subject").labels, *question) == told
            assert not told.rule or RuleId(told.rule) in rules
            opinion = oracle.judge(
                party("subject"), probe.direction.name.lower(), party(probe.peer, address), *question[2:]
            )
            outcome, name, path = probe.answer
            assert opinion.verdict == outcome, (probe.text, "the oracle")
            assert tuple(sorted(str(each[2]) for each in opinion.content)) == probe.paths
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
        return kind, self.scope(self.engine.rules[verdict.rule]) + origin.policy.name, origin.path

    def scope(self, rule: Rule) -> str:
        if rule.tier is not Tier.NORMAL:
            return f"{rule.tier.name.lower()}-{rule.priority}/"
        if rule.origin.policy.kind == "NetworkPolicy":
            return "netpol/"
        return "" if rule.origin.policy.namespace else "cluster/"

    def paths(self, verdict: Verdict) -> tuple[str, ...]:
        if not verdict.layer7:
            return ()
        assert self.tables.layer7_sets[verdict.layer7] == self.engine.layer7_sets[verdict.layer7]
        return tuple(each.path for each in self.engine.layer7_sets[verdict.layer7].http)


def party(name: str, address: bytes = b"") -> Party:
    if name in ENDPOINTS:
        labels = frozenset((each.source, each.key, each.value) for each in endpoint(name).labels)
        return Party("endpoint", labels, str(unpack_address(address or endpoint(name).ipv4 or b"")))
    return Party("host" if name == "host" else "outside", address=str(unpack_address(address)))
