"""The oracle alone, asked everything that outside data has an answer to: all of it, in the whole language.

``cnp-random`` and ``cnp-connectivity`` come from the reference engine, which says "allowed" of what a
proxy may still refuse. The tool that computed them had not told the engine which labels make a cluster. So
the entity ``cluster`` had no selector there, and the engine takes a list without selectors for anybody when
ports stand beside it, and for nobody otherwise: `as_understood` writes documents the way they were read.

``knp-cyclonus`` is Kubernetes' own reading of NetworkPolicy, blocks of pods' addresses included.
"""

import copy
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Network, ip_network
from typing import Any

import pytest

from kinety.model.label import CIDR, NAMESPACE_KEY, NAMESPACE_LABELS_PREFIX, Labels
from kinety.testing.oracle import Oracle, Party
from tests.conformance import (
    PROTOCOLS,
    Case,
    Flow,
    connectivity_cases,
    network_policy_steps,
    random_cases,
    refused_by_the_engine,
)

pytestmark = pytest.mark.needs("conformance")

_IPV4_PREFIX = re.compile(r"\"(\d+\.\d+\.\d+\.\d+(?:/\d+)?)\"")
_WORDS = {"allow": "allowed", "redirect": "allowed", "deny": "denied", "conflict": "conflict"}
#: The one name of a port in the data, and who has it: the suite's servers.
_SERVER_PORT = ("http-8080", 6, 8080)


def as_understood(value: Any) -> Any:
    """Documents with the entity ``cluster`` replaced by what the engine took it for."""
    if isinstance(value, list):
        return [as_understood(each) for each in value]
    if not isinstance(value, dict):
        return value
    made = {key: as_understood(inner) for key, inner in value.items()}
    for key in ("fromEntities", "toEntities"):
        if "cluster" in made.get(key, ()):
            made[key].remove("cluster")
            if not made[key] and "toPorts" in made:
                del made[key]
    return made


def party(labels: Labels, named: list[IPv4Network]) -> Party:
    """An identity of the data; one that is a prefix is an address that no narrower prefix holds."""
    for label in labels:
        if label.source == CIDR:
            prefix = ip_network(label.key)
            assert isinstance(prefix, IPv4Network)
            inner = [each for each in named if each != prefix and each.subnet_of(prefix)]
            outer = (each for each in prefix if not any(each in one for one in inner))
            return Party("outside", address=str(next(outer)))
    triples = frozenset((each.source, each.key, each.value) for each in labels)
    is_server = ("k8s", "kind", "echo") in triples
    ports = frozenset({_SERVER_PORT}) if is_server else frozenset[tuple[str, int, int]]()
    return Party("endpoint", triples, "203.0.113.1", ports)


def sides(flow: Flow) -> Iterator[tuple[str, Labels, Labels, str]]:
    """Who judges a flow: direction, own and peer's labels, and what the data says."""
    if flow.egress is not None:
        yield "egress", flow.source, flow.target, flow.egress
    if flow.ingress is not None:
        yield "ingress", flow.target, flow.source, flow.ingress


def differences(cases: Iterator[Case], seen: Counter[str]) -> Iterator[str]:
    """Where the oracle says something else; ``seen`` counts what it says."""
    for case in cases:
        refused = refused_by_the_engine(case)
        documents = [each for number, each in enumerate(case.documents) if number not in refused]
        documents = as_understood(copy.deepcopy(documents))
        named = [IPv4Network(each, strict=False) for each in _IPV4_PREFIX.findall(json.dumps(documents))]
        cast = {each: party(each, named) for flow in case.flows for each in (flow.source, flow.target)}
        oracle = Oracle(documents)
        for flow in case.flows:
            for direction, own, peer, said in sides(flow):
                opinion = oracle.judge(cast[own], direction, cast[peer], flow.protocol, flow.port)
                seen[opinion.verdict] += 1
                if _WORDS[opinion.verdict] != said:
                    yield f"{case.name}: {direction} of {flow}: {opinion}"


SUITES = {
    "random": (random_cases, {"allow": 62_486, "deny": 26_175, "redirect": 79}),
    "connectivity": (connectivity_cases, {"allow": 26_395, "deny": 7_439, "redirect": 126}),
}


@pytest.mark.parametrize("suite", SUITES)
def test_the_reference_engine(suite: str) -> None:
    cases, expected = SUITES[suite]
    seen: Counter[str] = Counter()
    differing = list(differences(cases(), seen))
    assert not differing, "\n".join(differing[:20])
    assert seen == expected, "other questions are asked than before"


def pods(step: Mapping[str, Any]) -> dict[str, Party]:
    """The pods of a step by the names that its expectations use."""
    found = {}
    for pod in step["Pods"]:
        namespace = pod["NS"]
        labels = {("k8s", key, value) for key, value in pod["Labels"].items()}
        labels.add(("k8s", NAMESPACE_KEY, namespace))
        for key, value in step["Namespaces"][namespace].items():
            labels.add(("k8s", NAMESPACE_LABELS_PREFIX + key, value))
        ports = frozenset((each["name"], PROTOCOLS[each["protocol"]], each["port"]) for each in pod["Ports"])
        found[f"{namespace}/{pod['Name']}"] = Party("endpoint", frozenset(labels), pod["IP"], ports)
    return found


def test_network_policies_of_kubernetes() -> None:
    """Both ends of every flow, after every step of every case."""
    cases, asked, differing = set(), 0, []
    for case, step in network_policy_steps():
        oracle, cast = Oracle(step["Policies"]), pods(step)
        for flow, expected in step["Expected"].items():
            source, target = (cast[each] for each in flow.split(">"))
            for traffic, outcome in expected.items():
                protocol, port = traffic.split("/")
                about = (PROTOCOLS[protocol], int(port))
                said = outcome.replace("allowed", "allow").replace("blocked", "deny").split("/")
                ingress = oracle.judge(target, "ingress", source, *about).verdict
                egress = oracle.judge(source, "egress", target, *about).verdict
                asked += 1
                differing += [f"{case}: {flow} {traffic}"] * ([ingress, egress] != said[:2])
        cases.add(case)
    assert not differing, "\n".join(differing[:20])
    assert (len(cases), asked) == (230, 123_669)
