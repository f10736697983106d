"""Packets damaged at random: whatever comes, one answer, one reason, and no lie passes.

The tables say what each kind of packet deserves; here nobody says what a packet is. Only what must
hold for every packet is asked.
"""

from socket import IPPROTO_DSTOPTS, IPPROTO_HOPOPTS, IPPROTO_ICMPV6, IPPROTO_ROUTING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kinety.abi import EventKind, Reason
from kinety.datapath.template import FROM_ENDPOINT, TO_ENDPOINT
from kinety.testing.packet import ETHERNET_BYTES, arp, extension, fragments, frame, icmp_error, neighbour
from tests.packet.node import ANYONES, ping, tcp, udp, where
from tests.packet.table import OK, REDIRECT, SHOT, UPLINK, World

pytestmark = pytest.mark.needs("root", "bpf", "tcx", "netns", "bpffs", "nft", "objects")

FORWARDED = {Reason.FORWARDED_LOCAL, Reason.FORWARDED_STACK, Reason.FORWARDED_ENDPOINT}
IP_HEADER = {0x0800: 20, 0x86DD: 40}


def seeds() -> list[bytes]:
    """Good packets of every kind, from client to server."""
    made = [arp(1, where("client", 4), where("server", 4))]
    made += [neighbour(135, where("client", 6), where("server", 6))]
    for family in (4, 6):
        flow, question = tcp("client", "server", family), udp("client", "server", family)
        made += [frame(flow), frame(question), frame(ping("client", "server", family))]
        made += fragments(question, [48], identification=1, payload=bytes(80))
        made += [icmp_error(where("client", family), frame(flow.reply()), 3)]
    chain = [(IPPROTO_HOPOPTS, extension()), (IPPROTO_ROUTING, extension()), (IPPROTO_DSTOPTS, extension())]
    made += [frame(tcp("client", "server", 6), extensions=chain)]
    return made


SEEDS = seeds()


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A good packet with some bytes replaced, most of them in its headers, and perhaps its end cut off."""
    packet = bytearray(draw(st.sampled_from(SEEDS)))
    places = st.integers(12, len(packet) - 1)
    for place, value in draw(st.lists(st.tuples(places, st.integers(0, 255)), max_size=6)):
        packet[place] = value
    kind = int.from_bytes(packet[12:14])
    shortest = ETHERNET_BYTES + IP_HEADER.get(kind, 0)  # the kernel tries no shorter one
    packet += bytes(max(0, shortest - len(packet)))
    if draw(st.booleans()):
        packet = packet[: draw(st.integers(shortest, len(packet)))]
    return bytes(packet)


def own(packet: bytes, name: str) -> bool:
    """Whether a packet's source, wherever its header has it, is an endpoint's own."""
    if packet[12:14] == b"\x08\x00":
        return packet[26:30] == where(name, 4)[12:]
    if packet[12:14] == b"\x86\xdd":
        return packet[22:38] == where(name, 6)
    return False


def ask(world: World, program: str, packet: bytes, at: str, through: str) -> tuple[Reason, bytes]:
    """What one packet does; the same for all: one answer, one reason, at most one drop told."""
    world.events()
    before = world.counted()
    ran = world.run(program, packet, world.index(at), world.index(through))
    after = world.counted()
    [(reason, _)] = [key for key, count in after.items() if count != before.get(key, 0)]
    drops = [event for event in world.events() if event.kind == EventKind.DROP]
    assert ran.retval in (OK, REDIRECT, SHOT)
    assert len(drops) == (ran.retval == SHOT)
    assert all(drop.reason == reason for drop in drops)
    return reason, ran.data


common = settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@common
@given(packet=damaged())
def test_what_leaves_has_its_senders_address(world: World, packet: bytes) -> None:
    """And comes out as it was, but for the hop that it made."""
    reason, out = ask(world, FROM_ENDPOINT, packet, "client", "")
    if reason not in FORWARDED:
        return
    assert packet[12:14] in (b"\x08\x06", b"\x86\xdd", b"\x08\x00")
    if packet[12:14] != b"\x08\x06" and not an_advertisement(packet):
        assert own(packet, "client")
    changed = {place for place, (was, now) in enumerate(zip(packet, out, strict=True)) if was != now}
    allowed = {*range(12), 22, 24, 25} if packet[12:14] == b"\x08\x00" else {*range(12), 21}
    assert changed <= (allowed if reason is Reason.FORWARDED_LOCAL else set())


def an_advertisement(packet: bytes) -> bool:
    """Neighbour discovery may come from a link-local address."""
    return packet[22:24] == b"\xfe\x80" and IPPROTO_ICMPV6 in packet[20:]


@common
@given(packet=damaged())
def test_what_enters_from_outside_is_no_endpoints(world: World, packet: bytes) -> None:
    """The seeds are the client's packets: only those whose source was damaged may come from outside."""
    reason, out = ask(world, TO_ENDPOINT, packet, "server", UPLINK)
    assert out == packet
    if reason in FORWARDED:
        assert not own(packet, "client")
        assert not own(packet, "server")


@common
@given(packet=damaged())
def test_a_guarded_port_is_reached_by_no_damage(world: World, packet: bytes) -> None:
    """From the stranger nothing but the one port for everybody gets through, and no error message."""
    source = {b"\x08\x00": (26, where("stranger", 4)[12:]), b"\x86\xdd": (22, where("stranger", 6))}
    if packet[12:14] not in source:
        return
    place, address = source[packet[12:14]]
    packet = packet[:place] + address + packet[place + len(address) :]
    world.forget_flows()
    reason, _ = ask(world, FROM_ENDPOINT, packet, "stranger", "")
    if reason is Reason.FORWARDED_LOCAL and to_server(packet):
        assert ANYONES.to_bytes(2) in packet, "neither the guarded ports nor any other"


def to_server(packet: bytes) -> bool:
    """Whether a packet's destination is the server."""
    if packet[12:14] == b"\x08\x00":
        return packet[30:34] == where("server", 4)[12:]
    return packet[38:54] == where("server", 6)


def test_the_seeds_are_good_packets(world: World) -> None:
    """Damage would mean little to packets that nobody would let pass whole."""
    world.forget_flows()
    passed = {ask(world, FROM_ENDPOINT, packet, "client", "")[0] for packet in SEEDS}
    assert {Reason.FORWARDED_LOCAL, Reason.ANSWERED} <= passed
