"""Damage to good inputs, the same every run: read or refused, and nothing else ever.

`make soak` asks many more, other ones every time, and follows those that reach new code.
"""

from __future__ import annotations

import random

import pytest

from tests.fuzz.corpus import OF_OBJECTS, kept, of_our_objects
from tests.fuzz.damage import damaged
from tests.fuzz.target import TARGETS

SMALL, LARGE = 400, 25


def outcomes(target: str, seeds: list[bytes], times: int) -> tuple[int, int]:
    """How many damaged inputs were read, and how many refused."""
    chance = random.Random(f"{target} {times}")
    read = refused = 0
    for seed in seeds:
        TARGETS[target](seed)
        for _ in range(times):
            try:
                TARGETS[target](damaged(seed, chance))
                read += 1
            except ValueError:
                refused += 1
    return read, refused


@pytest.mark.parametrize("target", TARGETS)
def test_damaged_small_inputs(target: str) -> None:
    read, refused = outcomes(target, [path.read_bytes() for path in kept(target, "read")], SMALL)
    assert read
    assert refused or target in ("netlink", "rows"), "damage that no reader notices"


@pytest.mark.needs("objects")
@pytest.mark.parametrize("target", OF_OBJECTS)
def test_damage_to_our_objects(target: str) -> None:
    read, refused = outcomes(target, of_our_objects(target), LARGE)
    assert read
    assert refused


def test_damage_is_the_same_for_the_same_chance_and_changes_something() -> None:
    (seed, *_) = (path.read_bytes() for path in kept("collection", "read"))
    first, second = ([damaged(seed, chance) for _ in range(50)] for chance in map(random.Random, (1, 1)))
    assert first == second
    assert sum(each != seed for each in first) > 40
    assert damaged(b"", random.Random(1)) == b""
