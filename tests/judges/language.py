"""Random documents of the policy language, every part of it that is supported."""

import copy
import random
from typing import Any

NAMESPACES: dict[str, dict[str, str]] = {
    "default": {},
    "prod": {"env": "prod"},
    "lab": {"env": "lab", "x": "1"},
}
KEYS: dict[str, list[str]] = {
    "app": ["web", "db", "cache"],
    "org": ["empire", "alliance"],
    "tier": ["1", "2"],
}
NAMESPACE_KEY = "io.kubernetes.pod.namespace"
NAMESPACE_LABEL = "io.cilium.k8s.namespace.labels.env"
PREFIXES = [
    "0.0.0.0/0",
    "10.0.0.0/8",
    "10.1.0.0/16",
    "10.1.2.0/24",
    "10.1.2.3/32",
    "10.1.2.3",
    "10.240.0.0/16",
    "172.16.0.0/12",
    "192.0.2.0/24",
    "::/0",
    "2001:db8::/32",
    "2001:db8:1::/48",
    "fd00::/16",
    "fd00::99",
]
#: Prefixes with what can be left out of them.
INSIDE = {
    "0.0.0.0/0": ["10.0.0.0/8", "8.8.8.0/24", "10.240.9.0/24"],
    "10.0.0.0/8": ["10.1.0.0/16", "10.2.0.0/16", "10.1.2.3/32"],
    "10.1.0.0/16": ["10.1.2.0/24", "10.1.0.0/16"],
    "::/0": ["2001:db8::/32", "fc00::/7"],
    "2001:db8::/32": ["2001:db8:1::/48"],
}
_SECTIONS = ["ingress", "egress", "ingressDeny", "egressDeny"]
PORTS = [1, 53, 79, 80, 81, 443, 1023, 1024, 8000, 8080, 65535]
ENTITIES = ["all", "world", "world-ipv4", "world-ipv6", "cluster", "host", "none"]
#: Entities that nobody in these worlds is.
ABSENT_ENTITIES = ["remote-node", "init", "ingress", "unmanaged", "health", "kube-apiserver"]
ICMP_TYPES: dict[str, list[int | str]] = {
    "IPv4": [0, 3, 8, 11, 13, "EchoRequest", "EchoReply", "DestinationUnreachable"],
    "IPv6": [1, 3, 128, 129, "EchoRequest", "EchoReply", "PacketTooBig"],
}


def document(rng: random.Random, number: int) -> dict[str, Any]:
    """Policy number ``number``, of either kind."""
    clusterwide = rng.random() < 0.3
    metadata: dict[str, Any] = {"name": f"p{number}"}
    if not clusterwide:
        metadata["namespace"] = rng.choice(list(NAMESPACES))
    made: dict[str, Any] = {
        "apiVersion": "cilium.io/v2",
        "kind": "CiliumClusterwideNetworkPolicy" if clusterwide else "CiliumNetworkPolicy",
        "metadata": metadata,
    }
    if rng.random() < 0.2:
        made["specs"] = [_spec(rng) for _ in range(rng.randint(1, 2))]
    if "specs" not in made or rng.random() < 0.2:
        made["spec"] = _spec(rng)
    return made


def edited(rng: random.Random, former: dict[str, Any]) -> dict[str, Any]:
    """A policy that says all but one thing as before: whom it is about, or one rule, there or not."""
    made: dict[str, Any] = copy.deepcopy(former)
    spec = rng.choice([*made.get("specs", []), *([made["spec"]] if "spec" in made else [])])
    section, rules = rng.choice([(name, spec[name]) for name in _SECTIONS if spec.get(name)])
    side = "from" if section.startswith("ingress") else "to"
    match rng.choice(["subject", "subject", "replace", "insert", "remove", "reorder"]):
        case "subject":
            spec["endpointSelector"] = _selector(rng)
        case "replace":
            rules[rng.randrange(len(rules))] = _rule(rng, side)
        case "insert":
            rules.insert(rng.randint(0, len(rules)), _rule(rng, side))
        case "remove" if len(rules) > 1:
            del rules[rng.randrange(len(rules))]
        case _:
            rng.shuffle(rules)
    return made


def _spec(rng: random.Random) -> dict[str, Any]:
    spec: dict[str, Any] = {"endpointSelector": _selector(rng)}
    for section in rng.sample(_SECTIONS, rng.randint(1, 3)):
        side = "from" if section.startswith("ingress") else "to"
        spec[section] = [_rule(rng, side) for _ in range(rng.randint(1, 3))]
    if rng.random() < 0.1:
        spec[rng.choice([each for each in _SECTIONS if each not in spec])] = []
    if rng.random() < 0.25:
        spec["enableDefaultDeny"] = {
            direction: rng.random() < 0.5 for direction in ("ingress", "egress") if rng.random() < 0.7
        }
    return spec


