"""An operator's filters as programs that can only look: one object, one filter for each point.

The slots take programs of the datapath's own type, which might write to a packet, redirect it or mark it. So
a filter is verified twice: as a socket filter, the type that may look at a packet and change nothing,
and then, with the same instructions and maps, as what is called. What it answers is weighed by its caller
(bpf/lib/hook.h), who lets nothing pass that policy has not.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

from kinety.kernel.collection import Collection
from kinety.kernel.map import Map
from kinety.kernel.program import Program
from kinety.kernel.spec import CollectionSpec, ProgramSpec
from kinety.kernel.uapi import MapType, ProgramType
from kinety.model.rule import Direction

#: ELF section -> the point where its filter is asked (bpf/include/kinety_hook.h).
POINTS: Mapping[str, Direction] = {
    "socket/egress": Direction.EGRESS,
    "socket/ingress": Direction.INGRESS,
}
_HINT = "mark each filter KINETY_EGRESS or KINETY_INGRESS (`kinety datapath hook header`)"
#: Maps by which a filter could reach other programs, sockets or devices.
_REFUSED = frozenset(
    {
        MapType.PROG_ARRAY,
        MapType.CGROUP_ARRAY,
        MapType.DEVMAP,
        MapType.DEVMAP_HASH,
        MapType.CPUMAP,
        MapType.XSKMAP,
        MapType.SOCKMAP,
        MapType.SOCKHASH,
        MapType.REUSEPORT_SOCKARRAY,
        MapType.STRUCT_OPS,
    }
)


@dataclass(frozen=True, slots=True)
class HookPrograms:
    """Live filters by the direction they judge, and the maps of their own."""

    programs: Mapping[Direction, Program]
    maps: Mapping[str, Map]


@contextmanager
def hook_programs(elf: bytes) -> Iterator[HookPrograms]:
    """Verify and load an operator's object; what is not pinned meanwhile is gone afterwards.

    Raises ValueError when it is no object of filters, VerifierRefusal when a filter is not safe or would
    change a packet, OSError when the kernel has no room.
    """
    spec = CollectionSpec.parse(elf)
    filters = _filters(spec)
    for name, each in spec.maps.items():
        if each.type in _REFUSED:
            raise ValueError(f"map {name} is a {each.type.name.lower()}: a filter may have none")
    looking = _of_type(spec, filters, ProgramType.SOCKET_FILTER)
    with Collection.load(looking) as proved:
        called = _of_type(spec, filters, ProgramType.SCHED_CLS)
        with Collection.load(called, maps=proved.maps) as collection:
            yield HookPrograms(
                {point: collection.programs[each.name] for point, each in filters.items()},
                proved.maps,
            )


def _filters(spec: CollectionSpec) -> dict[Direction, ProgramSpec]:
    found: dict[Direction, ProgramSpec] = {}
    for each in spec.programs.values():
        point = POINTS.get(each.section)
        if point is None:
            raise ValueError(f"{each.name} is in section {each.section!r}, which is no point: {_HINT}")
        if point in found:
            both = f"{found[point].name} and {each.name}"
            raise ValueError(f"{both} are both for {point.name.lower()}: write one filter that asks both")
        found[point] = each
    if not found:
        raise ValueError(f"there is no filter in it: {_HINT}")
    return found


def _of_type(
    spec: CollectionSpec, filters: Mapping[Direction, ProgramSpec], kind: ProgramType
) -> CollectionSpec:
    programs = {each.name: replace(each, type=kind, attach_type=None) for each in filters.values()}
    return replace(spec, programs=programs)
