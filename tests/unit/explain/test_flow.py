"""Explanations of flows: against the naive judge, and edits against documents that were edited so."""

import copy
import re
from dataclasses import replace
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from kinety.explain.content import Fate
from kinety.explain.end import find_end
from kinety.explain.flow import Explanation, Question, Side, explain, question, request_of
from kinety.explain.proposal import Step
from kinety.model.address import unpack_address
from kinety.model.label import Label
from kinety.model.rule import Direction
from kinety.model.verdict import VerdictKind
from kinety.plan.engine import Engine
from kinety.plan.fact import EndpointUpserted, Fact, PolicyUpserted
from kinety.policy.document import Document
from kinety.policy.parse import parse_policies
from tests.unit.explain.everyone import told
from tests.unit.plan.generation import ADDRESSES, PORTS, batches
from tests.unit.plan.saying import endpoint

DENY, ALLOW = VerdictKind.DENY, VerdictKind.ALLOW


@settings(max_examples=60, deadline=None)
@given(batches, st.data())
def test_it_says_what_the_naive_judge_says(former: list[list[Fact]], data: st.DataObject) -> None:
    engine, world = told([each for batch in former for each in batch])
    if not world.endpoints:
        return
    own = data.draw(st.sampled_from(sorted(world.endpoints.values(), key=str)))
    address = data.draw(st.sampled_from(ADDRESSES))
    protocol, port = data.draw(st.sampled_from(PORTS))
    snapshot = engine.snapshot()
    ends = find_end(engine, str(own)), find_end(engine, str(unpack_address(address)))
    for direction, (source, destination) in ((Direction.EGRESS, ends), (Direction.INGRESS, ends[::-1])):
        found = explain(engine, Question(source, destination, protocol, port))
        (side,) = [each for each in found.sides if each.direction is direction and each.subject == str(own)]
        kind, deciding, _ = world.judge(own, direction, world.owner(address), protocol, port)
        assert side.verdict.kind is kind
        assert (f"{side.rule.origin.policy.name} {side.rule.origin.path}" if side.rule else "") == deciding
        assert bool(found.edits) <= (found.kind is DENY)
        assert all(each.failures for each in side.misses)
    assert engine.snapshot() == snapshot


SHIPS = """\
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: dock}
spec:
  endpointSelector: {matchLabels: {class: deathstar}}
  ingress:
  - fromEndpoints:
    - matchLabels: {org: empire}
    toPorts:
    - ports: [{port: "80", protocol: TCP}]
"""
SHUT = """\
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: shut}
spec:
  endpointSelector: {matchLabels: {class: deathstar}}
  ingressDeny:
  - fromEndpoints:
    - matchLabels: {class: tie}
  ingress: [{}]
"""
PODS = """\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: pods, namespace: default}
spec:
  podSelector: {matchLabels: {class: deathstar}}
  ingress:
  - from: [{podSelector: {matchLabels: {org: empire}}}]
    ports: [{port: 80, protocol: TCP}]
"""
CONTENT = """\
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: content}
spec:
  endpointSelector: {matchLabels: {class: deathstar}}
  ingress:
  - fromEndpoints: [{matchLabels: {org: empire}}]
    toPorts:
    - ports: [{port: "80", protocol: TCP}]
      rules: {http: [{method: GET, path: "/v1/.*"}]}
"""
HOME = """\
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: home}
spec:
  endpointSelector: {matchLabels: {class: tie}}
  egress: [{toCIDR: [10.0.0.0/8]}]
"""


def ships(*texts: str) -> tuple[Engine, list[dict[str, Any]]]:
    engine = Engine()
    documents = [yaml.safe_load(text) for text in texts]
    facts: list[Fact] = [
        EndpointUpserted(_in_default(endpoint(1, **{"org": "empire", "class": "deathstar"}))),
        EndpointUpserted(_in_default(endpoint(2, **{"org": "empire", "class": "tie"}))),
        EndpointUpserted(_in_default(endpoint(3, **{"org": "alliance", "class": "xwing"}))),
    ]
    engine.change([*facts, *map(PolicyUpserted, parsed(documents))])
    return engine, documents


