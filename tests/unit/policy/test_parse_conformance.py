"""Policies and verdicts of the reference engine: what it refuses is refused, what it decides is decided.

The verdicts come from a naive evaluation of our rules, written here in a few lines, so that these
tests judge the reading of documents and nothing else. Cases outside the supported part of the
language are left out by what the parser says about them, "not supported yet", and counted.

Cases with the entity ``cluster`` are left out too: the tool that computed the verdicts never told
the engine which labels make a cluster, so there the entity selects no pod. The documented meaning
includes them.
"""

from collections.abc import Iterator
from typing import Any

import pytest

from kinety.model.address import Prefix
from kinety.model.label import CIDR, RESERVED, Label, Labels
from kinety.model.rule import Action, Direction, Policy, Rule
from kinety.model.selector import CidrSelector, EntitySelector, LabelSelector, PeerSelector
from tests.conformance import (
    Case,
    connectivity_cases,
    in_language,
    is_later,
    names_cluster,
    parsed,
    random_cases,
    refused_by_the_engine,
)

pytestmark = pytest.mark.needs("conformance")


def selects(selector: PeerSelector, peer: Labels) -> bool:
    match selector:
        case LabelSelector():
            return selector.matches(peer)
        case EntitySelector(entity):
            return Label(RESERVED, entity) in peer or (
                entity == "world" and any(label.key.startswith("world") for label in peer)
            )
        case CidrSelector(prefix, excepted):
            own = [Prefix.parse(label.key) for label in peer if label.source == CIDR]
            return any(
                prefix.contains(each) and not any(hole.contains(each) for hole in excepted) for each in own
            )


def decides(rule: Rule, peer: Labels, protocol: int, port: int) -> bool:
    return (rule.peers is None or any(selects(selector, peer) for selector in rule.peers)) and (
        rule.ports is None
        or any(each.protocol == protocol and each.first <= port <= each.last for each in rule.ports)
    )


def verdict(
    policies: list[Policy], direction: Direction, subject: Labels, peer: Labels, protocol: int, port: int
) -> str:
    rules = [
        rule
        for policy in policies
        for rule in policy.rules
        if rule.direction is direction and rule.subject.matches(subject)
    ]
    actions = {rule.action for rule in rules if decides(rule, peer, protocol, port)}
    if Action.DENY in actions:
        return "denied"
    isolated = any(rule.default_deny for rule in rules)
    return "allowed" if Action.ALLOW in actions or not isolated else "denied"


def disagreements(case: Case, policies: list[Policy]) -> Iterator[str]:
    for each in case.flows:
        about = (each.protocol, each.port)
        egress = verdict(policies, Direction.EGRESS, each.source, each.target, *about)
        ingress = verdict(policies, Direction.INGRESS, each.target, each.source, *about)
        if each.egress not in (None, egress) or each.ingress not in (None, ingress):
            yield f"{case.name}: {each}: {egress}/{ingress}"


def judged(cases: Iterator[Case]) -> tuple[int, int, list[str]]:
    """Cases and flows that are inside the supported language, and what differs there."""
    count = flows = 0
    differing: list[str] = []
    for case in cases:
        spoken = in_language(case)
        if spoken is None or names_cluster(case) or not case.flows:
            continue
        count += 1
        flows += len(case.flows)
        differing += disagreements(case, spoken[0])
    return count, flows, differing


@pytest.mark.parametrize("cases", [random_cases, connectivity_cases])
def test_what_the_engine_refuses_is_refused_and_nothing_else(cases: Any) -> None:
    wrong = []
    for case in cases():
        _, refused = parsed(case)
        expected = refused_by_the_engine(case)
        wrong += [f"{case.name}: document {number} was accepted" for number in expected - refused.keys()]
        wrong += [
            f"{case.name}: {error}"
            for number, error in refused.items()
            if number not in expected and not is_later(error)
        ]
    assert not wrong, "\n".join(wrong[:20])


def test_verdicts_of_random_policies() -> None:
    count, flows, differing = judged(random_cases())
    assert (count, flows) == (726, 33_396), "the part of the data that is judged has changed"
    assert not differing, "\n".join(differing[:20])


def test_verdicts_of_the_connectivity_suite() -> None:
    count, flows, differing = judged(connectivity_cases())
    assert (count, flows) == (51, 12_240), "the part of the data that is judged has changed"
    assert not differing, "\n".join(differing[:20])
