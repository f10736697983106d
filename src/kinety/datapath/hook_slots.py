"""Filters of the node's operator in the slots behind the verdict.

=================  ============================  ===========================================
step of a load     what the kernel holds         killed here, the next start
=================  ============================  ===========================================
pin under NAME+    filters that nobody calls     unpins them
store in slots     new filters, called           finds them in the slots, finishes
unpin NAME         the same                      the same
NAME+ is NAME      the same                      has nothing to do
=================  ============================  ===========================================

Storing into a slot is atomic: each packet meets the old filter or the new one. An object's two filters
have the same slot in both directions; they are stored one after the other.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from struct import Struct

from kinety import abi
from kinety.kernel.map import Map
from kinety.kernel.program import Program
from kinety.model.rule import Direction
from kinety.plan.change import CapacityError

from .hook_object import HookPrograms, hook_programs
from .node_state import NodeState
from .observation import clear_row, sum_row
from .statistics import ProgramStatistics
from .template import remove_tree

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,30}[a-z0-9])?\Z")
_WORD = Struct("=I")
#: Ends the name of a directory whose filters are not in their slots yet.
_FRESH = "+"
_MAPS = "maps"
_WITHOUT = "this node's programs ask no filters: it was set up without hooks"


@dataclass(frozen=True, slots=True)
class Hook:
    """One operator's object in force. ``pins`` holds its maps; ``dropped`` is what its filters did."""

    name: str
    slot: int
    programs: Mapping[Direction, ProgramStatistics]
    dropped: Mapping[Direction, abi.Counter]
    maps: tuple[str, ...]
    pins: Path


