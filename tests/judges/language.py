"""Random policies of every kind, in the whole of the language."""

import copy
import random
from collections.abc import Sequence
from typing import Any

from tests.judges import cilium_words, kubernetes_words
from tests.judges.vocabulary import namespace

#: apiVersion, kind, and the beginning of names.
_Kind = tuple[str, str, str]

_GROUP = "policy.networking.k8s.io"
_CILIUM: list[_Kind] = [
    *[("cilium.io/v2", "CiliumNetworkPolicy", "cnp")] * 2,
    ("cilium.io/v2", "CiliumClusterwideNetworkPolicy", "ccnp"),
]
_KUBERNETES: list[_Kind] = [("networking.k8s.io/v1", "NetworkPolicy", "np")]
_TIERS: list[_Kind] = [
    *[(f"{_GROUP}/v1alpha2", "ClusterNetworkPolicy", "cluster")] * 3,
    (f"{_GROUP}/v1alpha1", "AdminNetworkPolicy", "admin"),
    *[(f"{_GROUP}/v1alpha1", "BaselineAdminNetworkPolicy", "baseline")] * 2,
]
EVERY_KIND = [*_CILIUM * 4, *_KUBERNETES * 4, *_TIERS]
#: What the policies of one world may be: in most, few kinds meet each other often.
THEMES = [EVERY_KIND, EVERY_KIND, _CILIUM, _CILIUM, _TIERS, _KUBERNETES + _TIERS, _CILIUM + _TIERS]
_NAMESPACED = ("CiliumNetworkPolicy", "NetworkPolicy")
_CLUSTERWIDE = "CiliumClusterwideNetworkPolicy"


def document(rng: random.Random, number: int, kinds: Sequence[_Kind] = EVERY_KIND) -> dict[str, Any]:
    """Policy number ``number``, of one of some kinds."""
    version, kind, name = rng.choice(kinds)
    metadata = {"name": "default" if kind == "BaselineAdminNetworkPolicy" else f"{name}{number}"}
    if kind in _NAMESPACED:
        metadata["namespace"] = namespace(rng)
    made: dict[str, Any] = {"apiVersion": version, "kind": kind, "metadata": metadata | _mode(rng)}
    if kind == "NetworkPolicy":
        return made | {"spec": kubernetes_words.network_policy(rng)}
    if not _is_ciliums(made):
        return made | {"spec": kubernetes_words.cluster_policy(rng, kind)}
    if rng.random() < 0.2:
        made["specs"] = [_spec(rng, kind) for _ in range(rng.randint(1, 2))]
    if "specs" not in made or rng.random() < 0.2:
        made["spec"] = _spec(rng, kind)
    return made


def _mode(rng: random.Random) -> dict[str, Any]:
    """Most policies are in force."""
    if rng.random() < 0.85:
        return {}
    return {
        "annotations": {f"kinety.io/{rng.choice(['staged', 'audit'])}": rng.choice(["true", "true", "false"])}
    }


def edited(rng: random.Random, former: dict[str, Any]) -> dict[str, Any]:
    """A policy that says all but one thing as before: whom it is about, its place, or one rule."""
    made: dict[str, Any] = copy.deepcopy(former)
    spec = rng.choice([*made.get("specs", []), *([made["spec"]] if "spec" in made else [])])
    sections = [(name, spec[name]) for name in cilium_words.SECTIONS if spec.get(name)]
    if not sections or rng.random() < 0.3:
        _edit_head(rng, made, spec)
        return made
    section, rules = rng.choice(sections)
    match rng.choice(["replace", "insert", "remove", "reorder"]):
        case "replace":
            rules[rng.randrange(len(rules))] = _rule(rng, made, spec, section)
        case "insert":
            rules.insert(rng.randint(0, len(rules)), _rule(rng, made, spec, section))
        case "remove" if len(rules) > 1:
            del rules[rng.randrange(len(rules))]
        case _:
            rng.shuffle(rules)
    return made


def _is_ciliums(found: dict[str, Any]) -> bool:
    return str(found["apiVersion"]).startswith("cilium")


def _spec(rng: random.Random, kind: str) -> dict[str, Any]:
    return cilium_words.spec(rng, clusterwide=kind == _CLUSTERWIDE)


def _edit_head(rng: random.Random, policy: dict[str, Any], spec: dict[str, Any]) -> None:
    """Change whom a spec is about, or where in its tier it is."""
    if "priority" in spec and rng.random() < 0.5:
        spec["priority"] = rng.randint(0, 2)
    elif "endpointSelector" in spec:
        spec["endpointSelector"] = cilium_words.subject(rng)
    elif "podSelector" in spec:
        spec["podSelector"] = kubernetes_words.network_policy(rng)["podSelector"]
    elif "subject" in spec:
        spec["subject"] = kubernetes_words.cluster_policy(rng, policy["kind"])["subject"]


def _rule(rng: random.Random, policy: dict[str, Any], spec: dict[str, Any], section: str) -> dict[str, Any]:
    kind = policy["kind"]
    if _is_ciliums(policy):
        return cilium_words.rule(rng, section, kind == _CLUSTERWIDE, "nodeSelector" in spec)
    if kind == "NetworkPolicy":
        return kubernetes_words.network_policy_rule(rng, section)
    return kubernetes_words.cluster_policy_rule(rng, kind, section)
