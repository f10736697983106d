"""Flows that are open: read from ``conntrack``, all in one go.

A row is 200 bytes and there may be a hundred thousand, so of most of them nothing is looked at but what says
that nobody asks for them.
"""

import socket
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from struct import Struct

from kinety import abi
from kinety.abi import ConntrackFlag
from kinety.kernel.map import Map

_ENDS = Struct("!16s16sHHB")
#: Where the port of a listener is in a row, behind which six bytes are free.
_PORT = slice(abi.ConntrackEntry.SIZE - 8, abi.ConntrackEntry.SIZE - 6)
_NO_PORT = bytes(2)
_FIN_BOTH = ConntrackFlag.FIN_FORWARD | ConntrackFlag.FIN_REPLY
_ICMP = (socket.IPPROTO_ICMP, socket.IPPROTO_ICMPV6)


@dataclass(frozen=True, slots=True)
class LiveFlow:
    """An open flow: packed addresses, IP protocol number, and the port at the opened end, in host order.

    ``redirected``: it goes through a proxy.
    """

    source: bytes
    destination: bytes
    protocol: int
    port: int
    redirected: bool


class LiveFlows:
    """The open flows of a node. Every question reads all of them, and raises OSError when that is refused."""

    def __init__(self, conntrack: Map) -> None:
        self._conntrack = conntrack

    def of(self, addresses: Set[bytes], now: float | None = None) -> Iterator[LiveFlow]:
        """Those with an end at one of these packed addresses, but for connections that both ends closed.

        ``now`` is in seconds of the monotonic clock.
        """
        for ends, entry in self._open(addresses, now):
            low, high, low_port, high_port, protocol = ends
            redirected = any(each.verdict == abi.Verdict.REDIRECT for each in entry.decision)
            if entry.flags & ConntrackFlag.INITIATOR_HIGH:
                yield LiveFlow(high, low, protocol, low_port, redirected)
            else:
                yield LiveFlow(low, high, protocol, high_port, redirected)

    def addresses(self, among: Set[bytes], now: float | None = None) -> frozenset[bytes]:
        """Those of some packed addresses that are an end of a flow; as ``of``."""
        return frozenset(end for ends, _ in self._open(among, now) for end in ends[:2] if end in among)

    def ports(self, now: float | None = None) -> Mapping[int, int]:
        """How many flows are led to the listener of a port, or come from it; those just closed included."""
        found: Counter[int] = Counter()
        now = time.monotonic() if now is None else now
        for key, value in self._conntrack.items():
            if value[_PORT] != _NO_PORT:
                entry = abi.ConntrackEntry.unpack(value)
                if now - entry.last_seen <= _lifetime(entry.flags, _ENDS.unpack_from(key)[-1]):
                    found[entry.proxy_port] += 1
        return found

    def _open(
        self, addresses: Set[bytes], now: float | None
    ) -> Iterator[tuple[tuple[bytes, bytes, int, int, int], abi.ConntrackEntry]]:
        now = time.monotonic() if now is None else now
        for key, value in self._conntrack.items():
            ends = _ENDS.unpack_from(key)
            if ends[0] not in addresses and ends[1] not in addresses:
                continue
            entry = abi.ConntrackEntry.unpack(value)
            closed = ends[-1] == socket.IPPROTO_TCP and _is_closed(entry.flags)
            if not closed and now - entry.last_seen <= _lifetime(entry.flags, ends[-1]):
                yield ends, entry


def _is_closed(flags: int) -> bool:
    return bool(flags & ConntrackFlag.RESET) or flags & _FIN_BOTH == _FIN_BOTH


def _lifetime(flags: int, protocol: int) -> int:
    """Seconds of silence after which a flow is over (bpf/lib/conntrack.h, conntrack_lifetime)."""
    replied = flags & ConntrackFlag.REPLIED
    if protocol == socket.IPPROTO_TCP:
        name = "tcp_established" if replied else "tcp_opening"
        if _is_closed(flags):
            name = "tcp_closing"
    elif protocol in _ICMP:
        name = "icmp_idle"
    else:
        name = "udp_replied" if replied else "udp_idle"
    return abi.CONSTANTS[f"config_{name}"].default
