"""What a client asks, read strictly: a message that two readers could take for two things is refused.

Whatever is odd is told apart here and nowhere else. Names become text as rules have it: lower case, no final
dot, and ``\\DDD`` for what is no printable ASCII, for a backslash, and for a dot within a label. The usual
notation of that dot, ``\\.``, would do for people; a pattern would take it for the end of a label.
"""

import re
import struct
from dataclasses import dataclass
from enum import Enum, IntEnum, StrEnum
from typing import NamedTuple, Self

import dns.exception
import dns.name
import dns.wire

HEADER = struct.Struct("!HHHHHH")
_KIND_AND_CLASS = struct.Struct("!HH")
_RECORD_HEADER = "!HHIH"

RESPONSE, TRUNCATED = 0x8000, 0x0200
_OPCODE, _RECURSION_DESIRED, _CHECKING_DISABLED = 0x7800, 0x0100, 0x0010
_INTERNET = 1
_OPT, _TSIG = 41, 250
_SIGNED_WANTED = 0x8000
#: Types of questions that name no records (RFC 6895, 3.1), TKEY, IXFR and AXFR among them. ANY, 255, does.
_META = range(128, 255)
_MOST_ADDITIONAL = 2
#: The name of EDNS, which need not be read letter by letter.
_ROOT = b"\0"
#: Printable ASCII but for the dot and the backslash.
_PLAIN = re.compile(r"[\x21-\x2d\x2f-\x5b\x5d-\x7e]*")
#: What we say that we take, in answers that are our own (RFC 9715).
_OWN_PAYLOAD = 1232
_EXTENDED_ERROR = 15


class ResponseCode(IntEnum):
    """How an answer that is our own ends (RFC 1035, 4.1.1)."""

    FORMAT_ERROR = 1
    SERVER_FAILURE = 2
    NAME_ERROR = 3
    NOT_IMPLEMENTED = 4
    REFUSED = 5


class Remark(Enum):
    """Why an answer is our own: the code of an extended DNS error (RFC 8914, 4), and words to it."""

    DENIED = 18, "no rule lets this be asked for"
    PROTECTED = 18, "the answer leads to a protected address"
    UNANSWERED = 23, "the name server cannot be reached"
    UNREADABLE = 24, "the name server's answer cannot be read"
    UNLEARNT = 14, "the node has not learnt the addresses of this answer"
    CROWDED = 14, "too many answers for this client are being learnt"

    def __init__(self, code: int, text: str) -> None:
        self.option = struct.pack("!HHH", _EXTENDED_ERROR, 2 + len(text), code) + text.encode()


class Why(StrEnum):
    """What a question was refused for."""

    NAME = "name"
    TYPE = "type"
    CLASS = "class"
    MALFORMED = "malformed"
    OPCODE = "opcode"
    REBINDING = "rebinding"


class Malformed(ValueError):
    """A message that is not answered by asking a server.

    ``code`` is what the client is told; None when it is told nothing, since it is no question at all.
    """

    def __init__(self, message: str, why: Why = Why.MALFORMED, code: ResponseCode | None = None) -> None:
        super().__init__(message)
        self.why = why
        self.code = code


class Edns(NamedTuple):
    """What a client says by EDNS (RFC 6891): bytes of UDP that it takes, and whether it wants signatures."""

    payload: int
    signed: bool


