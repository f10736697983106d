"""Random worlds from a seed: endpoints, outside addresses, and policies in the supported language."""

import random
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from kinety.model.address import pack_address
from kinety.model.endpoint import Endpoint, EndpointId
from kinety.model.label import Label, labels_of_endpoint
from kinety.testing.oracle import Party

NAMESPACES: dict[str, dict[str, str]] = {"default": {}, "prod": {"env": "prod"}}
KEYS: dict[str, list[str]] = {
    "app": ["web", "db", "cache"],
    "org": ["empire", "alliance"],
    "tier": ["1", "2"],
}
OUTSIDE = [
    "10.1.2.3",
    "10.1.9.9",
    "10.2.0.1",
    "172.16.0.5",
    "8.8.8.8",
    "2001:db8::1",
    "2001:db8:1::5",
    "fc00::9",
]
PREFIXES = [
    "0.0.0.0/0",
    "10.0.0.0/8",
    "10.1.0.0/16",
    "10.1.2.0/24",
    "10.1.2.3/32",
    "172.16.0.0/12",
    "::/0",
    "2001:db8::/32",
    "2001:db8:1::/48",
    "10.240.0.0/16",
]
INSIDE = {
    "0.0.0.0/0": ["10.0.0.0/8", "8.8.8.0/24"],
    "10.0.0.0/8": ["10.1.0.0/16", "10.2.0.0/16"],
    "10.1.0.0/16": ["10.1.2.0/24"],
    "::/0": ["2001:db8::/32"],
    "2001:db8::/32": ["2001:db8:1::/48"],
}
PORTS = [1, 53, 79, 80, 81, 443, 1023, 1024, 8000, 8080, 65535]
ENTITIES = ["all", "world", "world-ipv4", "world-ipv6", "cluster", "host", "none", "remote-node"]
HOST = {4: "192.0.2.1", 6: "2001:db8:2::1"}
#: (IP protocol, port or message type)
QUESTIONS = [
    *((protocol, port) for protocol in (6, 17) for port in (53, 80, 81, 443, 1024, 8080, 65535)),
    (132, 80),
    (1, 8),
    (1, 3),
    (58, 128),
    (58, 1),
    (47, 0),
]


@dataclass(frozen=True, slots=True)
class World:
    """Endpoints and documents."""

    seed: int
    endpoints: tuple[Endpoint, ...]
    documents: tuple[dict[str, Any], ...]


def world(seed: int) -> World:
    """The world of a seed."""
    rng = random.Random(seed)
    endpoints = tuple(_endpoint(rng, number) for number in range(1, rng.randint(3, 6)))
    return World(seed, endpoints, tuple(document(rng, number) for number in range(rng.randint(1, 4))))


def party(endpoint: Endpoint) -> Party:
    """An endpoint as the oracle sees it."""
    return Party("endpoint", frozenset((each.source, each.key, each.value) for each in endpoint.labels))


def _endpoint(rng: random.Random, number: int) -> Endpoint:
    namespace = rng.choice(list(NAMESPACES))
    own = [Label("k8s", key, rng.choice(values)) for key, values in KEYS.items() if rng.random() < 0.7]
    labels = labels_of_endpoint(namespace, own, NAMESPACES[namespace])
    return Endpoint(
        EndpointId(number),
        namespace,
        f"e{number}",
        labels,
        pack_address(f"10.240.0.{number}"),
        pack_address(ip_address(f"fd00::{number}")),
    )


def document(rng: random.Random, number: int) -> dict[str, Any]:
    """A policy of either kind."""
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
    else:
        made["spec"] = _spec(rng)
    return made


def _spec(rng: random.Random) -> dict[str, Any]:
    spec: dict[str, Any] = {"endpointSelector": _selector(rng, peers=False)}
    sections = ["ingress", "egress", "ingressDeny", "egressDeny"]
    for section in rng.sample(sections, rng.randint(1, 3)):
        side = "from" if section.startswith("ingress") else "to"
        spec[section] = [_rule(rng, side) for _ in range(rng.randint(1, 3))]
    if rng.random() < 0.25:
        spec["enableDefaultDeny"] = {
            direction: rng.random() < 0.5 for direction in ("ingress", "egress") if rng.random() < 0.7
        }
    return spec


def _selector(rng: random.Random, *, peers: bool) -> dict[str, Any]:
    if rng.random() < 0.2:
        return {}
    made: dict[str, Any] = {}
    if rng.random() < 0.7:
        key = rng.choice(list(KEYS))
        made["matchLabels"] = {rng.choice(["", "k8s:", "any:"]) + key: rng.choice(KEYS[key])}
    if rng.random() < 0.4:
        made["matchExpressions"] = [_expression(rng)]
    if peers and rng.random() < 0.2:
        made.setdefault("matchLabels", {})["k8s:io.kubernetes.pod.namespace"] = rng.choice(list(NAMESPACES))
    return made


def _expression(rng: random.Random) -> dict[str, Any]:
    key = rng.choice(list(KEYS))
    operator = rng.choice(["In", "NotIn", "Exists", "DoesNotExist"])
    made: dict[str, Any] = {"key": key, "operator": operator}
    if operator in ("In", "NotIn"):
        made["values"] = rng.sample(KEYS[key], rng.randint(1, len(KEYS[key])))
    return made


def _rule(rng: random.Random, side: str) -> dict[str, Any]:
    rule: dict[str, Any] = {}
    match rng.choice(["endpoints", "endpoints", "entities", "cidr", "cidrset", "any", "empty"]):
        case "endpoints":
            rule[f"{side}Endpoints"] = [_selector(rng, peers=True) for _ in range(rng.randint(1, 2))]
        case "entities":
            rule[f"{side}Entities"] = rng.sample(ENTITIES, rng.randint(1, 2))
        case "cidr":
            rule[f"{side}CIDR"] = rng.sample(PREFIXES, rng.randint(1, 2))
        case "cidrset":
            prefix = rng.choice(list(INSIDE))
            rule[f"{side}CIDRSet"] = [{"cidr": prefix, "except": rng.sample(INSIDE[prefix], 1)}]
        case "empty":
            rule[f"{side}Endpoints"] = []
    match rng.choice(["none", "ports", "ports", "icmps"]):
        case "ports":
            rule["toPorts"] = [{"ports": [_port(rng) for _ in range(rng.randint(1, 3))]}]
        case "icmps":
            version = rng.choice(["IPv4", "IPv6"])
            kinds = {"IPv4": [8, 3, "EchoRequest"], "IPv6": [128, 1, "EchoRequest"]}
            rule["icmps"] = [{"fields": [{"family": version, "type": rng.choice(kinds[version])}]}]
    return rule


def _port(rng: random.Random) -> dict[str, Any]:
    first = rng.choice([0, *PORTS])
    made: dict[str, Any] = {"port": str(first)}
    if first and rng.random() < 0.4:
        made["endPort"] = rng.choice([port for port in PORTS if port >= first])
    if rng.random() < 0.8:
        made["protocol"] = rng.choice(["TCP", "UDP", "SCTP", "ANY"])
    return made
