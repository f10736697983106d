"""Policies of one rule each, about everybody, in the corners of the language, of which a few meet.

What is rare among random documents is common here: content under a baseline rule, a port by name inside a
block of addresses, a service next to an exception.
"""

import random
from collections.abc import Callable, Sequence
from typing import Any

from tests.judges.vocabulary import (
    GROUPS,
    NAME_PATTERNS,
    PORT_NAMES,
    PREFIXES,
    SERVICES,
    some,
    with_exceptions,
)

_Made = dict[str, Any]
_EVERY_POD: _Made = {"namespaces": {}}
#: Ports for requests, away from those of other content.
_HTTP_RANGES = [*[(80, 80)] * 3, (80, 81), (79, 81), (81, 81)]
_RANGES = [*_HTTP_RANGES, (1, 65535)]
_TIERS = "policy.networking.k8s.io/v1alpha2"


def document(rng: random.Random, number: int) -> _Made:
    """Policy number ``number``, which is in one corner."""
    version, kind, spec = rng.choice(_CORNERS)(rng)
    metadata = {"name": f"corner{number}"}
    if kind == "NetworkPolicy":
        metadata["namespace"] = "default"
    return {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec}


def _cilium(rng: random.Random, section: str, rule: _Made) -> tuple[str, str, _Made]:
    spec: _Made = {"endpointSelector": {}, section: [rule]}
    if rng.random() < 0.5:
        spec["enableDefaultDeny"] = {section.removesuffix("Deny"): False}
    return "cilium.io/v2", "CiliumClusterwideNetworkPolicy", spec


def _side(section: str) -> str:
    return "from" if section.startswith("ingress") else "to"


def _range(rng: random.Random, ranges: Sequence[tuple[int, int]] = _RANGES) -> _Made:
    first, last = rng.choice(ranges)
    made: _Made = {"port": str(first), "protocol": "TCP"}
    return made | ({"endPort": last} if last > first else {})


def _anybody(rng: random.Random, section: str) -> _Made:
    side = _side(section)
    return rng.choice(
        [{}, {f"{side}Entities": ["all"]}, {f"{side}Endpoints": [{}]}, {f"{side}Entities": ["cluster"]}]
    )


def _content(rng: random.Random) -> tuple[str, str, _Made]:
    section = rng.choice(["ingress", "egress"])
    http = [{"method": rng.choice(["GET", "PUT", "POST"])}]
    item = {"ports": [_range(rng, _HTTP_RANGES)], "rules": {"http": http}}
    return _cilium(rng, section, _anybody(rng, section) | {"toPorts": [item]})


def _plain(rng: random.Random) -> tuple[str, str, _Made]:
    section = rng.choice(["ingress", "egress", "ingress", "egress", "ingressDeny", "egressDeny"])
    item = {"ports": [_range(rng)]}
    return _cilium(rng, section, _anybody(rng, section) | {"toPorts": [item]})


def _named_port(rng: random.Random) -> tuple[str, str, _Made]:
    section = rng.choice(["ingress", "egress", "egress", "egressDeny"])
    item = {"ports": [{"port": rng.choice(list(PORT_NAMES))}]}
    return _cilium(rng, section, _anybody(rng, section) | {"toPorts": [item]})


def _elsewhere(rng: random.Random) -> tuple[str, str, _Made]:
    """Somebody by what is told elsewhere."""
    peers: _Made = rng.choice(
        [
            {"toServices": [{"k8sService": {"serviceName": rng.choice(SERVICES)}}]},
            {"toServices": [{"k8sServiceSelector": {"selector": {}}}]},
            {"toFQDNs": [{"matchPattern": rng.choice(NAME_PATTERNS)}]},
            {"toNodes": [{"matchLabels": {"zone": "east"}}]},
            {"toCIDRSet": [{"cidrGroupRef": rng.choice(GROUPS), "except": ["10.1.2.0/24"]}]},
            {"toCIDRSet": [{"cidrGroupSelector": {}, "except": ["2001:db8:1::/48"]}]},
        ]
    )
    if rng.random() < 0.3:
        peers["toPorts"] = [{"ports": [_range(rng)]}]
    deny = "toFQDNs" not in peers and rng.random() < 0.4
    return _cilium(rng, "egressDeny" if deny else "egress", peers)


def _block(rng: random.Random) -> tuple[str, str, _Made]:
    section = rng.choice(["ingress", "egress"])
    rule: _Made = {_side(section): [{"ipBlock": with_exceptions(rng)}]}
    if rng.random() < 0.8:
        rule["ports"] = [{"port": rng.choice([*PORT_NAMES, 80])}]
    spec = {"podSelector": {}, "policyTypes": [section.capitalize()], section: [rule]}
    return "networking.k8s.io/v1", "NetworkPolicy", spec


def _tier(rng: random.Random) -> tuple[str, str, _Made]:
    section = rng.choice(["ingress", "egress"])
    peers = (
        [_EVERY_POD] if section == "ingress" or rng.random() < 0.5 else [{"networks": some(rng, PREFIXES)}]
    )
    rule: _Made = {"action": rng.choice(["Accept", "Deny", "Pass"]), _side(section): peers}
    if rng.random() < 0.7:
        first, last = rng.choice(_RANGES)
        port = {"range": {"start": first, "end": last}} if last > first else {"number": first}
        rule["protocols"] = [{"tcp": {"destinationPort": port}}]
    spec = {
        "tier": rng.choice(["Admin", "Baseline"]),
        "priority": rng.randint(0, 2),
        "subject": _EVERY_POD,
        section: [rule],
    }
    return _TIERS, "ClusterNetworkPolicy", spec


_CORNERS: list[Callable[[random.Random], tuple[str, str, _Made]]] = [
    *[_content] * 2,
    _plain,
    _named_port,
    *[_elsewhere] * 2,
    _block,
    *[_tier] * 2,
]
