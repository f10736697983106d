"""The node's own packets: two programs at four hooks of netfilter, attached while a policy selects the node.

Decision 0029 says why there and why only then. Links to netfilter cannot be pointed at other programs,
and no two of them may have one priority at a hook; so programs are replaced by attaching the new ones at
the other of two priorities and then taking off the old ones. A packet in between is judged by both, over
the same maps.

A link holds its program, and its pin holds the link: what a former agent attached is found by the pins'
names, which say of which object and constants the programs are.
"""

import contextlib
import errno
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from kinety import abi
from kinety.kernel.collection import Collection
from kinety.kernel.kernel_types import KernelTypes
from kinety.kernel.link import Link
from kinety.kernel.map import Map
from kinety.kernel.program import Program
from kinety.kernel.reachability import pruned
from kinety.kernel.spec import CollectionSpec
from kinety.kernel.uapi import NetfilterFamily, NetfilterHook

from .settings import Settings
from .statistics import ProgramStatistics
from .template import node_constants, packaged_object

OBJECT = "host.o"
FROM_HOST = "from_host"
TO_HOST = "to_host"
#: Which program sits at which hook.
HOOKS: Mapping[NetfilterHook, str] = {NetfilterHook.LOCAL_OUT: FROM_HOST, NetfilterHook.LOCAL_IN: TO_HOST}
#: Behind the operator's own filters (0) and before source addresses are rewritten (100).
PRIORITIES = (10, 11)
#: Fields that the programs read, by the constants that say where they are; the kernel's own types know.
_FIELDS = {
    "context_ifindex_offset": ("net_device", "ifindex"),
    "context_length_offset": ("sk_buff", "len"),
    "context_mark_offset": ("sk_buff", "mark"),
}
_VERSION_LENGTH = 16
_NEEDS = "policies about nodes need Linux 6.4 with CONFIG_NETFILTER_BPF_LINK and CONFIG_DEBUG_INFO_BTF"


class UnsupportedError(OSError):
    """A kernel that cannot judge the node's own packets."""


@dataclass(frozen=True, slots=True)
class Place:
    """One hook of one family."""

    family: NetfilterFamily
    hook: NetfilterHook

    @property
    def name(self) -> str:
        """As the pin's name ends."""
        return f"{self.family.name}-{self.hook.name}".lower()


PLACES = tuple(Place(family, hook) for family in NetfilterFamily for hook in HOOKS)


def host_constants(settings: Settings) -> dict[str, int]:
    """Values of the programs' constants but for where the kernel has its fields.

    The node speaks both families, whichever of them endpoints do without.
    """
    return {**node_constants(replace(settings, ipv4=True, ipv6=True)), "config_hooks": 0}


def host_spec(elf: bytes) -> CollectionSpec:
    """The programs' object, which knows where this kernel has the fields that they read.

    Raises ValueError for one of another contract, OSError when it is not for this kernel.
    """
    spec = CollectionSpec.parse(elf)
    spec.require_contract(abi.CONTRACT_HASH)
    types = KernelTypes.running()
    return spec.with_constants({name: types.field_offset(*field) for name, field in _FIELDS.items()})


def host_object(elf: bytes, constants: Mapping[str, int]) -> CollectionSpec:
    """The same with a node's constants, and the maps that its programs reach with them."""
    return pruned(host_spec(elf).with_constants(constants))


class HostPrograms:
    """What judges the node's own packets, or does not."""

    def __init__(self, directory: Path, maps: Mapping[str, Map]) -> None:
        """``directory`` is for the links' pins, ``maps`` are those of the endpoints' programs."""
        self._directory = directory
        self._maps = maps
        self._elf: bytes | None = None
        self._loaded: dict[str, Collection] = {}
        #: Links made or removed since this object was made.
        self.writes = 0

    @property
    def attached(self) -> bool:
        """Whether every hook has a program."""
        held = {name[_VERSION_LENGTH + 1 :] for name in self._pins()}
        return held >= {place.name for place in PLACES}

    def require(self, settings: Settings) -> None:
        """Have the programs verified, once. Raises UnsupportedError when this kernel cannot run them."""
        version = self._version(settings)
        if version in self._loaded:
            return
        try:
            spec = host_object(self._object(), host_constants(settings))
            used = {name: each for name, each in self._maps.items() if name in spec.maps}
            sizes = {name: each.info.max_entries for name, each in used.items()}
            self._loaded[version] = Collection.load(spec, max_entries=sizes, maps=used)
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EPERM):
                raise
            refused = UnsupportedError(error.errno, f"{_NEEDS}: {error.strerror or error}")
            for note in getattr(error, "__notes__", ()):
                refused.add_note(note)
            raise refused from error

    def attach(self, settings: Settings) -> None:
        """Have every hook judged by the programs with these settings, and by no others.

        Raises OSError. Hooks that had a program have one all the time.
        """
        version = self._version(settings)
        wanted = {place: f"{version}-{place.name}" for place in PLACES}
        held = self._pins()
        if missing := [place for place in PLACES if wanted[place] not in held]:
            self.require(settings)
            with contextlib.suppress(FileExistsError):
                self._directory.mkdir()
            for place in missing:
                self._attach(place, self._loaded[version].programs[HOOKS[place.hook]], wanted[place])
        for name in held - set(wanted.values()):
            self._remove(name)
        for old in self._loaded.keys() - {version}:
            self._loaded.pop(old).close()

    def reread(self) -> None:
        """Attach what the object is on disk now, the next time."""
        self._elf = None

    def detach(self) -> None:
        """Let the node's packets pass unjudged."""
        for name in self._pins():
            self._remove(name)

    def statistics(self) -> tuple[ProgramStatistics, ...]:
        """Figures of the programs that judge; one for both families."""
        found: dict[str, ProgramStatistics] = {}
        for pin in sorted(self._pins()):
            with Link.open(self._directory / pin) as link, Program.from_id(link.info.program_id) as program:
                name = HOOKS[NetfilterHook[pin.rpartition("-")[2].upper()]]
                found[name] = ProgramStatistics.of(name, program)
        return tuple(found.values())

    def close(self) -> None:
        """Let go of the programs; links keep those that judge."""
        for collection in self._loaded.values():
            collection.close()
        self._loaded = {}

    def _object(self) -> bytes:
        self._elf = packaged_object(OBJECT) if self._elf is None else self._elf
        return self._elf

    def _version(self, settings: Settings) -> str:
        constants = repr(sorted(host_constants(settings).items())).encode()
        return hashlib.sha256(self._object() + constants).hexdigest()[:_VERSION_LENGTH]

    def _pins(self) -> set[str]:
        return {path.name for path in self._directory.iterdir()} if self._directory.is_dir() else set()

    def _attach(self, place: Place, program: Program, name: str) -> None:
        taken = {self._priority(pin) for pin in self._pins() if pin.endswith(place.name)}
        priority = next(each for each in PRIORITIES if each not in taken)
        with Link.attach_netfilter(program, place.family, place.hook, priority) as link:
            link.pin(self._directory / name)
        self.writes += 1

    def _priority(self, name: str) -> int:
        with Link.open(self._directory / name) as link:
            place = link.info.netfilter
            return place.priority if place else 0

    def _remove(self, name: str) -> None:
        path = self._directory / name
        with contextlib.suppress(FileNotFoundError), Link.open(path) as link:
            link.detach()
        path.unlink(missing_ok=True)
        self.writes += 1
