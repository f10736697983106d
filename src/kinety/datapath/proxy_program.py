"""A program for the sake of proxies: attached to something of the node's once, and pinned by its version."""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

from kinety import abi
from kinety.kernel.collection import Collection
from kinety.kernel.link import Link
from kinety.kernel.map import Map
from kinety.kernel.program import Program
from kinety.kernel.reachability import pruned
from kinety.kernel.spec import CollectionSpec

from .settings import Settings
from .template import node_constants, packaged_object


def attach_once(
    settings: Settings,
    directory: Path,
    maps: Mapping[str, Map],
    source: tuple[str, str],
    attach: Callable[[Program], Link],
) -> bool:
    """See to it that a program is attached; ``source`` is its object and its name. False when it was.

    One of another version is replaced in one step. A link that outlives what it was attached to is made
    anew. ``directory`` is for the link's pin alone. Raises OSError.
    """
    object_name, name = source
    elf, constants = packaged_object(object_name), node_constants(settings)
    path = directory / version(elf, constants, maps)
    former = next(directory.iterdir(), None) if directory.is_dir() else None
    if former is not None and not is_attached(former):
        former.unlink()
        former = None
    if former == path:
        return False
    directory.mkdir(exist_ok=True)
    spec = CollectionSpec.parse(elf)
    spec.require_contract(abi.CONTRACT_HASH)
    spec = pruned(spec.with_constants(constants))
    used = {name: each for name, each in maps.items() if name in spec.maps}
    sizes = {name: each.info.max_entries for name, each in used.items()}
    with Collection.load(spec, max_entries=sizes, maps=used) as collection:
        program = collection.programs[name]
        if former is not None:
            with Link.open(former) as link:
                link.update(program)
            former.rename(path)
        else:
            with attach(program) as link:
                link.pin(path)
    return True


def is_attached(pin: Path) -> bool:
    """Whether a pinned link's cgroup or network namespace is there still. Raises OSError."""
    with Link.open(pin) as link:
        return bool(link.info.cgroup_id or link.info.namespace)


def version(elf: bytes, constants: Mapping[str, int], maps: Mapping[str, Map]) -> str:
    """Names a program by all that it was made of: maps that came anew have other numbers."""
    numbers = {name: each.info.id for name, each in maps.items()}
    made_of = repr((sorted(constants.items()), sorted(numbers.items()))).encode()
    return hashlib.sha256(elf + made_of).hexdigest()[:16]
