"""What node constants make of the programs: instructions before and after the verifier's pruning.

Constants are frozen before the programs load, so the verifier knows which branches are never taken and
removes them; maps that only such code names are not made (``kinety.kernel.reachability``). An inspection
loads the programs with each configuration, over small maps of their own, and asks the kernel what is left:
instructions, machine code, maps, source lines; and how long a packet takes. Source lines are the proof that
code is gone: a line that no instruction comes from any more cannot run. So are maps: the kernel would not
take a program that may reach one it does not have. Nothing of a running node is touched.
"""

import socket
import struct
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from statistics import median

from kinety import abi
from kinety.abi import EventLevel
from kinety.kernel.btf import Btf
from kinety.kernel.btf_ext import LINE_RECORD
from kinety.kernel.collection import Collection
from kinety.kernel.linker import INSTRUCTION
from kinety.kernel.program import Program
from kinety.kernel.reachability import pruned
from kinety.kernel.spec import CollectionSpec, ProgramSpec
from kinety.kernel.uapi import NetfilterFamily, NetfilterHook, ProgramType
from kinety.model.address import pack_address

from .host_programs import HOOKS, OBJECT, TO_HOST, host_spec
from .template import FROM_ENDPOINT, PROGRAMS, packaged_object

#: Where a test run's packet is said to come in: lo, which every namespace has.
_INTERFACE = 1
_ROUNDS = 9
_NOT_OF_THE_HOST = frozenset(
    {"config_ipv4", "config_ipv6", "config_hooks", "config_bandwidth", "config_redirect"}
)
_SMALL = {
    "endpoints": 2,
    "local_addresses": 2,
    "rates": 4,
    "ipcache_hosts": 2,
    "ipcache_prefixes": 2,
    "identity_classes": 2,
    "rule_sets": 2,
    "rule_counters": 1024,
    "conntrack": 1024,
    "fragments": 64,
}
_ADDRESSES = {4: ("10.0.0.2", "198.51.100.7"), 6: ("fd00::2", "2001:db8::7")}
_COLUMN_BITS = 10

Lines = frozenset[tuple[str, int]]


@dataclass(frozen=True, slots=True)
class Configuration:
    """A set of node constants and what people call it."""

    name: str
    constants: Mapping[str, int]


_QUIET = {"config_event_level": int(EventLevel.NONE), "config_shadow": 0}
_LEAST = {"config_fragments": 0, "config_hooks": 0, "config_bandwidth": 0, "config_redirect": 0, **_QUIET}
#: Ways to set up a node that leave something out. A constant that removes code has a line here.
CONFIGURATIONS = (
    Configuration("everything", {}),
    Configuration("no IPv6", {"config_ipv6": 0}),
    Configuration("no IPv4", {"config_ipv4": 0}),
    Configuration("no flow events", {"config_event_level": int(EventLevel.DROPS)}),
    Configuration("no events", {"config_event_level": int(EventLevel.NONE)}),
    Configuration("no shadow", {"config_shadow": 0}),
    Configuration("no fragments", {"config_fragments": 0}),
    Configuration("no hooks", {"config_hooks": 0}),
    Configuration("no bandwidth", {"config_bandwidth": 0}),
    Configuration("no redirect", {"config_redirect": 0}),
    Configuration("no events, no shadow", _QUIET),
    Configuration("least, IPv4", {"config_ipv6": 0, **_LEAST}),
    Configuration("least, IPv6", {"config_ipv4": 0, **_LEAST}),
)


@dataclass(frozen=True, slots=True)
class Inspection:
    """One program under one configuration.

    Instructions are those of the object (``compiled``) and those left after pruning (``pruned``);
    ``verified`` is how many the verifier walked through. ``maps_dropped`` are maps that the object's program
    names and the loaded one does not hold. ``lines_gone`` counts source lines without any code left, by the
    header they are in. ``nanoseconds`` is what a packet of a known flow takes, by IP version; None for a
    program that is not run.
    """

    configuration: str
    program: str
    compiled: int
    pruned: int
    verified: int
    jited_bytes: int
    maps_dropped: tuple[str, ...]
    lines_gone: Mapping[str, int]
    nanoseconds: Mapping[int, int] | None


