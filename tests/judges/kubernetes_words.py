"""Random specs of Kubernetes' kinds: NetworkPolicy, and the policies of the admin and the baseline tier."""

import random
from typing import Any

from tests.judges.vocabulary import (
    KEYS,
    NAMES,
    NAMESPACES,
    NODE_LABELS,
    PORT_NAMES,
    PORTS,
    PREFIXES,
    selector,
    some,
    with_exceptions,
)

_NAMESPACE_KEYS = {
    "env": ["prod", "lab"],
    "x": ["1"],
    "kubernetes.io/metadata.name": list(NAMESPACES),
}
#: Few enough that policies of one priority meet.
_PRIORITIES = [0, 1, 1, 1000]


def network_policy(rng: random.Random) -> dict[str, Any]:
    """A spec of NetworkPolicy."""
    made: dict[str, Any] = {"podSelector": selector(rng, KEYS)}
    sections = rng.choice([["ingress"], ["egress"], ["ingress", "egress"]])
    for section in sections:
        made[section] = [network_policy_rule(rng, section) for _ in range(rng.randint(0, 3))]
    types = [each.capitalize() for each in sections]
    if rng.random() < 0.7 or made.get("egress") == []:
        made["policyTypes"] = rng.choice([types, types, ["Ingress", "Egress"]])
    return made


def network_policy_rule(rng: random.Random, section: str) -> dict[str, Any]:
    """An item of ingress or egress; empty lists are as good as none."""
    made: dict[str, Any] = {}
    if rng.random() < 0.8:
        side = "from" if section == "ingress" else "to"
        made[side] = [_peer(rng) for _ in range(rng.choice([0, 1, 1, 2]))]
    if rng.random() < 0.7:
        made["ports"] = [_port(rng) for _ in range(rng.choice([0, 1, 1, 2]))]
    return made


def _peer(rng: random.Random) -> dict[str, Any]:
    match rng.choice(["pods", "namespaces", "both", "block", "block"]):
        case "pods":
            return {"podSelector": selector(rng, KEYS)}
        case "namespaces":
            return {"namespaceSelector": selector(rng, _NAMESPACE_KEYS)}
        case "both":
            return {"namespaceSelector": selector(rng, _NAMESPACE_KEYS), "podSelector": selector(rng, KEYS)}
        case _:
            return {"ipBlock": with_exceptions(rng)}


def _port(rng: random.Random) -> dict[str, Any]:
    made: dict[str, Any] = {}
    if rng.random() < 0.7:
        made["protocol"] = rng.choice(["TCP", "TCP", "UDP", "SCTP"])
    match rng.choice(["number", "number", "range", "name", "none"]):
        case "number":
            made["port"] = rng.choice(PORTS)
        case "range":
            made["port"] = rng.choice(PORTS)
            made["endPort"] = rng.choice([each for each in PORTS if each >= made["port"]])
        case "name":
            made["port"] = rng.choice([*PORT_NAMES, "nobodys"])
    return made


def cluster_policy(rng: random.Random, kind: str) -> dict[str, Any]:
    """A spec of ClusterNetworkPolicy, AdminNetworkPolicy or BaselineAdminNetworkPolicy."""
    made: dict[str, Any] = {"subject": _pods(rng)}
    if kind == "ClusterNetworkPolicy":
        made["tier"] = rng.choice(["Admin", "Baseline"])
    if kind != "BaselineAdminNetworkPolicy":
        made["priority"] = rng.choice(_PRIORITIES)
    for section in rng.choice([["ingress"], ["egress"], ["ingress", "egress"]]):
        made[section] = [cluster_policy_rule(rng, kind, section) for _ in range(rng.randint(1, 4))]
    return made


def cluster_policy_rule(rng: random.Random, kind: str, section: str) -> dict[str, Any]:
    """An item of ingress or egress."""
    accept = "Accept" if kind == "ClusterNetworkPolicy" else "Allow"
    actions = [accept, accept, "Deny", "Deny", *["Pass"] * (2 * (kind != "BaselineAdminNetworkPolicy"))]
    made: dict[str, Any] = {"action": rng.choice(actions)}
    if rng.random() < 0.3:
        made["name"] = "a name for people"
    if section == "ingress":
        made["from"] = [_pods(rng) for _ in range(rng.randint(1, 2))]
    else:
        may_name = made["action"] == accept and kind != "BaselineAdminNetworkPolicy"
        made["to"] = [_destination(rng, may_name) for _ in range(rng.randint(1, 2))]
    if rng.random() < 0.6:
        named = not any(each.keys() & {"nodes", "networks", "domainNames"} for each in made.get("to", ()))
        words = "ports" if kind != "ClusterNetworkPolicy" or rng.random() < 0.2 else "protocols"
        item = _port_item if words == "ports" else _protocol_item
        made[words] = [item(rng, named) for _ in range(rng.randint(1, 2))]
    return made


def _pods(rng: random.Random) -> dict[str, Any]:
    if rng.random() < 0.5:
        return {"namespaces": selector(rng, _NAMESPACE_KEYS)}
    pods = {"namespaceSelector": selector(rng, _NAMESPACE_KEYS), "podSelector": selector(rng, KEYS)}
    return {"pods": pods}


def _destination(rng: random.Random, may_name: bool) -> dict[str, Any]:
    match rng.choice(["pods", "pods", "networks", "networks", "nodes", "names", "names"]):
        case "networks":
            return {"networks": some(rng, PREFIXES)}
        case "nodes":
            return {"nodes": selector(rng, NODE_LABELS)}
        case "names" if may_name:
            return {"domainNames": some(rng, sorted({*NAMES, "*.example.com"}))}
        case _:
            return _pods(rng)


def _range(rng: random.Random) -> dict[str, int]:
    first, last = sorted(rng.sample(PORTS, 2))
    return {"start": first, "end": last}


def _port_item(rng: random.Random, named: bool) -> dict[str, Any]:
    protocol = {"protocol": rng.choice(["TCP", "UDP", "SCTP"])} if rng.random() < 0.7 else {}
    match rng.choice(["number", "range", "name"]):
        case "name" if named:
            return {"namedPort": rng.choice(list(PORT_NAMES))}
        case "range":
            return {"portRange": {**protocol, **_range(rng)}}
        case _:
            return {"portNumber": {"protocol": "TCP", **protocol, "port": rng.choice(PORTS)}}


def _protocol_item(rng: random.Random, named: bool) -> dict[str, Any]:
    if named and rng.random() < 0.2:
        return {"destinationNamedPort": rng.choice(list(PORT_NAMES))}
    port = {"range": _range(rng)} if rng.random() < 0.4 else {"number": rng.choice(PORTS)}
    return {rng.choice(["tcp", "tcp", "udp", "sctp"]): {"destinationPort": port}}
