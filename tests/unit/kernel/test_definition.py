"""Map definitions read from BTF, from types put together by hand: what C may say, and what it may not."""

from __future__ import annotations

import struct
from collections.abc import Mapping

import pytest

from kinety import abi
from kinety.kernel.btf import Btf, Kind
from kinety.kernel.definition import MapSpec, map_definitions, variable_map
from kinety.kernel.elf import ElfObject
from kinety.kernel.uapi import MapFlag, MapType

WORD, ROW = 1, 2


class Types:
    """BTF being written: types 1 and 2 are ``unsigned int`` and a structure of 24 bytes."""

    def __init__(self) -> None:
        self._strings = bytearray(b"\0")
        self._types = bytearray()
        self._count = 0
        self.add(Kind.INT, "unsigned int", 4, (32,))
        self.add(Kind.STRUCT, "row", 24)

    def add(
        self, kind: Kind, name: str, size_or_type: int, tail: tuple[int, ...] = (), count: int = 0
    ) -> int:
        numbers = (self.name(name), kind << 24 | count, size_or_type)
        self._types += struct.pack(f"={3 + len(tail)}I", *numbers, *tail)
        self._count += 1
        return self._count

    def name(self, text: str) -> int:
        at = len(self._strings)
        self._strings += text.encode() + b"\0"
        return at if text else 0

    def pointer(self, target: int) -> int:
        return self.add(Kind.PTR, "", target)

    def number(self, value: int) -> int:
        """``int (*)[value]``, as ``__uint`` writes it."""
        return self.pointer(self.add(Kind.ARRAY, "", 0, (WORD, WORD, value)))

    def values(self, inner: int) -> int:
        """``struct inner *values[]``, as ``__array`` writes it."""
        return self.add(Kind.ARRAY, "", 0, (self.pointer(inner), WORD, 0))

    def structure(self, fields: Mapping[str, int]) -> int:
        tail = [word for name, type_id in fields.items() for word in (self.name(name), type_id, 0)]
        return self.add(Kind.STRUCT, "", 8 * len(fields), tuple(tail), len(fields))

    def variables(self, section: str, variables: Mapping[str, int]) -> None:
        """A section with a variable of each type."""
        rows = [self.add(Kind.VAR, name, type_id, (1,)) for name, type_id in variables.items()]
        tail = tuple(word for type_id in rows for word in (type_id, 0, 8))
        self.add(Kind.DATASEC, section, 0, tail, len(rows))

    def btf(self) -> Btf:
        sizes = (0, len(self._types), len(self._types), len(self._strings))
        return Btf.parse(struct.pack("=HBBIIIII", 0xEB9F, 1, 0, 24, *sizes) + self._types + self._strings)

    def defined(self, **fields: int) -> list[MapSpec]:
        """What a map ``m`` with these fields is."""
        self.variables(".maps", {"m": self.structure(fields)})
        return list(map_definitions(self.btf()))


def test_types_give_sizes_and_are_remembered() -> None:
    types = Types()
    fields = {"type": types.number(1), "max_entries": types.number(9), "map_flags": types.number(1)}
    (found,) = types.defined(**fields, key=types.pointer(WORD), value=types.pointer(ROW))
    assert found == MapSpec(
        "m", MapType.HASH, 4, 24, 9, MapFlag.NO_PREALLOC, key_type_id=WORD, value_type_id=ROW
    )


def test_sizes_may_stand_alone() -> None:
    types = Types()
    (found,) = types.defined(
        type=types.number(11),
        key_size=types.number(20),
        value_size=types.number(8),
        map_extra=types.number(3),
    )
    assert found == MapSpec("m", MapType.LPM_TRIE, 20, 8, 0, extra=3)


def test_a_map_of_maps_has_a_template() -> None:
    types = Types()
    inner = types.structure({"type": types.number(1), "key_size": types.number(4)})
    (found,) = types.defined(type=types.number(12), key=types.pointer(WORD), values=types.values(inner))
    assert found.value_size == 4
    assert found.inner == MapSpec("m.inner", MapType.HASH, 4, 0, 0)


def test_an_object_without_maps_has_none() -> None:
    assert list(map_definitions(Types().btf())) == []


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({}, "not a map definition .unknown: no type."),
        ({"type": 1, "colour": 3, "age": 1}, "not a map definition .unknown: age, colour."),
        ({"type": 77}, "77 is not a valid MapType"),
        ({"type": 0}, "0 is not a valid MapType"),
        ({"type": 12}, "a map of maps needs __array"),
        ({"type": 13, "value_size": 4}, "a map of maps needs __array"),
    ],
)
def test_a_definition_that_is_not_understood_is_refused_by_name(
    fields: Mapping[str, int], complaint: str
) -> None:
    types = Types()
    with pytest.raises(ValueError, match=f"map m: {complaint}"):
        types.defined(**{name: types.number(value) for name, value in fields.items()})


def test_what_is_no_structure_is_no_map() -> None:
    types = Types()
    types.variables(".maps", {"m": WORD})
    with pytest.raises(ValueError, match="map m: not a map definition"):
        list(map_definitions(types.btf()))


def test_maps_of_maps_of_maps_are_refused() -> None:
    types = Types()
    innermost = types.structure({"type": types.number(1)})
    inner = types.structure({"type": types.number(12), "values": types.values(innermost)})
    with pytest.raises(ValueError, match="map m: a map of maps of maps, which the kernel does not make"):
        types.defined(type=types.number(12), values=types.values(inner))


def test_a_value_of_more_than_32_bits_is_refused() -> None:
    types = Types()
    large = types.add(Kind.ARRAY, "", 0, (WORD, WORD, 1 << 31))
    with pytest.raises(ValueError, match=r"map m: type \d+ has 8589934592 bytes, at most 4294967295"):
        types.defined(type=types.number(1), value=types.pointer(large))


def test_an_inner_map_that_is_not_understood_is_the_outers_fault() -> None:
    types = Types()
    inner = types.structure({"type": types.number(99)})
    with pytest.raises(ValueError, match="map m: 99 is not a valid MapType"):
        types.defined(type=types.number(12), values=types.values(inner))


@pytest.mark.parametrize(
    ("section", "frozen"), [(".rodata", True), (".rodata.config", True), (".data", False), (".bss", False)]
)
def test_a_section_of_variables_is_a_row_that_programs_may_only_read_when_it_is_constant(
    section: str, frozen: bool
) -> None:
    types = Types()
    types.variables(section, {"x": WORD})
    btf = types.btf()
    found = variable_map(btf, section, b"\1\0\0\0\2\0\0\0")
    assert (found.type, found.key_size, found.value_size, found.max_entries) == (MapType.ARRAY, 4, 8, 1)
    assert (found.frozen, bool(found.flags & MapFlag.RDONLY_PROG)) == (frozen, frozen)
    assert found.contents == b"\1\0\0\0\2\0\0\0"
    assert btf[found.value_type_id].name == section


@pytest.mark.needs("objects")
def test_the_resident_maps_are_those_of_the_contract(resident: ElfObject) -> None:
    section = resident.section(".BTF")
    assert section is not None
    found = {spec.name: spec for spec in map_definitions(Btf.parse(section.data))}
    assert {name: facts(spec) for name, spec in found.items()} == {
        name: facts(definition) for name, definition in abi.MAPS.items()
    }


def facts(one: MapSpec | abi.MapDefinition) -> tuple[object, ...]:
    kind = one.type.name.lower() if isinstance(one, MapSpec) else one.type
    inner = facts(one.inner)[:-1] if one.inner else None
    return (kind, one.key_size, one.value_size, one.max_entries, one.flags, inner)
