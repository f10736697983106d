"""Answers to clients by UDP, from the address and port that the client had asked.

A socket bound to that address would do it more simply, but there can be none while a process of the node is
bound to the same port on every address (EADDRINUSE), and one that is there catches packets of redirected
flows. So they leave by a raw socket, which has no place in any table; it is sent nothing either.
"""

import array
import socket
import struct

from kinety.proxy.dns.recent import Recent
from kinety.proxy.dns.transparent import LOOPBACK, Place

_UDP = socket.IPPROTO_UDP
_UDP_HEADER = struct.Struct("!HHHH")
_IPV4_INFO, _IPV6_INFO = struct.Struct("=i4s4s"), struct.Struct("=16si")
_IP_PKTINFO, _IPV6_TRANSPARENT = 8, 75
_ATTACH_FILTER = 26
_FILTER_PROGRAM = struct.Struct("@HP")
#: struct sock_filter {BPF_RET | BPF_K, 0, 0, 0}: keep no byte of any packet.
_KEEP_NOTHING = struct.Struct("=HBBI").pack(0x06, 0, 0, 0)
_LONGEST = 0xFFFF - _UDP_HEADER.size
_REMEMBERED = 4096

_Ancillary = list[tuple[int, int, bytes]]


class Replies:
    """A way back to the clients of one address family."""

    def __init__(self, family: int) -> None:
        """Raises OSError without CAP_NET_RAW."""
        self._family = family
        #: What a server's answers to a client have in common: where they go, and the sum of that.
        self._ways: Recent[tuple[str, str, bytes], tuple[_Ancillary, int]] = Recent(_REMEMBERED)
        self._socket = socket.socket(
            family, socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, _UDP
        )
        try:
            self._hear_nothing()
            if family == socket.AF_INET:
                self._socket.setsockopt(socket.SOL_IP, socket.IP_TRANSPARENT, 1)
            else:
                self._socket.setsockopt(socket.IPPROTO_IPV6, _IPV6_TRANSPARENT, 1)
            self._socket.bind((LOOPBACK[socket.AddressFamily(family)], 0))
        except BaseException:
            self._socket.close()
            raise

    def send(self, message: bytes, client: tuple[str, int], server: Place, mark: bytes) -> bool:
        """Send a client an answer in a server's name. False when it did not leave: as if lost on the way."""
        if len(message) > _LONGEST:
            return False
        way = self._ways.get((client[0], server.host, mark))
        if way is None:
            way = self._way(client[0], server.host, mark)
            self._ways.put((client[0], server.host, mark), way)
        ancillary, addresses = way
        length = _UDP_HEADER.size + len(message)
        padded = message + b"\0" if length & 1 else message
        words = addresses + server.port + client[1] + 2 * length + int.from_bytes(padded, "big")
        # 0 says that there is no sum, and is the same as its complement (RFC 768).
        header = _UDP_HEADER.pack(server.port, client[1], length, -words % 0xFFFF or 0xFFFF)
        try:
            self._socket.sendmsg((header, message), ancillary, 0, (client[0], 0))
        except OSError:
            return False
        return True

    def close(self) -> None:
        """Let go of the socket."""
        self._socket.close()

    def _way(self, client: str, server: str, mark: bytes) -> tuple[_Ancillary, int]:
        packed = [socket.inet_pton(self._family, each.partition("%")[0]) for each in (client, server)]
        if self._family == socket.AF_INET:
            source = (socket.SOL_IP, _IP_PKTINFO, _IPV4_INFO.pack(0, packed[1], bytes(4)))
        else:
            source = (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, _IPV6_INFO.pack(packed[1], 0))
        words = int.from_bytes(b"".join(packed), "big") + _UDP
        return [source, (socket.SOL_SOCKET, socket.SO_MARK, mark)], words

    def _hear_nothing(self) -> None:
        """Raw sockets get a copy of every packet of their protocol: refuse them unread."""
        program = array.array("B", _KEEP_NOTHING)
        address, _ = program.buffer_info()
        self._socket.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, _FILTER_PROGRAM.pack(1, address))
