"""What the node itself sends and receives, packet by packet, through the programs at netfilter's hooks.

The node obeys the tables of `tests.packet.node`: `GUARD` at ingress and `CONFINEMENT` at egress.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from socket import IPPROTO_ICMP, IPPROTO_ICMPV6, IPPROTO_IGMP, IPPROTO_UDP

import pytest

from kinety.abi import Event, EventKind, Reason
from kinety.datapath.endpoint_table import HOST_SLOT
from kinety.datapath.host_programs import FROM_HOST, HOOKS, TO_HOST
from kinety.kernel.collection import Collection
from kinety.kernel.uapi import NetfilterFamily
from kinety.model.address import pack_address
from kinety.model.rule import Direction
from kinety.plan.change import RuleSetId
from kinety.testing.packet import ETHERNET_BYTES, Flow, Tcp, fragments, frame, icmp_error, neighbour
from tests.netns.host_programs import host_programs
from tests.packet.node import (
    ANYONES,
    DENIED_PORT,
    DENIES,
    FOR_ANY,
    OUT_DENIES,
    WEB,
    ends,
    icmp,
    packet_world,
    ping,
    tcp,
    udp,
    where,
)
from tests.packet.table import World

pytestmark = pytest.mark.needs("root", "bpf", "tcx", "netns", "bpffs", "nft", "objects", "netfilter", "btf")

ALLOWED, EXEMPT, DENIED = Reason.HOST_ALLOWED, Reason.HOST_EXEMPT, Reason.POLICY_DENIED
ACCEPT, DROP = 1, 0
HOST = 1
HOOK = {program: hook for hook, program in HOOKS.items()}
ACK = Tcp.ACK
#: Multicast groups of everybody: routers, DHCP servers.
ROUTERS, DHCP_SERVERS = pack_address("ff02::2"), pack_address("ff02::1:2")
LINK_LOCAL, BROADCAST = pack_address("fe80::1"), pack_address("255.255.255.255")


@dataclass(frozen=True, slots=True)
class Step:
    """A packet, what becomes of it and why; a drop is told of with ``rule`` and the flow's direction."""

    program: str
    packet: bytes
    expect: Reason
    rule: int = 0
    flows: int = 0
    changes: int = 0
    direction: Direction | None = None


Steps = Sequence[Step | Callable[["HostWorld"], None]]


class HostWorld:
    """The node of the tables, with programs for the node itself over its maps."""

    def __init__(self, world: World, collection: Collection) -> None:
        self.world = world
        self.collection = collection

    def play(self, steps: Steps) -> None:
        self.world.forget_flows()
        self.obey("confinement", "guard")
        for number, step in enumerate(steps, 1):
            if isinstance(step, Step):
                self._take(step, f"step {number}")
            else:
                step(self)

    def obey(self, egress: str, ingress: str) -> None:
        """Flip the node's row."""
        datapath = self.world.node.datapath
        assert datapath is not None
        slots = [datapath._rule_sets.slot(RuleSetId(name)) if name else 0 for name in (egress, ingress)]
        datapath._table.identify(HOST_SLOT, HOST, HOST)
        datapath._table.publish(HOST_SLOT, *slots)

    def disarm(self) -> None:
        datapath = self.world.node.datapath
        assert datapath is not None
        datapath._table.disarm(HOST_SLOT)

    def _take(self, step: Step, where: str) -> None:
        before = self.world.counted()
        program = self.collection.programs[step.program]
        version = step.packet[ETHERNET_BYTES] >> 4
        family = NetfilterFamily.IPV4 if version == 4 else NetfilterFamily.IPV6
        ran = self.world.node.run(program.test_run_netfilter, step.packet, HOOK[step.program], family)
        counted = {
            key: count - before.get(key, 0)
            for key, count in self.world.counted().items()
            if count != before.get(key, 0)
        }
        events = self.world.events()
        way = Direction.EGRESS if step.program == FROM_HOST else Direction.INGRESS
        assert counted == {(step.expect, way): 1}, where
        dropped = step.expect not in (ALLOWED, EXEMPT)
        assert ran.retval == (DROP if dropped else ACCEPT), where
        kinds = [EventKind.DROP] * dropped + [EventKind.NEW_FLOW] * step.flows
        kinds += [EventKind.VERDICT_CHANGE] * step.changes
        assert sorted(EventKind(event.kind) for event in events) == sorted(kinds), where
        assert all((event.endpoint, event.local_identity) == (0, HOST) for event in events), where
        for event in events:
            if event.kind == EventKind.DROP:
                self._check_drop(step, way, event, where)

    @staticmethod
    def _check_drop(step: Step, way: Direction, event: Event, where: str) -> None:
        assert (event.reason, event.rule) == (step.expect, step.rule), where
        assert event.direction == (way if step.direction is None else step.direction), where

    def endpoint(self, program: str, name: str, packet: bytes, came_in: int = 0) -> None:
        """The same packet at an endpoint's interface, before or after."""
        ran = self.world.run(program, packet, self.world.index(name), came_in)
        assert ran.retval == 0
        self.world.events()

    def packets(self) -> list[tuple[int, int]]:
        """Of every flow, packets forth and back."""
        return [(each.forward_packets, each.reply_packets) for each in self.world.flows().values()]


