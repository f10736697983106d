"""Identity numbers: what a set of labels becomes in the kernel and on the wire."""

from enum import IntEnum
from typing import NewType

from kinety.model.label import RESERVED, Label, Labels

Identity = NewType("Identity", int)
#: Identities that no live selector tells apart share a class; class 0 is named by none.
ClassId = NewType("ClassId", int)

FIRST_CLUSTER_IDENTITY = Identity(256)
LAST_CLUSTER_IDENTITY = Identity(65535)
#: Set in identities that mean something on this node only (CIDR, FQDN).
LOCAL_IDENTITY_BIT = 1 << 24
UNNAMED_CLASS = ClassId(0)


class ReservedIdentity(IntEnum):
    """Numbers fixed by the field's convention (DESIGN, section 2)."""

    UNKNOWN = 0
    HOST = 1
    WORLD = 2
    UNMANAGED = 3
    HEALTH = 4
    INIT = 5
    REMOTE_NODE = 6
    KUBE_APISERVER = 7
    INGRESS = 8
    WORLD_IPV4 = 9
    WORLD_IPV6 = 10

    @property
    def labels(self) -> Labels:
        """The reserved label that selectors and entities see."""
        return frozenset({Label(RESERVED, self.name.lower().replace("_", "-"))})
