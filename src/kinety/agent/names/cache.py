"""Which addresses DNS gave for which names, and until when: values in, values out, the time an argument.

A mapping that expired is not gone: as long as somebody talks to the address, it stays for him
(`names.names` asks the kernel). Nothing changes here before the plan and the store have changed, so
what an answer teaches is a `Lesson` first.

There is room for so many. Whoever asks for endless names has to leave room for others: a client may bring as
many mappings as are still free. One alone gets half of all, the next half of the rest, and there is always
something left for a newcomer (decision 0047).
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from kinety.model.address import IPAddress, pack_address
from kinety.model.layer7 import NamePattern
from kinety.model.name import Answer

#: Seconds that a mapping lasts at least, and addresses that a name has at most, unless options say otherwise.
DEFAULT_LEAST, DEFAULT_MOST = 60.0, 1000
#: Mappings that there may be where nobody says otherwise.
DEFAULT_ROOM = 98304
#: A name, and an address that it had, packed.
Pair = tuple[str, bytes]


@dataclass(frozen=True, slots=True)
class Lesson:
    """What changes: mappings and when they expire, mappings that go, and names of addresses with others now.

    ``evicted`` of those that go were not expired: their names had too many addresses. ``clients`` brought the
    mappings that are new. Seconds since 1970.
    """

    expires: Mapping[Pair, float] = field(default_factory=dict)
    gone: frozenset[Pair] = frozenset()
    names: Mapping[bytes, frozenset[str]] = field(default_factory=dict)
    evicted: int = 0
    clients: Mapping[Pair, IPAddress] = field(default_factory=dict)


class NameCache:
    """Mappings of names to addresses."""

    def __init__(self, least: float, most: int, room: int = DEFAULT_ROOM) -> None:
        """``least``: seconds that any mapping lasts. ``most``: addresses that a name has, the latest.

        ``room``: mappings that there may be in all.
        """
        self.least = least
        self.most = most
        self.room = room
        self._expires: dict[str, dict[bytes, float]] = {}
        self._names: dict[bytes, frozenset[str]] = {}
        self._count = 0
        self._clients: dict[Pair, IPAddress] = {}
        self._brought: Counter[IPAddress] = Counter()

    def __len__(self) -> int:
        return self._count

    def brought(self, client: IPAddress | None) -> int:
        """How many mappings are there because a client asked first; those of a former run are nobody's."""
        return 0 if client is None else self._brought[client]

    def fit(self, answers: Sequence[Answer]) -> list[bool]:
        """Which of these answers, in this order, leave as much room as their clients have taken."""
        free, taken, seen = self.room - len(self), Counter[IPAddress | None](), set[Pair]()
        fits = []
        for answer in answers:
            new = {pair for pair in _pairs(answer) if pair not in seen and not self._has(pair)}
            own = self.brought(answer.client) + taken[answer.client] if answer.client is not None else 0
            fits.append(not new or own + len(new) <= free - len(new))
            if fits[-1]:
                free -= len(new)
                taken[answer.client] += len(new)
                seen |= new
        return fits

    def mappings(self) -> dict[Pair, float]:
        """When each mapping expires."""
        return {(name, address): when for name, had in self._expires.items() for address, when in had.items()}

    def restore(self, mappings: Mapping[Pair, float]) -> None:
        """Know what a former run knew, whether it has expired or not; nothing is known yet."""
        self.take(Lesson(mappings, names=self._renamed(mappings, ())))

    def names(self) -> Mapping[bytes, frozenset[str]]:
        """Names of every address; read-only."""
        return self._names

    def of(self, name: str) -> dict[Pair, float]:
        """The mappings of a name, and when each expires."""
        return {(name, address): when for address, when in self._expires.get(name, {}).items()}

    def matching(self, pattern: NamePattern) -> dict[Pair, float]:
        """The mappings of names of a pattern; one that is a name finds it without looking at others."""
        if "*" not in pattern.pattern:
            return self.of(pattern.pattern)
        return {
            pair: when
            for name in self._expires
            if pattern.matches(name)
            for pair, when in self.of(name).items()
        }

    def expired(self, now: float) -> frozenset[Pair]:
        """Mappings that last no longer than until now."""
        return frozenset(
            (name, address)
            for name, had in self._expires.items()
            for address, when in had.items()
            if when <= now
        )

    def learn(self, answers: Sequence[Answer], now: float) -> Lesson:
        """What answers teach: an address belongs to the name that was asked for, and to its aliases."""
        renewed: dict[str, dict[bytes, float]] = {}
        for answer in answers:
            for name in (answer.name, *answer.chain):
                known = renewed.setdefault(name, {})
                for address, seconds in answer.addresses:
                    packed = pack_address(address)
                    when = now + max(seconds, self.least)
                    had = self._expires.get(name, {}).get(packed, when)
                    known[packed] = max(when, had, known.get(packed, when))
        evicted = {(name, old) for name, known in renewed.items() for old in self._too_old(name, known)}
        kept = {
            (name, address): when
            for name, known in renewed.items()
            for address, when in known.items()
            if (name, address) not in evicted
        }
        gone = frozenset(pair for pair in evicted if self._has(pair))
        clients = {
            pair: answer.client
            for answer in reversed(answers)  # of several, the first has it
            if answer.client is not None
            for pair in _pairs(answer)
            if pair in kept and not self._has(pair)
        }
        return Lesson(kept, gone, self._renamed(kept, gone), len(evicted), clients)

    def forget(self, pairs: Iterable[Pair]) -> Lesson:
        """What it is to know these mappings no more."""
        gone = frozenset(pair for pair in pairs if self._has(pair))
        return Lesson(gone=gone, names=self._renamed((), gone))

    def take(self, lesson: Lesson) -> None:
        """It is so."""
        for name, address in lesson.gone:
            del self._expires[name][address]
            self._count -= 1
            if not self._expires[name]:
                del self._expires[name]
            self._no_longer((name, address))
        for (name, address), when in lesson.expires.items():
            had = self._expires.setdefault(name, {})
            self._count += address not in had
            had[address] = when
        self._clients.update(lesson.clients)
        self._brought.update(lesson.clients.values())
        for address, names in lesson.names.items():
            if names:
                self._names[address] = names
            else:
                self._names.pop(address, None)

    def _no_longer(self, pair: Pair) -> None:
        """A mapping has gone: whoever brought it may bring another."""
        client = self._clients.pop(pair, None)
        if client is not None:
            self._brought[client] -= 1
            if not self._brought[client]:
                del self._brought[client]

    def _too_old(self, name: str, renewed: Mapping[bytes, float]) -> list[bytes]:
        """Addresses that a name has too many: those that expire first, and of the others the first of all."""
        before = self._expires.get(name, {})
        others = sorted((each for each in before if each not in renewed), key=before.__getitem__)
        oldest = [*others, *renewed]
        return oldest[: max(0, len(oldest) - self.most)]

    def _has(self, pair: Pair) -> bool:
        name, address = pair
        return address in self._expires.get(name, ())

    def _renamed(self, learnt: Iterable[Pair], gone: Iterable[Pair]) -> dict[bytes, frozenset[str]]:
        """Names of the addresses that get others."""
        found: dict[bytes, set[str]] = {}
        for name, address in learnt:
            found.setdefault(address, set(self._names.get(address, ()))).add(name)
        for name, address in gone:
            found.setdefault(address, set(self._names.get(address, ()))).discard(name)
        return {
            address: frozenset(names)
            for address, names in found.items()
            if names != self._names.get(address, frozenset())
        }


def _pairs(answer: Answer) -> Iterator[Pair]:
    """The mappings that come of an answer."""
    packed = [pack_address(address) for address, _ in answer.addresses]
    return ((name, address) for name in (answer.name, *answer.chain) for address in packed)
