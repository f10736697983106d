"""Policies and verdicts of the reference engine: what it refuses is refused, what it decides is decided.

The verdicts come from a naive evaluation of our rules, written here in a few lines, so that these
tests judge the reading of documents and nothing else, whether or not the rules are in force yet. A rule
that asks for content allows here, as it does in the data; nobody told the engine of services or of DNS,
so peers by these are nobody.

Cases of which a document is refused though the engine takes it are left out, and counted. Cases with
the entity ``cluster`` are left out too: the tool that computed the verdicts never told the engine which
labels make a cluster, so there the entity selects no pod. The documented meaning includes them.
"""

from collections.abc import Iterator

import pytest

from kinety.model.address import Prefix
from kinety.model.label import CIDR, RESERVED, Label, Labels
from kinety.model.rule import Action, Direction, NamedPort, Policy, Rule
from kinety.model.selector import (
    BlockSelector,
    CidrSelector,
    EntitySelector,
    FqdnSelector,
    LabelSelector,
    PeerSelector,
)
from tests.conformance import (
    Case,
    connectivity_cases,
    names_cluster,
    parsed,
    random_cases,
    refused_by_the_engine,
)

#: The one port of the cast that has a name.
ECHO, ECHO_PORT, ECHO_NAME = Label("k8s", "kind", "echo"), (6, 8080), NamedPort(6, "http-8080")

pytestmark = pytest.mark.needs("conformance")


def selects(selector: PeerSelector, peer: Labels) -> bool:
    match selector:
        case LabelSelector():
            return selector.matches(peer)
        case EntitySelector(entity):
            return Label(RESERVED, entity) in peer or (
                entity == "world" and any(label.key.startswith("world") for label in peer)
            )
        case FqdnSelector():
            return False
        case CidrSelector(prefix, excepted) | BlockSelector(prefix, excepted):
            own = [Prefix.parse(label.key) for label in peer if label.source == CIDR]
            return any(
                prefix.contains(each) and not any(hole.contains(each) for hole in excepted) for each in own
            )


def decides(rule: Rule, subject: Labels, peer: Labels, protocol: int, port: int) -> bool:
    receiver = subject if rule.direction is Direction.INGRESS else peer
    return (rule.peers is None or any(selects(selector, peer) for selector in rule.peers)) and (
        rule.ports is None
        or any(each.protocol == protocol and each.first <= port <= each.last for each in rule.ports)
        or (ECHO in receiver and (protocol, port) == ECHO_PORT and ECHO_NAME in rule.named_ports)
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
    actions = {rule.action for rule in rules if decides(rule, subject, peer, protocol, port)}
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
    """Cases and flows that are judged, and what differs there."""
    count = flows = 0
    differing: list[str] = []
    for case in cases:
        policies, refused = parsed(case)
        if refused.keys() != refused_by_the_engine(case) or names_cluster(case):
            continue
        count += 1
        flows += len(case.flows)
        differing += disagreements(case, policies)
    return count, flows, differing


#: Manifests of the connectivity suite that the engine accepts, and the field for which they are refused here.
OURS = {
    "client-egress-l7-tls-other-sni.yaml": "terminatingTLS",
    "client-egress-l7-tls-port-range.yaml": "terminatingTLS",
    "client-egress-l7-tls-sni.yaml": "terminatingTLS",
    "client-egress-l7-tls.yaml": "terminatingTLS",
    "client-egress-to-fqdns-and-ccec-listener.yaml": "listener",
    "echo-ingress-mutual-authentication-fail-port-range.yaml": "authentication",
    "echo-ingress-mutual-authentication-fail.yaml": "authentication",
    "echo-ingress-mutual-authentication-port-range.yaml": "authentication",
    "echo-ingress-mutual-authentication.yaml": "authentication",
}


def test_of_the_random_documents_those_are_refused_that_the_engine_refuses() -> None:
    documents, refusals = 0, 0
    for case in random_cases():
        _, refused = parsed(case)
        assert refused.keys() == refused_by_the_engine(case), f"{case.name}: {refused}"
        documents += len(case.documents)
        refusals += len(refused)
    assert (documents, refusals) == (3378, 268)


def test_of_the_connectivity_suite_only_what_is_documented_is_refused() -> None:
    found = {
        case.name: error.path.rpartition(".")[2]
        for case in connectivity_cases()
        for error in parsed(case)[1].values()
    }
    assert found == OURS


def test_verdicts_of_random_policies() -> None:
    count, flows, differing = judged(random_cases())
    assert (count, flows) == (927, 42_642), "the part of the data that is judged has changed"
    assert not differing, "\n".join(differing[:20])


def test_verdicts_of_the_connectivity_suite() -> None:
    count, flows, differing = judged(connectivity_cases())
    assert (count, flows) == (79, 18_960), "the part of the data that is judged has changed"
    assert not differing, "\n".join(differing[:20])
