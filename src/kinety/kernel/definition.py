"""Map definitions as written in C with ``__uint`` and ``__type``, read from BTF.

Source: libbpf's convention for the ``.maps`` section ("BTF-defined maps").
"""

from collections.abc import Iterator
from dataclasses import dataclass

from .btf import Btf, Kind, Type
from .uapi import MAPS_OF_MAPS, MapFlag, MapType

_KNOWN = {"type", "map_flags", "max_entries", "key", "value", "key_size", "value_size", "values", "map_extra"}
_WORD = 4


@dataclass(frozen=True, slots=True)
class MapSpec:
    """What a map is to be created with. Sizes are in bytes, ``max_entries`` in rows (bytes for a ring).

    ``inner`` is the template of a map of maps. ``contents`` is the first row of a map that holds a
    section of variables; ``frozen`` says that nobody may change it afterwards.
    """

    name: str
    type: MapType
    key_size: int
    value_size: int
    max_entries: int
    flags: int = 0
    inner: "MapSpec | None" = None
    contents: bytes | None = None
    frozen: bool = False
    key_type_id: int = 0
    value_type_id: int = 0
    extra: int = 0


def map_definitions(btf: Btf) -> Iterator[MapSpec]:
    """Every map of the ``.maps`` section. Raises ValueError for a definition that is not understood."""
    section = btf.section(".maps")
    for variable in section.members if section else ():
        structure = btf.resolve(btf[variable.type_id].target)
        try:
            yield _definition(btf, variable.name, structure)
        except (ValueError, KeyError) as error:
            raise ValueError(f"map {variable.name}: {error}") from error


def variable_map(btf: Btf, section: str, contents: bytes) -> MapSpec:
    """The one-row array that holds a section of variables (``.rodata*``, ``.data*``, ``.bss*``)."""
    read_only = section.startswith(".rodata")
    types = btf.section(section)
    return MapSpec(
        section,
        MapType.ARRAY,
        _WORD,
        len(contents),
        1,
        MapFlag.MMAPABLE | (MapFlag.RDONLY_PROG if read_only else 0),
        contents=contents,
        frozen=read_only,
        value_type_id=btf.types.index(types) if types else 0,
    )


def _definition(btf: Btf, name: str, structure: Type, *, innermost: bool = False) -> MapSpec:
    fields = {member.name: member.type_id for member in structure.members}
    unknown = fields.keys() - _KNOWN
    if structure.kind is not Kind.STRUCT or unknown or "type" not in fields:
        raise ValueError(f"not a map definition (unknown: {', '.join(sorted(unknown)) or 'no type'})")
    map_type = MapType(_number(btf, fields["type"]))
    key_type, key_size = _type_and_size(btf, fields, "key")
    value_type, value_size = _type_and_size(btf, fields, "value")
    inner = None
    if map_type in MAPS_OF_MAPS:
        if innermost:
            raise ValueError("a map of maps of maps, which the kernel does not make")
        if "values" not in fields:
            raise ValueError("a map of maps needs __array(values, ...)")
        template = btf.resolve(btf.resolve(btf.resolve(fields["values"]).target).target)
        inner = _definition(btf, f"{name}.inner", template, innermost=True)
        value_size = _WORD
    return MapSpec(
        name,
        map_type,
        key_size,
        value_size,
        _number(btf, fields["max_entries"]) if "max_entries" in fields else 0,
        _number(btf, fields["map_flags"]) if "map_flags" in fields else 0,
        inner,
        key_type_id=key_type,
        value_type_id=value_type,
        extra=_number(btf, fields["map_extra"]) if "map_extra" in fields else 0,
    )


def _number(btf: Btf, type_id: int) -> int:
    """``__uint(name, number)`` is a pointer to an array of that many ints."""
    return btf.resolve(btf.resolve(type_id).target).count


def _type_and_size(btf: Btf, fields: dict[str, int], name: str) -> tuple[int, int]:
    if name in fields:
        target = btf.resolve(fields[name]).target
        return target, btf.size_of(target)
    return 0, _number(btf, fields[f"{name}_size"]) if f"{name}_size" in fields else 0
