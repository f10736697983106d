"""The third judge: the loaded programs, on a real node, asked through BPF_PROG_TEST_RUN.

One node serves many worlds. It goes from world to world by the difference in facts, endpoints that
are gone are detached and new ones attached, so that every answer is also one about what came before.

A packet is run and never sent: a redirect or a drop is only reported. So what the programs think is
read where users read it: a new flow and a drop in the events, a message that belongs to no flow in the
rules' counters, a flow that goes on in its conntrack entry.
"""

import contextlib
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from struct import Struct

from kinety import abi
from kinety.datapath.datapath import Datapath
from kinety.datapath.host_programs import HOOKS
from kinety.kernel.map import Map
from kinety.kernel.program import Program, TestRun
from kinety.kernel.ring import RingBuffer
from kinety.kernel.uapi import NetfilterFamily, NetfilterHook
from kinety.model.endpoint import HOST
from kinety.model.identity import Identity
from kinety.model.rule import Direction, RuleId
from kinety.plan.change import Capacity
from kinety.plan.engine import Engine
from kinety.testing.packet import ETHERNET_BYTES, Flow, Tcp, transport_frame
from tests.judges.facts import difference
from tests.judges.opinion import Disagreement, Say, named
from tests.judges.question import GRE, ICMP, ICMPV6, Question
from tests.judges.worlds import World
from tests.netns.datapath_node import Node, node
from tests.netns.host_programs import host_programs

CAPACITY = Capacity(
    endpoints=16,
    rule_sets=256,
    rows=8192,
    identity_classes=4096,
    ipcache_hosts=1024,
    ipcache_prefixes=1024,
    rules=4096,
)
_WORD = Struct("=I")
_SHOT = 2
_FIRST_PORT = 20_000
_ECHO = {ICMP: (8, 0), ICMPV6: (128, 129)}
_ERRORS = {ICMP: (3, 11, 12), ICMPV6: (1, 2, 3, 4)}
_VERDICTS = {abi.Verdict.DENY: "deny", abi.Verdict.ALLOW: "allow"}
_WOULD = _VERDICTS | {abi.Verdict.REDIRECT: "redirect"}
_REASONS = {"deny": abi.Reason.POLICY_DENIED, "redirect": abi.Reason.PROXY_UNAVAILABLE}


@dataclass(frozen=True, slots=True)
class Opened:
    """A flow that a question opened, to be asked about again."""

    question: Question
    flow: Flow


