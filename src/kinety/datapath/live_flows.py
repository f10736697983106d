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

# Of struct flow_key the ends, ports and protocol; of struct conntrack_entry when it was seen, flags, answers
# and the port of a listener. Written out because conntrack is large; a test holds them against the contract.
_KEY = Struct("!16s16sHHB")
_ENTRY = Struct("=II56xQ8xH6x")
_PORT = slice(80, 82)
_NO_PORT = bytes(2)
#: Plain numbers: an enumeration's cost ten times as much to calculate with.
_REPLIED, _RESET = int(ConntrackFlag.REPLIED), int(ConntrackFlag.RESET)
_REDIRECTED, _OPENER_HIGH = int(ConntrackFlag.REDIRECTED), int(ConntrackFlag.INITIATOR_HIGH)
_FIN_FORWARD = int(ConntrackFlag.FIN_FORWARD)
_FIN_BOTH = _FIN_FORWARD | int(ConntrackFlag.FIN_REPLY)
_SECONDS = {
    name: abi.CONSTANTS[f"config_{name}"].default
    for name in ("tcp_established", "tcp_opening", "tcp_closing", "udp_replied", "udp_idle", "icmp_idle")
}
_ICMP = (socket.IPPROTO_ICMP, socket.IPPROTO_ICMPV6)


@dataclass(frozen=True, slots=True)
class LiveFlow:
    """An open flow: packed addresses, IP protocol number, and the port at the opened end, in host order.

    ``redirected``: it goes through a proxy, or comes from one. A connection that policy has since begun to
    lead to a proxy does not: it is reset instead.
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
        for key, value in self._open(addresses, now):
            low, high, low_port, high_port, protocol = _KEY.unpack_from(key)
            _, flags, _, listener = _ENTRY.unpack(value)
            redirected = listener != 0
            if flags & _OPENER_HIGH:
                yield LiveFlow(high, low, protocol, low_port, redirected)
            else:
                yield LiveFlow(low, high, protocol, high_port, redirected)

    def addresses(self, among: Set[bytes], now: float | None = None) -> frozenset[bytes]:
        """Those of some packed addresses that are an end of a flow; as ``of``."""
        ends = (end for key, _ in self._open(among, now) for end in _KEY.unpack_from(key)[:2])
        return frozenset(ends) & among

    def ports(self, now: float | None = None) -> Mapping[int, int]:
        """How many flows are led to the listener of a port, or come from it; those just closed included."""
        return Counter(port for port, *_ in self._with_port(now))

    def led(self, now: float | None = None) -> Mapping[int, int]:
        """How many open flows of clients are led to the listener of a port."""
        return Counter(
            port
            for port, protocol, flags, replies in self._with_port(now)
            if flags & _REDIRECTED and not (protocol == socket.IPPROTO_TCP and _is_closed(flags, replies))
        )

    def _with_port(self, now: float | None) -> Iterator[tuple[int, int, int, int]]:
        """Port of the listener, protocol, flags and answers of flows that have one and are not over."""
        now = time.monotonic() if now is None else now
        for key, value in self._conntrack.items():
            if value[_PORT] == _NO_PORT:
                continue
            last_seen, flags, replies, port = _ENTRY.unpack(value)
            protocol = _KEY.unpack_from(key)[-1]
            if now - last_seen <= _lifetime(flags, replies, protocol):
                yield port, protocol, flags, replies

    def _open(self, addresses: Set[bytes], now: float | None) -> Iterator[tuple[bytes, bytes]]:
        """Rows of open flows with one of these ends."""
        now = time.monotonic() if now is None else now
        for key, value in self._conntrack.items():
            low, high, *_, protocol = _KEY.unpack_from(key)
            if low not in addresses and high not in addresses:
                continue
            last_seen, flags, replies, _ = _ENTRY.unpack(value)
            closed = protocol == socket.IPPROTO_TCP and _is_closed(flags, replies)
            if not closed and now - last_seen <= _lifetime(flags, replies, protocol):
                yield key, value


def _is_closed(flags: int, replies: int) -> bool:
    """A proxy's answers may go a way on which nobody sees them end."""
    ends = _FIN_FORWARD if flags & _REDIRECTED and not replies else _FIN_BOTH
    return bool(flags & _RESET) or flags & ends == ends


def _lifetime(flags: int, replies: int, protocol: int) -> int:
    """Seconds of silence after which a flow is over (bpf/lib/conntrack.h, conntrack_lifetime)."""
    replied = flags & _REPLIED
    if protocol == socket.IPPROTO_TCP:
        if _is_closed(flags, replies):
            return _SECONDS["tcp_closing"]
        return _SECONDS["tcp_established" if replied else "tcp_opening"]
    if protocol in _ICMP:
        return _SECONDS["icmp_idle"]
    return _SECONDS["udp_replied" if replied else "udp_idle"]
