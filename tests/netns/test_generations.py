"""Real traffic through programs of all four generations, and from one to another without losing a packet."""

import errno
import os
import resource
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import permutations

import pytest

from kinety import abi
from kinety.datapath.generations.deployment import Deployment
from kinety.datapath.generations.generation import Generation
from kinety.datapath.generations.values import Values
from kinety.kernel.program import Program, VerifierRefusal, run_time_counted
from kinety.kernel.spec import CollectionSpec
from kinety.model.endpoint import EndpointId
from kinety.model.identity import ClassId, Identity
from tests.netns.datapath_node import (
    HOST,
    OUTSIDE,
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
from tests.netns.deployed import GENERATIONS, NEEDS, deployment, values_of
from tests.netns.test_datapath_promotion import Stream, judged

pytestmark = pytest.mark.needs(*NEEDS)

EMPIRE, ALLIANCE = Identity(256), Identity(257)
EMPIRE_CLASS, ALLIANCE_CLASS = ClassId(3), ClassId(4)
SERVER, TIE, XWING = EndpointId(11), EndpointId(12), EndpointId(13)
ENDPOINTS = {"server": SERVER, "tie": TIE, "xwing": XWING}
PORT = 8080
families = pytest.mark.parametrize("family", [4, 6])
generations = pytest.mark.parametrize("name", GENERATIONS)
hooks = pytest.mark.parametrize("clsact_only", [False, True], ids=["tcx", "clsact"])


@pytest.fixture
def lab() -> Iterator[Node]:
    """A server that the empire alone may connect to, and a client of either side."""
    with node() as built:
        built.open()
        for name, number in ENDPOINTS.items():
            built.attach(name, number)
        built.put(
            {SERVER: plan(EMPIRE, ingress="guard"), TIE: plan(EMPIRE), XWING: plan(ALLIANCE)},
            identity_classes={EMPIRE: EMPIRE_CLASS, ALLIANCE: ALLIANCE_CLASS},
            rule_sets=rule_sets(guard=tcp(EMPIRE_CLASS, PORT)),
        )
        yield built


def deploy_all(lab: Node, deployed: Deployment, generation: Generation) -> None:
    for number in ENDPOINTS.values():
        lab.run(deployed.deploy, values_of(lab, number), generation)


def guarded(lab: Node, family: int) -> None:
    """Policy, neighbours, host and outside, as a new connection finds them."""
    where = address(SERVER, family)
    with listening(lab.endpoints["server"], where, PORT), listening(lab.endpoints["server"], where, PORT + 1):
        assert connect(lab.endpoints["tie"], where, PORT)
        assert refused(lab.endpoints["xwing"], where, PORT)
        assert refused(lab.endpoints["tie"], where, PORT + 1)
    assert unanswered(lab.endpoints["tie"], where)
    assert echo(lab.endpoints["tie"], address(XWING, family))
    assert echo(lab.endpoints["tie"], HOST[family])
    assert echo(lab.endpoints["tie"], OUTSIDE[family])
    assert echo(lab.namespace, address(TIE, family))


@hooks
@generations
def test_real_traffic_meets_the_same_verdicts(lab: Node, name: str, clsact_only: bool) -> None:
    with deployment(lab, clsact_only=clsact_only) as deployed:
        deploy_all(lab, deployed, GENERATIONS[name]())
        assert deployed.tcx != clsact_only
        for family in (4, 6):
            guarded(lab, family)
        with counted_runs(deployed.programs(TIE)) as runs:
            assert echo(lab.endpoints["tie"], HOST[4])
        assert all(count() for count in runs.values()), "it was these programs that judged"


@contextmanager
def counted_runs(programs: Mapping[str, Program]) -> Iterator[dict[str, Callable[[], int]]]:
    """How often each program ran meanwhile, to be asked afterwards."""
    with run_time_counted():
        before = {name: each.statistics().runs for name, each in programs.items()}
        yield {name: lambda n=name: programs[n].statistics().runs - before[n] for name in programs}


def tour() -> list[str]:
    """From each generation to each other once, without a jump: an Eulerian walk of their graph."""
    left = set(permutations(GENERATIONS, 2))
    walk: list[str] = []

    def visit(name: str) -> None:
        for other in GENERATIONS:
            if (name, other) in left:
                left.discard((name, other))
                visit(other)
        walk.append(name)

    visit(next(iter(GENERATIONS)))
    assert not left
    return walk[::-1]


@hooks
@families
def test_moving_between_any_two_loses_no_packet(lab: Node, family: int, clsact_only: bool) -> None:
    made = {name: build() for name, build in GENERATIONS.items()}
    first, *others = tour()
    assert len(others) == 12
    where = address(XWING, family)
    with ExitStack() as stack:
        deployed = stack.enter_context(deployment(lab, clsact_only=clsact_only))
        deploy_all(lab, deployed, made[first])
        sender = stack.enter_context(socket_to(lab.endpoints["tie"], where, socket.SOCK_DGRAM))
        receiver = stack.enter_context(socket_to(lab.endpoints["xwing"], where, socket.SOCK_DGRAM))
        receiver.bind((where, PORT))
        server = stack.enter_context(listening(lab.endpoints["server"], address(SERVER, family), PORT))
        flow = Flow(lab, "tie", address(SERVER, family), PORT, server)
        stack.callback(flow.close)
        before = judged(lab, abi.Reason.FORWARDED_LOCAL)
        with Stream(sender, receiver, (where, PORT)) as stream:
            for name in others:
                for number in ENDPOINTS.values():
                    lab.run(deployed.move, number, made[name])
                    assert deployed.generation(number) == name
        assert stream.seen == list(range(stream.sent))
        assert judged(lab, abi.Reason.FORWARDED_LOCAL) - before == stream.sent, "judged once each"
        assert flow.carries(), "a connection that was open before the first move"


@families
def test_the_agents_own_programs_take_over_and_give_back_without_loss(lab: Node, family: int) -> None:
    where = address(XWING, family)
    with ExitStack() as stack:
        sender = stack.enter_context(socket_to(lab.endpoints["tie"], where, socket.SOCK_DGRAM))
        receiver = stack.enter_context(socket_to(lab.endpoints["xwing"], where, socket.SOCK_DGRAM))
        receiver.bind((where, PORT))
        with Stream(sender, receiver, (where, PORT)) as stream:
            for clsact_only in (False, True):
                with deployment(lab, clsact_only=clsact_only) as deployed:
                    deploy_all(lab, deployed, GENERATIONS["symbols"]())
        assert stream.seen == list(range(stream.sent))
        guarded(lab, family)


@generations
def test_a_constant_is_changed_for_all_under_traffic(lab: Node, name: str) -> None:
    where = address(XWING, 4)
    with ExitStack() as stack:
        deployed = stack.enter_context(deployment(lab))
        deploy_all(lab, deployed, GENERATIONS[name]())
        sender = stack.enter_context(socket_to(lab.endpoints["tie"], where, socket.SOCK_DGRAM))
        receiver = stack.enter_context(socket_to(lab.endpoints["xwing"], where, socket.SOCK_DGRAM))
        receiver.bind((where, PORT))
        with Stream(sender, receiver, (where, PORT)) as stream:
            lab.run(deployed.change, {"config_ipv6": 0})
            assert unanswered(lab.endpoints["tie"], address(XWING, 6))
            lab.run(deployed.change, {"config_ipv6": 1})
            # A lost question for the gateway is repeated after a second.
            wait_until(lambda: echo(lab.endpoints["tie"], address(XWING, 6)))
        assert stream.seen == list(range(stream.sent))


def test_a_counter_in_bss_is_read_from_user_space(lab: Node) -> None:
    with deployment(lab) as deployed:
        deploy_all(lab, deployed, GENERATIONS["rodata"]())

        def packets(number: EndpointId) -> tuple[int, ...]:
            memory = deployed.variable(number, "self_packets")
            return tuple(int.from_bytes(memory[at : at + 8], "little") for at in (0, 8))

        before = {number: packets(number) for number in ENDPOINTS.values()}
        for _ in range(3):
            assert echo(lab.endpoints["tie"], HOST[4])
        grown = [after - was for after, was in zip(packets(TIE), before[TIE], strict=True)]
        assert min(grown) >= 3, "three requests went out, three answers came in"
        assert packets(SERVER) == before[SERVER], "each endpoint has a counter of its own"
        with pytest.raises(KeyError):
            deployed.variable(TIE, "self_nothing")


def test_resident_programs_are_loaded_once_and_the_others_for_each(lab: Node) -> None:
    with deployment(lab) as deployed:
        for name, programs, maps in (("resident", 2, 1), ("symbols", 6, 0), ("rodata", 6, 6)):
            generation = GENERATIONS[name]()
            for number in ENDPOINTS.values():
                lab.run(deployed.remove, number)
            deploy_all(lab, deployed, generation)
            memory = deployed.memory()
            assert (memory.programs, memory.maps) == (programs, maps), name
            assert memory.program_bytes > 0


# -- whatever fails, nothing is half attached ---------------------------------------------------


class Broken:
    """A generation whose second program the verifier refuses."""

    name = "broken"
    shared = False

    def generate(self, values: Values, node: Mapping[str, int]) -> CollectionSpec:
        """The programs of `symbols`, the second one beginning with a register that nobody set."""
        spec = GENERATIONS["symbols"]().generate(values, node)
        program = spec.programs["to_endpoint"]
        move, registers = program.instructions[:2]
        assert move == 0xBF, "it begins by keeping its argument"
        refused = bytes([move, registers & 0x0F | 9 << 4]) + program.instructions[2:]
        return replace(
            spec, programs={**spec.programs, "to_endpoint": replace(program, instructions=refused)}
        )


def objects() -> int:
    """BPF objects that this process holds."""
    found = 0
    for entry in os.listdir("/proc/self/fd"):
        try:
            found += "bpf" in os.readlink(f"/proc/self/fd/{entry}")
        except OSError:
            continue
    return found


@generations
def test_what_the_verifier_refuses_changes_nothing(lab: Node, name: str) -> None:
    with deployment(lab) as deployed:
        deploy_all(lab, deployed, GENERATIONS[name]())
        held = objects()
        with pytest.raises(VerifierRefusal, match="load program to_endpoint") as refusal:
            lab.run(deployed.move, TIE, Broken())
        told = refusal.value.__notes__
        assert any(line.startswith("verifier: ") for line in told), told
        assert len(refusal.value.log.splitlines()) > len(told), "the whole log for who asks for it"
        assert f"generation broken, endpoint {TIE}" in told
        assert deployed.generation(TIE) == name
        assert objects() == held
        guarded(lab, 4)


@pytest.mark.parametrize(
    ("constants", "complaint"),
    [
        ({"config_ipv4": 1 << 32}, "config_ipv4 = 4294967296 is outside"),
        ({"config_ipv5": 1}, "no (constant|symbol) config_ipv5"),
    ],
)
@generations
def test_a_constant_that_cannot_be_changes_nothing(
    lab: Node, name: str, constants: Mapping[str, int], complaint: str
) -> None:
    with deployment(lab) as deployed:
        deploy_all(lab, deployed, GENERATIONS[name]())
        held = objects()
        with pytest.raises(ValueError, match=complaint):
            lab.run(deployed.change, constants)
        assert objects() == held
        lab.run(deployed.change, {"config_event_level": 0})
        guarded(lab, 4)


def refused_by(attempt: Callable[[], object]) -> OSError | None:
    """Why the system refuses, or None."""
    try:
        attempt()
    except OSError as error:
        return error
    return None


@pytest.mark.parametrize("name", ["symbols", "rodata"])
def test_a_full_descriptor_table_leaves_nothing_behind(lab: Node, name: str) -> None:
    """With room for one descriptor more each time, until it succeeds."""
    generation = GENERATIONS[name]()
    values = values_of(lab, TIE)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    failures = 0
    with deployment(lab) as deployed:
        held = objects()
        highest = max(map(int, os.listdir("/proc/self/fd")))
        fillers = [os.open("/dev/null", os.O_RDONLY) for _ in range(highest)]
        try:
            top = max(fillers) + 1
            for room in range(40):
                resource.setrlimit(resource.RLIMIT_NOFILE, (top + room, limits[1]))
                refusal = refused_by(lambda: lab.run(deployed.deploy, values, generation))
                resource.setrlimit(resource.RLIMIT_NOFILE, limits)
                if refusal is None:
                    break
                assert refusal.errno == errno.EMFILE, refusal
                assert "ulimit -n" in refusal.__notes__[0]
                failures += 1
                assert len(deployed) == 0
                assert objects() == held
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            for filler in fillers:
                os.close(filler)
        assert failures >= 4, "two programs and two links at the least"
        assert deployed.generation(TIE) == name
        guarded(lab, 4)


def test_an_endpoint_is_deployed_once_and_an_interface_that_is_gone_is_refused(lab: Node) -> None:
    symbols = GENERATIONS["symbols"]()
    with deployment(lab) as deployed:
        values = values_of(lab, TIE)
        lab.run(deployed.deploy, values, symbols)
        with pytest.raises(ValueError, match="deployed already"):
            lab.run(deployed.deploy, values, symbols)
        with pytest.raises(KeyError):
            lab.run(deployed.move, SERVER, symbols)
        held, gone = objects(), values_of(lab, XWING)
        assert lab.datapath is not None
        lab.run(lab.datapath.detach, XWING)
        with pytest.raises(OSError, match="interface") as missing:
            lab.run(deployed.deploy, gone, symbols)
        assert missing.value.errno == errno.ENODEV
        assert objects() == held
        assert lab.run(deployed.remove, TIE)
        assert not lab.run(deployed.remove, TIE)


def test_a_constants_change_that_fails_halfway_goes_back(lab: Node) -> None:
    """The last endpoint's interface vanishes while its programs are being made."""
    symbols = GENERATIONS["symbols"]()
    with deployment(lab, clsact_only=True) as deployed:
        deploy_all(lab, deployed, symbols)
        before = {number: deployed.programs(number) for number in ENDPOINTS.values()}
        assert lab.datapath is not None
        lab.run(lab.datapath.detach, XWING)
        with pytest.raises(OSError, match="interface"):
            lab.run(deployed.change, {"config_ipv6": 0})
        assert {number: deployed.programs(number) for number in ENDPOINTS.values()} == before
        assert echo(lab.endpoints["tie"], HOST[6]), "IPv6 is on as before"
