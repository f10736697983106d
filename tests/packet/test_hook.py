"""Filters of the operator: asked about what policy allows, told the truth, and able only to drop."""

from dataclasses import asdict, dataclass
from socket import IPPROTO_DSTOPTS, IPPROTO_HOPOPTS, IPPROTO_ICMP, IPPROTO_ICMPV6, IPPROTO_TCP, IPPROTO_UDP
from struct import Struct

import pytest

from kinety.abi import Reason
from kinety.kernel.map import Map
from kinety.model.rule import Direction
from kinety.testing.packet import Tcp, extension, fragments, frame, icmp_error
from tests.filters import RECORDER, answer, filter_object
from tests.packet.change import Do
from tests.packet.node import (
    ALLOWS,
    ANYONES,
    CLIENT,
    CONFINED,
    DENIES,
    ECHO,
    EMPIRE,
    FOR_ANY,
    HOST_IDENTITY,
    NO_RULE,
    OUT,
    SERVER,
    WORLD,
    ping,
    tcp,
    udp,
    where,
)
from tests.packet.table import STACK as NODE_ITSELF
from tests.packet.table import Case, World, both_families, case, enter, leave, play
from tests.packet.test_neighbour import OTHER, advertised, asks, solicits
from tests.packet.test_neighbour import answer as neighbour_answer

pytestmark = pytest.mark.needs("root", "bpf", "tcx", "netns", "bpffs", "nft", "objects")

LOCAL, STACK, ENTERED = Reason.FORWARDED_LOCAL, Reason.FORWARDED_STACK, Reason.FORWARDED_ENDPOINT
DROPPED, DENIED = Reason.HOOK_DENIED, Reason.POLICY_DENIED
BY_CLIENT = {"judge": "client", "direction": Direction.EGRESS, "rule": NO_RULE}
BY_SERVER = {"judge": "server", "direction": Direction.INGRESS, "rule": ALLOWS}
NOT_WEB = """
KINETY_INGRESS int not_web(struct __sk_buff *skb)
{
    struct kinety_packet packet = kinety_packet(skb);
    __be16 ports[2];

    if (packet.protocol != IPPROTO_TCP || packet.later_fragment)
        return KINETY_PASS;
    if (bpf_skb_load_bytes(skb, packet.transport, ports, sizeof(ports)))
        return KINETY_DROP;
    return ports[1] == bpf_htons(8080) ? KINETY_DROP : KINETY_PASS;
}
"""
LIAR = """
KINETY_EGRESS int liar(struct __sk_buff *skb)
{
    skb->cb[0] = skb->cb[1] = skb->cb[2] = skb->cb[3] = skb->cb[4] = ~0U;
    return KINETY_PASS;
}
"""


def hook(text: str, name: str = "filter") -> Do:
    """Filters are loaded, until the case ends."""

    def load(world: World) -> None:
        assert world.node.datapath is not None
        hooks = world.node.datapath.hooks
        world.node.run(hooks.load, name, filter_object(text))
        world.undo.append(lambda: hooks.unload(name))

    return load


def unload(name: str = "filter") -> Do:
    """Filters go before the case ends."""

    def take(world: World) -> None:
        assert world.node.datapath is not None
        assert world.node.datapath.hooks.unload(name)

    return take


def dropped(name: str, **packets: int) -> Do:
    """How many packets each filter of a hook has dropped, by direction."""

    def look(world: World) -> None:
        assert world.node.datapath is not None
        [found] = [each for each in world.node.datapath.hooks.all() if each.name == name]
        assert {point.name.lower(): each.packets for point, each in found.dropped.items()} == packets

    return look


@dataclass(frozen=True, slots=True)
class Told:
    """``struct kinety_packet``, and how often the filter was asked."""

    endpoint: int
    local_identity: int
    remote_identity: int
    rule: int
    transport: int
    protocol: int
    ingress: int
    reply: int
    ipv6: int
    later_fragment: int
    count: int


_SEEN = Struct("=IIIIHBBBBBxI")


def told(world: World, point: Direction, name: str = "filter") -> Told:
    """What the recorder was told last at a point."""
    assert world.node.datapath is not None
    [found] = [each for each in world.node.datapath.hooks.all() if each.name == name]
    with Map.open(found.pins / "seen") as seen:
        row = seen.lookup(int(point).to_bytes(4, "little"))
    assert row is not None
    return Told(*_SEEN.unpack(row))