def _in_default(found: Any) -> Any:
    return replace(found, labels=found.labels | {Label("k8s", "io.kubernetes.pod.namespace", "default")})


def parsed(documents: list[dict[str, Any]]) -> Any:
    return parse_policies([Document("p.yaml", yaml.safe_dump_all(documents))])


def ask(engine: Engine, source: str, to: str, port: int, protocol: int = 6) -> Explanation:
    return explain(engine, Question(find_end(engine, source), find_end(engine, to, 1), protocol, port))


def side(found: Explanation, direction: Direction = Direction.INGRESS) -> Side:
    return next(each for each in found.sides if each.direction is direction)


def test_a_flow_that_is_let_through_and_what_else_its_rule_opens() -> None:
    engine, _ = ships(SHIPS)
    found = ask(engine, "e2", "e1", 80)
    assert found.kind is ALLOW
    assert found.edits == ()
    say = side(found)
    assert say.rule is not None
    assert say.rule.origin.path == "spec.ingress[0]"
    assert say.rule_set == engine.endpoint_plan(next(iter(engine.endpoints))).ingress
    assert say.class_id == engine.identity_classes[say.peer]
    assert say.entry is not None
    assert say.opening is not None
    assert say.opening.peers == ("default/e1", "default/e2")
    assert side(found, Direction.EGRESS).rule_set is None


def test_a_flow_that_misses_by_its_peer_or_by_its_port() -> None:
    engine, _ = ships(SHIPS)
    (miss,) = side(ask(engine, "e3", "e1", 80)).misses
    assert [(str(each.condition), each.reason) for each in miss.failures] == [
        ("peer", "it asks for org=empire (it has alliance)")
    ]
    assert [str(each.condition) for each in side(ask(engine, "e2", "e1", 81)).misses[0].failures] == ["port"]
    (miss,) = side(ask(engine, "8.8.8.8", "e1", 80, 17)).misses
    assert [str(each.condition) for each in miss.failures] == ["peer", "protocol"]
    assert side(ask(engine, "e3", "e1", 80)).isolated_by == miss.origin


def test_the_smallest_edit_names_one_more_port_or_peer() -> None:
    engine, _ = ships(SHIPS)
    first = ask(engine, "e2", "e1", 81).edits[0]
    assert [str(each) for each in first.steps] == [
        "p.yaml:10: add to spec.ingress: {fromEndpoints: [{matchLabels: {class: tie, org: empire}}],"
        ' toPorts: [{ports: [{port: "81", protocol: TCP}]}]}'
    ]
    assert first.opened == 0


CASES = [
    ((SHIPS,), "e3", "e1", 80, 6),
    ((SHIPS,), "e2", "e1", 81, 6),
    ((SHIPS,), "e3", "e1", 53, 17),
    ((SHIPS,), "8.8.8.8", "e1", 80, 6),
    ((SHIPS,), "e3", "e1", 8, 1),
    ((SHUT,), "e2", "e1", 80, 6),
    ((SHIPS, SHUT), "e2", "e1", 443, 6),
    ((HOME,), "e2", "8.8.8.8", 443, 6),
    ((HOME, SHIPS), "e2", "e1", 81, 6),
    ((SHIPS,), "app=new,org=rebels", "e1", 80, 6),
    ((SHIPS,), "world", "e1", 80, 6),
    ((SHUT,), "e2", "class=deathstar", 80, 6),
    ((PODS,), "e3", "e1", 80, 6),
    ((PODS,), "e2", "e1", 81, 6),
    ((PODS,), "8.8.8.8", "e1", 53, 17),
    ((CONTENT,), "e2", "e1", 443, 6),
]


