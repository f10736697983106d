"""Sockets that speak as somebody else: as the server that a client meant, and to that server as the client.

A listener is bound to loopback, where nobody but the redirect reaches it, and learns whom a client meant from
the packet (UDP) or from its own end of the connection (TCP). All need CAP_NET_RAW and nothing else. Source:
ip(7), ipv6(7); include/uapi/linux/in.h, in6.h; linux/Documentation/networking/tproxy.rst.
"""

import errno
import secrets
import socket
import struct
from contextlib import suppress
from typing import NamedTuple

from kinety.proxy.mark import REDIRECTED_MARK

LOOPBACK = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}

_IP_ORIGINAL_DESTINATION, _IPV6_ORIGINAL_DESTINATION = 20, 74
_IPV6_TRANSPARENT = 75
_RECEIVE_MARK = 75
_SO_ORIGINAL_DST = 80
_BUFFER = 1 << 20
_BACKLOG = 256
_ADDRESS_AND_PORT = struct.Struct("!2xH4s")
_ADDRESS6_AND_PORT = struct.Struct("!2xH4x16s")
#: The mark of a redirected packet without an identity, as a packet brings it and SO_MARK takes it.
REDIRECTED = struct.pack("=I", REDIRECTED_MARK)
#: Room for an original destination and a mark.
ANCILLARY = socket.CMSG_SPACE(28) + socket.CMSG_SPACE(4)
#: How often to try another port before there is none.
_TRIES = 64


class Place(NamedTuple):
    """An address as text, and a port."""

    host: str
    port: int


class PortsExhausted(OSError):
    """None of the ports for servers is free for a client."""


def datagram_listener(family: int, port: int) -> socket.socket:
    """A UDP socket that is told original destinations and marks. Raises OSError."""
    made = _listener(family, socket.SOCK_DGRAM)
    try:
        if family == socket.AF_INET:
            made.setsockopt(socket.SOL_IP, _IP_ORIGINAL_DESTINATION, 1)
        else:
            made.setsockopt(socket.IPPROTO_IPV6, _IPV6_ORIGINAL_DESTINATION, 1)
        # Since Linux commit 6fd1d51cfa25 ("net: SO_RCVMARK socket option for SO_MARK with recvmsg()")
        # (in v5.19).
        with suppress(OSError):
            made.setsockopt(socket.SOL_SOCKET, _RECEIVE_MARK, 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        made.bind((LOOPBACK[socket.AddressFamily(family)], port))
    except BaseException:
        made.close()
        raise
    return made


def stream_listener(family: int, port: int) -> socket.socket:
    """A listening TCP socket. What it accepts has the original destination as its own end. Raises OSError."""
    made = _listener(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((LOOPBACK[socket.AddressFamily(family)], port))
        made.listen(_BACKLOG)
    except BaseException:
        made.close()
        raise
    return made


def told(ancillary: list[tuple[int, int, bytes]]) -> tuple[Place | None, bytes | None]:
    """The original destination and the mark that came with a datagram, each None when it did not."""
    place = mark = None
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET:
            mark = data
        elif level == socket.SOL_IP and kind == _IP_ORIGINAL_DESTINATION:
            port, packed = _ADDRESS_AND_PORT.unpack_from(data)
            place = Place(socket.inet_ntop(socket.AF_INET, packed), port)
        elif level == socket.IPPROTO_IPV6 and kind == _IPV6_ORIGINAL_DESTINATION:
            port, packed = _ADDRESS6_AND_PORT.unpack_from(data)
            place = Place(socket.inet_ntop(socket.AF_INET6, packed), port)
    return place, mark


def asked(accepted: socket.socket) -> Place:
    """Whom a TCP client had asked: the socket's own end, but for a listener's, of which the kernel is asked.

    Where that knows nothing either, somebody has connected to the listener itself.
    """
    own = Place(*accepted.getsockname()[:2])
    if own.host != LOOPBACK[accepted.family]:
        return own
    ipv4 = accepted.family == socket.AF_INET
    level, length = (socket.IPPROTO_IP, 16) if ipv4 else (socket.IPPROTO_IPV6, 28)
    try:
        name = accepted.getsockopt(level, _SO_ORIGINAL_DST, length)
    except OSError:
        return own
    return told([(level, _IP_ORIGINAL_DESTINATION if ipv4 else _IPV6_ORIGINAL_DESTINATION, name)])[0] or own


def asking(kind: int, family: int, client: str, mark: int, ports: range) -> socket.socket:
    """A socket of a client's address and one of the proxies' own ports, chosen at random, not yet connected.

    Raises PortsExhausted, and OSError for whatever else is wrong.
    """
    made = socket.socket(family, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        _be_transparent(made)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
        if kind == socket.SOCK_STREAM:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(_TRIES):
            try:
                made.bind((client, ports[secrets.randbelow(len(ports))]))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
            else:
                return made
        raise PortsExhausted(errno.EADDRINUSE, f"{client} has no free port in {ports.start}-{ports.stop - 1}")
    except BaseException:
        made.close()
        raise


def _listener(family: int, kind: int) -> socket.socket:
    made = socket.socket(family, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        _be_transparent(made)
    except BaseException:
        made.close()
        raise
    return made


def _be_transparent(made: socket.socket) -> None:
    if made.family == socket.AF_INET:
        made.setsockopt(socket.SOL_IP, socket.IP_TRANSPARENT, 1)
    else:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.setsockopt(socket.IPPROTO_IPV6, _IPV6_TRANSPARENT, 1)