class Kernel:
    """A node with the programs loaded, and the plan that it holds. Use ``kernel()``."""

    def __init__(self, built: Node, programs: dict[str, Program], maps: dict[str, Map]) -> None:
        self._node = built
        self._programs = programs
        self._conntrack = maps["conntrack"]
        self._rule_counters = maps["rule_counters"]
        self._rule_sets = maps["rule_sets"]
        self._events = RingBuffer(maps["events"])
        self._uplink = built.run(socket.if_nametoindex, "uplink")
        self._port = _FIRST_PORT
        self.engine = Engine(self.datapath.capacity)
        self.scene: World | None = None
        #: Questions that the node's own policies judged.
        self.host_asked = 0
        self.run = built.run

    @property
    def datapath(self) -> Datapath:
        """The datapath that is open on the node."""
        assert self._node.datapath is not None
        return self._node.datapath

    @property
    def host_judges(self) -> bool:
        """Whether a policy selects the node itself."""
        return self.datapath.host.plan.judges

    def close(self) -> None:
        """Let go of the events."""
        self._events.close()

    def move(self, scene: World) -> None:
        """Make the node hold a world, from whatever it held, as an agent does."""
        change = self.engine.change(difference(self.scene, scene))
        attached = {endpoint.id: endpoint for endpoint in scene.endpoints}
        self.datapath.apply(change)
        for former in self.scene.endpoints if self.scene else ():
            if former.id not in attached:
                self.datapath.detach(former.id)
        for endpoint in scene.endpoints:
            if self.datapath.interface(endpoint.id) is None:
                self.datapath.attach(endpoint, self._node.namespace_for(endpoint.name))
        self.scene = scene

    def idle(self) -> None:
        """What an agent does when nothing else waits: merge classes, refill tables, promote endpoints."""
        if self.engine.unsettled:
            self.datapath.apply(self.engine.change())
        while self.datapath.maintain():
            pass

    def tables(self) -> list[int]:
        """The kernel's numbers of the verdict tables, spare ones included."""
        return [_WORD.unpack(number)[0] for _, number in self._rule_sets.items()]

    def forget_flows(self) -> None:
        """Let no flow be known any more."""
        keys = [key for key, _ in self._conntrack.items()]
        if keys:
            self._conntrack.delete_batch(b"".join(keys), len(keys))

    def ask(self, question: Question, says: Sequence[Say]) -> Opened | None:
        """Send the first packet of a new flow, and compare; the flow, when it is open now.

        Raises Disagreement.
        """
        self._port = _FIRST_PORT + (self._port + 1 - _FIRST_PORT) % (65536 - _FIRST_PORT)
        flow = Flow(
            question.source.address,
            question.target.address,
            question.protocol,
            0 if question.protocol == GRE else self._port,
            question.port,
        )
        tracked = question.protocol not in _ECHO or question.port in _ECHO[question.protocol][:1]
        before = self._counted(says)
        run = self._run(question, flow, Tcp.SYN)
        told = self._heard(flow)
        heard = [event for event in told if event.kind != abi.EventKind.SHADOW]
        self._check_shadows(question, says, [event for event in told if event not in heard])
        if not self._check_drop(question, says, run, heard):
            if tracked:
                self._check_new_flow(question, says, heard)
            else:
                self._check_counters(question, says, heard, before)
        if question.protocol == GRE:  # without ports, its two ends have one flow at a time
            self._forget_flow(flow)
            tracked = False
        return Opened(question, flow) if tracked and _allowed(says) else None

    def ask_host(self, question: Question, say: Say) -> None:
        """Let the node itself judge the first packet of a new flow, where a policy selects it, and compare.

        Raises Disagreement.
        """
        if not self.host_judges or _exempt(question, say.direction):
            return
        self._port = _FIRST_PORT + (self._port + 1 - _FIRST_PORT) % (65536 - _FIRST_PORT)
        source_port = 0 if question.protocol == GRE else self._port
        ends = question.source.address, question.target.address
        flow = Flow(*ends, question.protocol, source_port, question.port)
        packet = transport_frame(*ends, flow.protocol, flow.source_port, flow.destination_port, Tcp.SYN)
        hook = NetfilterHook.LOCAL_OUT if say.direction is Direction.EGRESS else NetfilterHook.LOCAL_IN
        family = NetfilterFamily.IPV4 if packet[ETHERNET_BYTES] >> 4 == 4 else NetfilterFamily.IPV6
        before = self._counted([say])
        self.host_asked += 1
        self._programs[HOOKS[hook]].test_run_netfilter(packet, hook, family)
        told = [event for event in self._heard(flow) if event.kind != abi.EventKind.SHADOW]
        tracked = flow.protocol not in _ECHO or flow.destination_port == _ECHO[flow.protocol][0]
        if told or tracked:
            wanted = [replace(_as_drop(say) if say.verdict == "deny" else say, endpoint=int(HOST))]
            found = [_said(event) for event in told]
            if found != wanted:
                raise Disagreement(
                    f"{question}: the node's plan says {self._told(wanted)}, its program {self._told(found)}"
                )
        elif say.verdict != "allow" or self._counted([say]) != {say.rule: before[say.rule] + 1}:
            raise Disagreement(f"{question}: the node's plan says {self._tell(say)}, its program nothing")
        self._forget_flow(flow)

    def ask_again(self, opened: Opened, says: Sequence[Say], *, reply: bool) -> None:
        """Send the next packet of a flow that was open before the last change, and compare."""
        question = opened.question
        flow = opened.flow.reply() if reply else opened.flow
        run = self._run(question, flow, Tcp.ACK, reply=reply)
        heard = [event for event in self._heard(flow) if event.kind != abi.EventKind.SHADOW]
        ordered = list(reversed(says)) if reply else list(says)
        if self._check_drop(question, ordered, run, heard):
            return
        if any(event.kind == abi.EventKind.NEW_FLOW for event in heard):
            raise Disagreement(f"{question}: the flow was open, and is new to the programs")
        entry = self._entry(opened.flow)
        for say in says:
            kept = entry.decision[say.direction]
            found = (_VERDICTS[abi.Verdict(kept.verdict)], kept.rule, kept.remote_identity)
            if found != (say.verdict, say.rule, say.remote):
                raise Disagreement(self._about(question, say, *found))

    def _run(self, question: Question, flow: Flow, flags: Tcp, *, reply: bool = False) -> TestRun:
        """Run the program that such a packet meets first."""
        sender, receiver = question.source, question.target
        if reply:
            sender, receiver = receiver, sender
        packet = transport_frame(
            flow.source, flow.destination, flow.protocol, flow.source_port, flow.destination_port, flags
        )
        if sender.endpoint is not None and not question.around:
            return self._programs["from_endpoint"].test_run(
                packet, ifindex=self._interface(sender.endpoint.id)
            )
        assert receiver.endpoint is not None
        if sender.endpoint is not None:
            came_by = self._interface(sender.endpoint.id)
        else:
            came_by = 0 if sender.party.kind == "host" else self._uplink
        return self._programs["to_endpoint"].test_run(
            packet, ifindex=self._interface(receiver.endpoint.id), ingress_ifindex=came_by
        )

    def _interface(self, endpoint: int) -> int:
        interface = self.datapath.interface(endpoint)  # type: ignore[arg-type]
        assert interface is not None
        return interface.index

    def _check_drop(
        self, question: Question, says: Sequence[Say], run: TestRun, heard: list[abi.Event]
    ) -> bool:
        """Whether the packet was dropped, as the first one wants it that does not let it pass.

        What goes to a proxy is dropped too, for its own reason, as long as there is no proxy here.
        """
        drops = [event for event in heard if event.kind == abi.EventKind.DROP]
        if (run.retval == _SHOT) != bool(drops):
            raise Disagreement(f"{question}: the program answers {run.retval} and tells {heard}")
        wanted = [say for say in says if say.verdict != "allow"][:1]
        found = [_said(event) for event in drops]
        reasons = [event.reason for event in drops]
        if found != list(map(_as_drop, wanted)) or reasons != [_REASONS[say.verdict] for say in wanted]:
            raise Disagreement(
                f"{question}: the plan's first refusal is {self._told(wanted)},"
                f" the programs' {self._told(found)}"
                + "".join(f", reason {abi.Reason(event.reason).name}" for event in drops)
            )
        return bool(drops)

    def _check_shadows(self, question: Question, says: Sequence[Say], heard: list[abi.Event]) -> None:
        """Whoever has judged, and would have judged otherwise, tells so."""
        refusing = next((number for number, say in enumerate(says) if say.verdict != "allow"), len(says))
        judged = [(say, say.beside) for say in says[: refusing + 1]]
        wanted = [
            (say.direction, say.endpoint, beside.verdict, beside.rule, say.verdict, say.rule, say.remote)
            for say, beside in judged
            if beside is not None and beside.verdict != say.verdict
        ]
        found = [
            (
                event.direction,
                event.endpoint,
                _WOULD[abi.Verdict(event.verdict)],
                event.rule,
                _WOULD[abi.Verdict(event.verdict_in_force)],
                event.rule_in_force,
                event.remote_identity,
            )
            for event in heard
        ]
        if found != wanted:
            raise Disagreement(f"{question}: the plan would {wanted}, the programs would {found}")

    def _check_new_flow(self, question: Question, says: Sequence[Say], heard: list[abi.Event]) -> None:
        found = [_said(event) for event in heard]
        if found != list(says):
            raise Disagreement(
                f"{question}: the plan says {self._told(says)}, the programs {self._told(found)}"
            )

    def _check_counters(
        self, question: Question, says: Sequence[Say], heard: list[abi.Event], before: dict[RuleId, int]
    ) -> None:
        after = self._counted(says)
        rules = [say.rule for say in says]
        wanted = {rule: count + rules.count(rule) for rule, count in before.items()}
        if heard or after != wanted:
            raise Disagreement(
                f"{question}: the plan says {self._told(says)}, but the rules' counters went from {before} to"
                f" {after}, with {len(heard)} events"
            )

    def _heard(self, flow: Flow) -> list[abi.Event]:
        """What the programs tell of a flow's packets; the node's own chatter is left out."""
        events = map(abi.Event.unpack, self._events.read())
        return [each for each in events if (each.source, each.destination) == (flow.source, flow.destination)]

    def _counted(self, says: Sequence[Say]) -> dict[RuleId, int]:
        counted = {}
        for rule in {say.rule for say in says}:
            row = self._rule_counters.lookup_per_cpu(_WORD.pack(rule)) or ()
            counted[rule] = sum(abi.Counter.unpack(each).packets for each in row)
        return counted

    def _entry(self, flow: Flow) -> abi.ConntrackEntry:
        for key in _keys(flow):
            if found := self._conntrack.lookup(key):
                return abi.ConntrackEntry.unpack(found)
        raise Disagreement(f"{flow} has passed, and conntrack knows nothing of it")

    def _forget_flow(self, flow: Flow) -> None:
        for key in _keys(flow):
            self._conntrack.delete(key)

    def _told(self, says: Sequence[Say]) -> str:
        return "; ".join(self._tell(say) for say in says) or "nothing"

    def _tell(self, say: Say) -> str:
        by = named(self.engine, say.rule)
        return f"{say.direction.name.lower()} of e{say.endpoint} {say.verdict} by {by} (peer {say.remote})"

    def _about(self, question: Question, say: Say, verdict: str, rule: int, remote: int) -> str:
        found = Say(say.direction, say.endpoint, verdict, RuleId(rule), Identity(remote))
        return f"{question}: open flow: the plan says {self._tell(say)}, the entry {self._tell(found)}"


