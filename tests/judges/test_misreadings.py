"""The questions are sharp enough: a judge that reads one thing wrongly is soon contradicted.

Each misreading here is one that somebody has had, of the field or of this project. The plans
are made once; then the oracle is made to misread, and has to disagree somewhere.
"""

import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

import pytest

from kinety.plan.engine import Engine
from kinety.testing.oracle import (
    address,
    cilium,
    cilium_peer,
    cluster_network,
    judge,
    kubernetes,
    name,
    port,
    selector,
    surroundings,
)
from kinety.testing.oracle.statement import Question, Span, Statement
from kinety.testing.oracle.surroundings import Surroundings
from tests.judges import question as asked
from tests.judges.facts import engine_of
from tests.judges.opinion import Disagreement, check_plan, oracle_of
from tests.judges.worlds import World, world

#: Seed of the first world, and how many a misreading may take.
FIRST, MOST = 2000, 1000

in_block, in_cidr = address.in_block, address.in_cidr
span_of, named_span = port.span_of, port.named_span
first, together, wins = judge._first, judge._together, judge._is_no_wider
spans, is_pod = kubernetes._spans, kubernetes.is_pod
in_service = Surroundings.in_service
_Item = Mapping[str, Any]


def without_end(item: _Item, about: Question, *, absent: str = "ANY") -> Iterator[Span]:
    return span_of({key: inner for key, inner in item.items() if key != "endPort"}, about, absent=absent)


def without(*kinds: str) -> Callable[[_Item, str, Any, str, Surroundings], bool]:
    """Reads rules as if some of their lists were not there."""
    read = cilium_peer.names

    def misread(rule: _Item, side: str, peer: Any, namespace: str, around: Surroundings) -> bool:
        left = {key: inner for key, inner in rule.items() if key not in {f"{side}{kind}" for kind in kinds}}
        return read(left, side, peer, namespace, around)

    return misread


def empty_is_none(read: Callable[[_Item, Question], Iterator[Span]]) -> Any:
    return lambda rule, about: () if rule.get("ports") == [] else read(rule, about)


def owner_is_the_subject(text: str, about: Question) -> Iterator[Span]:
    for each, protocol, number in about.subject.ports:
        if (each, protocol, number) == (text.lower(), about.protocol, about.port):
            yield number, number


def later(said: Iterator[Statement]) -> Any:
    """The last rule that speaks decides."""
    ordered = sorted(said, key=lambda each: each.place)
    return first(ordered[-1:])


def by_name(said: Iterator[Statement]) -> Any:
    """Policies are asked by name alone."""
    return first(replace(each, place=each.place[1:]) for each in said)


def past_pass(said: Iterator[Statement]) -> Any:
    return first(each for each in said if each.action != "pass")


def only_first(said: list[Statement]) -> Any:
    """The content of the first rule alone."""
    return together([each for each in said if not each.content] + [each for each in said if each.content][:1])


