"""Differences between random worlds of the whole language, against what the plan says before and after."""

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

from kinety.explain.difference import Difference, difference
from kinety.explain.traffic import number_of
from kinety.model.address import Prefix
from kinety.model.identity import Identity, ReservedIdentity
from kinety.plan.engine import Engine
from kinety.policy.error import PolicyError
from tests.judges import facts
from tests.judges.opinion import Say, planned
from tests.judges.question import Question, questions
from tests.judges.worlds import World, world

SEEDS = range(60)
_WORLD = (ReservedIdentity.WORLD_IPV4, ReservedIdentity.WORLD_IPV6)


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
        before = [planned(engine, each) for each in asked]
        engine.change(facts.difference(scene, after))
        for question, former in zip(asked, before, strict=True):
            sides = zip(former, planned(engine, question), question.sides(), strict=True)
            for was, will, (_, _, other) in sides:
                said = told(found, engine, will, peer_of(engine, found, other.address), question)
                changed = (was.verdict, was.content) != (will.verdict, will.content)
                assert said == ([(was.verdict, will.verdict)] if changed else []), f"{scene.seed}: {question}"
                seen[changed] += 1
    assert seen[False] > 1000
    assert seen[True] > 500


def told(
    found: Difference, engine: Engine, say: Say, peer: Identity, question: Question
) -> list[tuple[str, str]]:
    """What a difference says of one side of a question."""
    subject = engine.endpoint_plan(say.endpoint).identity  # type: ignore[arg-type]
    number = number_of(question.protocol, question.port)
    return [
        (each.before.kind.name.lower(), each.after.kind.name.lower())
        for each in found.changes
        if each.direction is say.direction
        and subject in each.subjects
        and peer in each.peers
        and any(first <= number <= last for first, last in each.traffic)
    ]


def peer_of(engine: Engine, found: Difference, address: bytes) -> Identity:
    """Who an address was to others in the middle of the change, which is over now.

    Managed addresses keep what they got until the next change; prefixes of policies that went are gone.
    """
    now = engine.identity_of_address(address)
    if now not in _WORLD and now not in found.prefixes:
        return now
    own = Prefix(address, 128)
    around = [(prefix.length, identity) for identity, prefix in found.prefixes.items() if prefix.covers(own)]
    return max(around)[1] if around else now