@pytest.mark.parametrize(("texts", "source", "to", "port", "protocol"), CASES)
def test_edits_do_in_the_file_what_they_promise(
    texts: tuple[str, ...], source: str, to: str, port: int, protocol: int
) -> None:
    """Written into the documents as they say, they let the flow through, and it was denied before."""
    engine, documents = ships(*texts)
    found = ask(engine, source, to, port, protocol)
    assert found.kind is DENY
    assert found.edits
    for edit in found.edits:
        edited = copy.deepcopy(documents)
        for step in edit.steps:
            write(edited, step)
        edited = [each for each in edited if len(each["spec"]) > 1]
        other, _ = ships(*map(yaml.safe_dump, edited))
        assert ask(other, source, to, port, protocol).kind is ALLOW, [str(each) for each in edit.steps]


def write(documents: list[dict[str, Any]], step: Step) -> None:
    """Carry out a step on documents."""
    document = next(each for each in documents if each["metadata"]["name"] == step.origin.policy.name)
    parts = [int(number) if number else name for name, number in re.findall(r"(\w+)|\[(\d+)\]", step.path)]
    *way, last = [int(each) if isinstance(each, str) and each.isdecimal() else each for each in parts]
    place: Any = document
    for part in way:
        place = place[part]
    if step.after is None:
        del place[last]
        if not place:
            del document["spec"][way[-1]]
    elif isinstance(place, dict):
        place.setdefault(last, []).append(step.value)
    else:
        place[last].append(step.value)


def test_both_ends_that_deny_are_edited_together() -> None:
    engine, _ = ships(HOME, SHIPS)
    for edit in ask(engine, "e2", "e1", 81).edits:
        assert {each.origin.policy.name for each in edit.steps} == {"home", "dock"}


def test_what_an_edit_opens_besides_is_counted() -> None:
    engine, _ = ships(SHIPS)
    wide = [each for each in ask(engine, "e2", "e1", 81).edits if each.steps[0].before is not None]
    assert [str(each.steps[0].path) for each in wide] == ["spec.ingress[0].toPorts[0].ports"]
    assert wide[0].opened == 1, "e1 is of the empire too"


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("defalt/e1", "did you mean default/e1"),
        ("nobody/at/all", "write namespace/name"),
        ("wrld", "did you mean world"),
    ],
)
def test_an_unknown_end(text: str, hint: str) -> None:
    engine, _ = ships(SHIPS)
    with pytest.raises(ValueError, match=rf"there is no endpoint '{text}'; {hint}"):
        find_end(engine, text)


def test_an_address_of_an_endpoint_is_that_endpoint() -> None:
    engine, _ = ships(SHIPS)
    assert find_end(engine, "10.0.0.2") == find_end(engine, "default/e2")


@pytest.mark.parametrize(
    ("method", "path", "fate"),
    [
        ("GET", "/v1/x", Fate.PASSES),
        ("PUT", "/v1/x", Fate.REFUSED),
        ("GET", None, Fate.DEPENDS),
        (None, None, None),
    ],
)
def test_a_request_where_rules_ask_about_content(
    method: str | None, path: str | None, fate: Fate | None
) -> None:
    engine, _ = ships(CONTENT)
    found = explain(engine, question(engine, "e2", "e1", "TCP", 80, request_of(method, path)))
    assert found.kind is VerdictKind.REDIRECT
    assert (side(found).content, side(found).fate) == ("GET /v1/.*", fate)


def test_a_protocol_by_number_and_an_echo() -> None:
    engine, _ = ships(SHIPS)
    assert (
        question(engine, "e2", "e1", "ICMPv6", None).protocol,
        question(engine, "e2", "e1", "47", None).port,
    ) == (
        58,
        0,
    )
    assert question(engine, "e2", "e1", "ICMP", None).port == 8
    for protocol, message in (("TCP", "say which TCP port"), ("256", "there is no protocol '256'")):
        with pytest.raises(ValueError, match=message):
            question(engine, "e2", "e1", protocol, None)
