"""Random objects that policies refer to: groups of prefixes, and services."""

import random
from typing import Any

from tests.judges.vocabulary import GROUPS, INSIDE, KEYS, PREFIXES, SERVICES, namespace, some


def groups(rng: random.Random) -> list[dict[str, Any]]:
    """Some groups of prefixes."""
    return [_group(rng, name) for name in GROUPS if rng.random() < 0.8]


def services(rng: random.Random) -> list[dict[str, Any]]:
    """Some services, of pods."""
    return [_service(rng, name) for name in SERVICES if rng.random() < 0.8]


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


def _service(rng: random.Random, name: str) -> dict[str, Any]:
    selects = dict(rng.sample([(key, rng.choice(values)) for key, values in KEYS.items()], rng.randint(1, 2)))
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace(rng), "labels": _labels(rng)},
        "spec": {"selector": selects},
    }