class HookSlots:
    """Loads, lists and unloads; the kernel's objects are the only state."""

    def __init__(self, hooks: Map, counters: Map, node_state: NodeState, directory: Path) -> None:
        """``directory`` is on the BPF file system; it is made when it is not there."""
        self._hooks = hooks
        self._counters = counters
        self._node_state = node_state
        self._directory = directory
        #: Whether the programs are loaded to ask filters.
        self.enabled = True
        #: Slots stored and cleared since this object was made.
        self.writes = 0
        directory.mkdir(exist_ok=True)
        self._recover()

    def names(self) -> Mapping[int, str]:
        """Name by slot."""
        found = {}
        for home in self._directory.iterdir():
            slots = [slot for slot, _ in self._rows_of(home)]
            if slots:
                found[slots[0]] = home.name
        return found

    def all(self) -> tuple[Hook, ...]:
        """What is in force, in the order in which it is asked."""
        return tuple(self._hook(name, slot) for slot, name in sorted(self.names().items()))

    def load(self, name: str, elf: bytes) -> Hook:
        """Put an object's filters in force, for the next packet, in the place of those of the name.

        Raises ValueError for a wrong name or object, CapacityError, VerifierRefusal and OSError.
        What was in force before is then still.
        """
        if not self.enabled:
            raise ValueError(_WITHOUT)
        if not _NAME.match(name):
            raise ValueError(f"hook {name!r}: a name is 1 to 32 of a-z, 0-9 and -, no - at its ends")
        slot = self._slot_for(name)
        fresh = self._directory / f"{name}{_FRESH}"
        remove_tree(fresh)
        with hook_programs(elf) as made, self._pinned(self._directory / name) as former:
            try:
                _pin(made, fresh)
            except OSError:
                remove_tree(fresh)
                raise
            try:
                self._store(slot, made.programs)
            except OSError:
                self._store(slot, former)
                remove_tree(fresh)
                raise
        self._settle(fresh)
        return self._hook(name, slot)

    def unload(self, name: str) -> bool:
        """Take an object's filters out of force; False when there is none of the name."""
        slot = next((slot for slot, held in self.names().items() if held == name), None)
        if slot is None:
            return False
        self._store(slot, {})
        remove_tree(self._directory / name)
        return True

    def _slot_for(self, name: str) -> int:
        """The slot that a name has, or a free one."""
        taken = self.names()
        for slot, held in taken.items():
            if held == name:
                return slot
        for slot in range(abi.HOOK_SLOT_COUNT):
            if slot not in taken:
                return slot
        raise CapacityError("hooks", len(taken) + 1, abi.HOOK_SLOT_COUNT)

    def _store(self, slot: int, programs: Mapping[Direction, Program]) -> None:
        """Make a slot hold these programs in both directions, and the node ask exactly those."""
        for point in Direction:
            row = _row(slot, point)
            if point not in programs:
                self._empty(row)
                continue
            held = self._program_id(row)
            if held is None:
                clear_row(self._counters, _WORD.pack(row))
            if held != programs[point].id:
                self._hooks.update(_WORD.pack(row), _WORD.pack(programs[point].fd))
                self.writes += 1
            self._node_state.change_hooks(add=1 << row)

    def _empty(self, row: int) -> None:
        self._node_state.change_hooks(clear=1 << row)
        if self._program_id(row) is not None:
            self._hooks.delete(_WORD.pack(row))
            self.writes += 1

    def _settle(self, fresh: Path) -> None:
        """Give filters that are in force their name."""
        home = fresh.with_name(fresh.name.removesuffix(_FRESH))
        remove_tree(home)
        fresh.rename(home)

    def _recover(self) -> None:
        """Finish what an end of the agent interrupted, and forget what nobody calls."""
        for home in sorted(self._directory.iterdir()):
            rows = self._rows_of(home)
            if not rows:
                remove_tree(home)
                continue
            with self._pinned(home) as programs:
                self._store(rows[0][0], programs)
            if home.name.endswith(_FRESH):
                self._settle(home)
        known = {_row(*place) for home in self._directory.iterdir() for place in self._rows_of(home)}
        for row in set(range(self._hooks.info.max_entries)) - known:
            self._empty(row)

    @staticmethod
    @contextmanager
    def _pinned(home: Path) -> Iterator[Mapping[Direction, Program]]:
        """Filters that are pinned in a directory; none when it is not there."""
        with ExitStack() as opened:
            yield {
                point: opened.enter_context(Program.open(home / point.name.lower()))
                for point in Direction
                if (home / point.name.lower()).exists()
            }

    def _rows_of(self, home: Path) -> list[tuple[int, Direction]]:
        """Slots and directions in which filters pinned here are called."""
        with self._pinned(home) as programs:
            return [
                (slot, point)
                for point, program in programs.items()
                for slot in range(abi.HOOK_SLOT_COUNT)
                if self._program_id(_row(slot, point)) == program.id
            ]

    def _program_id(self, row: int) -> int | None:
        """A program array gives the number of what it holds."""
        held = self._hooks.lookup(_WORD.pack(row))
        return None if held is None else int(_WORD.unpack(held)[0])

    def _hook(self, name: str, slot: int) -> Hook:
        home = self._directory / name
        with self._pinned(home) as pinned:
            programs = {point: ProgramStatistics.of(each.info.name, each) for point, each in pinned.items()}
        dropped = {point: sum_row(self._counters, _WORD.pack(_row(slot, point))) for point in programs}
        maps = tuple(sorted(path.name for path in (home / _MAPS).iterdir()))
        return Hook(name, slot, programs, dropped, maps, home / _MAPS)


def _row(slot: int, point: Direction) -> int:
    return point * abi.HOOK_SLOT_COUNT + slot


class NoHooks:
    """A node whose programs were loaded without the hook point; filters of former ones are forgotten."""

    writes = 0
    enabled = False

    def __init__(self, directory: Path) -> None:
        """``directory`` is that of `HookSlots`."""
        remove_tree(directory)

    def names(self) -> Mapping[int, str]:
        """Nothing."""
        return {}

    def all(self) -> tuple[Hook, ...]:
        """Nothing."""
        return ()

    def load(self, name: str, elf: bytes) -> Hook:
        """Raises ValueError."""
        raise ValueError(_WITHOUT)

    def unload(self, name: str) -> bool:
        """False."""
        return False


def hook_slots(maps: Mapping[str, Map], node_state: NodeState, directory: Path) -> HookSlots | NoHooks:
    """Those of a node with these maps; ``directory`` is on the BPF file system."""
    if "hooks" not in maps:
        return NoHooks(directory)
    return HookSlots(maps["hooks"], maps["hook_counters"], node_state, directory)


def _pin(made: HookPrograms, home: Path) -> None:
    """Give programs and maps names that hold them. The BPF file system allows no dots in names."""
    (home / _MAPS).mkdir(parents=True)
    for name, each in made.maps.items():
        each.pin(home / _MAPS / name.lstrip(".").replace(".", "_"))
    for point, program in made.programs.items():
        program.pin(home / point.name.lower())
