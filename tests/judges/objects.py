"""Random objects that policies refer to: groups of prefixes, and services."""

import random
from typing import Any

from tests.judges.vocabulary import ADDRESSES, GROUPS, INSIDE, KEYS, PREFIXES, SERVICES, namespace, some


def groups(rng: random.Random) -> list[dict[str, Any]]:
    """Some groups of prefixes."""
    return [_group(rng, name) for name in GROUPS if rng.random() < 0.8]


def services(rng: random.Random) -> list[dict[str, Any]]:
    """Some services: of pods, or with addresses that another object tells, if any does."""
    found = []
    for name in SERVICES:
        if rng.random() < 0.8:
            service = _service(rng, name)
            found.append(service)
            if rng.random() < 0.3:
                del service["spec"]["selector"]
                found += _addresses(rng, service["metadata"]["namespace"], name)
    return found


def _labels(rng: random.Random) -> dict[str, str]:
    return {key: rng.choice(values) for key, values in KEYS.items() if rng.random() < 0.5}


def _group(rng: random.Random, name: str) -> dict[str, Any]:
    prefixes = some(rng, sorted({*PREFIXES, *INSIDE}), 4) if rng.random() < 0.9 else []
    return {
        "apiVersion": "cilium.io/v2",
        "kind": "CiliumCIDRGroup",
        "metadata": {"name": name, "labels": _labels(rng)},
        "spec": {"externalCIDRs": prefixes},
    }


def _addresses(rng: random.Random, namespace: str, name: str) -> list[dict[str, Any]]:
    """Where a service without a selector leads: outside, mostly."""
    addresses = some(rng, ADDRESSES, 3)
    match rng.choice(["endpoints", "slice", "nothing"]):
        case "endpoints":
            subsets = [{"addresses": [{"ip": each} for each in addresses]}]
            return [_object("v1", "Endpoints", {"name": name, "namespace": namespace}) | {"subsets": subsets}]
        case "slice":
            return [_slice(namespace, name, family, addresses) for family in ("IPv4", "IPv6")]
        case _:
            return []


def _slice(namespace: str, service: str, family: str, addresses: list[str]) -> dict[str, Any]:
    labels = {"kubernetes.io/service-name": service}
    metadata = {"name": f"{service}-{family.lower()}", "namespace": namespace, "labels": labels}
    own = [each for each in addresses if (":" in each) == (family == "IPv6")]
    made = _object("discovery.k8s.io/v1", "EndpointSlice", metadata) | {"addressType": family}
    return made | {"endpoints": [{"addresses": [each]} for each in own]}


def _object(version: str, kind: str, metadata: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": version, "kind": kind, "metadata": metadata}


def _service(rng: random.Random, name: str) -> dict[str, Any]:
    selects = dict(rng.sample([(key, rng.choice(values)) for key, values in KEYS.items()], rng.randint(1, 2)))
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace(rng), "labels": _labels(rng)},
        "spec": {"selector": selects},
    }
