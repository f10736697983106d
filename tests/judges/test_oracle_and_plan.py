"""Two of the three judges on random worlds, without a kernel: the naive oracle and the engine's plan."""

import json
import random
from collections import Counter
from collections.abc import Iterator
from ipaddress import ip_network
from itertools import chain, product
from typing import Any

import pytest

from kinety.model.address import pack_address
from kinety.model.label import labels_of_endpoint
from kinety.model.rule import Direction
from kinety.policy.error import PolicyError
from kinety.testing.oracle import Opinion, Oracle, Party, port
from tests.judges import cilium_traffic, vocabulary
from tests.judges.facts import difference, engine_of, objects_of
from tests.judges.opinion import check_plan, oracle_of
from tests.judges.question import questions
from tests.judges.shrink import smallest
from tests.judges.trial import disagree
from tests.judges.worlds import World, changed, ends, party, world

SEEDS = range(1, 41)


def ask(seed: int, scene: World, engine: Any, count: int) -> None:
    judge = oracle_of(scene)
    for question in questions(random.Random(seed), scene, count):
        check_plan(judge, engine, question)


@pytest.mark.parametrize("seed", SEEDS)
def test_they_agree_from_world_to_world(seed: int) -> None:
    """The engine goes on from change to change; the oracle starts afresh each time."""
    rng = random.Random(seed)
    scene = world(seed)
    engine = engine_of(scene)
    ask(seed, scene, engine, 100)
    for number in range(5):
        former, scene = scene, changed(rng, scene) if number < 4 else world(seed + 1)
        engine.change(difference(former, scene))
        ask(seed, scene, engine, 60)


def test_two_kinds_of_content_are_refused_where_they_meet(monkeypatch: pytest.MonkeyPatch) -> None:
    """In worlds where server names and requests are asked for at one port."""
    monkeypatch.setattr(cilium_traffic, "TLS_PORT", 80)
    refused = 0
    for seed in range(1, 121):
        scene = world(seed)
        try:
            engine = engine_of(scene)
        except PolicyError as error:
            refused += 1
            told = [finding.message for finding in error.findings if "asks for" not in finding.message]
            meets = any(is_conflict(each) for each in everything(scene, oracle_of(scene)))
            if told or not meets:
                raise AssertionError(f"seed {seed}: nothing conflicts here") from error
        else:
            ask(seed, scene, engine, 60)
    assert refused > 5


def is_conflict(opinion: Opinion) -> bool:
    return opinion.verdict == "conflict"


def everything(scene: World, oracle: Oracle) -> Iterator[Opinion]:
    """What is said of the ports where content may meet: of everybody there may be, named or not.

    Policies that are not in force conflict likewise: they are to be in force one day.
    """
    prefixes = [ip_network(each) for each in (*vocabulary.PREFIXES, *chain(*vocabulary.INSIDE.values()))]
    strangers = [
        party(labels_of_endpoint("elsewhere", ()), pack_address("203.0.113.77")),
        *(Party("outside", address=str(prefix[-1])) for prefix in prefixes),
        *(Party(entity, address="203.0.113.79") for entity in vocabulary.ABSENT_ENTITIES),
    ]
    everybody = [each.party for each in ends(scene)]
    judging = [each.party for each in ends(scene) if each.endpoint is not None or each.name == "host"]
    for own in judging:
        for peer in [*everybody, *strangers]:
            for direction, number, shadow in product(("ingress", "egress"), (80, 81), (False, True)):
                yield oracle.judge(own, direction, peer, 6, number, shadow=shadow)


def features(documents: Iterator[dict[str, Any]]) -> Counter[str]:
    """How often each word of the language is in documents: keys, and values that are words of it."""
    found: Counter[str] = Counter()
    words = {"In", "NotIn", "Exists", "DoesNotExist", "TCP", "UDP", "SCTP", "ANY", *vocabulary.ENTITIES}

    def walk(value: Any) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                found[key] += 1
                if inner == [] or inner == {}:
                    found[f"empty {key}"] += 1
                walk(inner)
        elif isinstance(value, list):
            for inner in value:
                if inner == {}:
                    found["says nothing"] += 1
                walk(inner)
        elif value in words:
            found[value] += 1

    for document in documents:
        found[document["kind"]] += 1
        walk(document)
    return found


