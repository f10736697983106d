"""Other programs under live endpoints: nothing lost, nothing unjudged; all goes back when a step fails."""

from __future__ import annotations

import errno
import inspect
import itertools
import os
import resource
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kinety import abi
from kinety.datapath.reload import Reload
from kinety.datapath.replacement import PutBackError
from kinety.datapath.template import contract_directory, packaged_object
from kinety.kernel.link import Link
from kinety.kernel.map import Map
from kinety.kernel.netlink import Netlink
from kinety.kernel.program import Program
from kinety.model.endpoint import EndpointId
from kinety.model.identity import ClassId, Identity
from kinety.plan.change import Snapshot
from tests.netns.datapath_node import (
    HOST,
    Flow,
    Node,
    address,
    connect,
    echo,
    listening,
    node,
    plan,
    refused,
    rule_sets,
    socket_to,
    tcp,
    unanswered,
    wait_until,
)
from tests.netns.test_datapath_promotion import Stream, judged
from tests.netns.test_generations import objects, refused_by
from tests.versions import another_version, of_contract, refused_version, without_program

pytestmark = pytest.mark.needs("root", "bpf", "tcx", "netns", "bpffs", "nft", "objects")

EMPIRE, ALLIANCE = Identity(256), Identity(257)
EMPIRE_CLASS, ALLIANCE_CLASS = ClassId(3), ClassId(4)
CLASSES = {EMPIRE: EMPIRE_CLASS, ALLIANCE: ALLIANCE_CLASS}
SERVER, TIE, XWING = EndpointId(11), EndpointId(12), EndpointId(13)
#: More endpoints, so that a reload takes a while.
CROWD = range(20, 29)
PORT = 8080
families = pytest.mark.parametrize("family", [4, 6])
hooks = pytest.mark.parametrize("clsact_only", [False, True], ids=["tcx", "clsact"])


@pytest.fixture
def clsact_only(request: pytest.FixtureRequest) -> bool:
    return bool(getattr(request, "param", False))


@pytest.fixture
def lab(clsact_only: bool) -> Iterator[Node]:
    """A server that the empire alone may connect to, a client of either side, and a crowd."""
    with node(clsact_only=clsact_only) as built:
        built.open()
        for name, number in (("server", SERVER), ("tie", TIE), ("xwing", XWING)):
            built.attach(name, number)
        for number in CROWD:
            built.attach(f"crowd{number}", number)
        built.put(
            {SERVER: plan(EMPIRE, ingress="guard"), TIE: plan(EMPIRE), XWING: plan(ALLIANCE)}
            | {number: plan(ALLIANCE) for number in CROWD},
            identity_classes=CLASSES,
            rule_sets=rule_sets(guard=tcp(EMPIRE_CLASS, PORT)),
        )
        if not clsact_only:
            promote(built)
        yield built


ENDPOINTS = 3 + len(CROWD)


def promote(lab: Node) -> None:
    assert lab.datapath is not None
    while lab.run(lab.datapath.maintain):
        pass
    assert lab.run(lab.datapath.statistics).endpoints_promoted == ENDPOINTS


def reload(lab: Node, elf: bytes | None = None, **changed: Any) -> Reload:
    assert lab.datapath is not None
    return lab.run(lab.datapath.reload, replace(lab.datapath.settings, **changed), elf)


def programs(lab: Node) -> set[int]:
    assert lab.datapath is not None
    return {each.id for each in lab.run(lab.datapath.statistics).programs}


def placed(lab: Node) -> dict[str, set[int]]:
    """Numbers of the programs in links and in filters of every endpoint's interface."""
    assert lab.datapath is not None
    found: dict[str, set[int]] = {"links": set(), "filters": set()}
    for path in (contract_directory(lab.settings.pins) / "links").iterdir():
        with Link.open(path) as link:
            found["links"].add(link.info.program_id)
    for interface in lab.datapath._attachments:
        for way in ("ingress", "egress"):
            words = lab.command("tc", "filter", "show", "dev", interface.name, way).split()
            found["filters"] |= {int(words[at + 1]) for at, word in enumerate(words) if word == "id"}
    return found