@dataclass(frozen=True, slots=True)
class Question:
    """One question. ``wire`` is its section as it came, case and all; ``flags`` the header's."""

    name: str
    kind: int
    class_: int
    wire: bytes
    flags: int
    edns: Edns | None = None

    @classmethod
    def parse(cls, message: bytes) -> Self:
        """Read a query message. Raises Malformed. Source: RFC 1035, 4; RFC 6891, 6; RFC 9619."""
        if len(message) < HEADER.size:
            raise Malformed("the message is shorter than a header")
        _, flags, questions, answers, authorities, additional = HEADER.unpack_from(message)
        if flags & RESPONSE:
            raise Malformed("the message is an answer, and nobody asked")
        if flags & _OPCODE:
            raise Malformed("the message is no query", Why.OPCODE, ResponseCode.NOT_IMPLEMENTED)
        if questions != 1:
            raise _format_error(f"the message has {questions} questions")
        parser = dns.wire.Parser(message, HEADER.size)
        try:
            # No pointer can be needed: nothing comes before the name.
            name = parser.get_name(decompress=False)
            kind, class_ = parser.get_struct(_KIND_AND_CLASS.format)
            end = parser.current
            if flags & TRUNCATED or answers or authorities or additional > _MOST_ADDITIONAL:
                if kind in _META:
                    return cls(text_of(name), kind, class_, message[HEADER.size : end], flags)
                raise _format_error("a question brings records")
            edns = _additional(parser, additional)
        except dns.exception.DNSException as error:
            raise _format_error(f"the message cannot be read: {type(error).__name__}") from error
        if parser.remaining():
            raise _format_error("bytes follow the message")
        return cls(text_of(name), kind, class_, message[HEADER.size : end], flags, edns)

    @property
    def refusal(self) -> Why | None:
        """What is refused whatever the rules say: other classes than the Internet's, transfers, no type."""
        if self.class_ != _INTERNET:
            return Why.CLASS
        return Why.TYPE if self.kind in _META or self.kind in (0, _OPT) else None

    def answered(self, code: ResponseCode, remark: Remark | None = None) -> bytes:
        """An answer of our own, without the two bytes of its id: the question, and EDNS if that was asked."""
        flags = RESPONSE | self.flags & (_RECURSION_DESIRED | _CHECKING_DISABLED) | code
        head = HEADER.pack(0, flags, 1, 0, 0, self.edns is not None)[2:]
        return head + self.wire + (_own_edns(self.edns, remark) if self.edns else b"")

    def truncated(self) -> bytes:
        """The answer, without its id, that makes the client come by TCP (RFC 2181, 9)."""
        flags = RESPONSE | TRUNCATED | self.flags & (_RECURSION_DESIRED | _CHECKING_DISABLED)
        return HEADER.pack(0, flags, 1, 0, 0, 0)[2:] + self.wire


def unread(message: bytes, code: ResponseCode) -> bytes:
    """The answer, without its id, to a message that could not be read: a header and nothing more."""
    _, flags, *_ = HEADER.unpack_from(message)
    return HEADER.pack(0, RESPONSE | flags & (_OPCODE | _RECURSION_DESIRED) | code, 0, 0, 0, 0)[2:]


def text_of(name: dns.name.Name) -> str:
    """A name as rules have it; the root is ``.``."""
    return ".".join(map(_label, name.labels[:-1])).lower() or "."


def _label(label: bytes) -> str:
    text = label.decode("latin-1")
    return text if _PLAIN.fullmatch(text) else "".join(map(_escaped, text))


def _escaped(character: str) -> str:
    return character if _PLAIN.fullmatch(character) else f"\\{ord(character):03d}"


def _additional(parser: dns.wire.Parser, count: int) -> Edns | None:
    """What a query says of itself: EDNS, and a signature with a shared key, which is the last."""
    found = None
    for place in range(count):
        is_root = parser.wire.startswith(_ROOT, parser.current)
        if is_root:
            parser.get_bytes(len(_ROOT))
        else:
            parser.get_name(decompress=False)
        kind, class_, lifetime, length = parser.get_struct(_RECORD_HEADER)
        parser.get_bytes(length)
        if kind == _OPT and found is None and is_root:
            found = Edns(class_, bool(lifetime & _SIGNED_WANTED))
        elif kind != _TSIG or place != count - 1:
            raise _format_error(f"a question brings a record of type {kind}")
    return found


def _own_edns(edns: Edns, remark: Remark | None) -> bytes:
    option = remark.option if remark is not None else b""
    flags = _SIGNED_WANTED if edns.signed else 0
    return b"\0" + struct.pack(_RECORD_HEADER, _OPT, _OWN_PAYLOAD, flags, len(option)) + option


def _format_error(message: str) -> Malformed:
    return Malformed(message, Why.MALFORMED, ResponseCode.FORMAT_ERROR)
