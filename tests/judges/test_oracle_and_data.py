"""The oracle alone, asked everything that outside data has an answer to: all of it, in the whole language.

``cnp-random`` and ``cnp-connectivity`` come from the reference engine, which says "allowed" of what a
proxy may still refuse.

``knp-cyclonus`` is Kubernetes' own reading of NetworkPolicy, blocks of pods' addresses included.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Network
from typing import Any

import pytest

from kinety.model.label import NAMESPACE_KEY, NAMESPACE_LABELS_PREFIX, Labels
from kinety.testing.oracle import Oracle, Party
from tests.conformance import (
    PROTOCOLS,
    Case,
    Flow,
    address_in,
    connectivity_cases,
    is_server,
    named_prefixes,
    network_policy_steps,
    prefix_of,
    random_cases,
    refused_by_the_engine,
    understood,
)

pytestmark = pytest.mark.needs("conformance")

_WORDS = {"allow": "allowed", "redirect": "allowed", "deny": "denied", "conflict": "conflict"}


def party(identity: Labels, named: list[IPv4Network]) -> Party:
    """An identity of the data as the oracle knows it."""
    prefix = prefix_of(identity)
    if prefix is not None:
        return Party("outside", address=address_in(prefix, named))
    triples = frozenset((each.source, each.key, each.value) for each in identity)
    ports = frozenset({("http-8080", 6, 8080)}) if is_server(identity) else frozenset[tuple[str, int, int]]()
    return Party("endpoint", triples, "203.0.113.1", ports)


def sides(flow: Flow) -> Iterator[tuple[str, Labels, Labels, str]]:
    """Who judges a flow: direction, own and peer's labels, and what the data says."""
    if flow.egress is not None:
        yield "egress", flow.source, flow.target, flow.egress
    if flow.ingress is not None:
        yield "ingress", flow.target, flow.source, flow.ingress


def differences(cases: Iterator[Case], seen: Counter[str]) -> Iterator[str]:
    """Where the oracle says something else; ``seen`` counts what it says."""
    for case in map(understood, cases):
        refused, named = refused_by_the_engine(case), named_prefixes(case)
        documents = [each for number, each in enumerate(case.documents) if number not in refused]
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