def judge_alone(lab: Node, numbers: set[int], clsact_only: bool) -> None:
    """Every link and every filter is of these programs, and only they are pinned."""
    assert placed(lab) == {"links": set() if clsact_only else numbers, "filters": numbers}
    home = contract_directory(lab.settings.pins)
    pinned = set()
    for path in home.glob("program-*/*"):
        with Program.open(path) as program:
            pinned.add(program.id)
    assert pinned == numbers
    assert len(list(home.glob("program-*"))) == 1


def gone(number: int) -> bool:
    try:
        Program.from_id(number).close()
    except FileNotFoundError:
        return True
    return False


def freed(numbers: set[int]) -> None:
    """The kernel gives programs back after a grace period."""
    wait_until(lambda: all(map(gone, numbers)))


def tracked(lab: Node, family: int) -> dict[str, Any]:
    """The conntrack entry of the stream, as ``kinety map dump`` shows it."""
    assert lab.datapath is not None
    rows = lab.run(lab.datapath.dump, "conntrack")
    (row,) = [each for each in rows if str(PORT + 1) in str(each) and address(XWING, family) in str(each)]
    return row


@hooks
@families
def test_repeated_reloads_lose_no_packet_and_keep_every_flow(
    lab: Node, family: int, clsact_only: bool
) -> None:
    where = address(XWING, family)
    versions = [another_version(), packaged_object()]
    with ExitStack() as stack:
        sender = stack.enter_context(socket_to(lab.endpoints["tie"], where, socket.SOCK_DGRAM))
        receiver = stack.enter_context(socket_to(lab.endpoints["xwing"], where, socket.SOCK_DGRAM))
        receiver.bind((where, PORT + 1))
        server = stack.enter_context(listening(lab.endpoints["server"], address(SERVER, family), PORT))
        flow = Flow(lab, "tie", address(SERVER, family), PORT, server)
        stack.callback(flow.close)
        former = programs(lab)
        met = set(former)
        with Stream(sender, receiver, (where, PORT + 1)) as stream:
            created = tracked(lab, family)
            for number in range(8):
                changes = {"event_level": number % 2, "ipv6" if family == 4 else "ipv4": number % 4 != 1}
                done = reload(lab, versions[number % 2], **changes)
                assert (done.changed, done.interfaces) == (True, ENDPOINTS)
                fresh = {each.id for each in done.after}
                assert {each.id for each in done.before} == former
                assert fresh.isdisjoint(met), "loaded anew"
                judge_alone(lab, fresh, clsact_only)
                assert flow.carries()
                former, met = fresh, met | fresh
        assert stream.seen == list(range(stream.sent)), "each arrived, once, in order"
        ended = tracked(lab, family)
        counted = [key for key in created if "packets" in key]
        assert counted, created
        assert max(ended[key] for key in counted) == stream.sent, "each was judged once, the entry counted on"
    freed(met - former)


def test_a_reload_to_what_is_in_force_does_nothing(lab: Node) -> None:
    former = programs(lab)
    done = reload(lab)
    assert (done.changed, done.interfaces, done.before) == (False, 0, done.after)
    assert programs(lab) == former


@hooks
@families
def test_a_family_that_is_switched_off_is_dropped_with_its_reason_and_comes_back(
    lab: Node, family: int, clsact_only: bool
) -> None:
    tie, where = lab.endpoints["tie"], address(XWING, family)
    assert echo(tie, where)
    smaller = reload(lab, **{f"ipv{family}": False})
    sizes = [sum(each.instructions for each in side) for side in (smaller.before, smaller.after)]
    assert sizes[0] > sizes[1], "its code is gone"
    before = judged(lab, abi.Reason.IP_VERSION_DISABLED)
    assert unanswered(tie, where)
    assert judged(lab, abi.Reason.IP_VERSION_DISABLED) > before
    assert echo(tie, HOST[10 - family]), "the other goes on"
    back = reload(lab, **{f"ipv{family}": True})
    assert [each.instructions for each in back.after] == [each.instructions for each in smaller.before]
    # A lost question for the gateway is repeated after a second.
    wait_until(lambda: echo(tie, where))


