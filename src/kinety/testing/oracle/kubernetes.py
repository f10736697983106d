"""``networking.k8s.io/v1``: what a NetworkPolicy says to a question.

Empty lists of peers and of ports mean all of them here, as absent ones do.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from kinety.testing.oracle.address import in_block
from kinety.testing.oracle.party import Party, values
from kinety.testing.oracle.port import span_of
from kinety.testing.oracle.selector import Selector, matches
from kinety.testing.oracle.statement import EVERY_PORT, Question, Span, Statement

Document = Mapping[str, Any]

KINDS = ("NetworkPolicy",)
_NAMESPACE = "io.kubernetes.pod.namespace"
_NAMESPACE_LABELS = "io.cilium.k8s.namespace.labels."


def statements(document: Document, question: Question) -> Iterator[Statement]:
    """What each rule says when the policy selects the subject and is about the question's direction."""
    name, spec = document["metadata"]["name"], document["spec"]
    namespace = str(document["metadata"].get("namespace") or "default")
    if question.direction not in _directions(spec):
        return
    if not is_pod(question.subject, spec["podSelector"]) or not _is_in(question.subject, namespace):
        return
    yield Statement(name, "spec.policyTypes", "allow", True, None)
    side = "from" if question.direction == "ingress" else "to"
    for index, rule in enumerate(spec.get(question.direction) or ()):
        peers = rule.get(side) or ()
        if not peers or any(_is_peer(question.peer, item, namespace) for item in peers):
            for span in _spans(rule, question):
                yield Statement(name, f"spec.{question.direction}[{index}]", "allow", True, span)


def is_pod(party: Party, pods: Selector | None = None, namespaces: Selector | None = None) -> bool:
    """Whether a party is a pod that selectors select, by its own labels and by its namespace's."""
    return (
        party.kind == "endpoint"
        and matches(pods or {}, lambda key: values(party.labels, "k8s", key))
        and matches(namespaces or {}, lambda key: _namespace_values(party, key))
    )


def _namespace_values(party: Party, key: str) -> list[str]:
    """Values of a label of a party's namespace; its name is one, whether or not somebody labels it so."""
    if key == "kubernetes.io/metadata.name":
        return values(party.labels, "k8s", _NAMESPACE)
    return values(party.labels, "k8s", _NAMESPACE_LABELS + key)


def _is_in(party: Party, namespace: str) -> bool:
    return namespace in values(party.labels, "k8s", _NAMESPACE)


def _directions(spec: Mapping[str, Any]) -> set[str]:
    if spec.get("policyTypes"):
        return {each.lower() for each in spec["policyTypes"]}
    return {"ingress", "egress"} if spec.get("egress") else {"ingress"}


def _is_peer(peer: Party, item: Mapping[str, Any], namespace: str) -> bool:
    if "ipBlock" in item:
        return in_block(peer, item["ipBlock"]["cidr"], item["ipBlock"].get("except") or ())
    if not is_pod(peer, item.get("podSelector"), item.get("namespaceSelector")):
        return False
    return "namespaceSelector" in item or _is_in(peer, namespace)


def _spans(rule: Mapping[str, Any], question: Question) -> Iterator[Span]:
    if not rule.get("ports"):
        yield EVERY_PORT
    for item in rule.get("ports") or ():
        yield from span_of(item, question, absent="TCP")
