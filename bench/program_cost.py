"""What does the resident program cost a packet, and the verifier?

``from_endpoint`` is run by BPF_PROG_TEST_RUN on a TCP segment from one endpoint of the node to another,
each under a rule set of 1000 rows: of a flow that is known and answered; of a new flow that both may have
(two verdicts, a conntrack entry, two events); of a new flow that the receiver denies (two verdicts, one
event). The kernel's mean over a round counts: it leaves out the system call, and shares the reading of
the clock among the runs of a round. What it cannot show is what comes after the verdict.

A repeated run gets the packet as the run before left it, so a driver (bench/bpf/driver.bpf.c) gives it a
time to live and, for new flows, a port nobody used yet, then tail-calls the program. The baseline is a
program that returns TC_ACT_OK at once, called by the same driver on the same packet: what every figure
contains besides the program. Rounds take turns; after each, counters and maps must say that every run
was of the kind it is counted as, and the entries are removed, the events read.
"""

from __future__ import annotations

import socket
import struct
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.compiled import compiled
from bench.figure import Figure, Goal, compare
from bench.wire import do, namespace
from kinety import abi
from kinety.datapath.cleanup import cleanup
from kinety.datapath.datapath import Datapath
from kinety.datapath.observation import EventReader
from kinety.datapath.settings import Settings
from kinety.datapath.statistics import ProgramStatistics
from kinety.datapath.template import contract_directory
from kinety.kernel.collection import Collection
from kinety.kernel.map import Map
from kinety.kernel.namespace import Namespace
from kinety.kernel.program import Program
from kinety.model.address import pack_address
from kinety.model.endpoint import Endpoint, EndpointId
from kinety.model.identity import ClassId, Identity
from kinety.model.rule import Direction, RuleId
from kinety.model.verdict import RuleSet, RuleSetKey, Verdict, VerdictKind
from kinety.plan.change import Change, EndpointPlan, RuleSetId, Snapshot

ROUNDS, QUICK_ROUNDS = 51, 3
#: Twice as many events must fit into the ring.
RUNS, QUICK_RUNS = 2000, 100
CLASSES, PORTS_PER_CLASS = 250, 3
#: Walked through by the verifier, of the million it would walk; tests/packet/test_budget.py holds the same.
BUDGET, KERNEL_LIMIT = {"from_endpoint": 7_000, "to_endpoint": 5_800}, 1_000_000
BASELINE = "a program that returns TC_ACT_OK"

CLIENT, SERVER = EndpointId(1), EndpointId(2)
ADDRESSES = {
    4: {CLIENT: "10.240.0.2", SERVER: "10.240.0.3"},
    6: {CLIENT: "fd00:240::2", SERVER: "fd00:240::3"},
}
ALLOWED_PORT, DENIED_PORT, FIRST_PORT = 8080, 9090, 1024
SYN, SYN_ACK, ACK = 0x02, 0x12, 0x10
_PORTS = struct.Struct("=II")
_WORD = struct.Struct("=I")


@dataclass(frozen=True, slots=True)
class Case:
    """A kind of packet, and what one run of it must leave behind."""

    name: str
    port: int
    flags: int
    fresh: bool
    outcome: tuple[abi.Reason, Direction]
    entries: int
    events: int


LOCAL = (abi.Reason.FORWARDED_LOCAL, Direction.EGRESS)
CASES = (
    Case("established", ALLOWED_PORT, ACK, False, LOCAL, 0, 0),
    Case("new, allowed", ALLOWED_PORT, SYN, True, LOCAL, 1, 2),
    Case("new, denied", DENIED_PORT, SYN, True, (abi.Reason.POLICY_DENIED, Direction.EGRESS), 0, 1),
)


