"""The first judge: the policy language read naively, straight from the documents.

This shares no code with `kinety.policy`, `kinety.identity` and `kinety.plan`, on purpose: it is what
they are compared with. It knows no identities, classes or tables. Every question walks every rule
of every document, and matches plain dictionaries against plain labels. It expects documents that
are valid and inside the supported part of the language.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Any

Document = Mapping[str, Any]
#: (source, key, value)
Triple = tuple[str, str, str]

_NAMESPACE = "io.kubernetes.pod.namespace"
_NAMESPACE_LABELS = "io.cilium.k8s.namespace.labels."
_PROTOCOLS = {"TCP": 6, "UDP": 17, "SCTP": 132, "ICMP": 1, "ICMPv6": 58, "VRRP": 112, "IGMP": 2}
_WITH_PORTS = (6, 17, 132)
_SECTIONS = {
    "ingress": (("ingress", "allow", "from"), ("ingressDeny", "deny", "from")),
    "egress": (("egress", "allow", "to"), ("egressDeny", "deny", "to")),
}
_ICMP_NAMES = {
    4: {"EchoReply": 0, "DestinationUnreachable": 3, "Redirect": 5, "Echo": 8, "EchoRequest": 8},
    6: {"DestinationUnreachable": 1, "PacketTooBig": 2, "EchoRequest": 128, "EchoReply": 129},
}


@dataclass(frozen=True, slots=True)
class Party:
    """One end of a flow. ``kind`` is ``endpoint``, ``host`` or ``outside``.

    An endpoint has ``labels``, all of them, its namespace's included. ``address`` matters outside.
    """

    kind: str
    labels: frozenset[Triple] = frozenset()
    address: str = ""


@dataclass(frozen=True, slots=True)
class Opinion:
    """A verdict, ``allow`` or ``deny``, and the rules any of which may be said to have decided.

    Rules are (policy name, path such as ``spec.ingress[0]``); an empty set is a default.
    """

    verdict: str
    rules: frozenset[tuple[str, str]]


class Oracle:
    """Answers questions about a set of documents."""

    def __init__(self, documents: Iterable[Document], *, allow_localhost: bool = True) -> None:
        self._documents = list(documents)
        self._allow_localhost = allow_localhost

    def judge(self, subject: Party, direction: str, peer: Party, protocol: int, port: int) -> Opinion:
        """What an endpoint's policy says in ``ingress`` or ``egress``; ``port`` is the type for ICMP."""
        isolated = False
        found: dict[str, set[tuple[str, str]]] = {"allow": set(), "deny": set()}
        for document in self._documents:
            for where, spec in _specs(document):
                if not _selects(spec["endpointSelector"], subject, document):
                    continue
                for section, action, side in _SECTIONS[direction]:
                    for index, rule in enumerate(spec.get(section) or ()):
                        isolated |= _isolates(spec, direction)
                        if _names(rule, side, peer, document) and _covers(rule, protocol, port):
                            found[action].add((document["metadata"]["name"], f"{where}.{section}[{index}]"))
                isolated |= (spec.get("enableDefaultDeny") or {}).get(direction) is True
        if found["deny"]:
            return Opinion("deny", frozenset(found["deny"]))
        if self._allow_localhost and isolated and direction == "ingress" and peer.kind == "host":
            found["allow"].add(("", "allow-localhost"))
        if found["allow"]:
            return Opinion("allow", frozenset(found["allow"]))
        return Opinion("deny" if isolated else "allow", frozenset())


def _specs(document: Document) -> Iterable[tuple[str, Mapping[str, Any]]]:
    if document.get("spec") is not None:
        yield "spec", document["spec"]
    for index, spec in enumerate(document.get("specs") or ()):
        yield f"specs[{index}]", spec


def _isolates(spec: Mapping[str, Any], direction: str) -> bool:
    wanted = (spec.get("enableDefaultDeny") or {}).get(direction)
    return True if wanted is None else bool(wanted)


def _is_clusterwide(document: Document) -> bool:
    return bool(document["kind"] == "CiliumClusterwideNetworkPolicy")


def _namespace(document: Document) -> str:
    return str(document["metadata"].get("namespace") or "default")


def _selects(selector: Mapping[str, Any], party: Party, document: Document) -> bool:
    """Whether a selector selects an endpoint as a subject: those of the policy's own scope."""
    if party.kind != "endpoint" or not _matches(selector, party.labels):
        return False
    return _is_clusterwide(document) or ("k8s", _NAMESPACE, _namespace(document)) in party.labels