@pytest.fixture(scope="module")
def world() -> Iterator[HostWorld]:
    with packet_world() as made, host_programs(made.node) as collection:
        yield HostWorld(made, collection)


def out(packet: bytes, expect: Reason, rule: int = 0, **rest: object) -> Step:
    return Step(FROM_HOST, packet, expect, rule, **rest)  # type: ignore[arg-type]


def into(packet: bytes, expect: Reason, rule: int = 0, **rest: object) -> Step:
    return Step(TO_HOST, packet, expect, rule, **rest)  # type: ignore[arg-type]


def flows(family: int) -> dict[str, Steps]:
    """Connections of the node with the world and with endpoints."""
    asked, served = tcp("world", "host", family, ANYONES), tcp("host", "world", family, ANYONES)
    friend = tcp("client", "host", family)
    back = replace(asked.reply(), source_port=ANYONES, destination_port=40000)
    denied_out = tcp("host", "world", family, DENIED_PORT)
    return {
        "in, and the answer out": [
            into(frame(asked), ALLOWED, flows=1),
            out(frame(back, flags=Tcp.SYN | ACK), ALLOWED),
            into(frame(asked, flags=ACK), ALLOWED),
        ],
        "not in": [into(frame(tcp("world", "host", family, DENIED_PORT)), DENIED, FOR_ANY)],
        "out, and the answer in": [
            out(frame(served), ALLOWED, flows=1),
            into(frame(served.reply(), flags=Tcp.SYN | ACK), ALLOWED),
        ],
        "not out": [out(frame(denied_out), DENIED, OUT_DENIES)],
        "no answer to nothing": [into(frame(denied_out.reply(), flags=ACK), DENIED, FOR_ANY)],
        "a server may not call its client": [
            out(frame(served), ALLOWED, flows=1),
            into(frame(served.reply()), DENIED, FOR_ANY),
        ],
        "a friend's rule": [into(frame(friend), ALLOWED, flows=1)],
        "a changed mind": [
            into(frame(asked), ALLOWED, flows=1),
            lambda world: world.obey("guard", "confinement"),
            into(frame(asked, flags=ACK), ALLOWED),  # 443 is the world's there, too
            out(frame(tcp("host", "world", family, WEB)), DENIED, FOR_ANY),
            lambda world: world.obey("", "guard"),
            out(frame(tcp("host", "world", family, WEB)), ALLOWED, flows=1),
            lambda world: world.obey("confinement", "guard"),
            out(frame(tcp("host", "world", family, WEB), flags=ACK), DENIED, OUT_DENIES, changes=1),
            into(
                frame(tcp("host", "world", family, WEB).reply(), flags=ACK),
                DENIED,
                OUT_DENIES,
                direction=Direction.EGRESS,
            ),
        ],
        "an echo": [
            out(frame(ping("host", "world", family)), ALLOWED, flows=1),
            into(frame(ping("host", "world", family).reply()), ALLOWED),
            into(frame(ping("world", "host", family)), DENIED, FOR_ANY),
        ],
        "a datagram": [
            out(frame(udp("host", "world", family)), ALLOWED, flows=1),
            into(frame(udp("host", "world", family).reply()), ALLOWED),
            into(frame(udp("world", "host", family)), DENIED, FOR_ANY),
        ],
        "who says to be the node comes from outside": [
            into(frame(Flow(*ends("host", "host", family), 6, 40000, WEB)), DENIED, FOR_ANY)
        ],
        "no row": [
            HostWorld.disarm,
            into(frame(asked), Reason.ENDPOINT_NOT_READY),
            out(frame(served), Reason.ENDPOINT_NOT_READY),
        ],
    }