def cases(family: int) -> list[Case]:
    """Every table of one family."""
    flow, denied = tcp("client", "server", family), tcp("client", "server", family, 81)
    opens = leave("client", frame(flow), LOCAL, "server", rules=(NO_RULE, ALLOWS), flows=2)
    goes_on = leave("client", frame(flow, flags=Tcp.ACK), LOCAL, "server", rules=(NO_RULE, ALLOWS))
    comes_back = leave("server", frame(flow.reply(), flags=Tcp.ACK), LOCAL, "client", rules=(NO_RULE, ALLOWS))
    refused = leave(
        "client",
        frame(denied),
        DENIED,
        rules=(NO_RULE, DENIES),
        judge="server",
        direction=Direction.INGRESS,
        rule=DENIES,
    )
    from_world = tcp("world", "server", family, ANYONES)
    question, told_so = (
        (asks(OTHER[4]), neighbour_answer(OTHER[4]))
        if family == 4
        else (solicits(OTHER[6]), advertised(OTHER[6]))
    )
    dropped_reply = leave(
        "server",
        frame(flow.reply(), flags=Tcp.ACK),
        DROPPED,
        judge="client",
        direction=Direction.INGRESS,
        rule=NO_RULE,
    )
    return [
        case(
            "a filter drops what leaves, and lets pass again when it is gone",
            opens,
            hook(answer(1, "EGRESS")),
            leave("client", frame(flow, flags=Tcp.ACK), DROPPED, rules=(NO_RULE, ALLOWS), **BY_CLIENT),
            dropped("filter", egress=1),
            unload(),
            goes_on,
        ),
        case(
            "a filter of the receiver drops what a neighbour sends it",
            hook(answer(1, "INGRESS")),
            leave("client", frame(flow), DROPPED, rules=(NO_RULE, ALLOWS), flows=2, **BY_SERVER),
            leave("client", frame(udp("client", "world", family)), STACK, flows=1),
            dropped("filter", ingress=1),
        ),
        case(
            "a filter drops what comes out of the node's stack",
            hook(answer(1, "INGRESS")),
            enter("server", frame(from_world), DROPPED, rules=(FOR_ANY,), rule=FOR_ANY, flows=1),
            dropped("filter", ingress=1),
        ),
        case(
            "a filter reads the packet",
            hook(NOT_WEB),
            leave("client", frame(flow), DROPPED, flows=2, **BY_SERVER),
            leave("client", frame(tcp("client", "server", family, 1024)), LOCAL, "server", flows=2),
            leave("client", frame(udp("client", "server", family)), LOCAL, "server", flows=2),
        ),
        case(
            "what policy denies stays denied, and nobody is asked about it",
            hook(answer(0, "EGRESS", "INGRESS")),
            refused,
            hook(answer(1, "EGRESS", "INGRESS")),
            refused,
            dropped("filter", egress=0, ingress=0),
        ),
        *(
            case(
                f"the answer {value} drops",
                hook(answer(value, "EGRESS")),
                leave("client", frame(flow), DROPPED, flows=2, **BY_CLIENT),
            )
            for value in (1, 2, 7, -1, 0x7FFFFFFF)
        ),
        case(
            "all filters must agree, and the first that drops ends it",
            hook(answer(0, "EGRESS"), "first"),
            hook(answer(1, "EGRESS"), "second"),
            hook(answer(1, "EGRESS"), "third"),
            leave("client", frame(flow), DROPPED, flows=2, **BY_CLIENT),
            dropped("first", egress=0),
            dropped("second", egress=1),
            dropped("third", egress=0),
            unload("second"),
            leave("client", frame(flow), DROPPED, **BY_CLIENT),
            dropped("third", egress=1),
            unload("third"),
            goes_on,
        ),
        case(
            "a filter is replaced by one of its name",
            hook(answer(1, "EGRESS", "INGRESS")),
            leave("client", frame(flow), DROPPED, flows=2, **BY_CLIENT),
            hook(answer(0, "EGRESS")),
            goes_on,
            hook(answer(1, "INGRESS")),
            leave("client", frame(flow, flags=Tcp.ACK), DROPPED, **BY_SERVER),
            dropped_reply,
            unload(),
            comes_back,
        ),
        case(
            "neighbours are answered, whatever filters say",
            hook(answer(1, "EGRESS", "INGRESS")),
            leave("client", question, Reason.ANSWERED, out=told_so),
            dropped("filter", egress=0, ingress=0),
        ),
        case("a slot that is said to be taken and is not lets pass", taken_and_empty, opens, comes_back),
    ]


def taken_and_empty(world: World) -> None:
    """As for a moment while filters come or go."""
    assert world.node.datapath is not None
    state = world.node.datapath._node_state
    world.undo.append(lambda: state.change_hooks(clear=0xFFFF))
    state.change_hooks(add=0xFFFF)


CASES = both_families(cases)


@pytest.mark.parametrize("table", CASES, ids=str)
def test_filters(world: World, table: Case) -> None:
    play(world, table)


def test_a_filter_cannot_tell_the_next_one_lies(world: World) -> None:
    play(
        world,
        case(
            "two filters",
            hook(LIAR, "liar"),
            hook(RECORDER),
            leave("client", frame(tcp("client", "server", 4)), LOCAL, "server", flows=2),
            was_told(Direction.EGRESS, endpoint=CLIENT, protocol=IPPROTO_TCP, remote_identity=EMPIRE),
        ),
    )


