"""The resident programs and their maps: loaded once per node, or adopted from their pins.

A former agent's objects are adopted when they were made for the same contract, map sizes, object
and constants. A new object or new constants with the same maps load beside the old programs, over
the same maps; links are then moved one atomic update each. Anything else is refused with both
numbers: the maps hold live flows, and only the operator may throw those away.

Only maps that the programs can reach with these constants are made (``kinety.kernel.reachability``), and
pins of others go with the programs that used them: which maps a node has is settled at its start.
"""

import contextlib
import errno
import hashlib
import importlib.resources
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from kinety import abi
from kinety.kernel.collection import Collection
from kinety.kernel.map import Map
from kinety.kernel.program import Program
from kinety.kernel.reachability import pruned
from kinety.kernel.spec import CollectionSpec, MapSpec
from kinety.kernel.uapi import ProgramType
from kinety.plan.change import Capacity

from .settings import Settings

OBJECT = "endpoint.o"
FROM_ENDPOINT = "from_endpoint"
TO_ENDPOINT = "to_endpoint"
#: Bytes; a hundred times what the largest object has.
_OBJECT_LIMIT = 1 << 24
PROGRAMS = (FROM_ENDPOINT, TO_ENDPOINT)
_MISFIT = "remove it with `kinety agent --cleanup`, which drops live flows, or run the old version"


@dataclass(frozen=True, slots=True)
class Template:
    """Live programs and the maps they use. ``pins`` is the programs' directory, ``elf`` their object."""

    programs: Mapping[str, Program]
    maps: Mapping[str, Map]
    inner_rule_set: MapSpec
    adopted: bool
    load_seconds: float
    pins: Path
    elf: bytes

    @classmethod
    def open(cls, settings: Settings, elf: bytes | None = None) -> "Template":
        """Adopt what is pinned, load and pin the rest. ``elf`` replaces the packaged object.

        Raises ValueError when object, pins and settings do not fit together, with both numbers, and
        OSError when the kernel refuses; nothing is left behind then.
        """
        started = time.perf_counter()
        elf = packaged_object() if elf is None else elf
        spec = _fitting(elf, settings)
        home = contract_directory(settings.pins)
        _refuse_other_contract(home)
        inner = inner_rule_set(spec, settings)
        version = home / f"program-{_digest(elf, settings)}"
        with contextlib.ExitStack() as opened:
            for directory in (home, home / "maps", home / "links"):
                _make(directory, opened)
            maps = _adopt_maps(home / "maps", spec, map_sizes(settings), opened)
            whole = maps.keys() == shared_maps(spec).keys()
            programs = _adopt_programs(version, opened) if whole else None
            adopted = programs is not None
            if programs is None:
                programs, maps = _load(spec, settings, maps, home, version)
            opened.pop_all()
        return cls(
            programs=programs,
            maps=maps,
            inner_rule_set=inner,
            adopted=adopted,
            load_seconds=time.perf_counter() - started,
            pins=version,
            elf=elf,
        )

    def successor(self, settings: Settings, elf: bytes) -> "Template | None":
        """Programs of another object or with other constants, loaded and pinned beside these.

        They use the same maps. None when that is what these are. ``discard`` takes it back. Raises as
        ``open`` does, and then nothing is left behind.
        """
        started = time.perf_counter()
        home = contract_directory(settings.pins)
        version = home / f"program-{_digest(elf, settings)}"
        if version == self.pins:
            return None
        spec = _fitting(elf, settings)
        if missing := sorted(shared_maps(spec).keys() - self.maps.keys()):
            raise ValueError(
                f"the node was started without what needs the maps {', '.join(missing)}: "
                "stop the agent and start it with other options"
            )
        used = {name: each for name, each in self.maps.items() if name in spec.maps}
        programs, _ = _load(spec, settings, used, home, version)
        seconds = time.perf_counter() - started
        return replace(self, programs=programs, adopted=False, load_seconds=seconds, pins=version, elf=elf)

    @property
    def capacity(self) -> Capacity:
        """Rows the real maps have room for."""
        size = {name: each.info.max_entries for name, each in self.maps.items()}
        return Capacity(
            endpoints=size["endpoints"] - 1,
            rule_sets=size["rule_sets"] - 1,
            rows=self.inner_rule_set.max_entries,
            identity_classes=size["identity_classes"],
            ipcache_hosts=size["ipcache_hosts"],
            ipcache_prefixes=size["ipcache_prefixes"],
            rules=size["rule_counters"],
        )

    @property
    def version(self) -> str:
        """Names the programs by their object and constants: 16 hexadecimal digits."""
        return self.pins.name.removeprefix("program-")

    def superseded(self) -> tuple[Path, ...]:
        """Pin directories of programs that these are to replace, or have replaced."""
        return tuple(path for path in sorted(self.pins.parent.glob("program-*")) if path != self.pins)

    def forget_superseded(self) -> None:
        """Unpin former programs, and maps that nobody uses after them, when every link was moved."""
        for directory in self.superseded():
            remove_tree(directory)
        for path in self.pins.parent.glob("maps/*"):
            if path.name not in self.maps:
                path.unlink()

    def discard(self) -> None:
        """Unpin the programs and let go of them; the maps stay."""
        with contextlib.suppress(OSError):  # the next start forgets them
            remove_tree(self.pins)
        self.close_programs()

    def close_programs(self) -> None:
        """Let go of the programs, which live on where they judge or are pinned."""
        for program in self.programs.values():
            program.close()

    def close(self) -> None:
        """Let go of file descriptors; pins keep everything alive."""
        self.close_programs()
        for each in self.maps.values():
            each.close()


