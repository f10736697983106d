"""What configurations make of the programs: what is off is gone, and everything else still works."""

import os
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pytest

from kinety import abi
from kinety.datapath.__main__ import main
from kinety.datapath.host_programs import FROM_HOST, TO_HOST
from kinety.datapath.inspection import CONFIGURATIONS, Inspection, inspect, inspect_host, loaded, packet
from kinety.datapath.observation import Counters
from kinety.datapath.template import FROM_ENDPOINT, PROGRAMS, packaged_object
from kinety.kernel.btf import Btf
from kinety.kernel.collection import Collection
from kinety.kernel.ring import RingBuffer
from kinety.kernel.spec import CollectionSpec

pytestmark = pytest.mark.needs("root", "bpf", "objects")

ALL = {each.name: each.constants for each in CONFIGURATIONS}
FEWER = [name for name in ALL if name != "everything"]
EVENTS = frozenset({"events", "lost_events"})
SHADOWS = frozenset({"shadow_counters", "shadow_scratch", "lost_shadows"})
FRAGMENTS = frozenset({"fragments"})
HOOKS = frozenset({"hooks", "hook_counters"})
RATES = frozenset({"rates"})
LISTENERS = frozenset({"listeners"})


@dataclass(frozen=True)
class Gone:
    """What is not there any more: how many lines of which headers at least, and exactly these maps."""

    lines: Mapping[str, int]
    maps: frozenset[str] = frozenset()


_HOOKED = {"hook.h": 30, "endpoint.bpf.c": 1, "bpf_helpers.h": 1}
_QUIET = {"event.h": 30, "flow.h": 4, "shadow.h": 40, "judge.h": 3}
_LIMITED = {"rate.h": 15}
_PROXIED = {
    "endpoint.bpf.c": 1,
    "flow.h": 1,
    "judge.h": 1,
    "lead.h": 2,
    "nat.h": 1,
    "related.h": 1,
    "proxy.h": 20,
    "redirect.h": 30,
    "socket.h": 30,
    "tell.h": 5,
}
_LEAST = {**_PROXIED, **_QUIET, **_HOOKED, **_LIMITED, "fragment.h": 12}
_MISSING = EVENTS | SHADOWS | FRAGMENTS | HOOKS | RATES | LISTENERS
GONE: Mapping[str, Gone] = {
    "no IPv6": Gone({"packet.h": 30}),
    "no IPv4": Gone({"packet.h": 14, "neighbour.h": 14}),
    "no flow events": Gone({"flow.h": 4}),
    "no events": Gone({"event.h": 30, "flow.h": 4}, EVENTS),
    "no shadow": Gone({"shadow.h": 40, "judge.h": 3}, SHADOWS),
    "no fragments": Gone({"fragment.h": 12}, FRAGMENTS),
    "no hooks": Gone(_HOOKED, HOOKS),
    "no bandwidth": Gone(_LIMITED, RATES),
    "no redirect": Gone(_PROXIED, LISTENERS),
    "no events, no shadow": Gone(_QUIET, EVENTS | SHADOWS),
    "least, IPv4": Gone({"packet.h": 30, **_LEAST}, _MISSING),
    "least, IPv6": Gone({"packet.h": 14, "neighbour.h": 14, **_LEAST}, _MISSING),
}
#: Headers and maps that only what an endpoint sends needs.
FROM_ONLY = frozenset({"neighbour.h", "nat.h", "listeners"})
#: A node has one redirect; these are where the others differ.
OTHER_REDIRECTS = frozenset({"lead.h", "nat.h", "socket.h", "proxy.h", "endpoint.bpf.c"})
OF_OTHER_REDIRECTS = ("proxy",)
OK, SHOT = 0, 2
REPEAT = 10


@pytest.fixture(scope="module")
def spec() -> CollectionSpec:
    return CollectionSpec.parse(packaged_object())


@pytest.fixture(scope="module")
def found(spec: CollectionSpec) -> Mapping[tuple[str, str], Inspection]:
    return {(each.configuration, each.program): each for each in inspect(spec, repeat=REPEAT)}


def test_there_are_at_least_eight_configurations_and_it_is_said_what_each_removes(
    found: Mapping[tuple[str, str], Inspection],
) -> None:
    assert len(CONFIGURATIONS) == len(ALL) >= 8
    assert GONE.keys() == set(FEWER)
    assert found.keys() == {(name, program) for name in ALL for program in PROGRAMS}


@pytest.mark.parametrize("name", FEWER)
def test_what_is_off_leaves_fewer_instructions(
    found: Mapping[tuple[str, str], Inspection], name: str
) -> None:
    for program in PROGRAMS:
        full, less = found["everything", program], found[name, program]
        assert less.compiled == full.compiled, "the object is the same"
        assert less.pruned < full.pruned
        assert less.jited_bytes < full.jited_bytes


