"""DNS names of addresses outside, and the live patterns that they are of; found both ways.

A pattern is filed under its tail, the labels at its end that have no ``*``. A name meets the patterns under
its own tails only, and a pattern the names with its tail only, which stand together in the order of names
that are spelt backwards. Thousands of names may share an address: of those, it is counted how many are of
which pattern, so that a further one costs what it adds.
"""

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Iterable, Iterator

from kinety.identity.journal import Journal
from kinety.model.address import Prefix
from kinety.model.layer7 import NamePattern

_NO_NAMES: frozenset[str] = frozenset()
#: Sorts after everything that a name may go on with.
_END = "\U0010ffff"
#: Names of an address that are looked through each time.
_FEW = 16


class NameIndex:
    """Names by address, addresses by name, and patterns."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._names: dict[Prefix, frozenset[str]] = {}
        self._addresses: dict[str, dict[Prefix, None]] = {}
        self._backwards: list[str] = []
        self._filed: dict[str, dict[NamePattern, None]] = {}
        #: Of addresses with more than a few names, how many are of each live pattern.
        self._counted: dict[Prefix, Counter[NamePattern]] = {}

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
        counted = self._counted.get(address)
        return frozenset(self._matching(self.of(address)) if counted is None else counted)

    def addresses(self, pattern: NamePattern) -> Iterator[Prefix]:
        """Addresses with a name of a pattern, live or not; one with several such names comes as often."""
        for name in self._candidates(pattern):
            if pattern.matches(name):
                yield from self._addresses[name]

    def _matching(self, names: Iterable[str]) -> Iterator[NamePattern]:
        """Live patterns of names; one with several of them comes as often."""
        for name in names:
            for tail in _tails(name):
                for pattern in self._filed.get(tail, ()):
                    if pattern.matches(name):
                        yield pattern

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
        self._count(address, before, names)

    def _count(self, address: Prefix, before: frozenset[str], names: frozenset[str]) -> None:
        counted = self._counted.get(address)
        if len(names) <= _FEW:
            self._counted.pop(address, None)
        elif counted is None:
            self._counted[address] = Counter(self._matching(names))
        else:
            counted.update(self._matching(names - before))
            for pattern in self._matching(before - names):
                counted[pattern] -= 1
                if not counted[pattern]:
                    del counted[pattern]

    def _file(self, pattern: NamePattern) -> None:
        self._filed.setdefault(_tail(pattern), {})[pattern] = None
        for address in self.addresses(pattern) if self._counted else ():
            if address in self._counted:
                self._counted[address][pattern] += 1

    def _take_out(self, pattern: NamePattern) -> None:
        tail = _tail(pattern)
        del self._filed[tail][pattern]
        for counted in self._counted.values():
            counted.pop(pattern, None)
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
