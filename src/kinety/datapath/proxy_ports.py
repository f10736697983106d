"""Which listeners of proxies live flows have a part in: a listener goes only when none has."""

import socket
import time
from collections import Counter
from collections.abc import Mapping
from struct import Struct

from kinety import abi
from kinety.abi import ConntrackFlag
from kinety.kernel.map import Map

# Of struct conntrack_entry what is asked here: when and how it was seen, answers, and the port. Written out
# because conntrack is large; a test holds it against the contract.
_ENTRY = Struct("=II56xQ8xH6x")
_PORT = slice(80, 82)
_NO_PORT = bytes(2)
#: Of struct flow_key.
_PROTOCOL = 36
_SECONDS = {
    name: abi.CONSTANTS[f"config_{name}"].default
    for name in ("tcp_established", "tcp_opening", "tcp_closing", "udp_replied", "udp_idle")
}
#: Plain numbers: an enumeration's cost ten times as much to calculate with.
_REPLIED, _RESET = int(ConntrackFlag.REPLIED), int(ConntrackFlag.RESET)
_REDIRECTED = int(ConntrackFlag.REDIRECTED)
_FIN_FORWARD = int(ConntrackFlag.FIN_FORWARD)
_FIN_BOTH = _FIN_FORWARD | int(ConntrackFlag.FIN_REPLY)


def ports_in_use(conntrack: Map) -> Mapping[int, int]:
    """Live flows by the port of a listener that they are led to or come from. Raises OSError.

    All of conntrack is read, in batches, and only rows that have a port are looked at.
    """
    now = int(time.monotonic())
    found: Counter[int] = Counter()
    for key, value in conntrack.items():
        if value[_PORT] == _NO_PORT:
            continue
        last_seen, flags, replies, port = _ENTRY.unpack(value)
        if now - last_seen <= _lifetime(flags, replies, key[_PROTOCOL]):
            found[port] += 1
    return found


def _lifetime(flags: int, replies: int, protocol: int) -> int:
    """Seconds of silence after which a flow is over (bpf/lib/conntrack.h, conntrack_lifetime)."""
    if protocol != socket.IPPROTO_TCP:
        return _SECONDS["udp_replied" if flags & _REPLIED else "udp_idle"]
    ends = _FIN_FORWARD if flags & _REDIRECTED and not replies else _FIN_BOTH
    if flags & _RESET or flags & ends == ends:
        return _SECONDS["tcp_closing"]
    return _SECONDS["tcp_established" if flags & _REPLIED else "tcp_opening"]
