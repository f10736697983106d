"""NetworkPolicies of cyclonus with the verdicts of its simulator: all 230 cases, every step of each.

The verdicts come from a naive evaluation of our rules, written here in a few lines, so that this test judges
the reading of documents and nothing else. Blocks cover the addresses of pods, as they do there.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from kinety.model.address import Prefix
from kinety.model.label import Label, Labels, labels_of_endpoint
from kinety.model.rule import Direction, NamedPort, Policy, Rule
from kinety.model.selector import BlockSelector, LabelSelector, PeerSelector
from kinety.policy.document import Document
from kinety.policy.parse import parse_policies
from tests.conformance import PROTOCOLS, data

pytestmark = pytest.mark.needs("conformance")

#: What cyclonus leaves out, because its clients know the type of what they send.
HEAD = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy"}


@dataclass(frozen=True, slots=True)
class Pod:
    labels: Labels
    address: Prefix
    #: Names of ports, by protocol and number.
    names: dict[tuple[int, int], str]


def pods_of(step: dict[str, Any]) -> dict[str, Pod]:
    return {
        f"{each['NS']}/{each['Name']}": Pod(
            labels_of_endpoint(
                each["NS"],
                (Label("k8s", *pair) for pair in each["Labels"].items()),
                step["Namespaces"][each["NS"]],
            ),
            Prefix.parse(each["IP"]),
            {(PROTOCOLS[port["protocol"]], port["port"]): port["name"] for port in each["Ports"]},
        )
        for each in step["Pods"]
    }


def selects(selector: PeerSelector, peer: Pod) -> bool:
    match selector:
        case LabelSelector():
            return selector.matches(peer.labels)
        case BlockSelector(prefix, excepted):
            return prefix.contains(peer.address) and not any(each.contains(peer.address) for each in excepted)
    raise AssertionError(f"no NetworkPolicy has {selector}")


def names(rule: Rule, subject: Pod, peer: Pod, protocol: int, port: int) -> bool:
    if rule.peers is not None and not any(selects(selector, peer) for selector in rule.peers):
        return False
    receiver = subject if rule.direction is Direction.INGRESS else peer
    called = receiver.names.get((protocol, port))
    return (
        rule.ports is None
        or any(each.protocol == protocol and each.first <= port <= each.last for each in rule.ports)
        or (called is not None and NamedPort(protocol, called) in rule.named_ports)
    )


def verdict(
    policies: tuple[Policy, ...], direction: Direction, subject: Pod, peer: Pod, protocol: int, port: int
) -> str:
    rules = [
        rule
        for policy in policies
        for rule in policy.rules
        if rule.direction is direction and rule.subject.matches(subject.labels)
    ]
    passes = not rules or any(names(rule, subject, peer, protocol, port) for rule in rules)
    return "allowed" if passes else "blocked"


def differing(step: dict[str, Any]) -> Iterator[str]:
    pods = pods_of(step)
    documents = [json.dumps(HEAD | each) for each in step["Policies"]]
    policies = parse_policies([Document(f"{i}.json", text) for i, text in enumerate(documents)])
    for pair, expected in step["Expected"].items():
        source, target = (pods[name] for name in pair.split(">"))
        for traffic, words in expected.items():
            about = (PROTOCOLS[traffic.split("/")[0]], int(traffic.split("/")[1]))
            ingress = verdict(policies, Direction.INGRESS, target, source, *about)
            egress = verdict(policies, Direction.EGRESS, source, target, *about)
            if words.split("/")[:2] != [ingress, egress]:
                yield f"{pair} {traffic}: {ingress}/{egress} and not {words}"


def test_every_step_of_every_case() -> None:
    cases: Any = data("knp-cyclonus")
    steps = [(case["Description"], step) for case in cases for step in case["Steps"]]
    assert len(cases) == 230
    assert sum(len(said) for _, step in steps for said in step["Expected"].values()) == 123_669
    wrong = [f"{name}: {each}" for name, step in steps for each in differing(step)]
    assert not wrong, f"{len(wrong)}:\n" + "\n".join(wrong[:20])
