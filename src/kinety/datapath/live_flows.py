"""Flows that are open: read from ``conntrack``, all in one go.

A row is 128 bytes, there may be a hundred thousand, and few are asked for. So they are read in blocks, and
the fields that tell most of them apart are looked at in all rows of a block at once: every so many bytes of
it, translated to whether they may do. Only of rows that may, Python sees anything.
"""

import socket
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from itertools import compress
from struct import Struct

from kinety import abi
from kinety.abi import ConntrackFlag
from kinety.kernel.map import Map

# Of struct flow_key the ends, ports and protocol; of struct conntrack_entry when it was seen, flags, answers
# and the port of a listener. Written out because conntrack is large; a test holds them against the contract.
_KEY = Struct("!16s16sHHB3x")
_ENTRY = Struct("=II56xQ8xH6x")
# Bytes of a row that tell most apart: the last of each end, the protocol, all flags there are, and the port.
_LOW, _HIGH, _PROTOCOL = (slice(at, None, _KEY.size) for at in (15, 31, 36))
_FLAGS = slice(4 if sys.byteorder == "little" else 7, None, _ENTRY.size)
_PORT = tuple(slice(at, None, _ENTRY.size) for at in (80, 81))
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

#: What ``_KEY`` and ``_ENTRY`` read.
_Key = tuple[bytes, bytes, int, int, int]
_Entry = tuple[int, int, int, int]


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

    def of(self, addresses: Set[bytes], now: float | None = None) -> Mapping[LiveFlow, int]:
        """How many have an end at one of these packed addresses, but for connections that both ends closed.

        ``now`` is in seconds of the monotonic clock.
        """
        found: Counter[tuple[bytes, bytes, int, int, bool]] = Counter()
        for (low, high, low_port, high_port, protocol), (_, flags, _, listener) in self._open(addresses, now):
            if flags & _OPENER_HIGH:
                found[high, low, protocol, low_port, listener != 0] += 1
            else:
                found[low, high, protocol, high_port, listener != 0] += 1
        return {LiveFlow(*flow): count for flow, count in found.items()}

    def addresses(self, among: Set[bytes], now: float | None = None) -> frozenset[bytes]:
        """Those of some packed addresses that are an end of a flow; as ``of``."""
        return frozenset(end for key, _ in self._open(among, now) for end in key[:2]) & among

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
        for (*_, protocol), (last_seen, flags, replies, port) in self._rows(_have_a_port):
            if now - last_seen <= _lifetime(flags, replies, protocol):
                yield port, protocol, flags, replies

    def _open(self, addresses: Set[bytes], now: float | None) -> Iterator[tuple[_Key, _Entry]]:
        """Open flows with one of these ends."""
        now = time.monotonic() if now is None else now
        asked_for = _table(end[-1] for end in addresses)

        def may_do(keys: bytes, values: bytes) -> bytes:
            ends = _either(keys[_LOW].translate(asked_for), keys[_HIGH].translate(asked_for))
            is_open = _either(values[_FLAGS].translate(_UNCLOSED), keys[_PROTOCOL].translate(_NOT_TCP))
            return _both(ends, is_open)

        for key, entry in self._rows(may_do):
            low, high, *_, protocol = key
            if low not in addresses and high not in addresses:
                continue
            last_seen, flags, replies, _ = entry
            closed = protocol == socket.IPPROTO_TCP and _is_closed(flags, replies)
            if not closed and now - last_seen <= _lifetime(flags, replies, protocol):
                yield key, entry

    def _rows(self, may_do: Callable[[bytes, bytes], bytes]) -> Iterator[tuple[_Key, _Entry]]:
        """Rows that may do, which a byte for each row of a block's keys and values says: not 0."""
        for keys, values in self._conntrack.blocks():
            chosen = may_do(keys, values)
            for row in compress(range(len(chosen)), chosen):
                yield _KEY.unpack_from(keys, row * _KEY.size), _ENTRY.unpack_from(values, row * _ENTRY.size)


def _table(wanted: Iterable[int]) -> bytes:
    """Translates bytes to 1 where they are wanted, else to 0."""
    return bytes(map(set(wanted).__contains__, range(256)))


def _either(one: bytes, other: bytes) -> bytes:
    return (int.from_bytes(one) | int.from_bytes(other)).to_bytes(len(one))


def _both(one: bytes, other: bytes) -> bytes:
    return (int.from_bytes(one) & int.from_bytes(other)).to_bytes(len(one))


def _have_a_port(keys: bytes, values: bytes) -> bytes:
    return _either(values[_PORT[0]], values[_PORT[1]])


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


#: Flags of a connection that may be open; and protocols that know no end.
_UNCLOSED = _table(flags for flags in range(256) if not flags & _RESET and flags & _FIN_BOTH != _FIN_BOTH)
_NOT_TCP = _table(protocol for protocol in range(256) if protocol != socket.IPPROTO_TCP)
