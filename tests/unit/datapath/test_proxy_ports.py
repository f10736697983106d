"""Which listeners are in use, row by row."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from socket import IPPROTO_TCP, IPPROTO_UDP

import pytest

from kinety import abi
from kinety.abi import ConntrackFlag
from kinety.datapath.proxy_ports import ports_in_use
from kinety.kernel.map import Map

pytestmark = pytest.mark.needs("objects")

LED, REPLIED, RESET = ConntrackFlag.REDIRECTED, ConntrackFlag.REPLIED, ConntrackFlag.RESET
FORWARD, BACK = ConntrackFlag.FIN_FORWARD, ConntrackFlag.FIN_REPLY
EMPTY = abi.ConntrackEntry.unpack(bytes(abi.ConntrackEntry.SIZE))
PORT = 10001


@pytest.fixture
def conntrack(make: Callable[[str], Map]) -> Map:
    return make("conntrack")


def enter(conntrack: Map, number: int, protocol: int, entry: abi.ConntrackEntry) -> None:
    key = abi.FlowKey.unpack(bytes(abi.FlowKey.SIZE))
    conntrack.update(replace(key, low_port=number, protocol=protocol).pack(), entry.pack())


def test_flows_are_counted_by_their_listener(conntrack: Map) -> None:
    now = int(time.monotonic())
    for number, port in enumerate((PORT, PORT, PORT + 1, 0)):
        entry = replace(EMPTY, last_seen=now, flags=LED | REPLIED, proxy_port=port, forward_bytes=1 << 40)
        enter(conntrack, number, IPPROTO_TCP, entry)
    assert ports_in_use(conntrack) == {PORT: 2, PORT + 1: 1}


@pytest.mark.parametrize(
    ("protocol", "flags", "replies", "seconds", "lives"),
    [
        (IPPROTO_TCP, LED, 0, 50, True),
        (IPPROTO_TCP, LED, 0, 70, False),
        (IPPROTO_TCP, LED | REPLIED, 0, 20000, True),
        (IPPROTO_TCP, LED | REPLIED, 0, 30000, False),
        (IPPROTO_TCP, LED | REPLIED | RESET, 9, 5, True),
        (IPPROTO_TCP, LED | REPLIED | RESET, 9, 15, False),
        (IPPROTO_TCP, LED | REPLIED | FORWARD | BACK, 9, 15, False),
        (IPPROTO_TCP, LED | REPLIED | FORWARD, 9, 15, True),
        # Answers to a client that is no endpoint are not seen, nor is their end.
        (IPPROTO_TCP, LED | REPLIED | FORWARD, 0, 15, False),
        # One that a proxy opened is not led: its answers come from an endpoint.
        (IPPROTO_TCP, REPLIED | FORWARD, 0, 15, True),
        (IPPROTO_UDP, LED, 0, 50, True),
        (IPPROTO_UDP, LED, 0, 70, False),
        (IPPROTO_UDP, LED | REPLIED, 1, 170, True),
        (IPPROTO_UDP, LED | REPLIED, 1, 190, False),
    ],
)
def test_a_flow_that_is_over_uses_none(
    conntrack: Map, protocol: int, flags: int, replies: int, seconds: int, lives: bool
) -> None:
    last_seen = (int(time.monotonic()) - seconds) % (1 << 32)
    entry = replace(EMPTY, last_seen=last_seen, flags=int(flags), reply_packets=replies, proxy_port=PORT)
    enter(conntrack, 1, protocol, entry)
    assert ports_in_use(conntrack) == ({PORT: 1} if lives else {})
