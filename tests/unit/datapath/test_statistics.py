"""Figures are the kernel's own, not what was asked for."""

from collections.abc import Iterator

import pytest

from kinety.datapath.statistics import ProgramStatistics, map_statistics
from kinety.datapath.template import PROGRAMS, packaged_object
from kinety.kernel.collection import Collection
from kinety.kernel.map import Map
from kinety.kernel.program import Program
from kinety.kernel.spec import CollectionSpec

pytestmark = pytest.mark.needs("root", "bpf", "objects")

ENDPOINTS = 48


@pytest.fixture(scope="module")
def loaded() -> Iterator[Collection]:
    spec = CollectionSpec.parse(packaged_object())
    with Collection.load(spec, max_entries={"endpoints": ENDPOINTS}) as made:
        yield made


def test_programs_are_as_the_kernel_has_them(loaded: Collection) -> None:
    for name in PROGRAMS:
        held = loaded.programs[name]
        figures = ProgramStatistics.of(name, held)
        with Program.from_id(figures.id) as again:
            assert again.info.tag.hex() == figures.tag
            assert again.info.name == name[:15]
        assert 1000 < figures.verified_instructions < 1_000_000
        assert figures.jited_bytes > held.info.translated_bytes / 4


def test_maps_are_as_the_kernel_has_them_in_order(loaded: Collection) -> None:
    figures = map_statistics(loaded.maps)
    assert [each.name for each in figures] == sorted(loaded.maps)
    for each in figures:
        with Map.from_id(each.id) as held:
            assert (each.type, each.max_entries) == (held.info.type.name.lower(), held.info.max_entries)
    by_name = {each.name: each for each in figures}
    assert by_name["endpoints"].max_entries == ENDPOINTS
    assert by_name["conntrack"].type == "lru_hash"


def test_memory_is_what_the_rows_take(loaded: Collection) -> None:
    by_name = {each.name: each for each in map_statistics(loaded.maps)}
    endpoints, conntrack = by_name["endpoints"], by_name["conntrack"]
    size = loaded.maps["endpoints"].info.value_size * ENDPOINTS
    assert size <= endpoints.memory <= size + (1 << 16)
    assert conntrack.memory >= conntrack.max_entries * loaded.maps["conntrack"].info.value_size