def _exempt(question: Question, direction: Direction) -> bool:
    """What the node's policies have no say in (bpf/lib/exempt.h), among what is asked about."""
    if question.protocol == ICMPV6 and 130 <= question.port <= 143:
        return True
    return direction is Direction.EGRESS and question.port in _ERRORS.get(question.protocol, ())


def _allowed(says: Sequence[Say]) -> bool:
    return all(say.verdict == "allow" for say in says)


def _as_drop(say: Say) -> Say:
    """A refusal as events tell it: a drop is a denial, and the reason says of what kind."""
    return replace(say, verdict="deny", content=frozenset())


def _said(event: abi.Event) -> Say:
    return Say(
        Direction(event.direction),
        event.endpoint,
        _VERDICTS[abi.Verdict(event.verdict)],
        RuleId(event.rule),
        Identity(event.remote_identity),
    )


def _keys(flow: Flow) -> Iterator[bytes]:
    """The two keys that a flow can have: either end may count as the low one."""
    one = (flow.source, flow.source_port)
    other = (flow.destination, 0 if flow.protocol in _ECHO else flow.destination_port)
    for low, high in ((one, other), (other, one)):
        yield abi.FlowKey(
            low=low[0], high=high[0], low_port=low[1], high_port=high[1], protocol=flow.protocol, proxied=0
        ).pack()


@contextlib.contextmanager
def kernel() -> Iterator[Kernel]:
    """A node that is removed again, whatever happened."""
    with (
        node(capacity=CAPACITY, conntrack=16384, spare_rule_sets=64) as built,
        contextlib.ExitStack() as stack,
    ):
        built.open()
        (contract,) = built.settings.pins.glob("contract-*")
        (programs,) = contract.glob("program-*")
        judging = Kernel(
            built,
            {
                **{
                    name: stack.enter_context(Program.open(programs / name))
                    for name in ("from_endpoint", "to_endpoint")
                },
                **stack.enter_context(host_programs(built)).programs,
            },
            {
                name: stack.enter_context(Map.open(contract / "maps" / name))
                for name in ("conntrack", "rule_counters", "rule_sets", "events")
            },
        )
        stack.callback(judging.close)
        yield judging