def was_told(point: Direction, **expected: int) -> Do:
    """The recorder was told this of the last packet; what is not named is 0, and it was asked once."""
    wanted = {"local_identity": EMPIRE, "ingress": int(point), "count": 1} | expected

    def look(world: World) -> None:
        found = asdict(told(world, point))
        assert {name: value for name, value in found.items() if value} == {
            name: value for name, value in ({"transport": found["transport"]} | wanted).items() if value
        }

    return look


def not_asked(point: Direction) -> Do:
    """The recorder knows of no packet."""
    return lambda world: _assert_zero(told(world, point))


def _assert_zero(found: Told) -> None:
    assert not found.count


def facts(family: int) -> list[Case]:
    """One packet each, and what a filter is told of it."""
    six, icmp_protocol = int(family == 6), IPPROTO_ICMP if family == 4 else IPPROTO_ICMPV6
    header = 14 + (20 if family == 4 else 40)
    flow, to_world = tcp("client", "server", family), tcp("confined", "world", family, ANYONES)
    common = {"protocol": IPPROTO_TCP, "ipv6": six, "transport": header}
    opens = leave("client", frame(flow), LOCAL, "server", flows=2)
    comes_back = leave("server", frame(flow.reply(), flags=Tcp.ACK), LOCAL, "client")
    first, later = fragments(udp("client", "server", family), [32], identification=7, payload=bytes(64))
    unreachable = 3 if family == 4 else 1
    error = icmp_error(where("server", family), frame(flow), unreachable)
    return [
        case(
            "an opening packet between endpoints",
            hook(RECORDER),
            opens,
            was_told(Direction.EGRESS, endpoint=CLIENT, remote_identity=EMPIRE, **common),
            was_told(Direction.INGRESS, endpoint=SERVER, remote_identity=EMPIRE, rule=ALLOWS, **common),
        ),
        case(
            "its answer, by the verdicts that were kept",
            opens,
            hook(RECORDER),
            comes_back,
            was_told(
                Direction.EGRESS, endpoint=SERVER, remote_identity=EMPIRE, rule=ALLOWS, reply=1, **common
            ),
            was_told(Direction.INGRESS, endpoint=CLIENT, remote_identity=EMPIRE, reply=1, **common),
        ),
        case(
            "to the world",
            hook(RECORDER),
            leave("confined", frame(to_world), STACK, flows=1),
            was_told(Direction.EGRESS, endpoint=CONFINED, remote_identity=WORLD[family], rule=OUT, **common),
            not_asked(Direction.INGRESS),
        ),
        case(
            "from the world",
            hook(RECORDER),
            enter("server", frame(tcp("world", "server", family, ANYONES)), ENTERED, flows=1),
            was_told(
                Direction.INGRESS, endpoint=SERVER, remote_identity=WORLD[family], rule=FOR_ANY, **common
            ),
            not_asked(Direction.EGRESS),
        ),
        case(
            "from the node itself",
            hook(RECORDER),
            enter("server", frame(tcp("host", "server", family)), ENTERED, through=NODE_ITSELF, flows=1),
            was_told(
                Direction.INGRESS, endpoint=SERVER, remote_identity=HOST_IDENTITY, rule=ALLOWS, **common
            ),
        ),
        case(
            "a ping",
            hook(RECORDER),
            leave("client", frame(ping("client", "server", family)), LOCAL, "server", flows=2),
            was_told(
                Direction.INGRESS,
                endpoint=SERVER,
                remote_identity=EMPIRE,
                rule=ECHO,
                **common | {"protocol": icmp_protocol},
            ),
        ),
        case(
            "an error is ICMP, whatever flow it speaks for",
            opens,
            hook(RECORDER),
            leave("server", error, LOCAL, "client"),
            was_told(
                Direction.INGRESS,
                endpoint=CLIENT,
                remote_identity=EMPIRE,
                reply=1,
                **common | {"protocol": icmp_protocol},
            ),
        ),
        case(
            "a later fragment has no transport header",
            leave("client", first, LOCAL, "server", flows=2),
            hook(RECORDER),
            leave("client", later, LOCAL, "server"),
            was_told(
                Direction.INGRESS,
                endpoint=SERVER,
                remote_identity=EMPIRE,
                rule=ALLOWS,
                later_fragment=1,
                **common | {"protocol": IPPROTO_UDP, "transport": header + 8 * six},
            ),
        ),
    ]


@pytest.mark.parametrize("table", both_families(facts), ids=str)
def test_a_filter_is_told(world: World, table: Case) -> None:
    play(world, table)


def test_a_filter_is_told_of_what_is_behind_extension_headers(world: World) -> None:
    headers = [(IPPROTO_HOPOPTS, extension()), (IPPROTO_DSTOPTS, extension())]
    packet = frame(tcp("client", "server", 6), extensions=headers)
    expected = {"protocol": IPPROTO_TCP, "ipv6": 1, "transport": 14 + 40 + 16, "rule": ALLOWS}
    play(
        world,
        case(
            "two headers",
            hook(RECORDER),
            leave("client", packet, LOCAL, "server", flows=2),
            was_told(Direction.INGRESS, endpoint=SERVER, remote_identity=EMPIRE, **expected),
        ),
    )
