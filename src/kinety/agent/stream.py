"""Events of the programs, to those who watch.

While nobody watches, the ring is not read: it fills, and the programs then skip writing events,
which costs them less than writing and costs the agent nothing. Whoever starts to watch gets what
happens from then on.
"""

import asyncio
import re
import time
from collections import deque
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, replace
from ipaddress import ip_address
from itertools import islice
from typing import Protocol

from kinety import abi
from kinety.agent.denial import Denials, Denied, denied
from kinety.agent.directory import Directory
from kinety.api import types
from kinety.api.errors import refuse
from kinety.api.proxy import Request
from kinety.model.address import pack_address, unpack_address
from kinety.model.endpoint import Endpoint, EndpointId
from kinety.model.identity import Identity
from kinety.model.rule import Direction, RuleId

#: Events a watcher may be behind before it loses some.
BACKLOG = 8192
#: Events read from the ring in one go.
_BATCH = 1024
NO_EVENTS = (
    "the programs of this node tell of nothing (--events none); `kinety status` counts what packets meet"
)
_DIGITS = re.compile(r"[0-9]{1,5}\Z")
_PROTOCOLS = {1: "ICMP", 2: "IGMP", 6: "TCP", 17: "UDP", 58: "ICMPv6", 132: "SCTP"}
#: The kind of events that proxies tell of; the programs have no such number.
REQUEST, REQUEST_WORD = 0, "request"
#: What a verdict would do that is not in force.
WOULD = {abi.Verdict.DENY: "drop", abi.Verdict.ALLOW: "allow", abi.Verdict.REDIRECT: "redirect"}
_NUMBERS = {name.lower(): number for number, name in _PROTOCOLS.items()}


class Reader(Protocol):
    """Where events come from: ``kinety.datapath.EventReader``."""

    def fileno(self) -> int: ...
    def read(self, limit: int = ...) -> list[abi.Event]: ...
    def lost(self) -> int: ...


def word(member: abi.EventKind | abi.EventLevel | abi.Direction | abi.Verdict | abi.Reason) -> str:
    """An enumeration's member as the API writes it: ``NEW_FLOW`` is ``new-flow``."""
    return member.name.lower().replace("_", "-")


def protocol_name(number: int) -> str:
    """A protocol as the API writes it."""
    return _PROTOCOLS.get(number, str(number))


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events a watcher wants; None: any. Everything must hold."""

    kinds: frozenset[int] | None = None
    direction: int | None = None
    verdict: int | None = None
    protocol: int | None = None
    port: int | None = None
    address: bytes | None = None
    endpoint: str | None = None

    @classmethod
    def parse(cls, parameters: Mapping[str, str]) -> "EventFilter":
        """A filter from the query of ``/v1/events``. Raises ApiError."""
        kinds = parameters.get("kind")
        return cls(
            frozenset(map(_kind, kinds.split(","))) if kinds else None,
            _optional(abi.Direction, parameters, "direction"),
            _optional(abi.Verdict, parameters, "verdict"),
            _protocol(parameters.get("protocol")),
            _port(parameters.get("port")),
            _address(parameters.get("address")),
            parameters.get("endpoint"),
        )

    def wants(self, event: abi.Event, directory: Directory) -> bool:
        """Whether an event passes."""
        return (
            (self.kinds is None or event.kind in self.kinds)
            and (self.direction is None or event.direction == self.direction)
            and (self.verdict is None or event.verdict == self.verdict)
            and (self.protocol is None or event.protocol == self.protocol)
            and (self.port is None or self.port in (event.source_port, event.destination_port))
            and (self.address is None or self.address in (event.source, event.destination))
            and (self.endpoint is None or self._names(event, directory))
        )

    def _names(self, event: abi.Event, directory: Directory) -> bool:
        ends = (directory.at(event.source), directory.at(event.destination))
        judge = directory.endpoint(EndpointId(event.endpoint))
        return any(end is not None and self.endpoint in (end.name, str(end)) for end in (*ends, judge))


#: An event that nothing is known of, and a direction that is none.
_NOTHING = abi.Event.unpack(bytes(abi.Event.SIZE))
_NO_DIRECTION = 255


@dataclass(frozen=True, slots=True)
class Said:
    """What a proxy tells of a request. Ends are packed addresses with their ports.

    ``rules`` send flows to the listener; ``verdict`` is what became of the request.
    """

    client: tuple[bytes, int]
    server: tuple[bytes, int]
    protocol: int
    verdict: abi.Verdict
    rules: frozenset[RuleId]
    request: Request


class Watch:
    """One watcher's events: bounded, and counting what did not fit."""

    def __init__(self, stream: "EventStream", denials: Denials, wanted: EventFilter) -> None:
        self._stream = stream
        self._denials = denials
        self.wanted = wanted
        self._events: deque[tuple[types.Event, Denied | None]] = deque()
        self._missed = 0
        self._arrived = asyncio.Event()
        self._closed = False

    def put(self, event: types.Event, question: Denied | None = None) -> None:
        """Give the watcher an event; ``question`` is what the reason for a drop is to be asked by."""
        if len(self._events) >= BACKLOG:
            self._missed += 1
        else:
            self._events.append((event, question))
        self._arrived.set()

    def miss(self, count: int) -> None:
        """Say that events were lost before anybody could read them."""
        self._missed += count
        self._arrived.set()

    async def read(self) -> list[types.Event]:
        """Events that have come, waiting for the first; empty when the agent is stopping."""
        while not self._events and not self._missed and not self._closed:
            self._arrived.clear()
            await self._arrived.wait()
        count = len(self._events)
        await self._denials.learn(question for _, question in islice(self._events, count) if question)
        events = [self._explained(*self._events.popleft()) for _ in range(count)]
        if self._missed:
            events.append(types.Event(time.time(), "lost", count=self._missed))
            self._missed = 0
        return events

    def _explained(self, event: types.Event, question: Denied | None) -> types.Event:
        reason = None if question is None else self._denials.reason(question)
        return event if reason is None else replace(event, denial=reason)

    def close(self) -> None:
        """Stop watching."""
        self._closed = True
        self._arrived.set()
        self._stream.drop(self)