@dataclass(frozen=True, slots=True)
class Bench:
    """A node with two endpoints, its program, and the driver."""

    datapath: Datapath
    interfaces: Mapping[EndpointId, int]
    program: Program
    conntrack: Map
    driver: Collection

    @property
    def events(self) -> EventReader:
        """What the programs tell."""
        reader = self.datapath.event_source()
        assert reader is not None
        return reader

    def run(self, program: Program, packet: bytes, runs: int, step: int) -> float:
        """Mean nanoseconds of driver and program over as many runs."""
        self.driver.maps["measured"].update(_WORD.pack(0), _WORD.pack(program.fd))
        self.driver.maps["ports"].update(_WORD.pack(0), _PORTS.pack(FIRST_PORT, step))
        done = self.driver.programs["drive"].test_run(packet, ifindex=self.interfaces[CLIENT], repeat=runs)
        if done.retval < 0:
            raise RuntimeError("the driver reached no program")
        return float(done.duration_ns)

    def establish(self, family: int) -> None:
        """Open the one flow that stays: a question from the client, an answer from the server."""
        there, back = (segment(family, CLIENT, ALLOWED_PORT, SYN), reply(family))
        self.program.test_run(there, ifindex=self.interfaces[CLIENT])
        self.program.test_run(back, ifindex=self.interfaces[SERVER])

    def forget(self) -> int:
        """Remove every flow and read every event; how many flows there were."""
        keys = [key for key, _ in self.conntrack.items()]
        self.conntrack.delete_batch(b"".join(keys), len(keys))
        while self.events.read():
            pass
        return len(keys)


def run(quick: bool = False) -> list[Figure]:
    """Nanoseconds of each kind of packet in both families, and what the verifier walked through."""
    with bench() as (space, built):
        rounds, runs = (QUICK_ROUNDS, QUICK_RUNS) if quick else (ROUNDS, RUNS)
        figures = [
            figure for family in ADDRESSES for figure in space.call(measured, built, family, rounds, runs)
        ]
        return figures + [verified(each) for each in built.datapath.statistics().programs]


def verified(program: ProgramStatistics) -> Figure:
    value, goal = program.verified_instructions, Goal("value", "<=", BUDGET[program.name])
    name = f"{program.name}, verified"
    return Figure(name, value, "instructions", "the kernel's limit", KERNEL_LIMIT, goal=goal)


def measured(built: Bench, family: int, rounds: int, runs: int) -> list[Figure]:
    """All cases and the baseline in turns. Runs inside the node's namespace."""
    baseline: list[float] = []
    times: dict[str, list[float]] = {case.name: [] for case in CASES}
    for _ in range(rounds):
        packet = segment(family, CLIENT, ALLOWED_PORT, ACK)
        baseline.append(built.run(built.driver.programs["pass"], packet, runs, 1))
        for case in CASES:
            times[case.name].append(one_round(built, family, case, runs))
    return [
        compare(f"from_endpoint, IPv{family}, {name}", "ns", values, BASELINE, baseline)
        for name, values in times.items()
    ]


def one_round(built: Bench, family: int, case: Case, runs: int) -> float:
    """Mean nanoseconds of one case. Raises RuntimeError when a run was of another kind."""
    if not case.fresh:
        built.establish(family)
    before = built.datapath.counters()
    took = built.run(built.program, segment(family, CLIENT, case.port, case.flags), runs, int(case.fresh))
    after = built.datapath.counters()
    counted = {key: after[key].packets - (before[key].packets if key in before else 0) for key in after}
    # What enters endpoints meanwhile (the node looks for listeners, say) is another program's.
    counted = {key: packets for key, packets in counted.items() if packets and key[1] is Direction.EGRESS}
    flows = built.forget()
    if counted != {case.outcome: runs} or flows != case.entries * runs + (not case.fresh):
        raise RuntimeError(f"{case.name}: {runs} runs gave {counted} and {flows} flows")
    if lost := built.events.lost():
        raise RuntimeError(f"{case.name}: {lost} events found the ring full")
    return took


