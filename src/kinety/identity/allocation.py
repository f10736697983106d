"""Numbers for things: dense, stable over restarts, and not reused while anybody may remember them."""

from collections.abc import Hashable, Mapping
from typing import Generic, TypeVar

from kinety.identity.journal import Journal

Thing = TypeVar("Thing", bound=Hashable)


class NumbersExhausted(Exception):
    """No number is left for one more of ``things``; all ``available`` ones are taken."""

    def __init__(self, things: str, available: int) -> None:
        super().__init__(f"all {available} numbers for {things} are taken")
        self.things = things
        self.available = available


class Numbering(Generic[Thing]):
    """Gives each thing a number of ``first`` to ``last``.

    A freed number is given out again only after all others had their turn: events, counters and
    live flows may still speak of its former owner. ``hints`` are numbers of a former run; a thing
    that has one gets it, and nothing else does before.
    """

    def __init__(
        self, things: str, journal: Journal, first: int, last: int, hints: Mapping[Thing, int] | None = None
    ) -> None:
        self._things = things
        self._journal = journal
        self._first, self._last = first, last
        self._taken: set[int] = set()
        self._hints = {thing: number for thing, number in (hints or {}).items() if first <= number <= last}
        self._hinted = set(self._hints.values())
        self._next = max(self._hinted, default=first - 1) + 1

    def __len__(self) -> int:
        return len(self._taken)

    def take(self, thing: Thing) -> int:
        """A number for a thing that has none. Raises NumbersExhausted."""
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
        size = self._last - self._first + 1
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
        raise NumbersExhausted(self._things, size)
