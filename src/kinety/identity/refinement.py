"""Partition refinement: many selectors over many identities at once.

Identities start in one group; every selector in turn splits each group into those it selects and the
others. A selector costs what the smaller side costs: to split by a set or by its complement is the
same. Each group carries the sum of the tokens of the selectors that select it (its signature), so
two groups, or a group and a class made earlier, are compared without asking the selectors again.

Tried and dropped: splitting bitmaps by bitmaps (a selector of a whole namespace meets a thousand
groups, each an object of its own); grouping by equal labels first (selectors are narrow exactly when
labels are diverse, so it saved less than it cost); numpy (no faster for the many small selectors).
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from pyroaring import BitMap

from kinety.identity.members import Members, among, expand
from kinety.identity.selection import Selection
from kinety.model.identity import LAST_CLUSTER_IDENTITY

_NEAR = LAST_CLUSTER_IDENTITY + 1
_CLUSTER = BitMap(range(_NEAR))


class Group(NamedTuple):
    """Identities that the same selectors select, and the sum of those selectors' tokens."""

    identities: Members
    signature: int


def refine(pool: BitMap, selections: Sequence[Selection]) -> list[Group]:
    """Split a pool of identities until no selection tells two of a group apart.

    A group that none selects has the signature 0. Cluster and local identities are split apart: two
    groups of the same signature may then be one.
    """
    near = pool & _CLUSTER
    far = pool - near
    return _refine(near, selections, [0] * _NEAR) + _refine(far, selections, dict.fromkeys(far, 0))


def _refine(
    pool: BitMap, selections: Iterable[Selection], group_of: list[int] | dict[int, int]
) -> list[Group]:
    """``group_of`` holds 0 for each identity of the pool."""
    if not pool:
        return []
    signatures = [0]
    common = 0  # of selections that were split by their complement: what everybody has
    half = len(pool) // 2
    for selection in selections:
        side = among(selection.members, pool)
        share = selection.token
        if len(side) > half:
            common += share
            share = -share
            side = (pool - expand(selection.members)).to_array()
        fresh: dict[int, int] = {}
        for identity in side:
            group = group_of[identity]
            target = fresh.get(group)
            if target is None:
                target = fresh[group] = len(signatures)
                signatures.append(signatures[group] + share if group else share)
            group_of[identity] = target
    members: dict[int, list[int]] = {}
    for identity in pool.to_array():
        group = group_of[identity]
        if group in members:
            members[group].append(identity)
        else:
            members[group] = [identity]
    return [
        Group(
            found[0] if len(found) == 1 else BitMap(found),
            signatures[group] + common if common else signatures[group],
        )
        for group, found in members.items()
    ]
