"""Tables of packets, in katran's manner: packet in → action, reason, rule, events, packet out.

A case is a list of steps on one node that starts without flows; so a table can say what the third
packet of a connection does. A step runs a packet through one of the two loaded programs, by
BPF_PROG_TEST_RUN, at a real interface. Every answer is compared whole: the action, which counter was
raised and by how much, the events, the mark, and every byte of the packet that comes out.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from kinety import abi
from kinety.abi import EventKind, EventLevel, Reason
from kinety.datapath.interface import Interface
from kinety.datapath.template import FROM_ENDPOINT, TO_ENDPOINT
from kinety.kernel.map import Map
from kinety.kernel.program import TestRun
from kinety.model.endpoint import EndpointId
from kinety.model.rule import Direction, RuleId
from kinety.testing.checksum import internet_checksum
from kinety.testing.packet import ETHERNET_BYTES, Link
from tests.netns.datapath_node import Node

OK, SHOT, REDIRECT = 0, 2, 7
MARK = 0x1EAF
UPLINK, STACK, NOBODY, EMPTY_SLOT = "uplink", "", "lo", "spare"

_ACTIONS = {
    Reason.FORWARDED_LOCAL: REDIRECT,
    Reason.ANSWERED: REDIRECT,
    Reason.FORWARDED_STACK: OK,
    Reason.FORWARDED_ENDPOINT: OK,
}


class World:
    """A node with what tables need to know of it."""

    def __init__(self, node: Node, interfaces: dict[str, int], rules: Sequence[int]) -> None:
        """``interfaces`` are indexes of those that are no endpoints; ``rules`` are counted at each step."""
        self.node = node
        self._others = interfaces
        self._rules = [RuleId(rule) for rule in rules]
        self._numbers: dict[str, EndpointId] = {}
        #: What a case changed on the node puts its undoing here.
        self.undo: list[Callable[[], None]] = []

    def name(self, name: str, number: int) -> None:
        """Tell an attached endpoint's name."""
        self._numbers[name] = EndpointId(number)

    def interface(self, name: str) -> Interface:
        """The host's side of an endpoint."""
        assert self.node.datapath is not None
        found = self.node.datapath.interface(self._numbers[name])
        assert found is not None, f"{name} is not attached"
        return found

    def index(self, name: str) -> int:
        """Interface index of an endpoint's host side, or of another interface; 0 for the node itself."""
        return self._others[name] if name in self._others else self.interface(name).index

    def number(self, name: str) -> int:
        """An endpoint's id; 0 for what is none."""
        return self._numbers.get(name, 0)

    def link(self, name: str) -> Link:
        """The MACs of a frame that an endpoint sends to its gateway."""
        return Link(self.interface(name).container_mac, self.interface(name).host_mac)

    def map(self, name: str) -> Map:
        """One of the datapath's maps."""
        assert self.node.datapath is not None
        return self.node.datapath._template.maps[name]

    def forget_flows(self) -> None:
        """Start a case with no flow, no fragment and no event."""
        assert self.node.datapath is not None
        for name in {"conntrack", "fragments"}.intersection(self.node.datapath.map_names()):
            for key in list(self.map(name).keys()):
                self.map(name).delete(key)
        self.events()

    def age(self, seconds: int) -> None:
        """Let every flow have been silent for so long; a negative number puts it into the future."""
        for key, entry in self.flows().items():
            aged = replace(entry, last_seen=(entry.last_seen - seconds) % (1 << 32))
            self.map("conntrack").update(key.pack(), aged.pack())

    def flows(self) -> dict[abi.FlowKey, abi.ConntrackEntry]:
        """What conntrack holds."""
        items = self.map("conntrack").items()
        return {abi.FlowKey.unpack(key): abi.ConntrackEntry.unpack(value) for key, value in items}

    def events(self) -> list[abi.Event]:
        """Events since the last call; never any on a node that is told of none."""
        assert self.node.datapath is not None
        source = self.node.datapath.event_source()
        return [] if source is None else source.read()

    def told(self, kinds: Sequence[EventKind]) -> list[EventKind]:
        """Of these, what the node is told of."""
        settings = self.node.settings
        silent = {
            EventLevel.NONE: set(EventKind),
            EventLevel.DROPS: {EventKind.NEW_FLOW},
            EventLevel.FLOWS: set(),
        }
        unheard = silent[settings.event_level] | (set() if settings.shadow else {EventKind.SHADOW})
        return [kind for kind in kinds if kind not in unheard]

    def run(self, program: str, data: bytes, interface: int, came_in: int, repeat: int = 1) -> TestRun:
        """A packet through a program, in the node's namespace."""
        assert self.node.datapath is not None
        loaded = self.node.datapath._template.programs[program]
        return self.node.run(
            loaded.test_run, data, ifindex=interface, ingress_ifindex=came_in, mark=MARK, repeat=repeat
        )

    def counted(self) -> dict[tuple[Reason, Direction], int]:
        """Packets by reason and direction."""
        assert self.node.datapath is not None
        return {key: counter.packets for key, counter in self.node.datapath.counters().items()}

    def rules_counted(self) -> dict[int, int]:
        """Packets by rule."""
        assert self.node.datapath is not None
        rules = self.node.datapath.rule_counters(self._rules)
        return {int(rule): counter.packets for rule, counter in rules.items()}