def errors(family: int) -> dict[str, Steps]:
    """ICMP errors: the node tells of what it likes, and hears of its own flows."""
    unreachable = 3 if family == 4 else 1
    sent = udp("host", "world", family)
    router = where("remote", family)
    tells = partial(icmp_error, where("host", family), kind=unreachable)
    return {
        "the node tells of anything": [
            out(tells(frame(udp("client", "world", family))), EXEMPT),
            out(tells(frame(tcp("world", "host", family, DENIED_PORT))), EXEMPT),
        ],
        "of a flow of the node's": [
            out(frame(sent), ALLOWED, flows=1),
            into(icmp_error(router, frame(sent), unreachable), ALLOWED),
            into(icmp_error(where("world", family), frame(sent), unreachable), ALLOWED),
        ],
        "of no flow": [into(icmp_error(router, frame(sent), unreachable), DENIED, DENIES)],
        "of what somebody else sent": [
            out(frame(sent), ALLOWED, flows=1),
            into(
                icmp_error(
                    router,
                    frame(udp("client", "world", family)),
                    unreachable,
                    destination=where("host", family),
                ),
                Reason.ICMP_MALFORMED,
            ),
        ],
        "of a flow with an endpoint, by somebody who cannot know": [
            lambda world: world.obey("", "guard"),
            out(frame(udp("host", "client", family)), ALLOWED, flows=1),
            into(
                icmp_error(router, frame(udp("host", "client", family)), unreachable), Reason.ICMP_MALFORMED
            ),
            into(
                icmp_error(where("client", family), frame(udp("host", "client", family)), unreachable),
                ALLOWED,
            ),
        ],
    }


def broken(family: int) -> dict[str, Steps]:
    """Packets that cannot be read, and pieces."""
    whole = frame(udp("world", "host", family, 53), payload=bytes(64))
    pieces = fragments(udp("host", "world", family), [24], identification=9, payload=bytes(64))
    arrives = fragments(udp("client", "host", family), [24], identification=9, payload=bytes(64))
    short = ETHERNET_BYTES + (20 if family == 4 else 40) + 3
    return {
        "cut off": [
            into(whole[:short], Reason.PACKET_TRUNCATED),
            out(whole[:short], Reason.PACKET_TRUNCATED),
        ],
        "in fragments": [
            out(pieces[0], ALLOWED, flows=1),
            out(pieces[1], ALLOWED),
            into(arrives[1], Reason.FRAGMENT_UNKNOWN),
            into(arrives[0], ALLOWED, flows=1),
            into(arrives[1], ALLOWED),
        ],
    }


def exempt() -> dict[str, Steps]:
    """What the node needs to have a network at all."""
    node, router = where("host", 6), LINK_LOCAL
    found: dict[str, Steps] = {}
    for kind in (130, 131, 132, 133, 134, 141, 142, 143, 148, 149, 151, 152, 153):
        found[f"ICMPv6 {kind}"] = [
            out(frame(Flow(node, ROUTERS, IPPROTO_ICMPV6, 0, kind)), EXEMPT),
            into(frame(Flow(router, node, IPPROTO_ICMPV6, 0, kind)), EXEMPT),
        ]
    found["neighbours"] = [
        out(neighbour(135, node, router), EXEMPT),
        into(neighbour(136, router, router, destination=node), EXEMPT),
        into(neighbour(135, router, node), EXEMPT),
        out(neighbour(136, node, node, destination=router), EXEMPT),
    ]
    for kind in (137, 139, 140, 144, 150, 154):
        found[f"ICMPv6 {kind} is a message like others"] = [
            into(frame(Flow(router, node, IPPROTO_ICMPV6, 0, kind)), DENIED, FOR_ANY)
        ]
    found["ICMP redirect is a message like others"] = [
        into(frame(icmp("world", "host", 4, 5)), DENIED, FOR_ANY)
    ]
    found["IGMP"] = [
        out(frame(Flow(where("host", 4), pack_address("224.0.0.22"), IPPROTO_IGMP)), EXEMPT),
        into(frame(Flow(where("world", 4), pack_address("224.0.0.1"), IPPROTO_IGMP)), EXEMPT),
    ]
    found["DHCP, as a client"] = [
        out(frame(Flow(where("host", 4), BROADCAST, IPPROTO_UDP, 68, 67)), EXEMPT),
        into(frame(Flow(where("world", 4), where("host", 4), IPPROTO_UDP, 67, 68)), EXEMPT),
        into(frame(Flow(where("world", 4), where("host", 4), IPPROTO_UDP, 68, 67)), DENIED, FOR_ANY),
        out(frame(Flow(where("host", 4), where("world", 4), IPPROTO_UDP, 67, 68)), DENIED, OUT_DENIES),
    ]
    found["DHCPv6, as a client"] = [
        out(frame(Flow(node, DHCP_SERVERS, IPPROTO_UDP, 546, 547)), EXEMPT),
        into(frame(Flow(router, node, IPPROTO_UDP, 547, 546)), EXEMPT),
        into(frame(Flow(router, node, IPPROTO_UDP, 546, 547)), DENIED, FOR_ANY),
    ]
    found["multicast is traffic like other"] = [
        into(
            frame(Flow(where("world", 4), pack_address("224.0.0.251"), IPPROTO_UDP, 5353, 5353)),
            DENIED,
            FOR_ANY,
        ),
        into(frame(Flow(router, pack_address("ff02::fb"), IPPROTO_UDP, 5353, 5353)), DENIED, FOR_ANY),
    ]
    found["ICMP of the other family"] = [
        into(frame(Flow(where("world", 4), where("host", 4), 200)), DENIED, FOR_ANY),
        into(frame(Flow(where("world", 4), where("host", 4), IPPROTO_ICMP, 0, 13)), DENIED, FOR_ANY),
    ]
    return found


