"""The TCP connections of this network namespace, and where somebody listens.

Source: Documentation/networking/proc_net_tcp.rst of the kernel.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_TABLES = (Path("/proc/thread-self/net/tcp"), Path("/proc/thread-self/net/tcp6"))
_TIME_WAIT, _CLOSE, _LISTEN = "06", "07", "0A"
_WORD_DIGITS = 8
_MAPPED = bytes(10) + b"\xff\xff"
_ADDRESS_BYTES = 16
_LOOPBACK_IPV4 = _MAPPED + b"\x7f"
_LOOPBACK_IPV6 = bytes(15) + b"\x01"


@dataclass(frozen=True, slots=True, order=True)
class Connection:
    """One open connection. Addresses are 16 bytes, IPv4 mapped; ``inbound``: the other end opened it.

    That is said of connections at a port where somebody listens.
    """

    local: bytes
    local_port: int
    remote: bytes
    remote_port: int
    inbound: bool


@dataclass(frozen=True, slots=True)
class TcpSockets:
    """What there is but for the loopback: connections, and ports at which somebody listens."""

    connections: tuple[Connection, ...]
    listening: frozenset[int]

    @classmethod
    def here(cls) -> "TcpSockets":
        """Of the calling thread's network namespace, at this moment."""
        return cls.parse("".join(table.read_text("ascii") for table in _TABLES if table.exists()))

    @classmethod
    def parse(cls, text: str) -> "TcpSockets":
        """Read what the kernel tells."""
        rows = list(_rows(text))
        listening = frozenset(port for state, _, port, _, _ in rows if state == _LISTEN)
        found = {
            Connection(local, local_port, remote, remote_port, local_port in listening)
            for state, local, local_port, remote, remote_port in rows
            if state not in (_TIME_WAIT, _CLOSE, _LISTEN)
        }
        return cls(tuple(sorted(found)), listening)


def _rows(text: str) -> Iterator[tuple[str, bytes, int, bytes, int]]:
    for line in text.splitlines():
        words = line.split()
        if len(words) < 4 or ":" not in words[1]:
            continue  # the heading
        (local, local_port), (remote, remote_port) = _end(words[1]), _end(words[2])
        if not local.startswith(_LOOPBACK_IPV4) and local != _LOOPBACK_IPV6:
            yield words[3], local, local_port, remote, remote_port


def _end(text: str) -> tuple[bytes, int]:
    """An address of words in the machine's byte order, and a port."""
    address, _, port = text.partition(":")
    words = (address[at : at + _WORD_DIGITS] for at in range(0, len(address), _WORD_DIGITS))
    packed = b"".join(int(word, 16).to_bytes(4, sys.byteorder) for word in words)
    return packed if len(packed) == _ADDRESS_BYTES else _MAPPED + packed, int(port, 16)
