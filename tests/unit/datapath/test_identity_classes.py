"""Identity to class, in batches and by difference."""

import sys
from collections.abc import Callable

import pytest

from kinety.datapath.identity_classes import IdentityClasses
from kinety.kernel.map import Map
from kinety.model.identity import ClassId, Identity

pytestmark = pytest.mark.needs("objects")


def words(held: Map) -> dict[int, int]:
    return {
        int.from_bytes(key, sys.byteorder): int.from_bytes(value, sys.byteorder)
        for key, value in held.items()
    }


def test_updates_removals_and_differences(make: Callable[[str], Map]) -> None:
    held = make("identity_classes")
    classes = IdentityClasses(held)
    classes.update({Identity(256): ClassId(3), Identity(257): ClassId(4), Identity(1): ClassId(1)})
    classes.remove([Identity(257), Identity(999)])
    assert words(held) == {256: 3, 1: 1}
    before = classes.writes
    excess = classes.write_differences({Identity(256): ClassId(3), Identity(300): ClassId(5)})
    assert excess == {Identity(1)}
    assert classes.writes == before + 1
    assert words(held) == {256: 3, 1: 1, 300: 5}
