"""Connections that are older than the programs, entered so that these know who opened them.

A packet in the middle of an unknown flow opens a new one in its own direction. For endpoints that is of no
matter: their programs are there before their first packet. The node's come when a policy first selects
it, and would take whoever speaks first for the one who opened; so its open connections are entered
before. Nobody has judged them yet: the next packet is judged, in the direction of the flow.
"""

import time
from collections.abc import Iterable
from struct import Struct

from kinety import abi
from kinety.kernel.map import Map
from kinety.kernel.tcp import Connection
from kinety.kernel.uapi import UpdateFlag

_WORDS = Struct("=4I")
_TCP = 6
_UNJUDGED = abi.Decision.unpack(bytes(abi.Decision.SIZE))


def flow_of(connection: Connection, now: int) -> tuple[abi.FlowKey, abi.ConntrackEntry]:
    """A row of ``conntrack``; ``now`` is in seconds of the monotonic clock."""
    ends = [
        (connection.local, connection.local_port),
        (connection.remote, connection.remote_port),
    ]
    low, high = sorted(ends, key=_order)
    opener = ends[1] if connection.inbound else ends[0]
    flags = abi.ConntrackFlag.REPLIED
    if opener == high:
        flags |= abi.ConntrackFlag.INITIATOR_HIGH
    key = abi.FlowKey(low=low[0], high=high[0], low_port=low[1], high_port=high[1], protocol=_TCP, proxied=0)
    entry = abi.ConntrackEntry(
        last_seen=now % (1 << 32),
        flags=int(flags),
        decision=(_UNJUDGED, _UNJUDGED),
        forward_packets=0,
        forward_bytes=0,
        reply_packets=0,
        reply_bytes=0,
        proxy_port=0,
    )
    return key, entry


def enter(conntrack: Map, connections: Iterable[Connection]) -> int:
    """Enter connections that have no entry; returns how many had none. Raises OSError."""
    now = int(time.monotonic())
    entered = 0
    for connection in connections:
        key, entry = flow_of(connection, now)
        try:
            conntrack.update(key.pack(), entry.pack(), UpdateFlag.NOEXIST)
        except FileExistsError:
            continue
        entered += 1
    return entered


def _order(end: tuple[bytes, int]) -> tuple[tuple[int, ...], int]:
    """The order of ends in a key (bpf/lib/address.h, address_less)."""
    return _WORDS.unpack(end[0])[::-1], end[1]