def test_the_worlds_speak_the_whole_language() -> None:
    seen = features(each for seed in range(200) for each in world(seed).documents)
    sides = [
        f"{side}{kind}" for side in ("from", "to") for kind in ("Endpoints", "Entities", "CIDR", "CIDRSet")
    ]
    wanted = [
        *("CiliumNetworkPolicy", "CiliumClusterwideNetworkPolicy", "spec", "specs", "enableDefaultDeny"),
        *("ingress", "egress", "ingressDeny", "egressDeny", "empty ingress", "empty egress"),
        *(
            "matchLabels",
            "matchExpressions",
            "In",
            "NotIn",
            "Exists",
            "DoesNotExist",
            "empty endpointSelector",
        ),
        *(*sides, *(f"empty {side}" for side in sides), "says nothing", "except"),
        *("toPorts", "endPort", "TCP", "UDP", "SCTP", "ANY", "icmps", *vocabulary.ENTITIES),
        *("NetworkPolicy", "ClusterNetworkPolicy", "ipBlock", "networks", "domainNames"),
        *("cidrGroupRef", "cidrGroupSelector", "k8sService", "k8sServiceSelector", "toFQDNs"),
        *("fromNodes", "toNodes", "nodeSelector"),
        *("reserved:host", "k8s:io.kubernetes.pod.namespace", vocabulary.NAMESPACE_LABEL),
    ]
    assert not [word for word in wanted if seen[word] < 3]


def test_questions_are_about_everything() -> None:
    """Every protocol, both families and directions, and each kind of end, allowed as well as denied."""
    seen: Counter[object] = Counter()
    for seed in SEEDS:
        scene = world(seed)
        engine = engine_of(scene)
        judge = oracle_of(scene)
        for question in questions(random.Random(seed), scene, 100):
            for say in check_plan(judge, engine, question):
                seen[say.verdict, say.direction, "default" if say.rule == 0 else "rule"] += 1
                seen[question.protocol] += 1
                seen[question.protocol, question.port] += 1
                seen[question.source.party.kind, question.target.party.kind] += 1
    for way in Direction:
        for verdict in ("allow", "deny"):
            assert seen[verdict, way, "default"] > 50
            assert seen[verdict, way, "rule"] > 50
    for kinds in (("endpoint", "endpoint"), ("endpoint", "host"), ("host", "endpoint")):
        assert seen[kinds] > 20
    assert min(seen["endpoint", "outside"], seen["outside", "endpoint"]) > 50
    assert min(seen[protocol] for protocol in (1, 6, 17, 47, 58, 132)) > 50
    assert min(seen[echo] for echo in ((1, 8), (1, 0), (58, 128), (58, 129))) > 20, "asked and unasked for"


def test_a_disagreement_is_told_in_its_smallest_world(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a world with many rules, what is left to read is the one that is misread."""
    monkeypatch.setattr(port, "_ANY", (6, 17))
    for seed in SEEDS:
        scene = world(seed)
        for question in questions(random.Random(seed), scene, 100):
            if _differ(scene, question):
                small = smallest(scene, lambda candidate, about=question: _differ(candidate, about), 2000)
                text = json.dumps(small.documents)
                assert _differ(small, question)
                assert len(small.documents) == 1
                assert len(text) < 400, text
                assert objects_of(small.documents).policies
                return
    pytest.fail("nobody noticed")


def _differ(scene: World, question: Any) -> bool:
    def nothing(*_: object) -> None:
        """Only two judges sit here."""

    try:
        engine = engine_of(scene)
    except PolicyError:
        return False
    return disagree(nothing, nothing, engine, scene, question)
