"""Outside data with real packets: a sample of its cases on a throw-away node with a real agent.

All cases of the data are judged offline in ``tests/judges``; these are the ones that together use every
way to name a peer and a port. Of each case some flows are sent, fewer of those that are not to pass: silence
costs the time that an answer might take. The kernel's own word on either side must be the data's.

SCTP is in the policies and not among the packets.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import Any

import pytest

from kinety.api.types import Document as ApiDocument
from kinety.kernel.namespace import Namespace
from kinety.model.address import pack_address
from kinety.model.endpoint import Endpoint, EndpointId, Listen
from kinety.model.label import K8S, NAMESPACE_KEY, NAMESPACE_LABELS_PREFIX, Label, Labels, labels_of_endpoint
from kinety.policy.document import Document
from kinety.policy.parse import Objects, parse_objects
from kinety.testing.lab import Lab, lab
from kinety.testing.live import deploy, probe_all
from kinety.testing.outcome import ALLOW, DENY, Answer
from kinety.testing.scenario import End, Outside, Probe, Scenario, ScenarioEndpoint
from tests.conformance import (
    PROTOCOLS,
    address_in,
    connectivity_cases,
    data,
    is_server,
    named_prefixes,
    names_cluster,
    network_policy_steps,
    prefix_of,
)

pytestmark = pytest.mark.needs("conformance", "root", "bpf", "netns", "bpffs", "nft", "ipv6", "objects")

#: Numbers of cases, and what is in them that no other one has.
NETWORK_POLICIES = {
    1: "peers by pod and namespace, in both directions",
    6: "nothing may leave",
    8: "nothing may enter",
    9: "everything may enter",
    21: "a block over pods, without a part of it, inbound",
    31: "the same outbound",
    14: "all pods of all namespaces",
    29: "pods and namespaces by label, outbound",
    136: "a port by name, outbound",
    165: "a port by name, inbound, UDP",
    168: "SCTP alone",
    142: "a range of ports",
    175: "a name that is a port of another protocol",
    199: "the sender's policy against the receiver's",
    220: "policies on top of each other, one after the other",
}
CILIUM_POLICIES = (
    "allow-ingress-identity.yaml",
    "client-egress-only-port-53.yaml",
    "client-egress-to-cidr-external.yaml",
    "client-egress-to-cidr-external-deny.yaml",
    "client-egress-to-echo-deny-port-range.yaml",
    "client-egress-to-echo-named-port-deny.yaml",
    "client-egress-to-entities-world.yaml",
    "deny-all-entities.yaml",
    "client-egress-to-echo-service-account.yaml",
    "echo-ingress-from-other-client.yaml",
)
#: Flows that are sent of a case by outcome. Those that are to fail all wait at the same time.
_SENT = {ALLOW: 60, DENY: 8}
_SERVER_PORT = Listen("http-8080", PROTOCOLS["TCP"], 8080)
_WORDS = {"allowed": ALLOW, "blocked": DENY, "denied": DENY}


@dataclass(frozen=True, slots=True, eq=False)
class Flow:
    """A flow, and what the data says each side does with it; None for a side that has no say."""

    source: End
    target: End
    protocol: str
    port: int
    egress: str
    ingress: str | None

    @property
    def outcome(self) -> str:
        """What its packets are to meet."""
        return DENY if DENY in (self.egress, self.ingress) else ALLOW


@dataclass(slots=True)
class Cluster:
    """A node with some endpoints, and whatever policies are given to it."""

    lab: Lab
    bare: Scenario
    namespaces: Mapping[str, Namespace]

    def disagreements(self, name: str, documents: list[dict[str, Any]], flows: Iterable[Flow]) -> list[str]:
        """Where packets do not what the data says while these policies, and no others, are in force."""
        chosen = list(_sample(flows))
        assert chosen, "the case has no flow that can be sent"
        with self._in_force(name, documents) as scenario:
            answers = self._ask(scenario, chosen)
            # A flow from a port that an earlier case had used is not new, and so not told: another port.
            unclear = [flow for flow, answer in answers.items() if answer.remark]
            answers |= self._ask(scenario, unclear)
        return [
            f"{name}: {flow.source} > {flow.target} {flow.protocol}/{flow.port}: {answer}"
            for flow, answer in answers.items()
            if answer.remark or _said(answer) != (flow.egress, flow.ingress, flow.outcome)
        ]

    def _ask(self, scenario: Scenario, flows: Iterable[Flow]) -> dict[Flow, Answer]:
        asked = {flow: _probe(flow) for flow in flows}
        results = probe_all(self.lab, replace(scenario, probes=tuple(asked.values())), dict(self.namespaces))
        return {flow: result.telling for flow, result in zip(asked, results, strict=True)}

    @contextmanager
    def _in_force(self, name: str, documents: list[dict[str, Any]]) -> Iterator[Scenario]:
        texts = [Document(f"{name}-{number}.json", json.dumps(each)) for number, each in enumerate(documents)]
        objects = parse_objects(texts) if texts else Objects({})
        with self.lab.client() as client:
            if texts:
                client.apply(ApiDocument(each.file, each.text) for each in texts)
            try:
                yield replace(self.bare, objects=objects, policy_documents=tuple(texts))
            finally:
                for policy in client.policies():
                    client.delete_policy(policy.kind, policy.namespace, policy.name)


def _said(answer: Answer) -> tuple[str, str | None, str]:
    return answer.egress.verdict, answer.ingress.verdict if answer.ingress.judged else None, answer.outcome


def _sample(flows: Iterable[Flow]) -> Iterator[Flow]:
    """At most so many flows of either outcome, from all over the case."""
    by_outcome: dict[str, list[Flow]] = {ALLOW: [], DENY: []}
    for flow in flows:
        by_outcome[flow.outcome].append(flow)
    for outcome, most in _SENT.items():
        found = by_outcome[outcome]
        yield from found[:: 1 + len(found) // most]


def _probe(flow: Flow) -> Probe:
    return Probe(flow.source, flow.target, flow.protocol, flow.port, (4,), flow.outcome, "", 0)


def _pod(
    number: int, name: str, labels: Labels, address: str, listens: frozenset[Listen]
) -> ScenarioEndpoint:
    """A pod of the data, taken apart into what an endpoint is asked for."""
    (namespace,) = (each.value for each in labels if each.key == NAMESPACE_KEY)
    of_namespace = {
        each.key.removeprefix(NAMESPACE_LABELS_PREFIX): each.value
        for each in labels
        if each.key.startswith(NAMESPACE_LABELS_PREFIX)
    }
    own = frozenset(
        each
        for each in labels
        if each.key != NAMESPACE_KEY and not each.key.startswith(NAMESPACE_LABELS_PREFIX)
    )
    assert labels_of_endpoint(namespace, own, of_namespace) == labels
    packed = pack_address(address)
    endpoint = Endpoint(EndpointId(number), namespace, name, labels, packed, None, listens)
    return ScenarioEndpoint(endpoint, of_namespace, tuple(own), {4: ip_address(address)}, frozenset())


@contextmanager
def _cluster(pods: Iterable[ScenarioEndpoint]) -> Iterator[Cluster]:
    bare = Scenario("conformance", "", tuple(pods), Objects({}), (), ())
    with lab() as built:
        built.start_agent()
        yield Cluster(built, bare, deploy(built, bare))


# Kubernetes' own cases


def _steps() -> dict[int, list[dict[str, Any]]]:
    found: dict[int, list[dict[str, Any]]] = {}
    for number, step in network_policy_steps():
        found.setdefault(number, []).append(step)
    return found


def _pods_of(step: Mapping[str, Any]) -> dict[str, ScenarioEndpoint]:
    pods = {}
    for number, pod in enumerate(step["Pods"], 1):
        own = (Label(K8S, *pair) for pair in pod["Labels"].items())
        labels = labels_of_endpoint(pod["NS"], own, step["Namespaces"][pod["NS"]])
        listens = (Listen(each["name"], PROTOCOLS[each["protocol"]], each["port"]) for each in pod["Ports"])
        name = f"{pod['NS']}/{pod['Name']}"
        pods[name] = _pod(number, pod["Name"], labels, pod["IP"], frozenset(listens))
    return pods


def _flows_of(step: Mapping[str, Any], pods: Mapping[str, ScenarioEndpoint]) -> Iterator[Flow]:
    for pair, expected in step["Expected"].items():
        source, target = pair.split(">")
        if source == target:
            continue
        for traffic, words in expected.items():
            protocol, _, port = traffic.partition("/")
            ingress, egress, _ = (_WORDS[word] for word in words.split("/"))
            if protocol != "SCTP":
                yield Flow(pods[source], pods[target], protocol, int(port), egress, ingress)


@pytest.fixture(scope="module")
def kubernetes() -> Iterator[Cluster]:
    with _cluster(_pods_of(_steps()[0][0]).values()) as cluster:
        yield cluster


@pytest.mark.parametrize("number", NETWORK_POLICIES)
def test_network_policies(kubernetes: Cluster, number: int) -> None:
    wrong = []
    pods = {f"{each.endpoint.namespace}/{each.endpoint.name}": each for each in kubernetes.bare.endpoints}
    for step in _steps()[number]:
        assert _pods_of(step) == pods, "the pods of this case are others"
        wrong += kubernetes.disagreements(f"knp-{number}", step["Policies"], _flows_of(step, pods))
    assert not wrong, "\n".join(wrong)


# Cases of the reference engine


@pytest.fixture(scope="module")
def cilium() -> Iterator[Cluster]:
    pods = []
    for identity in data("cnp-connectivity")["identities"].values():
        labels = frozenset(map(Label.parse, identity["labels"]))
        if prefix_of(labels) is None:
            number = len(pods) + 1
            listens = frozenset({_SERVER_PORT} if is_server(labels) else ())
            pods.append(_pod(number, identity["name"], labels, f"10.240.1.{number}", listens))
    with _cluster(pods) as cluster:
        yield cluster


@pytest.mark.parametrize("name", CILIUM_POLICIES)
def test_cilium_policies(cilium: Cluster, name: str) -> None:
    (case,) = (each for each in connectivity_cases() if each.name == name)
    assert not names_cluster(case), "the data says nothing about that entity"
    named = named_prefixes(case)
    by_labels: dict[Labels, End] = {each.endpoint.labels: each for each in cilium.bare.endpoints}
    words = {number: word for word, number in PROTOCOLS.items()}

    def end(labels: Labels) -> End:
        prefix = prefix_of(labels)
        if prefix is None:
            return by_labels[labels]
        address = address_in(prefix, named)
        return Outside(address, {4: ip_address(address)})

    flows = [
        Flow(
            end(each.source),
            end(each.target),
            words[each.protocol],
            each.port,
            _WORDS[each.egress or ""],
            None if each.ingress is None else _WORDS[each.ingress],
        )
        for each in case.flows
    ]
    wrong = cilium.disagreements(name, list(case.documents), flows)
    assert not wrong, "\n".join(wrong)