def test_events_of_new_flows_stop_and_begin_again(lab: Node) -> None:
    assert lab.datapath is not None
    reader = lab.datapath.event_source()
    where = address(SERVER, 4)

    def told() -> set[abi.EventKind]:
        """What is told of a new flow and of a denied one."""
        reader.read()
        with listening(lab.endpoints["server"], where, PORT):
            assert connect(lab.endpoints["tie"], where, PORT)
            assert refused(lab.endpoints["xwing"], where, PORT)
        return {abi.EventKind(event.kind) for event in reader.read()}

    both = {abi.EventKind.NEW_FLOW, abi.EventKind.DROP}
    assert told() == both
    reload(lab, event_level=0)
    assert told() == {abi.EventKind.DROP}
    reload(lab, event_level=1)
    assert told() == both


def test_who_comes_and_is_promoted_later_gets_the_new_programs(lab: Node) -> None:
    assert lab.datapath is not None
    lab.attach("late", 30)
    lab.put({30: plan(EMPIRE)})
    done = reload(lab, another_version())
    assert done.interfaces == ENDPOINTS + 1
    lab.attach("later", 31)
    lab.put({31: plan(EMPIRE)})
    while lab.run(lab.datapath.maintain):
        pass
    assert lab.run(lab.datapath.statistics).endpoints_promoted == ENDPOINTS + 2
    judge_alone(lab, {each.id for each in done.after}, clsact_only=False)
    with listening(lab.endpoints["server"], address(SERVER, 4), PORT):
        assert connect(lab.endpoints["later"], address(SERVER, 4), PORT)


def test_an_interface_that_went_away_is_no_failure(lab: Node) -> None:
    """Its links are still pinned; the agent has not noticed."""
    assert lab.datapath is not None
    lost = lab.datapath.interface(EndpointId(CROWD[0]))
    assert lost is not None
    lab.command("ip", "link", "delete", lost.name)
    assert reload(lab, event_level=0).interfaces == ENDPOINTS - 1
    # So it is at a start.
    former = programs(lab)
    lab.settings = replace(lab.settings, event_level=1)
    lab.forget()
    lab.open()
    assert former.isdisjoint(programs(lab))


# -- whatever fails, everything is as before ----------------------------------------------------


def state(lab: Node) -> tuple[object, ...]:
    """All that a failed reload must leave as it was."""
    assert lab.datapath is not None
    statistics = lab.run(lab.datapath.statistics)
    home = contract_directory(lab.settings.pins)
    pins = sorted(str(path.relative_to(home)) for path in home.rglob("*"))
    facts = (statistics.version, statistics.programs, statistics.endpoints_promoted)
    return (facts, lab.datapath.settings, placed(lab), pins, objects())


class Failing:
    """Makes the n-th call of a function fail, and notes whether it came to that."""

    def __init__(self, patch: pytest.MonkeyPatch, owner: type, name: str, call: int) -> None:
        self._left = call
        self.failed = False
        function = getattr(owner, name)

        def attempt(*arguments: Any, **named: Any) -> Any:
            self._left -= 1
            if self._left == 0:
                self.failed = True
                raise OSError(errno.ENOMEM, "as the test wants it")
            return function(*arguments, **named)

        patch.setattr(owner, name, staticmethod(attempt) if inspect.ismethod(function) else attempt)


#: What a reload does, and what can come of it.
STEPS: dict[str, tuple[type, str]] = {
    "create a map": (Map, "create"),
    "load a program": (Program, "load"),
    "pin a program": (Program, "pin"),
    "open a link": (Link, "open"),
    "update a link": (Link, "update"),
    "send to netlink": (Netlink, "_send"),
    "list with netlink": (Netlink, "_list"),
}


