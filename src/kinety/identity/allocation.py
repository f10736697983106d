"""Numbers for things: dense, stable over restarts, and not reused while anybody may remember them."""

from collections.abc import Hashable, Mapping
from itertools import count
from typing import Generic, TypeVar

from pyroaring import BitMap

from kinety.identity.journal import Journal

Thing = TypeVar("Thing", bound=Hashable)


class Numbering(Generic[Thing]):
    """Gives each thing a number of ``first`` to ``last``.

    A freed number is given out again only after all others had their turn: events, counters and
    live flows may still speak of its former owner. ``hints`` are numbers of a former run; a thing
    that has one gets it, and nothing else does before.

    When there are more things than numbers, the others get numbers past ``last``. That is for
    counting only: who finds that the length exceeds ``size`` takes the change back, and can say how
    many numbers it would have needed.
    """

    def __init__(
        self, journal: Journal, first: int, last: int, hints: Mapping[Thing, int] | None = None
    ) -> None:
        self._journal = journal
        self._first, self._last = first, last
        self._taken = BitMap()
        self._hints = {thing: number for thing, number in (hints or {}).items() if first <= number <= last}
        self._hinted = set(self._hints.values())
        self._next = max(self._hinted, default=first - 1) + 1

    def __len__(self) -> int:
        return len(self._taken)

    @property
    def size(self) -> int:
        """How many numbers there are."""
        return self._last - self._first + 1

    def take(self, thing: Thing) -> int:
        """A number for a thing that has none."""
        hint = self._hints.get(thing)
        number = hint if hint is not None and hint not in self._taken else self._fresh()
        self._taken.add(number)
        self._journal.did(self._taken.discard, number)
        return number

    def free(self, number: int) -> None:
        """The thing is gone."""
        self._taken.discard(number)
        self._journal.did(self._taken.add, number)

    def _fresh(self) -> int:
        """The next number nobody has; hinted ones only when there is no other."""
        size = self.size
        if len(self._taken) >= size:
            return next(number for number in count(self._last + 1) if number not in self._taken)
        for respect_hints in (True, False):
            number = self._next
            for _ in range(size):
                if number > self._last:
                    number = self._first
                if number not in self._taken and not (respect_hints and number in self._hinted):
                    self._journal.did(setattr, self, "_next", self._next)
                    self._next = number + 1
                    return number
                number += 1
        raise AssertionError("fewer numbers are taken than there are, and none is free")