Packet = bytes | Callable[[World], bytes]


@dataclass(frozen=True, slots=True)
class Step:
    """One packet and everything expected of it. Make it by `leave` or `enter`.

    ``at`` is the endpoint (or other interface) whose program runs; ``receiver`` the endpoint that a
    packet is handed to. ``judge`` is who denied, in ``direction``, by ``rule``; without a judge the
    drop is told of ``at``. ``rules`` are those that decided, once each (None: not looked at), and
    ``flows`` how many endpoints announce a new flow. ``changes`` are verdicts announced as changed,
    ``shadows`` those of shadow rule sets that differ.
    """

    program: str
    at: str
    packet: Packet
    expect: Reason
    through: str = STACK
    receiver: str = ""
    judge: str = ""
    direction: Direction | None = None
    rule: int = 0
    rules: tuple[int, ...] | None = None
    flows: int = 0
    changes: int = 0
    shadows: int = 0
    out: Packet | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Case:
    """A named sequence; a step may also be something done to the node in between."""

    name: str
    steps: tuple[Step | Callable[[World], None], ...] = field(default=())

    def __str__(self) -> str:
        return self.name

    def reasons(self) -> set[Reason]:
        """Those that its steps expect."""
        return {step.expect for step in self.steps if isinstance(step, Step)}


def case(name: str, *steps: Step | Callable[[World], None]) -> Case:
    """A sequence of steps."""
    return Case(name, steps)


def both_families(cases: Callable[[int], list[Case]]) -> list[Case]:
    """The cases of either family, told apart by name."""
    return [replace(each, name=f"IPv{family}: {each}") for family in (4, 6) for each in cases(family)]


def leave(at: str, packet: Packet, expect: Reason, receiver: str = "", **rest: object) -> Step:
    """A packet leaves an endpoint."""
    if expect is Reason.FORWARDED_LOCAL:
        assert receiver, "who receives it?"
    return Step(FROM_ENDPOINT, at, packet, expect, receiver=receiver, **rest)  # type: ignore[arg-type]


def enter(at: str, packet: Packet, expect: Reason, through: str = UPLINK, **rest: object) -> Step:
    """A packet comes out of the node's stack to an endpoint, after it came in by an interface."""
    return Step(TO_ENDPOINT, at, packet, expect, through, **rest)  # type: ignore[arg-type]