def packaged_object(name: str = OBJECT) -> bytes:
    """The precompiled programs. Raises FileNotFoundError with what to do, ValueError for a huge file."""
    path = importlib.resources.files("kinety") / "bpf" / name
    try:
        with path.open("rb") as file:
            elf = file.read(_OBJECT_LIMIT + 1)
    except FileNotFoundError as error:
        hint = "the BPF objects are not built: run `make bpf` where the sources are, then install again"
        raise FileNotFoundError(errno.ENOENT, hint, str(path)) from error
    if len(elf) > _OBJECT_LIMIT:
        raise ValueError(f"{path} is no BPF object: it has more than {_OBJECT_LIMIT >> 20} MiB")
    return elf


def contract_directory(pins: Path) -> Path:
    """Where the maps of this version's contract are pinned."""
    return pins / f"contract-{abi.CONTRACT_HASH:x}"


def node_constants(settings: Settings) -> dict[str, int]:
    """Values of the programs' read-only constants (bpf/abi/config.h)."""
    return {
        "config_interface_base": settings.interface_base,
        "config_ipv4": int(settings.ipv4),
        "config_ipv6": int(settings.ipv6),
        "config_event_level": int(settings.event_level),
        "config_shadow": int(settings.shadow),
        "config_fragments": int(settings.fragments),
        "config_hooks": int(settings.hooks),
        "config_bandwidth": int(settings.bandwidth),
        "config_redirect": int(settings.redirect),
        "config_proxy_source_first": settings.proxy_source_ports[0],
        "config_proxy_source_last": settings.proxy_source_ports[1],
    }


def map_sizes(settings: Settings) -> dict[str, int]:
    """``max_entries`` of the maps whose size a node chooses; ``rule_set`` is the inner map."""
    capacity = settings.capacity
    return {
        "endpoints": capacity.endpoints + 1,  # and the node itself
        "local_addresses": 2 * capacity.endpoints,
        "rates": 2 * capacity.endpoints,
        "rule_sets": capacity.rule_sets,
        "identity_classes": capacity.identity_classes,
        "ipcache_hosts": capacity.ipcache_hosts,
        "ipcache_prefixes": capacity.ipcache_prefixes,
        "rule_counters": capacity.rules,
        "conntrack": settings.conntrack,
        "proxy": settings.conntrack,
    }


def _fitting(elf: bytes, settings: Settings) -> CollectionSpec:
    """An object of this contract with a node's constants, and the maps that its programs reach with them.

    Raises ValueError that says what is wrong with it.
    """
    spec = CollectionSpec.parse(elf)
    spec.require_contract(abi.CONTRACT_HASH)
    for name in PROGRAMS:
        if (program := spec.programs.get(name)) and program.type is not ProgramType.SCHED_CLS:
            kind = program.type.name.lower()
            raise ValueError(f"BPF object: {name} is a program of type {kind}; endpoints need sched_cls")
    return pruned(spec.with_constants(node_constants(settings)))


