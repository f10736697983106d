"""DNS names of addresses outside, and the live patterns that they are of; found both ways.

A pattern is filed under its tail, the labels at its end that have no ``*``. A name meets the patterns under
its own tails only, and a pattern the names with its tail only, which stand together in the order of names
that are spelt backwards.
"""

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator

from kinety.identity.journal import Journal
from kinety.model.address import Prefix
from kinety.model.layer7 import NamePattern

_NO_NAMES: frozenset[str] = frozenset()
#: Sorts after everything that a name may go on with.
_END = "\U0010ffff"


class NameIndex:
    """Names by address, addresses by name, and patterns."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._names: dict[Prefix, frozenset[str]] = {}
        self._addresses: dict[str, dict[Prefix, None]] = {}
        self._backwards: list[str] = []
        self._filed: dict[str, dict[NamePattern, None]] = {}

    def of(self, address: Prefix) -> frozenset[str]:
        """Names of exactly this address."""
        return self._names.get(address, _NO_NAMES)

    def put(self, address: Prefix, names: frozenset[str]) -> None:
        """An address has these names and no others."""
        before = self.of(address)
        self._put(address, names)
        self._journal.did(self._put, address, before)

    def add(self, pattern: NamePattern) -> None:
        """A pattern is live that was not."""
        self._file(pattern)
        self._journal.did(self._take_out, pattern)

    def remove(self, pattern: NamePattern) -> None:
        """A pattern is live no more."""
        self._take_out(pattern)
        self._journal.did(self._file, pattern)

    def patterns(self, address: Prefix) -> frozenset[NamePattern]:
        """Live patterns that a name of an address is of."""
        return frozenset(
            pattern
            for name in self.of(address)
            for tail in _tails(name)
            for pattern in self._filed.get(tail, ())
            if pattern.matches(name)
        )

    def addresses(self, pattern: NamePattern) -> Iterator[Prefix]:
        """Addresses with a name of a pattern, live or not; one with several such names comes as often."""
        for name in self._candidates(pattern):
            if pattern.matches(name):
                yield from self._addresses[name]

    def _candidates(self, pattern: NamePattern) -> Iterable[str]:
        tail = _tail(pattern)
        if tail == pattern.pattern:
            return (tail,) if tail in self._addresses else ()
        start = bisect_left(self._backwards, tail[::-1])
        stop = bisect_left(self._backwards, tail[::-1] + _END)
        return (each[::-1] for each in self._backwards[start:stop])

    def _put(self, address: Prefix, names: frozenset[str]) -> None:
        before = self.of(address)
        if names:
            self._names[address] = names
        elif before:
            del self._names[address]
        for name in names - before:
            if name not in self._addresses:
                self._addresses[name] = {}
                insort(self._backwards, name[::-1])
            self._addresses[name][address] = None
        for name in before - names:
            del self._addresses[name][address]
            if not self._addresses[name]:
                del self._addresses[name]
                del self._backwards[bisect_left(self._backwards, name[::-1])]

    def _file(self, pattern: NamePattern) -> None:
        self._filed.setdefault(_tail(pattern), {})[pattern] = None

    def _take_out(self, pattern: NamePattern) -> None:
        tail = _tail(pattern)
        del self._filed[tail][pattern]
        if not self._filed[tail]:
            del self._filed[tail]


def _tail(pattern: NamePattern) -> str:
    """The labels at the end of a pattern that have no ``*``, dots between them."""
    _, star, rest = pattern.pattern.rpartition("*")
    return rest.partition(".")[2] if star else rest


def _tails(name: str) -> Iterator[str]:
    """A name, what follows each of its dots, and nothing."""
    yield name
    while name:
        name = name.partition(".")[2]
        yield name
