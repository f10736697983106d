"""Names that stand for groups of peers, as people write them in policies."""

from kinety.model.identity import ReservedIdentity

#: Every peer there is; a wildcard, not a group.
ALL = "all"
#: Nobody.
NONE = "none"
#: Groups of reserved identities, and of what is inside the cluster.
GROUPS = frozenset(
    {
        "world",
        "world-ipv4",
        "world-ipv6",
        "cluster",
        "host",
        "remote-node",
        "init",
        "ingress",
        "unmanaged",
        "health",
        "kube-apiserver",
    }
)
ENTITIES = GROUPS | {ALL, NONE}

#: Keys of the labels with source ``reserved`` that a selector may name.
RESERVED_KEYS = frozenset(
    label.key
    for identity in ReservedIdentity
    if identity is not ReservedIdentity.UNKNOWN
    for label in identity.labels
)