def _digest(elf: bytes, settings: Settings) -> str:
    """Names a version of the programs: the object and the constants it was loaded with."""
    constants = repr(sorted(node_constants(settings).items())).encode()
    return hashlib.sha256(elf + constants).hexdigest()[:16]


def remove_tree(directory: Path) -> None:
    """Remove a directory of pins and everything in it."""
    if not directory.is_dir():
        return
    for path in directory.iterdir():
        if path.is_dir():
            remove_tree(path)
        else:
            path.unlink()
    directory.rmdir()


def shared_maps(spec: CollectionSpec) -> dict[str, MapSpec]:
    """The maps of the contract; not those that hold a program's own constants."""
    return {name: each for name, each in spec.maps.items() if each.contents is None}


def inner_rule_set(spec: CollectionSpec, settings: Settings) -> MapSpec:
    """How to create one verdict table."""
    inner = spec.maps["rule_sets"].inner
    if inner is None:
        raise ValueError(f"{OBJECT}: rule_sets is not a map of maps")
    return replace(inner, name="rule_set", max_entries=settings.capacity.rows)


def _refuse_other_contract(home: Path) -> None:
    others = [path.name for path in home.parent.glob("contract-*") if path != home]
    if others:
        raise ValueError(f"{home.parent} holds {others[0]}, this version speaks {home.name}: {_MISFIT}")


def _make(directory: Path, undo: contextlib.ExitStack) -> None:
    """Make a directory that ``undo`` removes, unless it is there already."""
    with contextlib.suppress(FileExistsError):
        directory.mkdir()
        undo.callback(directory.rmdir)


def _adopt_maps(
    pins: Path, spec: CollectionSpec, sizes: Mapping[str, int], opened: contextlib.ExitStack
) -> dict[str, Map]:
    """Maps that a former agent pinned, checked against what would be created now."""
    adopted: dict[str, Map] = {}
    for name, wanted in shared_maps(spec).items():
        if not (pins / name).exists():
            continue
        adopted[name] = opened.enter_context(Map.open(pins / name))
        info = adopted[name].info
        found = (info.type, info.key_size, info.value_size, info.max_entries)
        expected = (wanted.type, wanted.key_size, wanted.value_size, sizes.get(name, wanted.max_entries))
        if found != expected:
            raise ValueError(
                f"map {name} is pinned as (type, key, value, entries) {_numbers(found)}, "
                f"and {_numbers(expected)} is wanted: {_MISFIT}"
            )
    return adopted


def _numbers(values: tuple[int, ...]) -> str:
    return "(" + ", ".join(str(int(value)) for value in values) + ")"


def _adopt_programs(version: Path, opened: contextlib.ExitStack) -> dict[str, Program] | None:
    """Both programs of this version, or None unless both are pinned."""
    if not all((version / name).exists() for name in PROGRAMS):
        return None
    return {name: opened.enter_context(Program.open(version / name)) for name in PROGRAMS}


def _load(
    spec: CollectionSpec, settings: Settings, adopted: Mapping[str, Map], home: Path, version: Path
) -> tuple[dict[str, Program], dict[str, Map]]:
    """Load the programs, whose constants are fixed, over the adopted maps; create and pin what is new."""
    sizes = {name: size for name, size in map_sizes(settings).items() if name in spec.maps}
    collection = Collection.load(spec, max_entries=sizes, maps=adopted, programs=PROGRAMS)
    with contextlib.ExitStack() as undo:
        undo.callback(collection.close)
        maps = {name: collection.maps[name] for name in shared_maps(spec)}
        programs = {name: collection.programs[name] for name in PROGRAMS}
        for name, each in maps.items():
            if name not in adopted:
                each.pin(home / "maps" / name)
                undo.callback((home / "maps" / name).unlink)
        remove_tree(version)  # what an interrupted load may have left
        version.mkdir()
        undo.callback(remove_tree, version)
        for name, program in programs.items():
            program.pin(version / name)
        undo.pop_all()
    for name in collection.maps.keys() - maps.keys():
        collection.maps[name].close()  # constants: the programs hold them
    return programs, maps
