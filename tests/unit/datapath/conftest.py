"""Maps made from the contract but smaller, in the kernel and in the fake one; nothing is loaded or pinned."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from kinety.datapath.template import packaged_object
from kinety.kernel.map import Map
from kinety.kernel.spec import CollectionSpec, MapSpec

#: Rows of every map whose size a node chooses.
SIZE = 32
_CHOSEN = {"array", "hash", "lpm_trie", "array_of_maps", "lru_hash"}


@pytest.fixture(scope="session")
def specs() -> dict[str, MapSpec]:
    """The contract's maps as the object describes them."""
    return dict(CollectionSpec.parse(packaged_object()).maps)


@pytest.fixture
def make(either_kernel: object, specs: dict[str, MapSpec]) -> Iterator[Callable[[str], Map]]:
    """Creates a map of the contract by name."""
    made: list[Map] = []

    def create(name: str) -> Map:
        spec = specs[name]
        if spec.type.name.lower() in _CHOSEN:
            spec = replace(spec, max_entries=min(spec.max_entries, SIZE))
        made.append(Map.create(spec))
        return made[-1]

    yield create
    for each in made:
        each.close()
