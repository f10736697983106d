"""What a name server's answer says: addresses, for how long, and by which names they are reached.

Only records that the question leads to count: those of the name that was asked, and of names that aliases
lead to from there. Others teach nothing. An answer that was read before is known by its bytes, all but its id
and the lifetimes in it, so a name that is asked for often is read once.
"""

import struct
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import NamedTuple

import dns.exception
import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.wire
from dns.rdtypes.ANY.CNAME import CNAME
from dns.rdtypes.svcbbase import ParamKey, SVCBBase

from kinety.model.address import IPAddress
from kinety.proxy.dns.question import HEADER, Malformed, Question, text_of
from kinety.proxy.dns.recent import Recent

_A, _CNAME, _AAAA, _OPT, _SVCB, _HTTPS = 1, 5, 28, 41, 64, 65
_INTERNET = 1
#: Records of an answer. Nobody needs more, and reading them is work that a server could make us do.
_MOST_RECORDS, _LONGEST_CHAIN = 512, 32
#: Seconds that an address is relied on, whatever its server says: resolvers keep none for longer either.
_LONGEST_LIFETIME, _NEGATIVE = 86400, 1 << 31
#: Questions whose answers are remembered, and answers of each: a server may rotate them.
_REMEMBERED, _VARIANTS = 4096, 4
_LONGEST_REMEMBERED = 1500
_AT_LIFETIME = 4
_RECORD = struct.Struct("!HHIH")
#: Names that most records have, and that need not be read letter by letter.
_POINTER_TO_QUESTION, _ROOT = b"\xc0\x0c", b"\0"


@dataclass(frozen=True, slots=True)
class Found:
    """An address, and which of the answer's lifetimes bound its own, by number."""

    address: IPAddress
    bounds: frozenset[int]


@dataclass(slots=True)
class Reading:
    """An answer that was read. It stands for all that differ in id and lifetimes only.

    ``chain``: names that aliases led to, the asked one not included. ``every``: all addresses in all
    sections, whoever's they are. The last three are notes of the gate's; 0.0 in the last: not looked at yet.
    """

    name: str
    chain: tuple[str, ...]
    found: tuple[Found, ...]
    every: frozenset[IPAddress]
    length: int
    fixed: struct.Struct
    lifetimes: struct.Struct
    bytes_: tuple[bytes, ...]
    refused: bool = field(default=False, compare=False)
    watched: tuple[str, ...] = field(default=(), compare=False)
    passes_until: float = field(default=0.0, compare=False)

    def is_of(self, message: bytes) -> bool:
        """Whether a message differs from the one that was read by id and lifetimes at most."""
        return len(message) == self.length and self.fixed.unpack(message) == self.bytes_

    def addresses(self, message: bytes) -> tuple[tuple[IPAddress, int], ...]:
        """Addresses of the asked name with their lifetimes in seconds, as this very message has them."""
        lifetimes = self.lifetimes.unpack(message)
        return tuple(
            (each.address, min(_seconds(lifetimes[at]) for at in each.bounds)) for each in self.found
        )


class Reader:
    """Reads answers, and remembers."""

    def __init__(self) -> None:
        self._seen: Recent[bytes, list[Reading]] = Recent(_REMEMBERED)

    def read(self, question: Question, message: bytes) -> Reading:
        """What an answer to a question says. Raises Malformed."""
        seen = self._seen.get(question.wire)
        if seen is not None:
            for each in seen:
                if each.is_of(message):
                    return each
        reading = read(question, message)
        if len(message) <= _LONGEST_REMEMBERED:
            self._seen.put(question.wire, [reading, *(seen or ())][:_VARIANTS])
        return reading

    def forget(self) -> None:
        """Read everything anew."""
        self._seen.clear()


class _Record(NamedTuple):
    """A record that matters. ``lifetime`` is the number of its lifetime in the answer."""

    owner: str
    lifetime: int
    addresses: tuple[IPAddress, ...]
    target: str


