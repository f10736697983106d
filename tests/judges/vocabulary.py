"""The words that random documents are made of, few enough that rules meet each other often."""

import random
from typing import Any

NAMESPACES: dict[str, dict[str, str]] = {
    "default": {},
    "prod": {"env": "prod"},
    "lab": {"env": "lab", "x": "1"},
}
KEYS: dict[str, list[str]] = {
    "app": ["web", "db"],
    "org": ["empire", "alliance"],
    "tier": ["1", "2"],
}
NAMESPACE_KEY = "io.kubernetes.pod.namespace"
NAMESPACE_LABEL = "io.cilium.k8s.namespace.labels.env"
#: Endpoints here have addresses in 10.240.0.0/29 and fd00::/125, workloads elsewhere in 10.240.1.0/24.
PREFIXES = [
    "0.0.0.0/0",
    "10.0.0.0/8",
    "10.1.0.0/16",
    "10.1.2.0/24",
    "10.1.2.3/32",
    "10.240.0.0/16",
    "10.240.0.0/30",
    "10.240.0.2/31",
    "172.16.0.0/12",
    "192.0.2.0/24",
    "::/0",
    "2001:db8::/32",
    "2001:db8:1::/48",
    "fd00::/16",
    "fd00::/126",
    "fd00::99/128",
]
#: Addresses that services without pods lead to; the last two are endpoints' own.
ADDRESSES = ["10.1.2.3", "10.2.0.1", "8.8.8.8", "2001:db8::1", "10.240.0.2", "fd00::3"]
#: Prefixes with what can be left out of them.
INSIDE = {
    "0.0.0.0/0": ["10.0.0.0/8", "8.8.8.0/24", "10.240.9.0/24", "10.240.0.0/30"],
    "10.0.0.0/8": ["10.1.0.0/16", "10.2.0.0/16", "10.1.2.3/32", "10.240.0.0/31"],
    "10.1.0.0/16": ["10.1.2.0/24", "10.1.2.3/32"],
    "10.240.0.0/16": ["10.240.0.0/30", "10.240.0.3/32", "10.240.1.0/24"],
    "::/0": ["2001:db8::/32", "fc00::/7", "fd00::2/127"],
    "2001:db8::/32": ["2001:db8:1::/48"],
    "fd00::/16": ["fd00::/126", "fd00:1::/32"],
}
PORTS = [1, 53, 79, 80, 81, 443, 1023, 1024, 8000, 8080, 65535]
#: Ranges that overlap, touch and hold each other.
RANGES = [
    (1, 79),
    (79, 81),
    (80, 80),
    (80, 81),
    (81, 81),
    (80, 8080),
    (1024, 65535),
    (8000, 8080),
    (1, 65535),
]
#: Ports for requests. Those for other content are left out, so that only some worlds have conflicts.
HTTP_RANGES = [(80, 80), (80, 80), (79, 81), (80, 81), (81, 81), (1024, 8080), (8000, 65535), (8080, 8080)]
DNS_PORT, TLS_PORT = 53, 443
#: Names of ports, and the ports that endpoints give them to.
PORT_NAMES: dict[str, list[tuple[int, int]]] = {
    "web": [(6, 80), (6, 81), (6, 8080), (17, 80)],
    "admin": [(6, 8080), (6, 1023), (132, 8080)],
    "dns": [(6, 53), (17, 53)],
}
ENTITIES = ["all", "world", "world-ipv4", "world-ipv6", "cluster", "host", "none"]
#: Entities that nobody in these worlds is.
ABSENT_ENTITIES = ["remote-node", "init", "ingress", "unmanaged", "health", "kube-apiserver"]
ICMP_TYPES: dict[str, list[int | str]] = {
    "IPv4": [0, 3, 8, 11, 13, "EchoRequest", "EchoReply", "DestinationUnreachable"],
    "IPv6": [1, 3, 128, 129, "EchoRequest", "EchoReply", "PacketTooBig"],
}
#: Names that DNS answers may give addresses outside, and what is said of names.
NAMES = ["a.example.com", "deep.a.example.com", "example.com", "example.org"]
NAME_PATTERNS = ["*.example.com", "**.example.com", "*", "*.example.*", "a.*.com", "EXAMPLE.ORG."]
NODE_LABELS: dict[str, list[str]] = {"zone": ["east", "west"], "role": ["edge"]}
GROUPS = ["g0", "g1", "g2"]
SERVICES = ["s0", "s1", "s2"]


def namespace(rng: random.Random) -> str:
    """One of them, mostly the same."""
    return rng.choice(["default", "default", "default", *NAMESPACES])


def some(rng: random.Random, values: list[Any], most: int = 2) -> list[Any]:
    """One of the values, or a few."""
    return rng.sample(values, rng.randint(1, min(most, len(values))))


def expression(rng: random.Random, key: str, values: list[str]) -> dict[str, Any]:
    """An item of matchExpressions."""
    operator = rng.choice(["In", "NotIn", "Exists", "DoesNotExist"])
    made: dict[str, Any] = {"key": key, "operator": operator}
    if operator in ("In", "NotIn"):
        made["values"] = some(rng, values, len(values))
    return made


def selector(rng: random.Random, keys: dict[str, list[str]]) -> dict[str, Any]:
    """A label selector over these keys and their values; now and then it selects everything."""
    made: dict[str, Any] = {}
    if rng.random() < 0.4:
        return made
    if rng.random() < 0.6:
        key = rng.choice(list(keys))
        made["matchLabels"] = {key: rng.choice(keys[key])}
    if rng.random() < 0.4:
        chosen = [rng.choice(list(keys)) for _ in range(rng.randint(1, 2))]
        made["matchExpressions"] = [expression(rng, key, keys[key]) for key in chosen]
    return made


def with_exceptions(rng: random.Random) -> dict[str, Any]:
    """A prefix, mostly with parts left out: nested, and now and then all of it twice over."""
    prefix = rng.choice(list(INSIDE))
    made: dict[str, Any] = {"cidr": prefix}
    if rng.random() < 0.8:
        made["except"] = some(rng, INSIDE[prefix], 3)
    return made
