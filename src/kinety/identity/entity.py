"""Entities: names of the policy language for kinds of peers that are no pods.

Entities are told by reserved labels alone. A CIDR identity carries the world label of its family,
as in the field (https://docs.cilium.io/en/stable/security/policy/language/, "Entities based").
"""

from kinety.model.label import RESERVED, Label, Labels

_WORLD = ("world", "world-ipv4", "world-ipv6")

#: Entity -> reserved labels of which a member carries one. ``cluster`` is everyone who carries none.
_CARRIES: dict[str, tuple[str, ...]] = {
    "world": _WORLD,
    "world-ipv4": ("world-ipv4",),
    "world-ipv6": ("world-ipv6",),
    "cluster": _WORLD,
    "host": ("host",),
    "remote-node": ("remote-node",),
    "init": ("init",),
    "ingress": ("ingress",),
    "unmanaged": ("unmanaged",),
    "health": ("health",),
    "kube-apiserver": ("kube-apiserver",),
    "none": (),
}

ENTITIES = frozenset(_CARRIES)


def labels_of(entity: str) -> tuple[Label, ...]:
    """Reserved labels that make a member of an entity (of ``cluster``: that make no member).

    Raises ValueError for a name that is no entity.
    """
    try:
        return tuple(Label(RESERVED, name) for name in _CARRIES[entity])
    except KeyError:
        raise ValueError(f"{entity!r} is no entity; write one of {', '.join(sorted(ENTITIES))}") from None


def is_complement(entity: str) -> bool:
    """Whether members are those who carry none of ``labels_of``."""
    return entity == "cluster"


def matches(entity: str, labels: Labels) -> bool:
    """Whether an identity with these labels is a member."""
    carries = any(label in labels for label in labels_of(entity))
    return carries != is_complement(entity)
