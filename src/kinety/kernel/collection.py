"""From a spec to live objects: all maps and programs of one object, or none of them."""

from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from os import close as close_descriptor
from types import MappingProxyType, TracebackType
from typing import Self

from . import syscall
from .definition import MapSpec
from .map import Map
from .program import Program
from .spec import CollectionSpec


class Collection:
    """The maps and programs of one object."""

    def __init__(self, maps: Mapping[str, Map], programs: Mapping[str, Program], owned: ExitStack) -> None:
        #: Every map of the object, those given to ``load`` included.
        self.maps: Mapping[str, Map] = MappingProxyType(dict(maps))
        self.programs: Mapping[str, Program] = MappingProxyType(dict(programs))
        self._owned = owned

    @classmethod
    def load(
        cls,
        spec: CollectionSpec,
        *,
        constants: Mapping[str, int] | None = None,
        max_entries: Mapping[str, int] | None = None,
        maps: Mapping[str, Map] | None = None,
        programs: Iterable[str] | None = None,
        contract_hash: int | None = None,
    ) -> Self:
        """Create the maps, fix the constants, and have the programs verified.

        ``constants`` replace defaults. ``max_entries`` (rows, by map) replaces sizes. ``maps`` are used
        instead of new ones and stay the caller's to close. ``programs`` names the ones to load, all by
        default. With ``contract_hash``, an object compiled with another contract is refused.
        Raises ValueError for names that the object does not have, numbers out of range or maps that do
        not fit, all before any system call; OSError when the kernel refuses. Nothing is left behind.
        """
        if contract_hash is not None:
            spec.require_contract(contract_hash)
        given = maps or {}
        specs = _sized(spec.with_constants(constants or {}).maps, max_entries or {})
        chosen = list(spec.programs) if programs is None else list(programs)
        _require_names("map", given, specs)
        _require_names("program", chosen, spec.programs)
        for name, held in given.items():
            if difference := held.fits(specs[name]):
                raise ValueError(difference)
        with ExitStack() as owned, ExitStack() as temporary:
            btf_fd = 0
            if spec.btf:
                btf_fd = syscall.load_btf(spec.btf)
                temporary.callback(close_descriptor, btf_fd)
            live = {
                name: given[name] if name in given else owned.enter_context(Map.create(one, btf_fd=btf_fd))
                for name, one in specs.items()
            }
            descriptors = {name: one.fd for name, one in live.items()}
            loaded = {
                name: owned.enter_context(Program.load(spec.programs[name], descriptors, btf_fd))
                for name in chosen
            }
            return cls(live, loaded, owned.pop_all())

    def close(self) -> None:
        """Let go of everything ``load`` made; idempotent."""
        self._owned.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _sized(specs: Mapping[str, MapSpec], max_entries: Mapping[str, int]) -> dict[str, MapSpec]:
    _require_names("map", max_entries, specs)
    for name, count in max_entries.items():
        if not 0 < count < 1 << 32:
            raise ValueError(f"map {name}: {count} entries are outside 1..{(1 << 32) - 1}")
    return {
        name: replace(spec, max_entries=max_entries[name]) if name in max_entries else spec
        for name, spec in specs.items()
    }


def _require_names(kind: str, names: Iterable[str], known: Iterable[str]) -> None:
    if missing := sorted(set(names) - set(known)):
        raise ValueError(
            f"the BPF object has no {kind} {', '.join(missing)}; it has {', '.join(sorted(known)) or 'none'}"
        )
