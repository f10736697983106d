"""Policies and verdicts of the reference engine: what it refuses is refused, what it decides is decided.

The verdicts come from a naive evaluation of our rules, written here in a few lines, so that these
tests judge the reading of documents and nothing else. Cases outside the supported part of the
language are left out by what the parser says about them, "not supported yet", and counted.

Cases with the entity ``cluster`` are left out too: the tool that computed the verdicts never told
the engine which labels make a cluster, so there the entity selects no pod. The documented meaning
includes them.
"""

import json
import lzma
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest

from kinety.model.address import Prefix
from kinety.model.label import CIDR, RESERVED, Label, Labels
from kinety.model.rule import Action, Direction, Policy, Rule
from kinety.model.selector import CidrSelector, EntitySelector, LabelSelector, PeerSelector
from kinety.policy.document import Document
from kinety.policy.error import PolicyError
from kinety.policy.parse import parse_policies
from tests.feature import CONFORMANCE

pytestmark = pytest.mark.needs("conformance")

PROTOCOLS = {"TCP": 6, "UDP": 17, "SCTP": 132}
#: Identities from here on are prefixes; their own side of a verdict means nothing.
FIRST_PREFIX = 1 << 24


@dataclass(frozen=True, slots=True)
class Flow:
    source: Labels
    target: Labels
    protocol: int
    port: int
    #: What the engine says, None where the subject is no endpoint.
    egress: str | None
    ingress: str | None


@dataclass(frozen=True, slots=True)
class Case:
    name: str
    documents: tuple[dict[str, Any], ...]
    errors: tuple[str, ...]
    flows: tuple[Flow, ...]


@cache
def data(name: str) -> dict[str, Any]:
    with lzma.open(CONFORMANCE / f"{name}.json.xz", "rt") as stream:
        found: dict[str, Any] = json.load(stream)
    return found


def labels(texts: Iterable[str]) -> Labels:
    return frozenset(Label.parse(text) for text in texts)


def flow(
    identities: dict[int, Labels], source: int, target: int, protocol: str, port: int, said: str
) -> Flow:
    egress, ingress = said.split("/")
    return Flow(
        identities[source],
        identities[target],
        PROTOCOLS[protocol],
        port,
        egress if source < FIRST_PREFIX else None,
        ingress if target < FIRST_PREFIX else None,
    )


def random_cases() -> Iterator[Case]:
    found = data("cnp-random")
    identities = {int(number): labels(texts) for number, texts in found["identities"].items()}
    for case in found["cases"]:
        flows = tuple(flow(identities, *each) for each in case["flows"])
        yield Case(case["n"], tuple(case["policies"]), tuple(case["errors"] or ()), flows)


def connectivity_cases() -> Iterator[Case]:
    found = data("cnp-connectivity")
    identities = {int(number): labels(each["labels"]) for number, each in found["identities"].items()}
    for case in found["cases"]:
        flows = tuple(
            flow(identities, each["from"], each["to"], each["proto"], each["port"], each["verdict"])
            for each in case["verdicts"] or ()
            if not each["verdict"].startswith("error")
        )
        yield Case(case["name"], tuple(case["policies"]), tuple(case["errors"] or ()), flows)


def parsed(case: Case) -> tuple[list[Policy], dict[int, PolicyError]]:
    """The policies of a case one by one, and the errors of those that are refused."""
    policies: list[Policy] = []
    refused: dict[int, PolicyError] = {}
    for number, document in enumerate(case.documents):
        try:
            policies += parse_policies([Document(f"{number}.json", json.dumps(document))])
        except PolicyError as error:
            refused[number] = error
    return policies, refused


def is_later(error: PolicyError) -> bool:
    return all("not supported yet" in finding.message for finding in error.findings)


def refused_by_the_engine(case: Case) -> set[int]:
    return {int(each.split()[1].rstrip(":")) for each in case.errors if each.startswith("policy ")}


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
        policies, refused = parsed(case)
        beyond = any(
            is_later(error) for number, error in refused.items() if number not in refused_by_the_engine(case)
        )
        if beyond or '"cluster"' in json.dumps(case.documents) or not case.flows:
            continue
        count += 1
        flows += len(case.flows)
        differing += disagreements(case, policies)
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
    assert (count, flows) == (44, 10_560), "the part of the data that is judged has changed"
    assert not differing, "\n".join(differing[:20])
