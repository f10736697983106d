"""Encoding and decoding of netlink messages: a header, a fixed part, and attributes in attributes.

Why this is not pyroute2, which the field uses: attaching an endpoint takes about fourteen messages,
and pyroute2 0.9.7 needs 85-265 µs to encode each (measured here; 3 of the 6 ms an attach took),
0.2 s to import and 25 MiB of memory. What is needed of the format fits below and takes about 3 µs
a message. Source: RFC 3549, section 2.2; kernel doc, userspace-api/netlink/intro.
"""

import errno
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass

_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_NUMBER = struct.Struct("=i")
_UINT32 = struct.Struct("=I")
_REQUEST, _ACK, _DUMP = 0x1, 0x4, 0x300
_CAPPED, _EXTENDED = 0x100, 0x200
_EXTENDED_MESSAGE = 1
_MAX_ERRNO = 4095
_TYPE_MASK = 0x3FFF
ERROR, DONE = 2, 3


@dataclass(frozen=True, slots=True)
class Message:
    """One received message. ``body`` is what follows the header."""

    kind: int
    flags: int
    sequence: int
    body: bytes


def encode(kind: int, flags: int, sequence: int, fixed: bytes, *attributes: bytes) -> bytes:
    """A request that wants an acknowledgement."""
    body = fixed + b"".join(attributes)
    return _HEADER.pack(_HEADER.size + len(body), kind, _REQUEST | _ACK | flags, sequence, 0) + body


def encode_dump(kind: int, fixed: bytes) -> bytes:
    """A request for a list."""
    return _HEADER.pack(_HEADER.size + len(fixed), kind, _REQUEST | _DUMP, 1, 0) + fixed


def attribute(kind: int, *parts: bytes) -> bytes:
    """An attribute of some bytes; of encoded attributes, it is a nest."""
    body = b"".join(parts)
    padding = b"\0" * (-len(body) % 4)
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(body), kind) + body + padding


def number(kind: int, value: int) -> bytes:
    """An attribute of an unsigned 32-bit number in host order."""
    return attribute(kind, _UINT32.pack(value))


def text(kind: int, value: str) -> bytes:
    """An attribute of a text, which the kernel wants to end in a zero byte."""
    return attribute(kind, value.encode(), b"\0")


def split(data: bytes) -> Iterator[Message]:
    """The messages in what one receive gave."""
    offset = 0
    while offset + _HEADER.size <= len(data):
        length, kind, flags, sequence, _ = _HEADER.unpack_from(data, offset)
        yield Message(kind, flags, sequence, data[offset + _HEADER.size : offset + length])
        offset += max((length + 3) & ~3, _HEADER.size)


def attributes(body: bytes, start: int) -> dict[int, bytes]:
    """Attributes by type, from an offset to the end."""
    found: dict[int, bytes] = {}
    while start + _ATTRIBUTE.size <= len(body):
        length, kind = _ATTRIBUTE.unpack_from(body, start)
        found[kind & _TYPE_MASK] = body[start + _ATTRIBUTE.size : start + length]
        start += max((length + 3) & ~3, _ATTRIBUTE.size)
    return found


def failure(message: Message, action: str) -> OSError | None:
    """What an acknowledgement complains of, with the kernel's own words when it has some."""
    try:
        return _complaint(message, action)
    except struct.error:
        return OSError(errno.EBADMSG, f"{action}: an answer of {len(message.body)} bytes is cut off")


def _complaint(message: Message, action: str) -> OSError | None:
    (code,) = _NUMBER.unpack_from(message.body)
    if code == 0:
        return None
    if not -_MAX_ERRNO <= code < 0:
        return OSError(errno.EBADMSG, f"{action}: an answer with {code}, which is no error's number")
    complaint = f"{action}: {os.strerror(-code)}"
    if message.flags & _EXTENDED:
        echoed = _HEADER.size
        if not message.flags & _CAPPED:
            (echoed,) = _UINT32.unpack_from(message.body, _NUMBER.size)
        extended = attributes(message.body, _NUMBER.size + ((echoed + 3) & ~3))
        if _EXTENDED_MESSAGE in extended:
            complaint += f" ({extended[_EXTENDED_MESSAGE].rstrip(bytes(1)).decode(errors='replace')})"
    return OSError(-code, complaint)
