"""Open flows, by the rows that the programs leave in ``conntrack``."""

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest

from kinety import abi
from kinety.datapath import live_flows
from kinety.datapath.live_flows import LiveFlow, LiveFlows
from kinety.kernel.map import Map, MapSpec
from kinety.kernel.uapi import MapType
from kinety.model.address import pack_address

OWN, OTHER, THIRD = map(pack_address, ("10.0.0.1", "192.0.2.2", "2001:db8::3"))
FLAG = abi.ConntrackFlag
TCP, UDP, ICMP = 6, 17, 1
NOW = 1_000_000
PORT = 10001
NO_KEY = abi.FlowKey.unpack(bytes(abi.FlowKey.SIZE))
NO_ENTRY = abi.ConntrackEntry.unpack(bytes(abi.ConntrackEntry.SIZE))

pytestmark = pytest.mark.needs("objects")


@pytest.fixture
def conntrack(make: Callable[[str], Map]) -> Map:
    return make("conntrack")


def enter(
    conntrack: Map,
    remote: bytes,
    protocol: int,
    *,
    silent: int = 0,
    flags: int = 0,
    verdict: abi.Verdict = abi.Verdict.ALLOW,
    listener: int = 0,
    replies: int = 0,
) -> None:
    """A flow between OWN and somebody, who may be at either end of the key."""
    low, high = sorted((OWN, remote))
    key = replace(NO_KEY, low=low, high=high, low_port=1, high_port=443, protocol=protocol)
    decision = (NO_ENTRY.decision[0], replace(NO_ENTRY.decision[1], verdict=int(verdict)))
    entry = replace(
        NO_ENTRY,
        last_seen=NOW - silent,
        flags=flags,
        decision=decision,
        proxy_port=listener,
        reply_packets=replies,
    )
    conntrack.update(key.pack(), entry.pack())


def test_only_those_asked_about_are_found_at_either_end(conntrack: Map) -> None:
    enter(conntrack, OTHER, TCP)
    enter(conntrack, THIRD, UDP)
    assert LiveFlows(conntrack).addresses({OTHER, THIRD}, NOW) == {OTHER, THIRD}
    assert LiveFlows(conntrack).addresses({OTHER, pack_address("192.0.2.9")}, NOW) == {OTHER}
    assert LiveFlows(conntrack).addresses(set(), NOW) == frozenset()


@pytest.mark.parametrize(
    ("protocol", "flags", "silent", "live"),
    [
        (TCP, FLAG(0), 60, True),
        (TCP, FLAG(0), 61, False),
        (TCP, FLAG.REPLIED, 21_600, True),
        (TCP, FLAG.REPLIED, 21_601, False),
        (TCP, FLAG.REPLIED | FLAG.FIN_FORWARD, 100, True),
        (TCP, FLAG.REPLIED | FLAG.FIN_FORWARD | FLAG.FIN_REPLY, 0, False),
        (TCP, FLAG.REPLIED | FLAG.RESET, 0, False),
        (UDP, FLAG(0), 60, True),
        (UDP, FLAG(0), 61, False),
        (UDP, FLAG.REPLIED, 61, True),
        (ICMP, FLAG.REPLIED, 3600, False),
    ],
)
def test_a_flow_is_over_when_the_programs_think_so(
    conntrack: Map, protocol: int, flags: int, silent: int, live: bool
) -> None:
    enter(conntrack, OTHER, protocol, silent=silent, flags=flags)
    assert (OTHER in LiveFlows(conntrack).addresses({OTHER}, NOW)) == live


def test_the_one_who_opened_it_is_the_source(conntrack: Map) -> None:
    enter(conntrack, OTHER, TCP)
    assert LiveFlows(conntrack).of({OTHER}, NOW) == {LiveFlow(OWN, OTHER, TCP, 443, False): 1}
    enter(conntrack, OTHER, TCP, flags=FLAG.INITIATOR_HIGH)
    assert LiveFlows(conntrack).of({OTHER}, NOW) == {LiveFlow(OTHER, OWN, TCP, 1, False): 1}


@pytest.mark.parametrize("listener", [0, 10000])
def test_what_a_proxy_has_is_said(conntrack: Map, listener: int) -> None:
    """And not what it is to have from now on: that is reset."""
    enter(conntrack, OTHER, TCP, verdict=abi.Verdict.REDIRECT, listener=listener)
    (found,) = LiveFlows(conntrack).of({OWN}, NOW)
    assert found.redirected == bool(listener)


def test_flows_of_a_listener_are_counted_until_they_are_forgotten(conntrack: Map) -> None:
    enter(conntrack, OTHER, TCP, listener=10000)
    enter(conntrack, THIRD, TCP, listener=10000, flags=FLAG.RESET, silent=10)
    enter(conntrack, pack_address("192.0.2.3"), TCP, listener=10001, flags=FLAG.RESET, silent=11)
    enter(conntrack, pack_address("192.0.2.4"), UDP)
    assert LiveFlows(conntrack).ports(NOW) == {10000: 2}


def test_of_a_listener_clients_that_are_there_are_its_users(conntrack: Map) -> None:
    led, others = FLAG.REDIRECTED | FLAG.REPLIED, iter(range(3, 9))
    for protocol, flags in (
        (TCP, led),
        (UDP, led),
        (TCP, FLAG.REPLIED),  # the proxy's own
        (TCP, led | FLAG.FIN_FORWARD | FLAG.FIN_REPLY),
        (TCP, led | FLAG.RESET),
    ):
        enter(
            conntrack,
            pack_address(f"192.0.2.{next(others)}"),
            protocol,
            listener=10000,
            flags=flags,
            replies=1,
        )
    assert LiveFlows(conntrack).led(NOW) == {10000: 2}
    assert LiveFlows(conntrack).ports(NOW) == {10000: 5}


