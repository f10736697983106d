"""``policy.networking.k8s.io``: what a policy of the admin or the baseline tier says to a question.

ClusterNetworkPolicy is the kind of ``v1alpha2``, the two others are that of ``v1alpha1`` for either tier.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from kinety.testing.oracle import name as domain
from kinety.testing.oracle.address import in_block
from kinety.testing.oracle.cilium_peer import is_node
from kinety.testing.oracle.kubernetes import is_pod
from kinety.testing.oracle.party import Party
from kinety.testing.oracle.port import WITH_PORTS, named_span, range_span
from kinety.testing.oracle.statement import EVERY_PORT, Question, Span, Statement

Document = Mapping[str, Any]

KINDS = ("ClusterNetworkPolicy", "AdminNetworkPolicy", "BaselineAdminNetworkPolicy")
_ACTIONS = {"Accept": "allow", "Allow": "allow", "Deny": "deny", "Pass": "pass"}
#: The one policy of ``v1alpha1`` without a priority comes after all that have one.
_LAST = 1001


def statements(document: Document, question: Question) -> Iterator[Statement]:
    """What each rule says that names the question's peer and port, when the policy selects the subject."""
    kind, name, spec = document["kind"], document["metadata"]["name"], document["spec"]
    if not _is_one_of(question.subject, spec["subject"]):
        return
    side = "from" if question.direction == "ingress" else "to"
    for index, rule in enumerate(spec.get(question.direction) or ()):
        if not any(_is_peer(question.peer, item) for item in rule[side]):
            continue
        for span in _spans(rule, question):
            yield Statement(
                name,
                f"spec.{question.direction}[{index}]",
                _ACTIONS[rule["action"]],
                False,
                span,
                tier=_tier(document),
                place=(spec.get("priority", _LAST), kind, name, index),
            )


def _tier(document: Document) -> str:
    if document["kind"] == "ClusterNetworkPolicy":
        return str(document["spec"]["tier"]).lower()
    return "admin" if document["kind"] == "AdminNetworkPolicy" else "baseline"


def _is_one_of(party: Party, item: Mapping[str, Any]) -> bool:
    """Whether a party is one of the pods of a subject, or of a peer that is about pods."""
    if "namespaces" in item:
        return is_pod(party, None, item["namespaces"])
    return is_pod(party, item["pods"]["podSelector"], item["pods"]["namespaceSelector"])


def _is_peer(peer: Party, item: Mapping[str, Any]) -> bool:
    if "nodes" in item:
        return peer.is_node and is_node(item["nodes"], peer)
    if "networks" in item:
        return any(in_block(peer, prefix) for prefix in item["networks"])
    if "domainNames" in item:
        return peer.kind == "outside" and any(
            domain.matches(_pattern(text), each) for text in item["domainNames"] for each in peer.names
        )
    return _is_one_of(peer, item)


def _pattern(text: str) -> str:
    """Here ``*.`` at the front stands for one label and more."""
    text = domain.folded(text)
    return f"*{text}" if text.startswith("*.") else text


def _spans(rule: Mapping[str, Any], question: Question) -> Iterator[Span]:
    if "ports" not in rule and "protocols" not in rule:
        yield EVERY_PORT
    for item in rule.get("ports") or ():
        yield from _port(item, question)
    for item in rule.get("protocols") or ():
        yield from _protocol(item, question)


def _port(item: Mapping[str, Any], question: Question) -> Iterator[Span]:
    """An item of ports: portNumber, portRange or namedPort."""
    if "namedPort" in item:
        yield from named_span(item["namedPort"], question)
        return
    given = item.get("portNumber") or item["portRange"]
    first = given["port"] if "port" in given else given["start"]
    protocol = WITH_PORTS[given.get("protocol") or "TCP"]
    yield from range_span(first, given.get("end", first), protocol, question)


def _protocol(item: Mapping[str, Any], question: Question) -> Iterator[Span]:
    """An item of protocols: tcp, udp, sctp or destinationNamedPort."""
    if "destinationNamedPort" in item:
        yield from named_span(item["destinationNamedPort"], question)
        return
    for name, given in item.items():
        port = given["destinationPort"]
        first, last = (
            (port["range"]["start"], port["range"]["end"]) if "range" in port else (port["number"],) * 2
        )
        yield from range_span(first, last, WITH_PORTS[name.upper()], question)