#: Where the oracle reads something, and what it reads instead.
MISREADINGS: dict[str, tuple[Any, str, Any]] = {
    # Cilium's kinds
    "everything isolates": (cilium, "_isolates", lambda spec, direction: True),
    "nothing isolates": (cilium, "_isolates", lambda spec, direction: False),
    "a prefix reaches endpoints": (cilium_peer, "in_cidr", in_block),
    "an exception is ignored": (cilium_peer, "in_cidr", lambda peer, prefix, _=(): in_cidr(peer, prefix)),
    "an end of a range is ignored": (cilium, "span_of", without_end),
    "ANY leaves out SCTP": (port, "_ANY", (6, 17)),
    "cluster is the world too": (cilium_peer, "_is_entity", lambda peer, text: text in ("all", "cluster")),
    "peers are of any namespace": (
        cilium_peer,
        "_selects",
        lambda found, peer, _: all(
            cilium_peer.matches(each, lambda key: cilium_peer._values(peer, key)) for each in found
        ),
    ),
    "who lacks a reserved label is anybody": (cilium_peer, "keys_wanted", selector.keys),
    "an ICMP type is any type": (
        cilium,
        "icmp_span",
        lambda field, about: [(0, 255)] * (about.protocol in (1, 58)),
    ),
    "what is required is ignored": (cilium, "names", without("Requires")),
    "nodes are ignored": (cilium, "names", without("Nodes")),
    "an endpoint selector is about nodes": (
        cilium,
        "_is_subject",
        lambda spec, party, namespace: party.kind == "host",
    ),
    # What is told elsewhere
    "a name of a port is the subject's": (port, "named_span", owner_is_the_subject),
    "a name of a port is spelled as written": (
        port,
        "named_span",
        lambda text, about: named_span(text, about) if text == text.lower() else (),
    ),
    "exceptions do not hold in groups": (
        surroundings,
        "in_cidr",
        lambda peer, prefix, _=(): in_cidr(peer, prefix),
    ),
    "any group that is selected is every group": (surroundings, "_is_group", lambda group, item: True),
    "services are of any namespace": (
        Surroundings,
        "in_service",
        lambda self, peer, item, namespace: in_service(self, peer, item, ""),
    ),
    "a service is every pod": (Surroundings, "_serves", lambda self, peer, item: peer.kind == "endpoint"),
    "a pattern of names is any name": (name, "matches", lambda pattern, text: True),
    "a deep pattern is a shallow one": (cluster_network, "_pattern", lambda text: text.lower()),
    # Content
    "content is ignored": (cilium, "content_of", lambda item, namespace: frozenset()),
    "every plain rule swallows content": (judge, "_is_no_wider", lambda plain, asking: True),
    "no plain rule does": (judge, "_is_no_wider", lambda plain, asking: False),
    "one that is no wider than some does": (
        judge,
        "_is_no_wider",
        lambda plain, asking: any(wins(plain, [each]) for each in asking),
    ),
    "only the first rule's content passes": (judge, "_together", only_first),
    # Kubernetes' kinds
    "a block does not cover pods": (kubernetes, "in_block", in_cidr),
    "a network does not cover pods": (cluster_network, "in_block", in_cidr),
    "exceptions of blocks are ignored": (
        kubernetes,
        "in_block",
        lambda peer, prefix, _=(): in_block(peer, prefix),
    ),
    "an empty list of ports is no port": (kubernetes, "_spans", empty_is_none(spans)),
    "a policy is always about both directions": (
        kubernetes,
        "_directions",
        lambda spec: {"ingress", "egress"},
    ),
    "pods are of any namespace": (kubernetes, "_is_in", lambda party, namespace: True),
    "ports are of any protocol": (
        kubernetes,
        "span_of",
        lambda item, about, absent: span_of(item, about, absent="ANY"),
    ),
    "namespaces are not told apart": (
        kubernetes,
        "is_pod",
        lambda party, pods=None, namespaces=None: is_pod(party, pods),
    ),
    "namespaces have no names": (kubernetes, "_namespace_values", lambda party, key: []),
    # Modes
    "everything is in force": (judge, "_is_in_force", lambda document: True),
    "what is staged is in force": (
        judge,
        "_is_in_force",
        lambda document: "kinety.io/audit" not in (document["metadata"].get("annotations") or {}),
    ),
    # Tiers
    "the last rule of a tier decides": (judge, "_first", later),
    "pass is nothing": (judge, "_first", past_pass),
    "there is no order by priority": (judge, "_first", by_name),
    "baseline is admin": (cluster_network, "_tier", lambda document: "admin"),
    "an older baseline comes first": (cluster_network, "_LAST", 0),
    "protocols of ranges are ignored": (
        cluster_network,
        "range_span",
        lambda start, end, protocol, about: [(start, end)] * (start <= about.port <= end),
    ),
}


@dataclass(slots=True)
class Trials:
    """Worlds with questions about them, on which plan and oracle agree when nobody misreads."""

    made: list[tuple[World, Engine, list[asked.Question]]] = field(default_factory=list)

    def __iter__(self) -> Iterator[tuple[World, Engine, list[asked.Question]]]:
        for number in range(MOST):
            if number == len(self.made):
                scene = world(FIRST + number)
                about = asked.questions(random.Random(FIRST + number), scene, 60)
                self.made.append((scene, engine_of(scene), about))
            yield self.made[number]


@pytest.fixture(scope="module")
def trials() -> Trials:
    return Trials()


def test_nothing_is_noticed_when_nobody_misreads(trials: Trials) -> None:
    assert disagreement(islice(trials, 100)) is None


@pytest.mark.parametrize("name", MISREADINGS)
def test_a_misreading_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch, trials: Trials) -> None:
    module, function, misread = MISREADINGS[name]
    monkeypatch.setattr(module, function, misread)
    assert disagreement(trials) is not None


def disagreement(trials: Iterable[tuple[World, Engine, list[asked.Question]]]) -> Disagreement | None:
    """The first one there is."""
    for scene, engine, about in trials:
        oracle = oracle_of(scene)
        for question in about:
            try:
                check_plan(oracle, engine, question)
            except Disagreement as found:
                return found
    return None
