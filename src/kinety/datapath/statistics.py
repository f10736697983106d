"""Figures of the datapath: what was loaded and what it holds."""

from collections.abc import Mapping
from dataclasses import dataclass

from kinety.kernel.linker import INSTRUCTION
from kinety.kernel.map import Map
from kinety.kernel.program import Program


@dataclass(frozen=True, slots=True)
class ProgramStatistics:
    """One loaded program. ``instructions`` is how many the verifier left."""

    name: str
    id: int
    tag: str
    instructions: int
    verified_instructions: int
    jited_bytes: int

    @classmethod
    def of(cls, name: str, program: Program) -> "ProgramStatistics":
        """Read from the kernel."""
        info = program.info
        return cls(
            name=name,
            id=info.id,
            tag=info.tag.hex(),
            instructions=info.translated_bytes // INSTRUCTION.size,
            verified_instructions=info.verified_instructions,
            jited_bytes=info.jited_bytes,
        )


@dataclass(frozen=True, slots=True)
class MapStatistics:
    """One map's size. ``memory`` is in bytes, of the map itself: inner maps count for themselves."""

    name: str
    id: int
    type: str
    max_entries: int
    memory: int


@dataclass(frozen=True, slots=True)
class Statistics:
    """What was loaded and what it holds. ``load_seconds`` is the time to load or adopt."""

    adopted: bool
    load_seconds: float
    contract: int
    #: Names the programs by their object and constants.
    version: str
    programs: tuple[ProgramStatistics, ...]
    maps: tuple[MapStatistics, ...]
    endpoints: int
    endpoints_ready: int
    endpoints_promoted: int
    #: Whether endpoints are moved to tcx links; False when forced off or the kernel has none.
    tcx: bool
    rule_sets: int
    rule_sets_spare: int
    rule_sets_retired: int
    events_lost: int
    #: Kernel writes of this process: rows, words, slots, links, sysctls.
    writes: int


def program_statistics(programs: Mapping[str, Program]) -> tuple[ProgramStatistics, ...]:
    """Facts of all programs, in their order."""
    return tuple(ProgramStatistics.of(name, program) for name, program in programs.items())


def map_statistics(maps: Mapping[str, Map]) -> tuple[MapStatistics, ...]:
    """Sizes of all maps, by name."""
    return tuple(
        MapStatistics(
            name=name,
            id=each.info.id,
            type=each.info.type.name.lower(),
            max_entries=each.info.max_entries,
            memory=each.memory(),
        )
        for name, each in sorted(maps.items())
    )