@contextmanager
def bench() -> Iterator[tuple[Namespace, Bench]]:
    """A node in a namespace of its own, removed again."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        space, client, server = (stack.enter_context(namespace(role)) for role in ("node", "pod", "pod"))
        settings = Settings(pins=folder / "bpf")
        stack.callback(space.call, cleanup, settings)
        datapath = space.call(Datapath.open, settings)
        stack.callback(datapath.close)
        space.call(datapath.restore, Snapshot({}, {}, {}, {}, {}), ())
        interfaces = {}
        for number, pod in ((CLIENT, client), (SERVER, server)):
            interfaces[number] = space.call(datapath.attach, endpoint(number), pod).index
            do(pod, "ip", "link", "set", "eth0", "down")  # or it talks to its neighbours meanwhile
        space.call(datapath.apply, policies())
        (pinned,) = (each.id for each in datapath.statistics().programs if each.name == "from_endpoint")
        program = stack.enter_context(Program.from_id(pinned))
        conntrack = stack.enter_context(Map.open(contract_directory(settings.pins) / "maps" / "conntrack"))
        driver = stack.enter_context(Collection.load(compiled("driver")))
        yield space, Bench(datapath, interfaces, program, conntrack, driver)


def endpoint(number: EndpointId) -> Endpoint:
    ipv4, ipv6 = (pack_address(ADDRESSES[family][number]) for family in (4, 6))
    return Endpoint(number, "default", f"pod-{number}", frozenset(), ipv4, ipv6)


def policies() -> Change:
    """The client may call anyone; the server lets 250 classes in on three ports each, the client's too."""
    client, server = Identity(1000), Identity(2000)
    rule, default = RuleId(7), Verdict(VerdictKind.DENY, RuleId(9))
    rows = {}
    for number in range(1, CLASSES + 1):
        rows[RuleSetKey(ClassId(number), 0, 0, 0)] = default
        for port in range(ALLOWED_PORT, ALLOWED_PORT + PORTS_PER_CLASS):
            key = RuleSetKey(ClassId(number), 24, socket.IPPROTO_TCP, port)
            rows[key] = Verdict(VerdictKind.ALLOW, rule)
    ways = {RuleSetId("ingress"): RuleSet(rows), RuleSetId("egress"): RuleSet(anything(rule))}
    return Change(
        rule_sets=ways,
        identity_classes={client: ClassId(CLASSES // 2), server: ClassId(CLASSES)},
        endpoints={
            CLIENT: EndpointPlan(client, RuleSetId("egress"), None, client, client),
            SERVER: EndpointPlan(server, None, RuleSetId("ingress"), server, server),
        },
    )


def anything(rule: RuleId) -> dict[RuleSetKey, Verdict]:
    """As many rows that let every class through."""
    count = CLASSES * (PORTS_PER_CLASS + 1)
    return {
        RuleSetKey(ClassId(number), 0, 0, 0): Verdict(VerdictKind.ALLOW, rule)
        for number in range(1, count + 1)
    }


def segment(family: int, source: EndpointId, port: int, flags: int, source_port: int = FIRST_PORT) -> bytes:
    """A TCP segment from one endpoint to the other, without data; checksums are nobody's business here."""
    other = SERVER if source == CLIENT else CLIENT
    kind = socket.AF_INET if family == 4 else socket.AF_INET6
    ends = b"".join(socket.inet_pton(kind, ADDRESSES[family][each]) for each in (source, other))
    tcp = struct.pack("!HHIIBBHHH", source_port, port, 0, 0, 5 << 4, flags, 65535, 0, 0)
    if family == 4:
        network = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(tcp), 0, 0, 64, socket.IPPROTO_TCP, 0)
        return bytes(12) + b"\x08\x00" + network + ends + tcp
    network = struct.pack("!IHBB", 6 << 28, len(tcp), socket.IPPROTO_TCP, 64)
    return bytes(12) + b"\x86\xdd" + network + ends + tcp


def reply(family: int) -> bytes:
    """The server's answer in the flow that stays."""
    return segment(family, SERVER, FIRST_PORT, SYN_ACK, ALLOWED_PORT)
