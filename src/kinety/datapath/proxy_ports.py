"""Which listeners of proxies live flows have a part in: a listener goes only when none has."""

import socket
import time
from collections import Counter
from collections.abc import Mapping

from kinety import abi
from kinety.abi import ConntrackFlag
from kinety.kernel.map import Map

#: Where the port is in a row, behind which six bytes are free.
_PORT = slice(abi.ConntrackEntry.SIZE - 8, abi.ConntrackEntry.SIZE - 6)
_NO_PORT = bytes(2)
_FIN_BOTH = ConntrackFlag.FIN_FORWARD | ConntrackFlag.FIN_REPLY


def ports_in_use(conntrack: Map) -> Mapping[int, int]:
    """Live flows by the port of a listener that they are led to or come from. Raises OSError.

    It reads all of conntrack, and looks at the fields only of flows that have a listener.
    """
    now = int(time.monotonic())
    found: Counter[int] = Counter()
    for key, value in conntrack.items():
        if value[_PORT] == _NO_PORT:
            continue
        entry = abi.ConntrackEntry.unpack(value)
        if now - entry.last_seen <= _lifetime(entry.flags, abi.FlowKey.unpack(key).protocol):
            found[entry.proxy_port] += 1
    return found


def _lifetime(flags: int, protocol: int) -> int:
    """Seconds of silence after which a flow is over (bpf/lib/conntrack.h, conntrack_lifetime)."""
    replied = flags & ConntrackFlag.REPLIED
    if protocol != socket.IPPROTO_TCP:
        return _seconds("udp_replied" if replied else "udp_idle")
    if flags & ConntrackFlag.RESET or flags & _FIN_BOTH == _FIN_BOTH:
        return _seconds("tcp_closing")
    return _seconds("tcp_established" if replied else "tcp_opening")


def _seconds(name: str) -> int:
    return abi.CONSTANTS[f"config_{name}"].default
