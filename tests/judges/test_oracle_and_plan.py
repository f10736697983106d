"""Two of the three judges on random worlds: the naive oracle and the engine's plan."""

import json
import os
import random
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from kinety.model.address import pack_address
from kinety.model.endpoint import Endpoint
from kinety.model.identity import Identity
from kinety.model.rule import DEFAULT_RULE, Direction, PolicyKey
from kinety.model.verdict import VerdictKind
from kinety.plan.engine import Engine
from kinety.plan.fact import EndpointUpserted, HostAddressesChanged, PolicyRemoved, PolicyUpserted
from kinety.policy.document import Document
from kinety.policy.parse import parse_policies
from kinety.testing.oracle import Oracle, Party
from tests.judges.worlds import HOST, OUTSIDE, QUESTIONS, World, document, party, world

#: Questions of one run; `make soak` asks for more.
WANTED = int(os.environ.get("KINETY_QUESTIONS", "12000"))
SEED = int(os.environ.get("KINETY_SEED", "1"))
_WORDS = {VerdictKind.ALLOW: "allow", VerdictKind.DENY: "deny"}


@dataclass(frozen=True, slots=True)
class Peer:
    """The other end of a question, as both judges know it."""

    name: str
    party: Party
    address: bytes


def peers_of(scene: World) -> Iterator[Peer]:
    for endpoint in scene.endpoints:
        for address in (endpoint.ipv4, endpoint.ipv6):
            assert address is not None
            yield Peer(endpoint.name, party(endpoint), address)
    for text in OUTSIDE:
        yield Peer(text, Party("outside", address=text), pack_address(text))
    for text in HOST.values():
        yield Peer("host", Party("host", address=text), pack_address(text))


def engine_of(scene: World) -> Engine:
    engine = Engine()
    engine.change(
        [
            HostAddressesChanged(frozenset(map(pack_address, HOST.values()))),
            *map(EndpointUpserted, scene.endpoints),
            *(PolicyUpserted(policy) for policy in policies_of(*scene.documents)),
        ]
    )
    return engine


def policies_of(*documents: object) -> tuple[object, ...]:
    return parse_policies([Document(f"{i}.json", json.dumps(d)) for i, d in enumerate(documents)])


def compare(scene: World, engine: Engine, oracle: Oracle) -> int:
    """Ask both judges everything about a world; how many questions that were."""
    asked = 0
    for subject in scene.endpoints:
        for peer in peers_of(scene):
            if peer.name == subject.name:
                continue
            identity = engine.identity_of_address(peer.address)
            for direction in Direction:
                for protocol, port in QUESTIONS:
                    asked += 1
                    question = (direction, identity, protocol, port)
                    check(scene, engine, oracle, subject, peer, question)
    return asked


def check(
    scene: World,
    engine: Engine,
    oracle: Oracle,
    subject: Endpoint,
    peer: Peer,
    question: tuple[Direction, Identity, int, int],
) -> None:
    direction, identity, protocol, port = question
    verdict = engine.verdict(subject.id, direction, identity, protocol, port)
    opinion = oracle.judge(party(subject), direction.name.lower(), peer.party, protocol, port)
    rules = set()
    if verdict.rule != DEFAULT_RULE:
        origin = engine.rules[verdict.rule].origin
        rules = {(origin.policy.name if origin.line else "", origin.path)}
    agree = _WORDS[verdict.kind] == opinion.verdict and (
        rules <= opinion.rules if opinion.rules else not rules
    )
    assert agree, (
        f"seed {scene.seed}: {subject.name} {direction.name} {peer.name} protocol {protocol} port {port}:"
        f" plan {_WORDS[verdict.kind]} by {rules or 'default'}, oracle {opinion.verdict} by"
        f" {set(opinion.rules) or 'default'}\n{json.dumps(scene.documents, indent=1)}"
    )


def test_oracle_and_plan_agree_on_random_worlds() -> None:
    asked, seed = 0, SEED
    while asked < WANTED:
        scene = world(seed)
        asked += compare(scene, engine_of(scene), Oracle(scene.documents))
        seed += 1
    assert asked >= WANTED


@pytest.mark.parametrize("seed", range(SEED, SEED + 4))
def test_they_agree_after_every_change_of_policies_and_labels(seed: int) -> None:
    """The engine goes on from change to change; the oracle starts afresh each time."""
    rng = random.Random(seed)
    scene = world(seed)
    engine = engine_of(scene)
    documents = {(d["kind"], d["metadata"]["name"]): d for d in scene.documents}
    for step in range(6):
        match rng.choice(["put", "drop", "relabel"]):
            case "put":
                fresh = document(rng, rng.randint(0, 4))
                (policy,) = policies_of(fresh)
                key = (fresh["kind"], fresh["metadata"]["name"])
                if key in documents:
                    engine.change([PolicyRemoved(_key(documents[key]))])
                documents[key] = fresh
                engine.change([PolicyUpserted(policy)])
            case "drop" if documents:
                gone = documents.pop(rng.choice(list(documents)))
                engine.change([PolicyRemoved(_key(gone))])
            case _:
                donor = world(seed * 1000 + step).endpoints[0]
                first = scene.endpoints[0]
                moved = Endpoint(first.id, donor.namespace, first.name, donor.labels, first.ipv4, first.ipv6)
                engine.change([EndpointUpserted(moved)])
                scene = World(seed, (moved, *scene.endpoints[1:]), scene.documents)
        scene = World(seed, scene.endpoints, tuple(documents.values()))
        compare(scene, engine, Oracle(scene.documents))


def _key(found: dict[str, object]) -> PolicyKey:
    (policy,) = policies_of(found)
    return policy.key  # type: ignore[attr-defined, no-any-return]
