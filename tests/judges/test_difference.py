"""Differences between random worlds of the whole language, against what the plan says before and after."""

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

from kinety.explain.difference import Difference, difference
from kinety.explain.pattern import outcome
from kinety.explain.traffic import number_of
from kinety.model.identity import Identity, ReservedIdentity
from kinety.model.rule import Direction
from kinety.model.verdict import Verdict, VerdictKind
from kinety.plan.engine import Engine
from kinety.policy.error import PolicyError
from tests.judges import facts
from tests.judges.question import Question, questions
from tests.judges.worlds import End, World, world
from tests.unit.explain.everyone import identity_at

SEEDS = range(60)
#: Direction, who judges, and whom.
Side = tuple[Direction, End, End]


def other_policies(rng: random.Random, scene: World) -> World:
    """The same world with other policies: some gone, some of another world's added."""
    kept = [each for each in scene.documents if rng.random() < 0.6]
    names = {(each["kind"], each["metadata"]["name"]) for each in kept}
    more = [
        each
        for each in world(scene.seed + 1000).documents
        if rng.random() < 0.6 and (each["kind"], each["metadata"]["name"]) not in names
    ]
    return replace(scene, documents=(*kept, *more))


def pairs() -> Iterator[tuple[World, World, Engine]]:
    """Worlds before and after, and the engine before; without policies that conflict."""
    for seed in SEEDS:
        scene = world(seed)
        after = other_policies(random.Random(seed), scene)
        try:
            facts.engine_of(after)
            yield scene, after, facts.engine_of(scene)
        except PolicyError:
            continue


def test_a_difference_is_what_the_plan_says_before_and_after() -> None:
    seen: Counter[object] = Counter()
    for scene, after, engine in pairs():
        found = difference(engine, facts.difference(scene, after))
        asked = questions(random.Random(scene.seed), scene, 150)
        before = [list(verdicts(engine, each)) for each in asked]
        engine.change(facts.difference(scene, after))
        for question, former in zip(asked, before, strict=True):
            for was, will, side in zip(former, verdicts(engine, question), sides(question), strict=True):
                kinds = was.kind, will.kind
                changed = outcome(was) != outcome(will)
                assert told(found, engine, question, side) == ([kinds] if changed else []), (
                    f"{scene.seed}: {question}"
                )
                seen[changed] += 1
    assert seen[False] > 1000
    assert seen[True] > 500


def sides(question: Question) -> tuple[Side, ...]:
    """Who has a say: endpoints, and the node about itself."""
    return (*question.sides(), *question.host_sides())


def verdicts(engine: Engine, question: Question) -> Iterator[Verdict]:
    """What the plan says, for each side."""
    for direction, own, other in sides(question):
        subject = ReservedIdentity.HOST if own.endpoint is None else own.endpoint.id
        peer = engine.identity_of_address(other.address)
        yield engine.verdict(subject, direction, peer, question.protocol, question.port)


def told(
    found: Difference, engine: Engine, question: Question, side: Side
) -> list[tuple[VerdictKind, VerdictKind]]:
    """What a difference says of one side of a question."""
    direction, own, other = side
    host = Identity(ReservedIdentity.HOST)
    subject = host if own.endpoint is None else engine.endpoint_plan(own.endpoint.id).identity
    peer = identity_at(engine, found, other.address)
    number = number_of(question.protocol, question.port)
    return [
        (each.before.kind, each.after.kind)
        for each in found.changes
        if each.direction is direction
        and subject in each.subjects
        and peer in each.peers
        and any(first <= number <= last for first, last in each.traffic)
    ]
