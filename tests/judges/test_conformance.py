"""The reference engine's own cases: oracle and plan agree with it, and with each other on the rule.

An identity of the data that is a prefix stands for its addresses that no policy of the case names more
precisely; one of those is asked about. One plan goes through all cases, as a node would that is given
one set of policies after the other.

The entity ``cluster`` is judged as the engine took it in the data (`tests.conformance.as_understood`).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Network

import pytest

from kinety.model.address import pack_address
from kinety.model.endpoint import Endpoint, EndpointId, Listen
from kinety.model.label import NAMESPACE_KEY, Labels
from kinety.model.rule import Direction, Policy, PolicyKey
from kinety.plan.engine import Engine
from kinety.plan.fact import EndpointUpserted, PolicyRemoved, PolicyUpserted
from kinety.testing.oracle import Oracle, Party
from tests.conformance import (
    Case,
    Flow,
    address_in,
    connectivity_cases,
    is_later,
    is_server,
    named_prefixes,
    parsed,
    prefix_of,
    random_cases,
    refused_by_the_engine,
    understood,
)
from tests.judges.opinion import check_plan
from tests.judges.question import Question
from tests.judges.worlds import End, party

pytestmark = pytest.mark.needs("conformance")

_SERVER_PORT = Listen("http-8080", 6, 8080)
#: The data says "allowed" of what a proxy may still refuse.
_WORDS = {"allow": "allowed", "redirect": "allowed", "deny": "denied"}


@dataclass(slots=True)
class Count:
    """Cases and flows that were asked, and cases that were left out.

    ``beyond`` use a part of the language that is not supported yet.
    """

    cases: int = 0
    flows: int = 0
    beyond: int = 0
    without_flows: int = 0


@dataclass(slots=True)
class Node:
    """The plan, with an endpoint for every pod of the cast that was seen."""

    engine: Engine = field(default_factory=Engine)
    pods: dict[Labels, Endpoint] = field(default_factory=dict)
    held: set[PolicyKey] = field(default_factory=set)

    def meet(self, case: Case) -> None:
        """Have an endpoint for each pod in a case."""
        for flow in case.flows:
            for labels in (flow.source, flow.target):
                if labels in self.pods or prefix_of(labels) is not None:
                    continue
                number = len(self.pods) + 1
                (namespace,) = (each.value for each in labels if each.key == NAMESPACE_KEY)
                address = pack_address(f"203.0.113.{number}")
                listens = frozenset({_SERVER_PORT} if is_server(labels) else ())
                pod = Endpoint(EndpointId(number), namespace, f"pod{number}", labels, address, None, listens)
                self.pods[labels] = pod
                self.engine.change([EndpointUpserted(pod)])

    def put(self, policies: list[Policy]) -> None:
        """Have these policies and no others."""
        wanted = {policy.key for policy in policies}
        self.engine.change([*map(PolicyRemoved, sorted(self.held - wanted)), *map(PolicyUpserted, policies)])
        self.held = wanted

    def end(self, labels: Labels, named: list[IPv4Network]) -> End:
        """An identity of the data as judges know it."""
        if labels in self.pods:
            pod = self.pods[labels]
            assert pod.ipv4 is not None
            return End(pod.name, party(labels, pod.ipv4, pod.listens), pod.ipv4, pod)
        prefix = prefix_of(labels)
        assert prefix is not None
        address = address_in(prefix, named)
        return End(str(prefix), Party("outside", address=address), pack_address(address))


def judge(cases: Iterator[Case]) -> tuple[Count, list[str]]:
    """Every case inside the language; what was asked, and where the data says something else."""
    node, count, differing = Node(), Count(), []
    for case in map(understood, cases):
        policies, refused = parsed(case)
        if any(is_later(refused[number]) for number in refused.keys() - refused_by_the_engine(case)):
            count.beyond += 1
            continue
        if not case.flows:
            count.without_flows += 1
            continue
        node.meet(case)
        node.put(policies)
        named = named_prefixes(case)
        cast = {labels: None for flow in case.flows for labels in (flow.source, flow.target)}
        ends = {labels: node.end(labels, named) for labels in cast}
        oracle = Oracle(each for number, each in enumerate(case.documents) if number not in refused)
        count.cases += 1
        count.flows += len(case.flows)
        for flow in case.flows:
            said = ask(node, oracle, flow, ends)
            differing += [f"{case.name}: {flow}: {said}"] * (not _as_the_data_says(flow, said))
    return count, differing


def ask(node: Node, oracle: Oracle, flow: Flow, ends: dict[Labels, End]) -> dict[Direction, str]:
    """What oracle and plan agree on. Raises Disagreement."""
    question = Question(ends[flow.source], ends[flow.target], flow.protocol, flow.port)
    return {say.direction: _WORDS[say.verdict] for say in check_plan(oracle, node.engine, question)}


def _as_the_data_says(flow: Flow, said: dict[Direction, str]) -> bool:
    given = {Direction.EGRESS: flow.egress, Direction.INGRESS: flow.ingress}
    return said == {direction: word for direction, word in given.items() if word is not None}


SUITES = {
    "random": (random_cases, Count(cases=1200, flows=55_200)),
    "connectivity": (connectivity_cases, Count(cases=81, flows=19_440, beyond=9)),
}


@pytest.mark.parametrize("suite", SUITES)
def test_every_case_inside_the_language(suite: str) -> None:
    cases, expected = SUITES[suite]
    count, differing = judge(cases())
    assert not differing, "\n".join(differing[:20])
    assert count == expected, "the part of the data that is judged has changed"
