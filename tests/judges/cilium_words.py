"""Random specs of ``cilium.io/v2``: every field that says something."""

import random
from typing import Any

from tests.judges.cilium_traffic import traffic
from tests.judges.vocabulary import (
    ABSENT_ENTITIES,
    ENTITIES,
    GROUPS,
    KEYS,
    NAME_PATTERNS,
    NAMES,
    NAMESPACE_KEY,
    NAMESPACE_LABEL,
    NAMESPACES,
    NODE_LABELS,
    PREFIXES,
    SERVICES,
    expression,
    selector,
    some,
    with_exceptions,
)

_RESERVED = ["host", "world-ipv4", "world-ipv6", "init"]
SECTIONS = ["ingress", "egress", "ingressDeny", "egressDeny"]


def spec(rng: random.Random, *, clusterwide: bool) -> dict[str, Any]:
    """A block of rules."""
    made: dict[str, Any] = {}
    of_nodes = clusterwide and rng.random() < 0.15
    if of_nodes:
        made["nodeSelector"] = selector(rng, NODE_LABELS)
    else:
        made["endpointSelector"] = subject(rng)
    for section in rng.sample(SECTIONS, rng.randint(1, 3)):
        made[section] = [rule(rng, section, clusterwide, of_nodes) for _ in range(rng.randint(1, 3))]
    if rng.random() < 0.1:
        made[rng.choice([each for each in SECTIONS if each not in made])] = []
    if rng.random() < 0.25:
        made["enableDefaultDeny"] = {
            direction: rng.random() < 0.5 for direction in ("ingress", "egress") if rng.random() < 0.7
        }
    if rng.random() < 0.1:
        made["log"] = {"value": "a text"}
    return made


def subject(rng: random.Random) -> dict[str, Any]:
    """Which endpoints a policy is about."""
    made = selector(rng, {_source(rng) + key: values for key, values in KEYS.items()})
    if made and rng.random() < 0.1:
        made.setdefault("matchLabels", {})[NAMESPACE_LABEL] = rng.choice(["prod", "lab"])
    return made


def rule(rng: random.Random, section: str, clusterwide: bool, of_nodes: bool = False) -> dict[str, Any]:
    """One item of a section."""
    side = "from" if section.startswith("ingress") else "to"
    denies = section.endswith("Deny")
    made = _peers(rng, side, clusterwide, denies)
    made |= traffic(rng, side, plain=denies or of_nodes)
    if not denies and rng.random() < 0.03:
        made["authentication"] = {"mode": "disabled"}
    return made


def _peers(rng: random.Random, side: str, clusterwide: bool, denies: bool) -> dict[str, Any]:
    """One kind of peers, an empty list of them, or nothing, which is anybody."""
    kinds = ["endpoints"] * 6 + ["anybody"] * 5 + ["entities"] * 3 + ["cidrset"] * 2
    kinds += ["cidr", "group", "group", "empty", "requires"]
    kinds += (
        ["nodes"] * clusterwide
        + ["services", "services"] * (side == "to")
        + ["names"] * (side == "to" and not denies)
    )
    match rng.choice(kinds):
        case "endpoints":
            return {f"{side}Endpoints": [_peer(rng) for _ in range(rng.randint(1, 2))]}
        case "requires":
            made = {f"{side}Requires": [subject(rng) for _ in range(rng.randint(1, 2))]}
            if rng.random() < 0.7:
                made[f"{side}Endpoints"] = [_peer(rng)]
            return made
        case "entities":
            choice = [*some(rng, ENTITIES), rng.choice(ABSENT_ENTITIES)]
            return {f"{side}Entities": choice[: rng.randint(1, 3)]}
        case "cidr":
            return {f"{side}CIDR": [each.removesuffix("/32") for each in some(rng, PREFIXES)]}
        case "cidrset":
            return {f"{side}CIDRSet": [with_exceptions(rng) for _ in range(rng.randint(1, 2))]}
        case "group":
            return {f"{side}CIDRSet": [_group(rng)]}
        case "nodes":
            return {f"{side}Nodes": [selector(rng, NODE_LABELS)]}
        case "services":
            return {f"{side}Services": [_service(rng)]}
        case "names":
            return {f"{side}FQDNs": [domain(rng) for _ in range(rng.randint(1, 2))]}
        case "empty":
            return {f"{side}{rng.choice(['Endpoints', 'Entities', 'CIDR', 'CIDRSet'])}": []}
        case _:
            return {}


def _peer(rng: random.Random) -> dict[str, Any]:
    """Which endpoints a rule is about, in the policy's namespace or others, or who has a reserved label."""
    if rng.random() < 0.07:
        return {"matchLabels": {f"reserved:{rng.choice(_RESERVED)}": ""}}
    made = subject(rng)
    if rng.random() < 0.05:
        made.setdefault("matchExpressions", []).append(
            {
                "key": f"reserved:{rng.choice(_RESERVED)}",
                "operator": rng.choice(["Exists", "DoesNotExist", "DoesNotExist"]),
            }
        )
    if rng.random() < 0.2:
        made.setdefault("matchLabels", {})[f"k8s:{NAMESPACE_KEY}"] = rng.choice(list(NAMESPACES))
    if rng.random() < 0.2:
        key = rng.choice([NAMESPACE_KEY, NAMESPACE_LABEL])
        values = list(NAMESPACES) if key == NAMESPACE_KEY else ["prod", "lab", "none"]
        made.setdefault("matchExpressions", []).append(expression(rng, key, values))
    return made


def _source(rng: random.Random) -> str:
    return rng.choice(["", "", "k8s:", "any:", "container:"])


def _group(rng: random.Random) -> dict[str, Any]:
    """Groups by a name, which may be nobody's, or by labels."""
    made: dict[str, Any] = {}
    if rng.random() < 0.6:
        made["cidrGroupRef"] = rng.choice([*GROUPS, "missing"])
    else:
        made["cidrGroupSelector"] = selector(rng, KEYS)
    if rng.random() < 0.6:
        made["except"] = some(rng, ["10.1.2.0/24", "10.1.2.3/32", "2001:db8:1::/48", "10.0.0.0/8"])
    return made


def _service(rng: random.Random) -> dict[str, Any]:
    made: dict[str, Any] = {}
    if rng.random() < 0.5:
        made["namespace"] = rng.choice(list(NAMESPACES))
    if rng.random() < 0.6:
        return {"k8sService": {"serviceName": rng.choice([*SERVICES, "missing"]), **made}}
    return {"k8sServiceSelector": {"selector": selector(rng, KEYS), **made}}


def domain(rng: random.Random) -> dict[str, str]:
    """A DNS name or a pattern of names."""
    if rng.random() < 0.5:
        return {"matchName": rng.choice(NAMES)}
    return {"matchPattern": rng.choice(NAME_PATTERNS)}
