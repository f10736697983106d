"""Sets of identities of which nearly all have one member: such a set is that number itself.

A bitmap takes two hundred bytes, and of sixty thousand prefixes each is a selection and a class alone.
"""

from collections.abc import Collection, Iterable

from pyroaring import BitMap

#: One identity, or a bitmap of any number of them. A bitmap of one is allowed, and wasteful.
Members = int | BitMap


def compact(bits: BitMap) -> Members:
    """A set as it is to be kept."""
    return bits.min() if len(bits) == 1 else bits


def expand(members: Members) -> BitMap:
    """A set as a bitmap, which may be the one that is kept."""
    return BitMap((members,)) if isinstance(members, int) else members


def every(members: Members) -> BitMap | tuple[int, ...]:
    """All of a set, ascending."""
    return (members,) if isinstance(members, int) else members


def lowest(members: Members) -> int:
    """The first of a set that is not empty."""
    return members if isinstance(members, int) else members.min()


def among(members: Members, others: BitMap) -> Collection[int]:
    """Those of a set that are among others too, ascending."""
    if isinstance(members, int):
        return (members,) if members in others else ()
    return (members & others).to_array()


def union_of(sets: Iterable[Members]) -> BitMap:
    """All of several sets; a bitmap of the caller's own."""
    alone: list[int] = []
    several: list[BitMap] = []
    for members in sets:
        if isinstance(members, int):
            alone.append(members)
        else:
            several.append(members)
    return BitMap(alone).union(*several)