def inspect(
    spec: CollectionSpec,
    wanted: Iterable[Configuration] = CONFIGURATIONS,
    repeat: int = 100_000,
    programs: Iterable[str] = PROGRAMS,
) -> Iterator[Inspection]:
    """Load, ask and run each configuration, on ``repeat`` packets.

    Raises ValueError for constants that the object does not have, OSError when the kernel refuses.
    """
    strings = Btf.parse(spec.btf)
    for configuration in wanted:
        with loaded(spec, configuration.constants) as collection:
            for name in programs:
                program, compiled = collection.programs[name], spec.programs[name]
                yield Inspection(
                    configuration.name,
                    name,
                    len(compiled.instructions) // INSTRUCTION.size,
                    program.info.translated_bytes // INSTRUCTION.size,
                    program.info.verified_instructions,
                    program.info.jited_bytes,
                    _maps_dropped(compiled, program, collection),
                    _lines_gone(_compiled_lines(compiled, strings), _lines_left(program, strings)),
                    _times(program, repeat) if name in (FROM_ENDPOINT, TO_HOST) else None,
                )


def inspect_host(repeat: int = 100_000) -> Iterator[Inspection]:
    """The same of the programs for the node itself, which speaks both families and has no filters.

    Raises OSError on a kernel that cannot run them.
    """
    wanted = [each for each in CONFIGURATIONS if _NOT_OF_THE_HOST.isdisjoint(each.constants)]
    yield from inspect(host_spec(packaged_object(OBJECT)), wanted, repeat, HOOKS.values())


@contextmanager
def loaded(spec: CollectionSpec, constants: Mapping[str, int]) -> Iterator[Collection]:
    """The programs over maps of their own, with one endpoint at ``lo`` that may send anywhere."""
    everywhere = {**constants, "config_interface_base": _INTERFACE}
    spec = pruned(spec.with_constants(everywhere))
    sizes = {name: count for name, count in _SMALL.items() if name in spec.maps}
    with Collection.load(spec, max_entries=sizes) as collection:
        empty = abi.Endpoint.unpack(bytes(abi.Endpoint.SIZE))
        row = replace(
            empty,
            id=1,
            flags=int(abi.EndpointFlag.READY),
            epoch=1,
            interface=_INTERFACE,
            ipv4=pack_address(_ADDRESSES[4][0]),
            ipv6=pack_address(_ADDRESSES[6][0]),
        )
        collection.maps["endpoints"].update(bytes(4), row.pack())
        yield collection


def packet(version: int) -> bytes:
    """A UDP datagram from the endpoint to the world; checksums are nobody's business here."""
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    ends = b"".join(socket.inet_pton(family, each) for each in _ADDRESSES[version])
    datagram = struct.pack("!HHHH", 40000, 53, 8, 0)
    if version == 4:
        header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(datagram), 0, 0, 64, socket.IPPROTO_UDP, 0)
        return bytes(12) + b"\x08\x00" + header + ends + datagram
    header = struct.pack("!IHBB", 6 << 28, len(datagram), socket.IPPROTO_UDP, 64)
    return bytes(12) + b"\x86\xdd" + header + ends + datagram


def _times(program: Program, repeat: int) -> dict[int, int]:
    """The median of some rounds, each the kernel's mean: others have the processor at times."""
    runs = -(-repeat // _ROUNDS)

    def one(version: int) -> int:
        if program.info.type is ProgramType.NETFILTER:
            family = NetfilterFamily.IPV4 if version == 4 else NetfilterFamily.IPV6
            hook = NetfilterHook.LOCAL_IN
            return program.test_run_netfilter(packet(version), hook, family, repeat=runs).duration_ns
        return program.test_run(packet(version), ifindex=_INTERFACE, repeat=runs).duration_ns

    return {version: int(median(one(version) for _ in range(_ROUNDS))) for version in _ADDRESSES}


def _maps_dropped(compiled: ProgramSpec, program: Program, collection: Collection) -> tuple[str, ...]:
    used = set(program.map_ids())
    held = {name for name, each in collection.maps.items() if each.id in used}
    return tuple(sorted({reference.map for reference in compiled.references} - held))


def _compiled_lines(compiled: ProgramSpec, strings: Btf) -> Lines:
    records = LINE_RECORD.iter_unpack(compiled.lines)
    return frozenset((strings.string(file), line >> _COLUMN_BITS) for _, file, _, line in records)


def _lines_left(program: Program, strings: Btf) -> Lines:
    return frozenset((strings.string(file), line) for file, line in program.lines())


def _lines_gone(compiled: Lines, left: Lines) -> dict[str, int]:
    gone = Counter(PurePosixPath(file).name for file, _ in compiled - left)
    return dict(sorted(gone.items()))
