"""What the oracle and the plan say to a question, and whether they say the same."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from kinety.model.address import Prefix, pack_address
from kinety.model.identity import Identity
from kinety.model.rule import DEFAULT_RULE, Direction, Policy, RuleId
from kinety.model.verdict import VerdictKind
from kinety.plan.engine import Engine
from kinety.plan.fact import (
    EndpointRemoved,
    EndpointUpserted,
    Fact,
    HostAddressesChanged,
    PeerRemoved,
    PeerUpserted,
    PolicyRemoved,
    PolicyUpserted,
)
from kinety.policy.document import Document
from kinety.policy.parse import parse_policies
from kinety.testing.oracle import Opinion, Oracle
from tests.judges.question import Question
from tests.judges.worlds import HOST, End, Workload, World

_WORDS = {VerdictKind.ALLOW: "allow", VerdictKind.DENY: "deny"}


@dataclass(frozen=True, slots=True)
class Say:
    """One endpoint's say: ``allow`` or ``deny``, by which rule (0: the default), about whom."""

    direction: Direction
    endpoint: int
    verdict: str
    rule: RuleId
    remote: Identity


class Disagreement(AssertionError):
    """Two judges say different things."""


def policies_of(documents: Iterable[dict[str, Any]]) -> tuple[Policy, ...]:
    """Documents as the engine takes them. Raises PolicyError."""
    return parse_policies([Document(f"{i}.json", json.dumps(each)) for i, each in enumerate(documents)])


def difference(before: World | None, after: World) -> list[Fact]:
    """The facts that turn one world into another; from nothing, when there was none."""
    facts: list[Fact] = []
    if before is None:
        facts.append(HostAddressesChanged(frozenset(map(pack_address, HOST.values()))))
        before = World(after.seed, (), (), ())
    here = {endpoint.id for endpoint in after.endpoints}
    facts += (EndpointRemoved(each.id) for each in before.endpoints if each.id not in here)
    facts += (EndpointUpserted(each) for each in after.endpoints if each not in before.endpoints)
    known = dict(_peers(before.elsewhere))
    wanted = dict(_peers(after.elsewhere))
    facts += (PeerRemoved(prefix) for prefix in sorted(known.keys() - wanted.keys()))
    facts += (PeerUpserted(prefix, labels) for prefix, labels in wanted.items())
    held = {policy.key: policy for policy in policies_of(before.documents)}
    new = {policy.key: policy for policy in policies_of(after.documents)}
    facts += (PolicyRemoved(key) for key in sorted(held.keys() - new.keys()))
    facts += (PolicyUpserted(policy) for policy in new.values())
    return facts


def _peers(workloads: Iterable[Workload]) -> Iterable[tuple[Prefix, Any]]:
    return ((Prefix(each, 128), one.labels) for one in workloads for each in (one.ipv4, one.ipv6))


def planned(engine: Engine, question: Question) -> list[Say]:
    """The plan's answers, for each side that judges."""
    return [_planned(engine, question, *side) for side in question.sides()]


def _planned(engine: Engine, question: Question, direction: Direction, own: End, peer: End) -> Say:
    assert own.endpoint is not None
    remote = engine.identity_of_address(peer.address)
    verdict = engine.verdict(own.endpoint.id, direction, remote, question.protocol, question.port)
    return Say(direction, own.endpoint.id, _WORDS[verdict.kind], verdict.rule, remote)


def check_plan(oracle: Oracle, engine: Engine, question: Question) -> list[Say]:
    """The plan's answers, which are the oracle's too. Raises Disagreement."""
    says = planned(engine, question)
    for say, (direction, own, peer) in zip(says, question.sides(), strict=True):
        word = direction.name.lower()
        opinion = oracle.judge(own.party, word, peer.party, question.protocol, question.port)
        if not _same(engine, say, opinion):
            raise Disagreement(
                f"{question}: {word}: the plan says {say.verdict} by {named(engine, say.rule)},"
                f" the oracle {opinion.verdict} by {sorted(opinion.rules) or 'default'}"
            )
    return says


def _same(engine: Engine, say: Say, opinion: Opinion) -> bool:
    if say.verdict != opinion.verdict:
        return False
    if say.rule == DEFAULT_RULE:
        return not opinion.rules
    return named(engine, say.rule) in opinion.rules


def named(engine: Engine, rule: RuleId) -> tuple[str, str] | str:
    """A rule as the oracle names it: policy and path."""
    if rule == DEFAULT_RULE:
        return "default"
    if rule not in engine.rules:
        return f"rule {rule}, which is not in force"
    origin = engine.rules[rule].origin
    return origin.policy.name if origin.line else "", origin.path
