"""Peers of ``cilium.io/v2``: whether a rule is about somebody."""

from collections.abc import Mapping
from typing import Any

from kinety.testing.oracle import name
from kinety.testing.oracle.address import in_cidr
from kinety.testing.oracle.party import Party, Triple, values
from kinety.testing.oracle.selector import Selector, keys, keys_wanted, matches
from kinety.testing.oracle.surroundings import Surroundings

_NAMESPACE = "io.kubernetes.pod.namespace"
_NAMESPACE_LABELS = "io.cilium.k8s.namespace.labels."
_LISTS = ("Endpoints", "Requires", "Entities", "CIDR", "CIDRSet", "Nodes", "Services", "FQDNs")


def names(rule: Mapping[str, Any], side: str, peer: Party, namespace: str, around: Surroundings) -> bool:
    """Whether a rule is about a peer. Without any list of them it is about everybody, if it says anything.

    ``side`` is ``from`` or ``to``, ``namespace`` the policy's, "" for all of them.
    """
    if not any(f"{side}{each}" in rule for each in _LISTS):
        return "toPorts" in rule or "icmps" in rule
    lists = {each: rule.get(f"{side}{each}") or () for each in _LISTS}
    return (
        _is_endpoint_named(rule, side, peer, namespace)
        or any(_is_entity(peer, entity) for entity in lists["Entities"])
        or any(in_cidr(peer, cidr) for cidr in lists["CIDR"])
        or any(_in_set(peer, item, around) for item in lists["CIDRSet"])
        or any(peer.is_node and is_node(selector, peer) for selector in lists["Nodes"])
        or any(around.in_service(peer, item, namespace) for item in lists["Services"])
        or any(_has_name(peer, name.pattern_of(item)) for item in lists["FQDNs"])
    )


def source_and_key(text: str) -> tuple[str, str]:
    """``source:key``; a key without a source is anybody's, but nobody else vouches for a namespace."""
    source, colon, key = text.partition(":")
    if not colon:
        source, key = "any", text
    if source == "any" and (key == _NAMESPACE or key.startswith(_NAMESPACE_LABELS)):
        source = "k8s"
    return source, key


def is_node(selector: Selector, node: Party) -> bool:
    """Whether a selector selects a node by its own labels."""
    return matches(selector, lambda key: values(node.labels, "node", key.rpartition(":")[2]))


def _is_endpoint_named(rule: Mapping[str, Any], side: str, peer: Party, namespace: str) -> bool:
    """By one of the selectors, and by all that is required beside it."""
    selectors = rule.get(f"{side}Endpoints")
    required = rule.get(f"{side}Requires") or ()
    if selectors is None:
        return bool(required) and _selects([*required], peer, namespace)
    return any(
        _selects([selector], peer, namespace)
        and all(matches(each, lambda key: _values(peer, key)) for each in required)
        for selector in selectors
    )


def _selects(selectors: list[Selector], peer: Party, namespace: str) -> bool:
    """Whether selectors select a peer together: in the policy's namespace unless they name others.

    What is in no namespace is reached by having a reserved label, never by lacking one or another.
    """
    if not all(matches(selector, lambda key: _values(peer, key)) for selector in selectors):
        return False
    wanted = [source_and_key(key) for selector in selectors for key in keys_wanted(selector)]
    if any(source == "reserved" for source, _ in wanted):
        return True
    named = [source_and_key(key) for selector in selectors for key in keys(selector)]
    own = _values(peer, f"k8s:{_NAMESPACE}")
    if not own:
        return False
    if any(key == _NAMESPACE or key.startswith(_NAMESPACE_LABELS) for _, key in named):
        return True
    return namespace in ("", *own)


def _values(peer: Party, text: str) -> list[str]:
    return values(_labels(peer), *source_and_key(text))


def _labels(peer: Party) -> frozenset[Triple]:
    """What selectors of endpoints see of a peer; the labels of nodes are none of it."""
    if peer.kind == "endpoint":
        return peer.labels
    reserved = f"world-ipv{peer.family}" if peer.kind == "outside" else peer.kind
    return frozenset({("reserved", reserved, "")})


def _is_entity(peer: Party, entity: str) -> bool:
    match entity:
        case "all":
            return True
        case "world":
            return peer.kind == "outside"
        case "world-ipv4" | "world-ipv6":
            return peer.kind == "outside" and entity == f"world-ipv{peer.family}"
        case "cluster":
            return peer.kind != "outside"
        case _:
            return peer.kind == entity


def _in_set(peer: Party, item: Mapping[str, Any], around: Surroundings) -> bool:
    if "cidr" in item:
        return in_cidr(peer, item["cidr"], item.get("except") or ())
    return around.in_group(peer, item)


def _has_name(peer: Party, pattern: str) -> bool:
    return peer.kind == "outside" and any(name.matches(pattern, each) for each in peer.names)