@pytest.mark.parametrize("name", FEWER)
@pytest.mark.parametrize("program", PROGRAMS)
def test_source_lines_and_maps_are_the_proof(
    found: Mapping[tuple[str, str], Inspection], name: str, program: str
) -> None:
    """These headers lose lines and no others do, and the program does not hold these maps."""
    full, less = found["everything", program], found[name, program]
    gone = Counter(less.lines_gone) - Counter(full.lines_gone)
    wanted = {header: least for header, least in GONE[name].lines.items() if header not in FROM_ONLY}
    if program == FROM_ENDPOINT:
        wanted = dict(GONE[name].lines)
    assert gone.keys() == wanted.keys()
    assert all(gone[header] >= least for header, least in wanted.items()), gone
    assert full.maps_dropped == OF_OTHER_REDIRECTS
    own = FROM_ONLY if program != FROM_ENDPOINT else frozenset[str]()
    assert set(less.maps_dropped) - set(OF_OTHER_REDIRECTS) == GONE[name].maps - own


@pytest.mark.parametrize(
    ("name", "header"),
    [("no shadow", "shadow.h"), ("least, IPv4", "shadow.h"), ("least, IPv6", "shadow.h")],
)
def test_of_some_headers_nothing_is_left(spec: CollectionSpec, name: str, header: str) -> None:
    strings = Btf.parse(spec.btf)

    def files(constants: Mapping[str, int]) -> set[str]:
        with loaded(spec, constants) as collection:
            lines = [line for program in collection.programs.values() for line in program.lines()]
        return {strings.string(file).rpartition("/")[2] for file, _ in lines}

    assert header in files({})
    assert header not in files(ALL[name])


@pytest.mark.parametrize("name", ALL)
def test_maps_that_are_dropped_are_not_even_made(spec: CollectionSpec, name: str) -> None:
    with loaded(spec, ALL[name]) as collection:
        missing = spec.maps.keys() - collection.maps.keys()
    assert missing - set(OF_OTHER_REDIRECTS) == (GONE[name].maps if name in GONE else frozenset())


def test_with_everything_on_hardly_a_line_is_without_code(
    found: Mapping[tuple[str, str], Inspection],
) -> None:
    """What may be missing are checks that the verifier knows never to fail, and other redirects."""
    for program in PROGRAMS:
        gone = found["everything", program].lines_gone
        assert sum(lines for header, lines in gone.items() if header not in OTHER_REDIRECTS) < 5


def test_only_the_program_that_is_run_has_times(found: Mapping[tuple[str, str], Inspection]) -> None:
    for (_, program), each in found.items():
        assert (each.nanoseconds is not None) == (program == FROM_ENDPOINT)
        if each.nanoseconds is not None:
            assert all(nanoseconds > 0 for nanoseconds in each.nanoseconds.values())


def told(collection: Collection) -> Callable[[], list[abi.Event]]:
    """Reads the events of loaded programs; there are none without the map."""
    if "events" not in collection.maps:
        return list
    ring = RingBuffer(collection.maps["events"])
    return lambda: [abi.Event.unpack(each) for each in ring.read()]


def counted(collection: Collection) -> list[abi.Reason]:
    """Reasons that packets have met."""
    counters = Counters(collection.maps["counters"], collection.maps["rule_counters"])
    return sorted(reason for reason, _ in counters.by_reason())


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("version", [4, 6])
def test_packets_find_what_the_configuration_left(spec: CollectionSpec, name: str, version: int) -> None:
    level = ALL[name].get("config_event_level", abi.EventLevel.FLOWS)
    with loaded(spec, ALL[name]) as collection:
        events = told(collection)
        ran = collection.programs[FROM_ENDPOINT].test_run(packet(version), ifindex=1)
        heard = events()
        if not ALL[name].get(f"config_ipv{version}", 1):
            assert ran.retval == SHOT
            assert counted(collection) == [abi.Reason.IP_VERSION_DISABLED]
            wanted = [] if level == abi.EventLevel.NONE else [abi.Reason.IP_VERSION_DISABLED]
            assert [event.reason for event in heard] == wanted
        else:
            assert ran.retval == OK
            assert counted(collection) == [abi.Reason.FORWARDED_STACK]
            kinds = [abi.EventKind.NEW_FLOW] * (level == abi.EventLevel.FLOWS)
            assert [event.kind for event in heard] == kinds


def test_a_constant_that_does_not_exist_is_refused(spec: CollectionSpec) -> None:
    with pytest.raises(ValueError, match="no constant config_ipx"), loaded(spec, {"config_ipx": 1}):
        pass


def test_without_privileges_it_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert main() == 1
    assert capsys.readouterr() == ("", "kinety: programs are loaded to be inspected: run it as root\n")


@pytest.mark.needs("netfilter", "btf")
def test_the_nodes_own_programs_are_inspected_too() -> None:
    found = {(each.configuration, each.program): each for each in inspect_host(REPEAT)}
    assert {program for _, program in found} == {FROM_HOST, TO_HOST}
    for program in (FROM_HOST, TO_HOST):
        full = found["everything", program]
        assert full.maps_dropped == ()
        assert 0 < full.verified < 6_000
        for name in ("no events", "no shadow", "no fragments"):
            less = found[name, program]
            assert less.pruned < full.pruned
            assert set(less.maps_dropped) == GONE[name].maps
    times = found["everything", TO_HOST].nanoseconds
    assert times is not None
    assert all(times.values())