class EventStream:
    """Reads the ring while there are watchers, and gives each what it wants."""

    def __init__(self, source: Callable[[], Reader | None], directory: Directory, denials: Denials) -> None:
        """``source`` is asked when somebody begins to watch: no reader where the programs tell of nothing."""
        self._source = source
        self._reader: Reader | None = None
        self._directory = directory
        self._denials = denials
        self._watches: set[Watch] = set()
        self._lost = 0
        self._clock_offset = 0

    @property
    def watchers(self) -> int:
        """How many are watching."""
        return len(self._watches)

    def subscribe(self, parameters: Mapping[str, str]) -> Watch:
        """Watch from now on. Raises ApiError when the parameters make no sense, or there are no events."""
        watch = Watch(self, self._denials, EventFilter.parse(parameters))
        reader = self._source()
        if reader is None:
            raise refuse(409, NO_EVENTS)
        if not self._watches:
            self._reader = reader
            self._begin(reader)
        self._watches.add(watch)
        return watch

    def tell(self, said: Said) -> None:
        """A proxy tells of a request."""
        if not self._watches:
            return
        direction = self._directory.direction(said.rules)
        like = replace(
            _NOTHING,
            source=said.client[0],
            destination=said.server[0],
            source_port=said.client[1],
            destination_port=said.server[1],
            protocol=said.protocol,
            verdict=int(said.verdict),
            direction=_NO_DIRECTION if direction is None else abi.Direction[direction.name],
        )
        typed: types.Event | None = None
        for watch in self._watches:
            if watch.wanted.wants(like, self._directory):
                typed = typed or self._typed_request(said, direction)
                watch.put(typed)

    def _typed_request(self, said: Said, direction: Direction | None) -> types.Event:
        directory, rule = self._directory, min(said.rules, default=None)
        ends = [
            self._end(address, port, directory.identity_at(address), directory.at(address))
            for address, port in (said.client, said.server)
        ]
        return types.Event(
            time=time.time(),
            kind=REQUEST_WORD,
            direction=None if direction is None else word(abi.Direction[direction.name]),
            verdict=word(said.verdict),
            protocol=protocol_name(said.protocol),
            source=ends[0],
            destination=ends[1],
            rule=None if rule is None else directory.rule(rule),
            request=said.request,
        )

    def drop(self, watch: Watch) -> None:
        """Forget a watcher; without any, stop reading."""
        if watch in self._watches:
            self._watches.remove(watch)
            if self._reader is not None and not self._watches:
                asyncio.get_running_loop().remove_reader(self._reader.fileno())

    def close(self) -> None:
        """End every watch."""
        for watch in tuple(self._watches):
            watch.close()

    def _begin(self, reader: Reader) -> None:
        while reader.read(_BATCH):
            pass
        self._lost = reader.lost()
        self._clock_offset = time.time_ns() - time.monotonic_ns()
        asyncio.get_running_loop().add_reader(reader.fileno(), self._readable, reader)

    def _readable(self, reader: Reader) -> None:
        for event in reader.read(_BATCH):
            typed: types.Event | None = None
            for watch in self._watches:
                if watch.wanted.wants(event, self._directory):
                    typed = typed or self._typed(event)
                    watch.put(typed, denied(event))
        lost = reader.lost()
        if lost != self._lost:
            for watch in self._watches:
                watch.miss(lost - self._lost)
            self._lost = lost

    def _typed(self, event: abi.Event) -> types.Event:
        directory = self._directory
        judge = directory.endpoint(EndpointId(event.endpoint))
        ends = (directory.at(event.source), directory.at(event.destination))
        own = directory.host_addresses if judge is None else {judge.ipv4, judge.ipv6}
        local_is_source = _local_is_source(event, own)
        numbers = (event.local_identity, event.remote_identity)
        source, destination = numbers if local_is_source else numbers[::-1]
        reason = abi.Reason(event.reason)
        shadow = event.kind == abi.EventKind.SHADOW  # it tells of no end that a packet met
        return types.Event(
            time=(event.time + self._clock_offset) / 1e9,
            kind=word(abi.EventKind(event.kind)),
            direction=word(abi.Direction(event.direction)),
            verdict=word(abi.Verdict(event.verdict)),
            reason=None if shadow else word(reason),
            sentence=None if shadow else reason.sentence,
            hook=directory.hook((event.hook - 1) % abi.HOOK_SLOT_COUNT) if event.hook else None,
            protocol=protocol_name(event.protocol),
            source=self._end(event.source, event.source_port, source, ends[0]),
            destination=self._end(event.destination, event.destination_port, destination, ends[1]),
            rule=directory.rule(RuleId(event.rule)),
            length=event.length,
            tcp_flags=event.tcp_flags,
            would=WOULD[abi.Verdict(event.verdict)] if shadow else None,
            rule_in_force=directory.rule(RuleId(event.rule_in_force)) if shadow else None,
            verdict_in_force=word(abi.Verdict(event.verdict_in_force)) if shadow else None,
        )

    def _end(self, address: bytes, port: int, identity: int, endpoint: Endpoint | None) -> types.EventEnd:
        labels = self._directory.labels(Identity(identity))
        name = str(endpoint) if endpoint is not None else None
        return types.EventEnd(str(unpack_address(address)), port, identity, name, labels)