@pytest.mark.parametrize("step", STEPS)
def test_whatever_step_fails_everything_is_as_before(
    lab: Node, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.attach("late", 30)  # on filters alone
    lab.put({30: plan(EMPIRE)})
    before = state(lab)
    where = address(SERVER, 4)
    owner, name = STEPS[step]
    with listening(lab.endpoints["server"], where, PORT) as server:
        flow = Flow(lab, "tie", where, PORT, server)
        for call in itertools.count(1):
            with monkeypatch.context() as patch:
                failing = Failing(patch, owner, name, call)
                error = refused_by(lambda n=call: reload(lab, another_version(61 + n)))
            if error is None:
                break
            assert (error.errno, failing.failed) == (errno.ENOMEM, True)
            assert state(lab) == before
            assert flow.carries()
            if call % 8 == 1:
                assert refused(lab.endpoints["xwing"], where, PORT)
        assert call > 1, "it failed at least once"
        assert not failing.failed
        assert programs(lab).isdisjoint({each.id for each in before[0][1]})
        assert flow.carries()
        flow.close()


@pytest.mark.parametrize(
    ("elf", "complaint"),
    [
        (lambda: packaged_object()[:5000], "cut off at 5000 bytes"),
        (lambda: b"\x7fELF" + bytes(60), "ELF"),
        (lambda: Path(sys.executable).read_bytes(), "BPF object"),
        (lambda: packaged_object("endpoint-symbols.o"), "no constant"),
        (lambda: without_program("from_endpoint"), "no program from_endpoint"),
        (lambda: of_contract(0x1234), f"{0x1234:#018x}.*{abi.CONTRACT_HASH:#018x}"),
        (refused_version, "load program to_endpoint"),
    ],
    ids=["cut", "empty", "foreign", "another generation", "no program", "another contract", "refused"],
)
def test_an_object_that_does_not_fit_changes_nothing(
    lab: Node, elf: Callable[[], bytes], complaint: str
) -> None:
    before = state(lab)
    with pytest.raises((ValueError, OSError), match=complaint):
        reload(lab, elf())
    assert state(lab) == before
    assert echo(lab.endpoints["tie"], HOST[4])


@pytest.mark.parametrize("changed", [{"interface_base": 70000}, {"conntrack": 7}, {"mtu": 1400}])
def test_what_a_reload_cannot_change_is_refused(lab: Node, changed: dict[str, int]) -> None:
    before = state(lab)
    with pytest.raises(ValueError, match=f"a reload cannot change {next(iter(changed))}"):
        reload(lab, **changed)
    assert state(lab) == before


def test_a_full_descriptor_table_changes_nothing(lab: Node) -> None:
    """With room for one descriptor more each time, until it succeeds."""
    before = state(lab)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    failures = 0
    for room in itertools.count():
        with open(os.devnull, "rb") as lowest:
            resource.setrlimit(resource.RLIMIT_NOFILE, (lowest.fileno() + room, limits[1]))
        error = refused_by(lambda: reload(lab, event_level=0))
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        if error is None:
            break
        assert error.errno == errno.EMFILE, error
        assert state(lab) == before
        failures += 1
    assert failures > 2
    assert echo(lab.endpoints["tie"], HOST[4])


def test_pins_that_cannot_be_removed_are_removed_by_the_next_reload(
    lab: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    former = programs(lab)
    with monkeypatch.context() as patch:
        failing = Failing(patch, Path, "unlink", 2)
        assert reload(lab, another_version()).changed
    assert failing.failed
    assert len(list(contract_directory(lab.settings.pins).glob("program-*"))) == 2
    done = reload(lab, event_level=0)
    judge_alone(lab, {each.id for each in done.after}, clsact_only=False)
    freed(former)


def test_a_way_back_that_is_refused_is_gone_by_the_next_restore(
    lab: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert lab.datapath is not None
    former = programs(lab)
    update, calls = Link.update, itertools.count(1)

    def attempt(link: Link, program: Program) -> None:
        if next(calls) > 5:
            raise OSError(errno.ENOMEM, "as the test wants it")
        update(link, program)

    monkeypatch.setattr(Link, "update", attempt)
    with pytest.raises(PutBackError, match="places could not be put back"):
        reload(lab, another_version())
    monkeypatch.undo()
    assert placed(lab)["links"] > former, "some links hold programs that nothing else holds"
    assert echo(lab.endpoints["tie"], HOST[4])
    strangers = placed(lab)["links"] - former
    endpoints = frozenset(map(EndpointId, (SERVER, TIE, XWING, *CROWD)))
    plans = {number: lab.datapath._plans[number] for number in endpoints}
    snapshot = Snapshot({}, rule_sets(guard=tcp(EMPIRE_CLASS, PORT)), CLASSES, {}, plans)
    lab.run(lab.datapath.restore, snapshot, endpoints)
    judge_alone(lab, former, clsact_only=False)
    freed(strangers)
