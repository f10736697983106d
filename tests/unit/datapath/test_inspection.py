"""What configurations make of the programs: what is off is gone, and everything else still works."""

import os
from collections import Counter
from collections.abc import Mapping

import pytest

from kinety import abi
from kinety.datapath.__main__ import main
from kinety.datapath.inspection import Inspection, configurations, inspect, loaded, packet
from kinety.datapath.template import FROM_ENDPOINT, PROGRAMS, packaged_object
from kinety.kernel.ring import RingBuffer
from kinety.kernel.spec import CollectionSpec

pytestmark = pytest.mark.needs("root", "bpf", "objects")

ALL = {each.name: each.constants for each in configurations()}
FEWER = [name for name in ALL if name != "everything"]
OK, SHOT = 0, 2
REPEAT = 10


@pytest.fixture(scope="module")
def spec() -> CollectionSpec:
    return CollectionSpec.parse(packaged_object())


@pytest.fixture(scope="module")
def found(spec: CollectionSpec) -> Mapping[tuple[str, str], Inspection]:
    return {
        (each.configuration, each.program): each for each in inspect(spec, configurations(), repeat=REPEAT)
    }


def test_there_are_eight_configurations_with_a_name_each(found: Mapping[tuple[str, str], Inspection]) -> None:
    assert len(ALL) == 8
    assert found.keys() == {(name, program) for name in ALL for program in PROGRAMS}


@pytest.mark.parametrize("name", FEWER)
def test_what_is_off_leaves_fewer_instructions(
    found: Mapping[tuple[str, str], Inspection], name: str
) -> None:
    for program in PROGRAMS:
        full, less = found["everything", program], found[name, program]
        assert less.compiled == full.compiled, "the object is the same"
        assert less.pruned < full.pruned
        assert less.verified < full.verified
        assert less.jited_bytes < full.jited_bytes


@pytest.mark.parametrize("name", FEWER)
def test_source_lines_are_the_proof(found: Mapping[tuple[str, str], Inspection], name: str) -> None:
    gone = {
        program: Counter(found[name, program].lines_gone) - Counter(found["everything", program].lines_gone)
        for program in PROGRAMS
    }
    if "IPv" in name:
        assert all(lines["packet.h"] > 10 for lines in gone.values())
    if "no IPv4" in name:
        assert gone[FROM_ENDPOINT]["neighbour.h"] > 5, "nobody asks by ARP"
    if "new-flow" in name:
        assert gone["to_endpoint"]["flow.h"], "nothing is announced"


def test_with_everything_on_hardly_a_line_is_without_code(
    found: Mapping[tuple[str, str], Inspection],
) -> None:
    """What may be missing are checks of which the verifier knows that they never fail."""
    assert all(sum(found["everything", program].lines_gone.values()) < 5 for program in PROGRAMS)


def test_only_the_program_that_is_run_has_times(found: Mapping[tuple[str, str], Inspection]) -> None:
    for (_, program), each in found.items():
        assert (each.nanoseconds is not None) == (program == FROM_ENDPOINT)
        if each.nanoseconds is not None:
            assert all(nanoseconds > 0 for nanoseconds in each.nanoseconds.values())


@pytest.mark.parametrize("name", ALL)
def test_packets_find_what_the_configuration_left(spec: CollectionSpec, name: str) -> None:
    with loaded(spec, ALL[name]) as collection, RingBuffer(collection.maps["events"]) as events:
        for version in (4, 6):
            ran = collection.programs[FROM_ENDPOINT].test_run(packet(version), ifindex=1)
            heard = [abi.Event.unpack(each) for each in events.read()]
            if not ALL[name][f"config_ipv{version}"]:
                assert ran.retval == SHOT
                assert [event.reason for event in heard] == [abi.Reason.IP_VERSION_DISABLED]
            else:
                assert ran.retval == OK
                wanted = [abi.EventKind.NEW_FLOW] * ALL[name]["config_event_level"]
                assert [event.kind for event in heard] == wanted


def test_a_constant_that_does_not_exist_is_refused(spec: CollectionSpec) -> None:
    with pytest.raises(ValueError, match="no constant config_ipx"), loaded(spec, {"config_ipx": 1}):
        pass


def test_without_privileges_it_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert main() == 1
    assert capsys.readouterr() == ("", "kinety: programs are loaded to be inspected: run it as root\n")