def _local_is_source(event: abi.Event, own: Set[bytes | None]) -> bool:
    """Which end has judged, by its addresses. What has a forged source left the endpoint all the same."""
    if (event.source in own) != (event.destination in own):
        return event.source in own
    return event.direction == abi.Direction.EGRESS


def _kind(text: str) -> int:
    return REQUEST if text == REQUEST_WORD else _member(abi.EventKind, "kind", text)


def _member(kind: type[abi.EventKind] | type[abi.Direction] | type[abi.Verdict], name: str, text: str) -> int:
    words = {word(member): int(member) for member in kind if member.name != "COUNT"}
    if text not in words:
        raise refuse(400, f"{name} {text!r} is none of {', '.join(words)}")
    return words[text]


def _optional(
    kind: type[abi.Direction] | type[abi.Verdict], parameters: Mapping[str, str], name: str
) -> int | None:
    return _member(kind, name, parameters[name]) if name in parameters else None


def _protocol(text: str | None) -> int | None:
    if text is None:
        return None
    number = _NUMBERS.get(text.lower(), int(text) if _DIGITS.match(text) else 256)
    if number > 255:
        raise refuse(400, f"protocol {text!r} is none of {', '.join(_PROTOCOLS.values())} or a number to 255")
    return number


def _port(text: str | None) -> int | None:
    if text is None:
        return None
    if not _DIGITS.match(text) or int(text) > 65535:
        raise refuse(400, f"port {text!r} is no number to 65535")
    return int(text)


def _address(text: str | None) -> bytes | None:
    if text is None:
        return None
    try:
        return pack_address(ip_address(text))
    except ValueError as error:
        raise refuse(400, str(error)) from error
