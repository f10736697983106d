"""Who somebody talks to: addresses with a flow that is open, read from ``conntrack`` all in one go.

There may be a hundred thousand rows, so of most of them nothing but the two ends is looked at.
"""

import socket
import time
from collections.abc import Set

from kinety import abi
from kinety.abi import ConntrackFlag
from kinety.kernel.map import Map

_LOW, _HIGH = slice(0, 16), slice(16, 32)
_CLOSED = (ConntrackFlag.FIN_FORWARD | ConntrackFlag.FIN_REPLY, ConntrackFlag.RESET)
_ICMP = (socket.IPPROTO_ICMP, socket.IPPROTO_ICMPV6)


def live_addresses(conntrack: Map, among: Set[bytes], now: int | None = None) -> frozenset[bytes]:
    """Those of some packed addresses that are an end of an open flow. Raises OSError.

    ``now`` is in seconds of the monotonic clock. A connection that both ends have closed is not open.
    """
    now = int(time.monotonic()) if now is None else now
    found: set[bytes] = set()
    for key, value in conntrack.items():
        ends = {key[_LOW], key[_HIGH]} & among
        if ends - found and _is_open(abi.FlowKey.unpack(key), abi.ConntrackEntry.unpack(value), now):
            found |= ends
    return frozenset(found)


def _is_open(key: abi.FlowKey, entry: abi.ConntrackEntry, now: int) -> bool:
    """As the programs see it (bpf/lib/conntrack.h, conntrack_is_over), and not closed either."""
    replied = bool(entry.flags & ConntrackFlag.REPLIED)
    if key.protocol == socket.IPPROTO_TCP:
        if any(entry.flags & each == each for each in _CLOSED):
            return False
        lifetime = "tcp_established" if replied else "tcp_opening"
    elif key.protocol in _ICMP:
        lifetime = "icmp_idle"
    else:
        lifetime = "udp_replied" if replied else "udp_idle"
    return now - entry.last_seen <= abi.CONSTANTS[f"config_{lifetime}"].default