def tables() -> Mapping[str, Steps]:
    named = {
        f"IPv{family}: {name}": steps
        for family in (4, 6)
        for make in (flows, errors, broken)
        for name, steps in make(family).items()
    }
    return {**named, **exempt()}


TABLES = tables()


@pytest.mark.parametrize("name", TABLES)
def test_the_nodes_packets(world: HostWorld, name: str) -> None:
    world.play(TABLES[name])


@pytest.mark.parametrize("family", [4, 6])
def test_a_packet_that_two_judge_counts_once(world: HostWorld, family: int) -> None:
    """Either side opens a flow; both decisions are in one entry."""
    asked, answered = udp("client", "host", family), udp("client", "host", family).reply()
    world.play(
        [
            lambda node: node.endpoint(
                "from_endpoint", "client", frame(asked, link=node.world.link("client"))
            ),
            into(frame(asked), ALLOWED, flows=1),
            lambda node: _counts(node, (1, 0)),
            out(frame(answered), ALLOWED),
            lambda node: node.endpoint("to_endpoint", "client", frame(answered)),
            lambda node: _counts(node, (1, 1)),
        ]
    )
    call = udp("host", "client", family, port=5353)
    world.play(
        [
            lambda node: node.obey("", "guard"),
            out(frame(call), ALLOWED, flows=1),
            lambda node: _counts(node, (0, 0)),
            lambda node: node.endpoint("to_endpoint", "client", frame(call)),
            lambda node: _counts(node, (1, 0)),
            partial(_sends, flow=call.reply()),
            into(frame(call.reply()), ALLOWED),
            lambda node: _counts(node, (1, 1)),
        ]
    )
    (entry,) = world.world.flows().values()
    assert all(decision.epoch for decision in entry.decision)


def _sends(node: HostWorld, flow: Flow) -> None:
    node.endpoint("from_endpoint", "client", frame(flow, link=node.world.link("client")))


def _counts(node: HostWorld, packets: tuple[int, int]) -> None:
    assert node.packets() == [packets]


def test_tables_meet_every_reason_of_these_programs() -> None:
    met = {step.expect for steps in TABLES.values() for step in steps if isinstance(step, Step)}
    assert met == {
        ALLOWED,
        EXEMPT,
        DENIED,
        Reason.ENDPOINT_NOT_READY,
        Reason.ICMP_MALFORMED,
        Reason.PACKET_TRUNCATED,
        Reason.FRAGMENT_UNKNOWN,
    }


@pytest.mark.parametrize("family", [4, 6])
def test_the_node_with_itself_is_nobodys_business(world: HostWorld, family: int) -> None:
    """And a destination that was rewritten, to which the packet does not go by ``lo`` any more, is."""
    itself = {4: "127.0.0.1", 6: "::1"}[family]
    with host_programs(world.world.node, "ifindex") as collection:
        HostWorld(world.world, collection).play(
            [
                out(frame(Flow(*ends("host", "host", family), 6, 40000, WEB)), EXEMPT),
                out(frame(Flow(pack_address(itself), pack_address(itself), 6, 40000, WEB)), EXEMPT),
                out(frame(tcp("host", "world", family, DENIED_PORT)), DENIED, OUT_DENIES),
                out(
                    frame(Flow(pack_address(itself), where("client", family), 6, 40000, 81)),
                    DENIED,
                    OUT_DENIES,
                ),
            ]
        )
