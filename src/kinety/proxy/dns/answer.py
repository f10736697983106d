"""What a name server's answer says: addresses, for how long, and by which names they are reached.

Only records that the question leads to count: those of the name that was asked, and of names that aliases
lead to from there. Others teach nothing. An answer that was read before is known by its bytes, all but its id
and the lifetimes in it, so a name that is asked for often is read once.
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import ip_address

import dns.exception
import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.wire
from dns.rdtypes.ANY.CNAME import CNAME
from dns.rdtypes.IN.A import A
from dns.rdtypes.IN.AAAA import AAAA
from dns.rdtypes.svcbbase import ParamKey, SVCBBase

from kinety.model.address import IPAddress
from kinety.proxy.dns.question import HEADER, Malformed, Question, text_of
from kinety.proxy.dns.recent import Recent

_A, _CNAME, _AAAA, _OPT, _SVCB, _HTTPS = 1, 5, 28, 41, 64, 65
_INTERNET = 1
#: Records of an answer. Nobody needs more, and reading them is work that a server could make us do.
_MOST_RECORDS, _LONGEST_CHAIN = 512, 32
_LONGEST_LIFETIME = (1 << 31) - 1
#: Questions whose answers are remembered, and answers of each: a server may rotate them.
_REMEMBERED, _VARIANTS = 8192, 8
_LONGEST_REMEMBERED = 2048
_AT_LIFETIME = 4


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


@dataclass(frozen=True, slots=True)
class _Record:
    owner: str
    rdata: dns.rdata.Rdata
    lifetime: int


def read(question: Question, message: bytes) -> Reading:
    """What an answer to a question says. Raises Malformed. Source: RFC 1035, 4; RFC 2181, 5, 8; RFC 9460."""
    if len(message) < HEADER.size:
        raise Malformed("the answer is shorter than a header")
    _, _, questions, *counts = HEADER.unpack_from(message)
    if sum(counts) > _MOST_RECORDS:
        raise Malformed(f"the answer has {sum(counts)} records, at most {_MOST_RECORDS} are read")
    parser = dns.wire.Parser(message, HEADER.size)
    places: list[int] = []
    try:
        for _ in range(questions):
            parser.get_name(decompress=True)
            parser.get_struct("!HH")
        sections = [[_record(parser, places) for _ in range(count)] for count in counts]
    except (dns.exception.DNSException, ValueError, struct.error) as error:
        raise Malformed(f"the answer cannot be read: {type(error).__name__}") from error
    if parser.remaining():
        raise Malformed("bytes follow the answer")
    records = [[each for each in section if each is not None] for section in sections]
    chain, found = _follow(question.name, records[0])
    every = frozenset(address for section in records for each in section for address in _addresses(each))
    fixed, lifetimes = _layout(len(message), places)
    return Reading(question.name, chain, found, every, len(message), fixed, lifetimes, fixed.unpack(message))


def _record(parser: dns.wire.Parser, places: list[int]) -> _Record | None:
    """The next record, if it is one of the Internet's that matters; notes where its lifetime is."""
    owner = parser.get_name(decompress=True)
    kind, class_, _, length = parser.get_struct("!HHIH")
    start = parser.current
    if kind == _OPT:
        parser.get_bytes(length)
        return None
    places.append(start - 2 - _AT_LIFETIME)
    if class_ != _INTERNET or kind not in (_A, _AAAA, _CNAME, _SVCB, _HTTPS):
        parser.get_bytes(length)
        return None
    with parser.restrict_to(length):
        rdata = dns.rdata.from_wire_parser(dns.rdataclass.IN, dns.rdatatype.RdataType.make(kind), parser)
    return _Record(text_of(owner), rdata, len(places) - 1)


def _follow(name: str, records: list[_Record]) -> tuple[tuple[str, ...], tuple[Found, ...]]:
    """Names that aliases lead to, in order, and the addresses of the last and of those on the way."""
    bounds: dict[str, frozenset[int]] = {name: frozenset()}
    grows = True
    while grows:
        grows = False
        for each in records:
            if each.owner in bounds and (target := _target(each)) and target not in bounds:
                bounds[target] = bounds[each.owner] | {each.lifetime}
                grows = True
        if len(bounds) > _LONGEST_CHAIN:
            raise Malformed(f"more than {_LONGEST_CHAIN} aliases lead on from {name}")
    found = (
        Found(address, bounds[each.owner] | {each.lifetime})
        for each in records
        if each.owner in bounds
        for address in _addresses(each)
    )
    return tuple(bounds)[1:], tuple(found)


def _target(record: _Record) -> str:
    """The name that a record leads on to, "" for none."""
    rdata = record.rdata
    if isinstance(rdata, CNAME | SVCBBase) and rdata.target != dns.name.root:
        return text_of(rdata.target)
    return ""


def _addresses(record: _Record) -> Iterable[IPAddress]:
    """The addresses of a record; of a service binding, those that it suggests."""
    rdata = record.rdata
    if isinstance(rdata, A | AAAA):
        return (ip_address(rdata.address),)
    if not isinstance(rdata, SVCBBase):
        return ()
    hints = (rdata.params.get(key) for key in (ParamKey.IPV4HINT, ParamKey.IPV6HINT))
    return tuple(ip_address(text) for hint in hints if hint for text in hint.addresses)


def _layout(length: int, places: list[int]) -> tuple[struct.Struct, struct.Struct]:
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
    return lifetime if lifetime <= _LONGEST_LIFETIME else 0