def read(question: Question, message: bytes) -> Reading:
    """What an answer to a question says. Raises Malformed. Source: RFC 1035, 4; RFC 2181, 5, 8; RFC 9460."""
    if len(message) < HEADER.size:
        raise Malformed("the answer is shorter than a header")
    _, _, questions, *counts = HEADER.unpack_from(message)
    if sum(counts) > _MOST_RECORDS:
        raise Malformed(f"the answer has {sum(counts)} records, at most {_MOST_RECORDS} are read")
    parser = dns.wire.Parser(message, HEADER.size)
    # Read already, in the question. Most records point to that name, and then need not read it either.
    repeated = questions == 1 and message.startswith(question.wire, HEADER.size)
    asked = question.name if repeated else None
    places: list[int] = []
    try:
        if repeated:
            parser.get_bytes(len(question.wire))
        for _ in range(0 if repeated else questions):
            parser.get_name(decompress=True)
            parser.get_struct("!HH")
        sections = [[_record(parser, places, asked) for _ in range(count)] for count in counts]
    except (dns.exception.DNSException, ValueError, struct.error) as error:
        raise Malformed(f"the answer cannot be read: {type(error).__name__}") from error
    if parser.remaining():
        raise Malformed("bytes follow the answer")
    records = [[each for each in section if each is not None] for section in sections]
    chain, found = _follow(question.name, records[0])
    every = frozenset(address for section in records for each in section for address in each.addresses)
    fixed, lifetimes = _layout(len(message), tuple(places))
    return Reading(question.name, chain, found, every, len(message), fixed, lifetimes, fixed.unpack(message))


def _record(parser: dns.wire.Parser, places: list[int], asked: str | None) -> _Record | None:
    """The next record, if it is one of the Internet's that matters; notes where its lifetime is.

    ``asked`` is the name at the beginning of the message, where that is known.
    """
    if asked is not None and parser.wire.startswith(_POINTER_TO_QUESTION, parser.current):
        owner = asked
        parser.get_bytes(len(_POINTER_TO_QUESTION))
    elif parser.wire.startswith(_ROOT, parser.current):
        owner = "."
        parser.get_bytes(len(_ROOT))
    else:
        owner = text_of(parser.get_name(decompress=True))
    kind, class_, _, length = _RECORD.unpack(parser.get_bytes(_RECORD.size))
    if kind == _OPT:
        parser.get_bytes(length)
        return None
    places.append(parser.current - 2 - _AT_LIFETIME)
    number = len(places) - 1
    if class_ != _INTERNET or kind not in (_A, _AAAA, _CNAME, _SVCB, _HTTPS):
        parser.get_bytes(length)
        return None
    if kind in (_A, _AAAA):
        packed = parser.get_bytes(length)
        return _Record(owner, number, (IPv4Address(packed) if kind == _A else IPv6Address(packed),), "")
    with parser.restrict_to(length):
        rdata = dns.rdata.from_wire_parser(dns.rdataclass.IN, dns.rdatatype.RdataType.make(kind), parser)
    assert isinstance(rdata, CNAME | SVCBBase), "types and classes of dnspython"
    target = "" if isinstance(rdata, SVCBBase) and rdata.target == dns.name.root else text_of(rdata.target)
    return _Record(owner, number, _suggested(rdata) if isinstance(rdata, SVCBBase) else (), target)


def _suggested(rdata: SVCBBase) -> tuple[IPAddress, ...]:
    """Addresses that a service binding suggests."""
    hints = (rdata.params.get(key) for key in (ParamKey.IPV4HINT, ParamKey.IPV6HINT))
    return tuple(ip_address(text) for hint in hints if hint for text in hint.addresses)


def _follow(name: str, records: list[_Record]) -> tuple[tuple[str, ...], tuple[Found, ...]]:
    """Names that aliases lead to, in order, and the addresses of the last and of those on the way."""
    bounds: dict[str, frozenset[int]] = {name: frozenset()}
    grows = True
    while grows:
        grows = False
        for each in records:
            if each.owner in bounds and each.target and each.target not in bounds:
                bounds[each.target] = bounds[each.owner] | {each.lifetime}
                grows = True
        if len(bounds) > _LONGEST_CHAIN:
            raise Malformed(f"more than {_LONGEST_CHAIN} aliases lead on from {name}")
    found = (
        Found(address, bounds[each.owner] | {each.lifetime})
        for each in records
        if each.owner in bounds
        for address in each.addresses
    )
    return tuple(bounds)[1:], tuple(found)


@lru_cache(_REMEMBERED)
def _layout(length: int, places: tuple[int, ...]) -> tuple[struct.Struct, struct.Struct]:
    """How to take a message apart: what must be equal, and the lifetimes."""
    fixed, lifetimes, at = ["!2x"], ["!2x"], 2
    for place in places:
        fixed.append(f"{place - at}s{_AT_LIFETIME}x")
        lifetimes.append(f"{place - at}xI")
        at = place + _AT_LIFETIME
    return struct.Struct("".join((*fixed, f"{length - at}s"))), struct.Struct(
        "".join((*lifetimes, f"{length - at}x"))
    )


def _seconds(lifetime: int) -> int:
    """RFC 2181, 8: one that looks negative is none."""
    return min(lifetime, _LONGEST_LIFETIME) if lifetime < _NEGATIVE else 0
