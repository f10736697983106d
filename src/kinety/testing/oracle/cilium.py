"""``cilium.io/v2``: what a CiliumNetworkPolicy or a CiliumClusterwideNetworkPolicy says to a question."""

from collections.abc import Iterator, Mapping
from typing import Any

from kinety.testing.oracle.cilium_peer import is_node, names, source_and_key
from kinety.testing.oracle.content import content_of
from kinety.testing.oracle.party import Party, values
from kinety.testing.oracle.port import icmp_span, span_of
from kinety.testing.oracle.selector import matches
from kinety.testing.oracle.statement import EVERY_PORT, Content, Question, Span, Statement
from kinety.testing.oracle.surroundings import Surroundings

Document = Mapping[str, Any]

KINDS = ("CiliumNetworkPolicy", "CiliumClusterwideNetworkPolicy")
_SECTIONS = {
    "ingress": (("ingress", "allow", "from"), ("ingressDeny", "deny", "from")),
    "egress": (("egress", "allow", "to"), ("egressDeny", "deny", "to")),
}


def statements(document: Document, question: Question, around: Surroundings) -> Iterator[Statement]:
    """What each rule says whose policy selects the subject, in the question's direction."""
    name, namespace = document["metadata"]["name"], namespace_of(document)
    for where, spec in _specs(document):
        if not _is_subject(spec, question.subject, namespace):
            continue
        for section, action, side in _SECTIONS[question.direction]:
            for index, rule in enumerate(spec.get(section) or ()):
                path, isolates = f"{where}.{section}[{index}]", _isolates(spec, question.direction)
                yield Statement(name, path, action, isolates, None)
                if names(rule, side, question.peer, namespace, around):
                    for span, content in _traffic(rule, question, namespace):
                        yield Statement(name, path, action, isolates, span, content)
        if (spec.get("enableDefaultDeny") or {}).get(question.direction) is True:
            yield Statement(name, f"{where}.enableDefaultDeny", "allow", True, None)


def namespace_of(document: Document) -> str:
    """The namespace that a policy is in; "" when it is about all of them."""
    if document["kind"] == "CiliumClusterwideNetworkPolicy":
        return ""
    return str(document["metadata"].get("namespace") or "default")


def _specs(document: Document) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if document.get("spec") is not None:
        yield "spec", document["spec"]
    for index, spec in enumerate(document.get("specs") or ()):
        yield f"specs[{index}]", spec


def _isolates(spec: Mapping[str, Any], direction: str) -> bool:
    wanted = (spec.get("enableDefaultDeny") or {}).get(direction)
    return True if wanted is None else bool(wanted)


def _is_subject(spec: Mapping[str, Any], party: Party, namespace: str) -> bool:
    """Whether a block is about a party: the endpoints of the policy's own scope, or this node."""
    if "nodeSelector" in spec:
        return party.kind == "host" and is_node(spec["nodeSelector"], party)
    if party.kind != "endpoint":
        return False
    if not matches(spec["endpointSelector"], lambda key: values(party.labels, *source_and_key(key))):
        return False
    return namespace in ("", *values(party.labels, "k8s", "io.kubernetes.pod.namespace"))


def _traffic(rule: Mapping[str, Any], question: Question, namespace: str) -> Iterator[tuple[Span, Content]]:
    """The ranges by which a rule names the question's port, and what content it then asks for."""
    if rule.get("icmps") is not None:
        for item in rule["icmps"]:
            for field in item["fields"]:
                for span in icmp_span(field, question):
                    yield span, frozenset()
    elif rule.get("toPorts") is not None:
        for item in rule["toPorts"]:
            for port in item["ports"]:
                for span in span_of(port, question):
                    yield span, content_of(item, namespace)
    else:
        yield EVERY_PORT, frozenset()
