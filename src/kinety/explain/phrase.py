"""How a peer or a port is written in a policy of a kind: items for its lists, as JSON values."""

import json
import re
from dataclasses import dataclass
from typing import Any

from kinety.explain.traffic import NUMBERS
from kinety.model.label import ANY_SOURCE, K8S, NAMESPACE_KEY
from kinety.model.rule import Direction, PolicyKey, PortRange
from kinety.model.selector import (
    BlockSelector,
    CidrSelector,
    EntitySelector,
    LabelSelector,
    Operator,
    PeerSelector,
)

CILIUM = ("CiliumNetworkPolicy", "CiliumClusterwideNetworkPolicy")
KUBERNETES = "NetworkPolicy"
_FAMILY = {NUMBERS["ICMP"]: "IPv4", NUMBERS["ICMPv6"]: "IPv6"}
_WITH_PORTS = {NUMBERS[name]: name for name in ("TCP", "UDP", "SCTP")}
_PLAIN = re.compile(r"[A-Za-z_][\w./-]*\Z")
_WORDS = {"true", "false", "null", "yes", "no", "on", "off", "y", "n"}


@dataclass(frozen=True, slots=True)
class Item:
    """A value for the list ``field`` of a rule."""

    field: str
    value: Any


def peer_item(key: PolicyKey, direction: Direction, peer: PeerSelector) -> Item | None:
    """A peer as an item of a rule's list of peers; None where a kind has no words for it."""
    if key.kind not in (*CILIUM, KUBERNETES):
        return None
    side = "from" if direction is Direction.INGRESS else "to"
    match peer:
        case LabelSelector():
            labels, namespace = _labels(peer)
            if labels is None:
                return None
            if key.kind == KUBERNETES:
                return Item(side, {"podSelector": _match(labels)}) if namespace == key.namespace else None
            if namespace != key.namespace:
                labels = {f"{K8S}:{NAMESPACE_KEY}": namespace} | labels
            return Item(f"{side}Endpoints", _match(labels))
        case CidrSelector(prefix, ()) if key.kind in CILIUM:
            return Item(f"{side}CIDR", str(prefix))
        case BlockSelector(prefix, ()) if key.kind == KUBERNETES:
            return Item(side, {"ipBlock": {"cidr": str(prefix)}})
        case EntitySelector(entity) if key.kind in CILIUM:
            return Item(f"{side}Entities", entity)
    return None


def port_item(key: PolicyKey, ports: PortRange) -> Item | None:
    """One port as an item of a rule's list of ports; None where a kind has no words for it."""
    name = _WITH_PORTS.get(ports.protocol)
    if key.kind == KUBERNETES:
        return Item("ports", {"port": ports.first, "protocol": name}) if name else None
    if key.kind not in CILIUM:
        return None
    if name:
        return Item("toPorts", {"ports": [{"port": str(ports.first), "protocol": name}]})
    if ports.protocol in _FAMILY:
        return Item("icmps", {"fields": [{"family": _FAMILY[ports.protocol], "type": ports.first}]})
    return None


def flow_text(value: Any) -> str:
    """A JSON value as YAML on one line, as people write it."""
    match value:
        case dict():
            return (
                "{" + ", ".join(f"{flow_text(key)}: {flow_text(each)}" for key, each in value.items()) + "}"
            )
        case list():
            return "[" + ", ".join(map(flow_text, value)) + "]"
        case str() if _PLAIN.match(value) and value.lower() not in _WORDS:
            return value
        case _:
            return json.dumps(value, ensure_ascii=False)


def _labels(selector: LabelSelector) -> tuple[dict[str, str] | None, str]:
    """Plain labels and the namespace; no labels for a selector that cannot be written so."""
    labels: dict[str, str] = {}
    namespace = ""
    for source, key, operator, values in selector.requirements:
        if operator is not Operator.IN or len(values) != 1:
            return None, ""
        if key == NAMESPACE_KEY:
            namespace = values[0]
        else:
            labels[key if source in (ANY_SOURCE, K8S) else f"{source}:{key}"] = values[0]
    return labels, namespace


def _match(labels: dict[str, str]) -> dict[str, Any]:
    return {"matchLabels": labels} if labels else {}