def test_what_is_told_apart_in_blocks_is_what_each_row_says(
    either_kernel: object, specs: dict[str, MapSpec]
) -> None:
    """Many rows of every kind, against reading each field of each row by the contract."""
    chance = random.Random(6)
    ends = [pack_address(f"10.0.{number % 3}.{number}") for number in range(0, 256, 5)]
    rows: dict[bytes, bytes] = {}
    for _ in range(20_000):
        low, high = sorted(chance.sample(ends, 2))
        key = replace(
            NO_KEY,
            low=low,
            high=high,
            low_port=chance.choice([1, 443, 60000]),
            high_port=chance.choice([80, 443]),
            protocol=chance.choice([TCP, TCP, UDP, ICMP]),
        )
        entry = replace(
            NO_ENTRY,
            last_seen=NOW - chance.choice([0, 9, 59, 61, 179, 181, 30_000]),
            flags=chance.randrange(256),
            proxy_port=chance.choice([0, 0, 1, 256, 10_001]),
            reply_packets=chance.choice([0, 1, 1 << 40]),
        )
        rows[key.pack()] = entry.pack()
    asked = frozenset(ends[:5])
    flows: Counter[LiveFlow] = Counter()
    ports: Counter[int] = Counter()
    for key, entry in (
        (abi.FlowKey.unpack(key), abi.ConntrackEntry.unpack(value)) for key, value in rows.items()
    ):
        closed = live_flows._is_closed(entry.flags, entry.reply_packets) and key.protocol == TCP
        lives = live_flows._lifetime(entry.flags, entry.reply_packets, key.protocol)
        if entry.last_seen + lives < NOW:
            continue
        if entry.proxy_port:
            ports[entry.proxy_port] += 1
        if asked & {key.low, key.high} and not closed:
            opener, other, port = key.low, key.high, key.high_port
            if entry.flags & FLAG.INITIATOR_HIGH:
                opener, other, port = key.high, key.low, key.low_port
            flows[LiveFlow(opener, other, key.protocol, port, bool(entry.proxy_port))] += 1
    assert len(flows) > 500
    with Map.create(replace(specs["conntrack"], type=MapType.HASH, max_entries=len(rows))) as conntrack:
        conntrack.update_batch(b"".join(rows), b"".join(rows.values()), len(rows))
        assert LiveFlows(conntrack).of(asked, NOW) == flows
        assert LiveFlows(conntrack).addresses(asked, NOW) == asked
        assert LiveFlows(conntrack).ports(NOW) == ports


def test_the_fields_that_are_read_are_where_the_contract_says(conntrack: Map) -> None:
    enter(conntrack, OTHER, UDP, flags=FLAG.INITIATOR_HIGH, listener=4711, replies=5)
    (value,) = (value for _, value in conntrack.items())
    (key,) = (key for key, _ in conntrack.items())
    entry, flow = abi.ConntrackEntry.unpack(value), abi.FlowKey.unpack(key)
    assert live_flows._ENTRY.unpack(value) == (
        entry.last_seen,
        entry.flags,
        entry.reply_packets,
        entry.proxy_port,
    )
    assert live_flows._KEY.unpack_from(key) == (
        flow.low,
        flow.high,
        flow.low_port,
        flow.high_port,
        flow.protocol,
    )


@pytest.mark.parametrize(
    ("protocol", "flags", "replies", "seconds", "lives"),
    [
        (TCP, FLAG.REDIRECTED, 0, 50, True),
        (TCP, FLAG.REDIRECTED, 0, 70, False),
        (TCP, FLAG.REDIRECTED | FLAG.REPLIED, 0, 20000, True),
        (TCP, FLAG.REDIRECTED | FLAG.REPLIED, 0, 30000, False),
        (TCP, FLAG.REDIRECTED | FLAG.REPLIED | FLAG.RESET, 9, 5, True),
        (TCP, FLAG.REDIRECTED | FLAG.REPLIED | FLAG.RESET, 9, 15, False),
        (TCP, FLAG.REDIRECTED | FLAG.REPLIED | FLAG.FIN_FORWARD | FLAG.FIN_REPLY, 9, 15, False),
        (TCP, FLAG.REDIRECTED | FLAG.REPLIED | FLAG.FIN_FORWARD, 9, 15, True),
        # Answers to a client that is no endpoint are not seen, nor is their end.
        (TCP, FLAG.REDIRECTED | FLAG.REPLIED | FLAG.FIN_FORWARD, 0, 15, False),
        # One that a proxy opened is not led: its answers come from an endpoint.
        (TCP, FLAG.REPLIED | FLAG.FIN_FORWARD, 0, 15, True),
        (UDP, FLAG.REDIRECTED, 0, 50, True),
        (UDP, FLAG.REDIRECTED, 0, 70, False),
        (UDP, FLAG.REDIRECTED | FLAG.REPLIED, 1, 170, True),
        (UDP, FLAG.REDIRECTED | FLAG.REPLIED, 1, 190, False),
    ],
)
def test_a_flow_that_is_over_uses_no_listener(
    conntrack: Map, protocol: int, flags: int, replies: int, seconds: int, lives: bool
) -> None:
    enter(conntrack, OTHER, protocol, silent=seconds, flags=flags, listener=PORT, replies=replies)
    assert LiveFlows(conntrack).ports(NOW) == ({PORT: 1} if lives else {})
