"""NetworkPolicies of cyclonus with the verdicts of its simulator: every step of every case, on one engine.

The engine is never started afresh: from one step to the next only what is different is told to it, pods that
are gone and labels of namespaces that changed included. Pods of the data that come later have the address of
one that is there already; they get another, for no endpoint is given an address that is in use. No policy
of those cases has a block.
"""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from kinety.model.address import pack_address
from kinety.model.endpoint import Endpoint, EndpointId, Listen
from kinety.model.label import Label, labels_of_endpoint
from kinety.model.rule import Direction, Policy
from kinety.model.verdict import VerdictKind
from kinety.plan.engine import Engine
from kinety.plan.fact import EndpointRemoved, EndpointUpserted, Fact, PolicyRemoved, PolicyUpserted
from kinety.policy.document import Document
from kinety.policy.parse import parse_policies
from tests.conformance import PROTOCOLS, network_policy_steps

pytestmark = pytest.mark.needs("conformance")

WORDS = {VerdictKind.ALLOW: "allowed", VerdictKind.DENY: "blocked"}


class Cluster:
    """One engine that is told from step to step what is different."""

    def __init__(self) -> None:
        self.engine = Engine()
        self._numbers: dict[str, EndpointId] = {}

    def become(self, step: dict[str, Any]) -> None:
        addresses = addresses_of(step)
        pods = {name: self._endpoint(name, pod, addresses[name], step) for name, pod in pods_of(step).items()}
        policies = {policy.key: policy for policy in policies_of(step)}
        known = {each.id: each for each in pods.values()}
        facts: list[Fact] = [
            *(EndpointRemoved(number) for number in self.engine.endpoints.keys() - known.keys()),
            *(PolicyRemoved(key) for key in self.engine.policies.keys() - policies.keys()),
            *(EndpointUpserted(each) for each in known.values()),
            *map(PolicyUpserted, policies.values()),
        ]
        self.engine.change(facts)

    def say(self, pair: str, traffic: str) -> str:
        """Both ends' word on a flow, the receiver's first, as the data has it."""
        sender, receiver = (self.engine.endpoints[self._numbers[name]] for name in pair.split(">"))
        protocol, _, port = traffic.partition("/")
        ends = (Direction.INGRESS, receiver, sender), (Direction.EGRESS, sender, receiver)
        return "/".join(
            WORDS[
                self.engine.verdict(
                    own.id,
                    direction,
                    self.engine.identity_of_address(peer.ipv4 or b""),
                    PROTOCOLS[protocol],
                    int(port),
                ).kind
            ]
            for direction, own, peer in ends
        )

    def _endpoint(self, name: str, pod: dict[str, Any], address: str, step: dict[str, Any]) -> Endpoint:
        namespace = pod["NS"]
        number = self._numbers.setdefault(name, EndpointId(len(self._numbers) + 1))
        own = (Label("k8s", *pair) for pair in pod["Labels"].items())
        listens = (Listen(each["name"], PROTOCOLS[each["protocol"]], each["port"]) for each in pod["Ports"])
        return Endpoint(
            number,
            namespace,
            pod["Name"],
            labels_of_endpoint(namespace, own, step["Namespaces"][namespace]),
            pack_address(address),
            None,
            frozenset(listens),
        )


def pods_of(step: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {f"{each['NS']}/{each['Name']}": each for each in step["Pods"]}


def addresses_of(step: dict[str, Any]) -> dict[str, str]:
    """By pod. Each address is the first one's that has it."""
    found: dict[str, str] = {}
    for name, pod in pods_of(step).items():
        taken = pod["IP"] in found.values()
        assert not taken or "ipBlock" not in json.dumps(step["Policies"])
        found[name] = f"172.31.0.{len(found)}" if taken else pod["IP"]
    return found


def policies_of(step: dict[str, Any]) -> Iterator[Policy]:
    for number, document in enumerate(step["Policies"]):
        yield from parse_policies([Document(f"{number}.json", json.dumps(document))])


def test_every_step_of_every_case_on_one_engine() -> None:
    cluster = Cluster()
    wrong: dict[int, str] = {}
    cases, asked = set(), 0
    for number, step in network_policy_steps():
        cases.add(number)
        cluster.become(step)
        for pair, expected in step["Expected"].items():
            for traffic, words in expected.items():
                asked += 1
                said = cluster.say(pair, traffic)
                if said != words.rpartition("/")[0]:
                    wrong.setdefault(number, f"{pair} {traffic}: {said}, not {words}")
    assert not wrong
    assert (len(cases), asked) == (230, 123_669)
