"""Rtnetlink's notifications, cut down to what an agent acts on: links that went, addresses that moved.

Source: rtnetlink(7), netlink(7).
"""

import errno
import socket
import struct
from enum import Flag, auto
from typing import Self

_HEADER = struct.Struct("=IHHII")
_GROUPS = 0x1 | 0x10 | 0x100  # RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR
_DELLINK, _NEWADDR, _DELADDR = 17, 20, 21
_RECEIVE = 1 << 16


class Happening(Flag):
    """What has changed since the last look."""

    NOTHING = 0
    LINK_REMOVED = auto()
    ADDRESS = auto()


class NetworkMonitor:
    """Says that something changed in the calling thread's network namespace, not what it is now."""

    def __init__(self) -> None:
        kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        self._socket = socket.socket(socket.AF_NETLINK, kind, socket.NETLINK_ROUTE)
        self._socket.bind((0, _GROUPS))

    def fileno(self) -> int:
        """For the event loop: readable when something has changed."""
        return self._socket.fileno()

    def read(self) -> Happening:
        """What has changed since the last call; never waits. When the kernel had to skip: everything."""
        seen = Happening.NOTHING
        while True:
            try:
                data = self._socket.recv(_RECEIVE)
            except BlockingIOError:
                return seen
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                seen |= Happening.LINK_REMOVED | Happening.ADDRESS
                continue
            seen |= _happenings(data)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _happenings(data: bytes) -> Happening:
    seen = Happening.NOTHING
    offset = 0
    while offset + _HEADER.size <= len(data):
        length, kind, *_ = _HEADER.unpack_from(data, offset)
        if kind == _DELLINK:
            seen |= Happening.LINK_REMOVED
        elif kind in (_NEWADDR, _DELADDR):
            seen |= Happening.ADDRESS
        offset += max(_HEADER.size, (length + 3) & ~3)
    return seen