def _selector(rng: random.Random) -> dict[str, Any]:
    """Which endpoints a policy is about."""
    if rng.random() < 0.25:
        return {}
    made: dict[str, Any] = {}
    if rng.random() < 0.7:
        key = rng.choice(list(KEYS))
        made["matchLabels"] = {_source(rng) + key: rng.choice(KEYS[key])}
    if rng.random() < 0.4:
        made["matchExpressions"] = [_expression(rng) for _ in range(rng.randint(1, 2))]
    if rng.random() < 0.1:
        made.setdefault("matchLabels", {})[NAMESPACE_LABEL] = rng.choice(["prod", "lab"])
    return made


def _peer_selector(rng: random.Random) -> dict[str, Any]:
    """Which endpoints a rule is about, in the policy's namespace or others, or who has a reserved label."""
    if rng.random() < 0.07:
        return {"matchLabels": {f"reserved:{rng.choice(['host', 'world-ipv4', 'world-ipv6', 'init'])}": ""}}
    made = _selector(rng)
    if rng.random() < 0.2:
        made.setdefault("matchLabels", {})[f"k8s:{NAMESPACE_KEY}"] = rng.choice(list(NAMESPACES))
    if rng.random() < 0.2:
        key = rng.choice([NAMESPACE_KEY, NAMESPACE_LABEL])
        values = list(NAMESPACES) if key == NAMESPACE_KEY else ["prod", "lab", "none"]
        made.setdefault("matchExpressions", []).append(_expression_of(rng, key, values))
    return made


def _source(rng: random.Random) -> str:
    return rng.choice(["", "", "k8s:", "any:", "container:"])


def _expression(rng: random.Random) -> dict[str, Any]:
    key = rng.choice(list(KEYS))
    return _expression_of(rng, _source(rng) + key, KEYS[key])


def _expression_of(rng: random.Random, key: str, values: list[str]) -> dict[str, Any]:
    operator = rng.choice(["In", "NotIn", "Exists", "DoesNotExist"])
    made: dict[str, Any] = {"key": key, "operator": operator}
    if operator in ("In", "NotIn"):
        made["values"] = rng.sample(values, rng.randint(1, len(values)))
    return made


def _rule(rng: random.Random, side: str) -> dict[str, Any]:
    rule = _peers(rng, side)
    match rng.choice(["none", "ports", "ports", "icmps"]):
        case "ports":
            rule["toPorts"] = [
                {"ports": [_port(rng) for _ in range(rng.randint(1, 3))]} for _ in range(rng.randint(1, 2))
            ]
        case "icmps":
            rule["icmps"] = [{"fields": [_icmp(rng) for _ in range(rng.randint(1, 2))]}]
    return rule


def _peers(rng: random.Random, side: str) -> dict[str, Any]:
    """One kind of peers, an empty list of them, or nothing, which is anybody."""
    match rng.choice(["endpoints", "endpoints", "entities", "cidr", "cidrset", "anybody", "empty"]):
        case "endpoints":
            return {f"{side}Endpoints": [_peer_selector(rng) for _ in range(rng.randint(1, 2))]}
        case "entities":
            choice = [*rng.sample(ENTITIES, rng.randint(1, 2)), rng.choice(ABSENT_ENTITIES)]
            return {f"{side}Entities": choice[: rng.randint(1, 3)]}
        case "cidr":
            return {f"{side}CIDR": rng.sample(PREFIXES, rng.randint(1, 2))}
        case "cidrset":
            prefix = rng.choice(list(INSIDE))
            item: dict[str, Any] = {"cidr": prefix}
            if rng.random() < 0.8:
                item["except"] = rng.sample(INSIDE[prefix], rng.randint(1, len(INSIDE[prefix])))
            return {f"{side}CIDRSet": [item]}
        case "empty":
            return {f"{side}{rng.choice(['Endpoints', 'Entities', 'CIDR', 'CIDRSet'])}": []}
        case _:
            return {}


def _port(rng: random.Random) -> dict[str, Any]:
    first = rng.choice([0, *PORTS])
    made: dict[str, Any] = {"port": str(first) if rng.random() < 0.9 else first}
    if first and rng.random() < 0.4:
        made["endPort"] = rng.choice([port for port in PORTS if port >= first])
    if rng.random() < 0.8:
        made["protocol"] = rng.choice(["TCP", "UDP", "SCTP", "ANY"])
    return made


def _icmp(rng: random.Random) -> dict[str, Any]:
    family = rng.choice(list(ICMP_TYPES))
    made: dict[str, Any] = {"type": rng.choice(ICMP_TYPES[family])}
    if family == "IPv6" or rng.random() < 0.7:
        made["family"] = family
    return made