def _selects_peer(selector: Mapping[str, Any], party: Party, document: Document) -> bool:
    """Whether a selector selects a peer: in the policy's namespace unless it names others.

    What is in no namespace is reached by naming a reserved label, never by lacking another.
    """
    keys = list(selector.get("matchLabels") or ())
    keys += [expression["key"] for expression in selector.get("matchExpressions") or ()]
    named = [_source_and_key(key) for key in keys]
    labels = _labels_of(party)
    if not _matches(selector, labels):
        return False
    if any(source == "reserved" for source, _ in named):
        return True
    if not any((source, key) == ("k8s", _NAMESPACE) for source, key, _ in labels):
        return False
    if _is_clusterwide(document):
        return True
    if any(key == _NAMESPACE or key.startswith(_NAMESPACE_LABELS) for _, key in named):
        return True
    return ("k8s", _NAMESPACE, _namespace(document)) in labels


def _labels_of(party: Party) -> frozenset[Triple]:
    if party.kind == "endpoint":
        return party.labels
    if party.kind == "host":
        return frozenset({("reserved", "host", "")})
    family = ip_address(party.address).version
    return frozenset({("reserved", f"world-ipv{family}", "")})


def _source_and_key(text: str) -> tuple[str, str]:
    source, colon, key = text.partition(":")
    return (source, key) if colon else ("any", text)


def _values(labels: frozenset[Triple], text: str) -> list[str]:
    """Values of a key, of its source or of any."""
    source, key = _source_and_key(text)
    return [value for s, k, value in labels if k == key and source in ("any", s)]


def _matches(selector: Mapping[str, Any], labels: frozenset[Triple]) -> bool:
    for key, value in (selector.get("matchLabels") or {}).items():
        if value not in _values(labels, key):
            return False
    for expression in selector.get("matchExpressions") or ():
        present = _values(labels, expression["key"])
        wanted = expression.get("values") or []
        held = {
            "In": any(value in wanted for value in present),
            "NotIn": not any(value in wanted for value in present),
            "Exists": bool(present),
            "DoesNotExist": not present,
        }
        if not held[expression["operator"]]:
            return False
    return True


def _names(rule: Mapping[str, Any], side: str, peer: Party, document: Document) -> bool:
    """Whether a rule is about a peer. Without any peer list it is about everybody, if it says anything."""
    lists = [f"{side}{kind}" for kind in ("Endpoints", "Entities", "CIDR", "CIDRSet")]
    if not any(name in rule for name in lists):
        return "toPorts" in rule or "icmps" in rule
    return (
        any(_selects_peer(s, peer, document) for s in rule.get(f"{side}Endpoints") or ())
        or any(_is_entity(peer, entity) for entity in rule.get(f"{side}Entities") or ())
        or any(_inside(peer, cidr) for cidr in rule.get(f"{side}CIDR") or ())
        or any(
            _inside(peer, item["cidr"]) and not any(_inside(peer, out) for out in item.get("except") or ())
            for item in rule.get(f"{side}CIDRSet") or ()
        )
    )


def _is_entity(peer: Party, entity: str) -> bool:
    family = ip_address(peer.address).version if peer.kind == "outside" else 0
    match entity:
        case "all":
            return True
        case "world":
            return peer.kind == "outside"
        case "world-ipv4" | "world-ipv6":
            return entity == f"world-ipv{family}"
        case "cluster":
            return peer.kind != "outside"
        case "host":
            return peer.kind == "host"
        case _:
            return False


def _inside(peer: Party, cidr: str) -> bool:
    """Only addresses that no endpoint and no node has are in a CIDR."""
    if peer.kind != "outside":
        return False
    address, network = ip_address(peer.address), ip_network(cidr, strict=False)
    return address.version == network.version and address in network


def _covers(rule: Mapping[str, Any], protocol: int, port: int) -> bool:
    if rule.get("icmps") is not None:
        return any(_is_icmp(field, protocol, port) for each in rule["icmps"] for field in each["fields"])
    if rule.get("toPorts") is None:
        return True
    ports = [item for each in rule["toPorts"] for item in each["ports"]]
    return any(_is_port(item, protocol, port) for item in ports)


def _is_icmp(field: Mapping[str, Any], protocol: int, kind: int) -> bool:
    family = 6 if field.get("family") == "IPv6" else 4
    wanted = field["type"]
    if not str(wanted).isdecimal():
        wanted = _ICMP_NAMES[family][wanted]
    return protocol == (58 if family == 6 else 1) and kind == int(wanted)


def _is_port(item: Mapping[str, Any], protocol: int, port: int) -> bool:
    name = item.get("protocol") or "ANY"
    first = int(item.get("port") or 0)
    last = int(item.get("endPort") or 0) or first
    meant = _WITH_PORTS if name == "ANY" else (_PROTOCOLS[name],)
    return protocol in meant and (first == 0 or first <= port <= last)
