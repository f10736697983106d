"""A name server for tests: one zone, addresses of both families, over UDP and TCP. Source: RFC 1035."""

import socket
import struct
import threading
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Self

from kinety.kernel.namespace import Namespace

PORT = 53
_HEADER = struct.Struct("!HHHHHH")
_ANSWER = struct.Struct("!HHHIH")
_TYPES = {4: 1, 6: 28}
_INTERNET, _POINTER_TO_QUESTION, _LIFETIME = 1, 0xC00C, 60
_ANSWERED, _NO_SUCH_NAME, _TRUNCATED = 0x8400, 0x8403, 0x8600


class NameServer:
    """Answers on an address of a namespace. ``names`` are full, without the last dot.

    One that begins with ``long`` is answered over UDP by saying that TCP is needed.
    """

    def __init__(self, namespace: Namespace, address: str, names: Mapping[str, tuple[str, ...]]) -> None:
        self._names = {name: [ip_address(each) for each in addresses] for name, addresses in names.items()}
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._datagrams = namespace.socket(family, socket.SOCK_DGRAM)
        self._listener = namespace.socket(family, socket.SOCK_STREAM)
        for each in (self._datagrams, self._listener):
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            each.bind((address, PORT))
        self._listener.listen()
        #: Names that were asked for, and how.
        self.asked: list[tuple[str, str]] = []
        self._threads = [threading.Thread(target=run) for run in (self._serve_udp, self._serve_tcp)]
        for thread in self._threads:
            thread.start()

    def _serve_udp(self) -> None:
        while True:
            question, source = self._datagrams.recvfrom(512)
            if not question:
                return
            self._datagrams.sendto(self._answer(question, "UDP"), source)

    def _serve_tcp(self) -> None:
        while True:
            try:
                stream, _ = self._listener.accept()
            except OSError:
                return
            with stream:
                stream.settimeout(10)
                # Both families' questions may come over one connection.
                with stream.makefile("rb") as questions:
                    while length := questions.read(2):
                        answer = self._answer(questions.read(int.from_bytes(length, "big")), "TCP")
                        stream.sendall(len(answer).to_bytes(2, "big") + answer)

    def _answer(self, question: bytes, how: str) -> bytes:
        number, *_ = _HEADER.unpack_from(question)
        labels, at = [], _HEADER.size
        while length := question[at]:
            labels.append(question[at + 1 : at + 1 + length].decode())
            at += 1 + length
        (kind,) = struct.unpack_from("!H", question, at + 1)
        asked = question[_HEADER.size : at + 5]
        name = ".".join(labels).lower()
        self.asked.append((name, how))
        if how == "UDP" and name.startswith("long"):
            return _HEADER.pack(number, _TRUNCATED, 1, 0, 0, 0) + asked
        if name not in self._names:
            return _HEADER.pack(number, _NO_SUCH_NAME, 1, 0, 0, 0) + asked
        found = [each for each in self._names[name] if _TYPES[each.version] == kind]
        records = b"".join(
            _ANSWER.pack(_POINTER_TO_QUESTION, kind, _INTERNET, _LIFETIME, len(each.packed)) + each.packed
            for each in found
        )
        return _HEADER.pack(number, _ANSWERED, 1, len(found), 0, 0) + asked + records

    def close(self) -> None:
        for each in (self._datagrams, self._listener):
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:  # of datagrams, that they have no other end
                continue
        for thread in self._threads:
            thread.join(10)
        for each in (self._datagrams, self._listener):
            each.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
