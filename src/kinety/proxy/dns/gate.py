"""Which answers a client may have, and when.

An answer with addresses of a watched name waits until the agent says that the kernel has them: whoever is
quicker than that would be denied by the very policy that names the name. Mappings that the kernel has already
cost nothing, and are told again now and then, so that they live on. While the agent is away, nobody takes
mappings out of the kernel: then those that were known pass whatever their age.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address

from kinety.model.address import IPAddress
from kinety.model.layer7 import NamePattern
from kinety.model.name import Answer
from kinety.proxy.dns.answer import Reader, Reading
from kinety.proxy.dns.journal import Mapped
from kinety.proxy.dns.question import Malformed, Question, Remark, ResponseCode, Why
from kinety.proxy.dns.rebinding import Protection
from kinety.proxy.dns.recent import Recent
from kinety.proxy.dns.upstream import Release

#: Seconds that an answer waits for the agent.
PATIENCE = 2.0
#: A mapping that ends so soon (seconds) may be gone before the client is there.
_MARGIN = 1.0
#: A mapping is looked at anew after this part of its life, and told again when it would gain as much.
_PART = 0.25
_MOST_HELD = 4096
_REMEMBERED = 16384
_TRUNCATED = 0x02

Lifetimes = tuple[tuple[IPAddress, int], ...]


@dataclass(slots=True)
class _Held:
    """An answer that the agent was told, when, and who waits for that."""

    answer: Answer
    client: str
    names: tuple[str, ...]
    since: float
    waiting: list[tuple[Question, bytes, Release]] = field(default_factory=list)

    @property
    def content(self) -> tuple[object, ...]:
        """What equal answers have in common."""
        return self.answer.name, self.answer.chain, tuple(address for address, _ in self.answer.addresses)

    @property
    def mapped(self) -> tuple[tuple[Mapped, int], ...]:
        """The mappings that come of it, with lifetimes in seconds."""
        pairs = ((name, address, life) for name in self.names for address, life in self.answer.addresses)
        return tuple(((name, address), life) for name, address, life in pairs)


class Gate:
    """Judges answers. ``tell`` sends one to the agent under a number, and says whether there is an agent.

    ``note`` hears of mappings that the kernel has from now on, and until when, or has no longer (None).
    """

    def __init__(
        self, tell: Callable[[int, Answer], bool], note: Callable[[Mapped, float | None], None]
    ) -> None:
        self._tell = tell
        self._note = note
        self._reader = Reader()
        self._watched: frozenset[NamePattern] = frozenset()
        self._watched_names: Recent[str, bool] = Recent(_REMEMBERED)
        self._protection = Protection()
        self._least = 0
        self._known: dict[Mapped, float] = {}
        self._held: dict[int, _Held] = {}
        self._of_content: dict[tuple[object, ...], int] = {}
        self._of_client: Counter[str] = Counter()
        self._numbers = 0
        #: Whether the agent is there.
        self.attended = False

    @property
    def known(self) -> Mapping[Mapped, float]:
        """Mappings that the kernel has, and until when at least (monotonic seconds); a live view.

        As many as the agent has room for, which says of each when it goes.
        """
        return self._known

    def watch(self, patterns: frozenset[NamePattern]) -> None:
        """Hold answers for names of these patterns from now on, and no others."""
        self._watched = patterns
        self._watched_names.clear()
        self._reader.forget()

    def protect(self, protection: Protection, least: int) -> None:
        """Refuse answers by this; mappings live ``least`` seconds at least."""
        self._protection, self._least = protection, least
        self._reader.forget()

    def restore(self, known: Mapping[Mapped, float]) -> None:
        """The kernel has these mappings and no others."""
        self._known = dict(known)
        self._reader.forget()

    def forget(self, mapped: Iterable[Mapped]) -> None:
        """The kernel is about to have these mappings no longer.

        What the agent was told of them before may be confirmed all the same, of a kernel that had them then.
        It is told again, under another number, and the confirmation of the first is nobody's.
        """
        gone = frozenset(mapped)
        for each in gone:
            if self._known.pop(each, None) is not None:
                self._note(each, None)
        for number, held in list(self._held.items()):
            if not gone.isdisjoint(pair for pair, _ in held.mapped):
                self._tell_anew(number, held)
        self._reader.forget()

    def admit(self, client: str, question: Question, message: bytes, release: Release) -> None:
        """Have an answer released, now or later, or another one in its place."""
        try:
            reading = self._reader.read(question, message)
        except Malformed:
            # Of an answer that was cut short, the client needs to know that and nothing else.
            cut = question.truncated() if message[2] & _TRUNCATED else None
            release(cut or question.answered(ResponseCode.SERVER_FAILURE, Remark.UNREADABLE), None)
            return
        if reading.passes_until == 0.0:
            self._look_at(reading)
        if reading.refused:
            release(question.answered(ResponseCode.REFUSED, Remark.PROTECTED), Why.REBINDING)
        elif (now := time.monotonic()) < reading.passes_until:
            release(message[2:], None)
        else:
            self._weigh(reading, client, question, message, release, now)

    def confirm(self, number: int) -> None:
        """The kernel has what came of an answer: release those that waited for that."""
        held = self._drop(number)
        if held is None:
            return
        for mapped, life in held.mapped:
            until = held.since + max(life, self._least)
            if until > self._known.get(mapped, 0.0):
                self._known[mapped] = until
                self._note(mapped, until)
        for _, message, release in held.waiting:
            release(message[2:], None)

    def fail(self, number: int) -> None:
        """The kernel will not have it: whoever waited is told so."""
        held = self._drop(number)
        for question, _, release in held.waiting if held else ():
            release(question.answered(ResponseCode.SERVER_FAILURE, Remark.UNLEARNT), None)

    def attend(self, attended: bool) -> None:
        """The agent has come, and is told what waits for it; or it has gone."""
        self.attended = attended
        for number, held in list(self._held.items()) if attended else ():
            self._tell(number, held.answer)

    def expire(self, now: float) -> None:
        """Give up what has waited too long; while the agent is away, what it must hear of stays."""
        for number, held in list(self._held.items()):
            if held.since <= now - PATIENCE and (held.waiting or self.attended):
                self.fail(number)

    def _look_at(self, reading: Reading) -> None:
        """What does not change while the settings do not."""
        reading.refused = self._protection.refuses(reading.name, reading.every)
        names = (reading.name, *reading.chain) if reading.found else ()
        reading.watched = tuple(name for name in names if self._watches(name))
        reading.passes_until = -1.0 if reading.watched else float("inf")

    def _watches(self, name: str) -> bool:
        watched = self._watched_names.get(name)
        if watched is None:
            watched = any(each.matches(name) for each in self._watched)
            self._watched_names.put(name, watched)
        return watched

    def _weigh(
        self,
        reading: Reading,
        client: str,
        question: Question,
        message: bytes,
        release: Release,
        now: float,
    ) -> None:
        """Release an answer if the kernel has all that comes of it, else when it has."""
        addresses = reading.addresses(message)
        pairs = [(name, address) for name in reading.watched for address, _ in addresses]
        until = min(self._known.get(each, 0.0) for each in pairs)
        passes = until > now + _MARGIN if self.attended else until > 0.0
        life = max(min(seconds for _, seconds in addresses), self._least)
        if passes:
            reading.passes_until = min(until - _MARGIN, now + max(life * _PART, _MARGIN))
            release(message[2:], None)
            if now + life * (1 - _PART) < until:
                return
        held = self._hold(reading, client, addresses, now)
        if passes:
            return
        if held is None:
            release(question.answered(ResponseCode.SERVER_FAILURE, Remark.CROWDED), None)
        else:
            held.waiting.append((question, message, release))

    def _hold(self, reading: Reading, client: str, addresses: Lifetimes, now: float) -> _Held | None:
        """What is held of an answer, and the agent told of it; None when there is no room for it.

        Of what may be held, a client may have as much as is free.
        """
        content = (reading.name, reading.chain, tuple(address for address, _ in addresses))
        number = self._of_content.get(content)
        if number is not None:
            return self._held[number]
        if self._of_client[client] >= _MOST_HELD - len(self._held):
            return None
        answer = Answer(reading.name, addresses, reading.chain, ip_address(client.partition("%")[0]))
        held = _Held(answer, client, reading.watched, now)
        self._number(held)
        self._tell(self._numbers, held.answer)
        return held

    def _tell_anew(self, number: int, held: _Held) -> None:
        """Hold an answer under another number; how long it has waited is as before."""
        self._drop(number)
        self._number(held)
        self._tell(self._numbers, held.answer)

    def _number(self, held: _Held) -> None:
        self._numbers += 1
        self._held[self._numbers] = held
        self._of_content[held.content] = self._numbers
        self._of_client[held.client] += 1

    def _drop(self, number: int) -> _Held | None:
        held = self._held.pop(number, None)
        if held is not None:
            self._of_content.pop(held.content, None)
            self._of_client[held.client] -= 1
            if not self._of_client[held.client]:
                del self._of_client[held.client]
        return held