def play(world: World, table: Case) -> None:
    """Run a case; fails at the first step that is not as the table says."""
    world.forget_flows()
    try:
        for number, step in enumerate(table.steps, 1):
            if isinstance(step, Step):
                _take(world, step, f"step {number} ({step.note or step.program + ' of ' + step.at})")
            else:
                step(world)
    finally:
        while world.undo:
            world.undo.pop()()


def _take(world: World, step: Step, where: str) -> None:
    data = step.packet if isinstance(step.packet, bytes) else step.packet(world)
    before, rules_before = world.counted(), world.rules_counted()
    ran = world.run(step.program, data, world.index(step.at), world.index(step.through))
    raised = _difference(before, world.counted())
    events = world.events()
    hook = Direction.EGRESS if step.program == FROM_ENDPOINT else Direction.INGRESS
    told = [f"{Reason(event.reason).name} rule {event.rule}" for event in events]
    assert raised == {(step.expect, hook): 1}, f"{where}: counted {raised}, told {told}"
    assert ran.retval == _ACTIONS.get(step.expect, SHOT), where
    assert ran.mark == (0 if step.program == FROM_ENDPOINT else MARK), f"{where}: the mark"
    if step.rules is not None:
        decided = _difference(rules_before, world.rules_counted())
        assert decided == {rule: step.rules.count(rule) for rule in step.rules}, (
            f"{where}: rules that decided"
        )
    _check_events(world, step, events, where)
    expected = _packet_out(world, step, data)
    assert ran.data == expected, f"{where}: packet out\n{ran.data.hex()} is not\n{expected.hex()}"


def _check_events(world: World, step: Step, events: list[abi.Event], where: str) -> None:
    kinds = [EventKind(event.kind) for event in events]
    dropped = _ACTIONS.get(step.expect, SHOT) == SHOT and step.expect is not Reason.RATE_EXCEEDED
    expected = [EventKind.DROP] * dropped + [EventKind.NEW_FLOW] * step.flows
    expected += [EventKind.VERDICT_CHANGE] * step.changes + [EventKind.SHADOW] * step.shadows
    assert sorted(kinds) == world.told(expected), f"{where}: events {kinds}"
    if EventKind.DROP not in kinds:
        return
    drop = events[kinds.index(EventKind.DROP)]
    hook = Direction.EGRESS if step.program == FROM_ENDPOINT else Direction.INGRESS
    teller = step.judge or step.at
    assert (Reason(drop.reason), drop.rule) == (step.expect, step.rule), f"{where}: {drop}"
    assert drop.endpoint == world.number(teller), f"{where}: {teller} should tell, not {drop.endpoint}"
    assert drop.direction == (hook if step.direction is None else step.direction), f"{where}: {drop}"
    assert drop.verdict == abi.Verdict.DENY, where


def _packet_out(world: World, step: Step, data: bytes) -> bytes:
    if step.out is not None:
        return step.out if isinstance(step.out, bytes) else step.out(world)
    if step.expect is not Reason.FORWARDED_LOCAL:
        assert step.expect is not Reason.ANSWERED, "say what the answer is"
        return data
    receiver = world.interface(step.receiver)
    return next_hop(data, Link(receiver.host_mac, receiver.container_mac))


def next_hop(data: bytes, link: Link) -> bytes:
    """What a router makes of a frame: other MACs, one less to live, and a header sum that is right."""
    packet = bytearray(data[ETHERNET_BYTES:])
    if packet[0] >> 4 == 4:
        packet[8] -= 1
        packet[10:12] = bytes(2)
        packet[10:12] = internet_checksum(bytes(packet[: (packet[0] & 15) * 4])).to_bytes(2)
    else:
        packet[7] -= 1
    return link.destination + link.source + data[12:ETHERNET_BYTES] + bytes(packet)


def _difference(before: dict, after: dict) -> dict:  # type: ignore[type-arg]
    return {key: count - before.get(key, 0) for key, count in after.items() if count != before.get(key, 0)}
