"""Labels that somebody carries, and which of them was meant by one that nobody does."""

from collections.abc import Iterable

from kinety.model.label import HIDDEN_SOURCES, NAMESPACE_KEY, Labels
from kinety.model.selector import LabelSelector, Operator, Requirement

#: Slips of the pen that a word of so many letters may have and still be meant.
_SLIPS = ((4, 1), (8, 2), (64, 3))


class Vocabulary:
    """Keys, and the values of each, of some label sets."""

    def __init__(self, everybody: Iterable[Labels]) -> None:
        self._values: dict[str, dict[str, None]] = {}
        for labels in everybody:
            for source, key, value in labels:
                if source not in HIDDEN_SOURCES:
                    self._values.setdefault(key, {})[value] = None

    def unknown(self, selector: LabelSelector) -> str:
        """The first thing a selector asks for that nobody has, in words; empty when there is none."""
        for requirement in selector.requirements:
            if said := self._unknown(requirement):
                return said
        return ""

    def meant(self, selector: LabelSelector) -> str:
        """What was probably meant by it; empty when nothing is close."""
        for requirement in selector.requirements:
            if self._unknown(requirement):
                return self._meant(requirement)
        return ""

    def _unknown(self, requirement: Requirement) -> str:
        source, key, operator, values = requirement
        if operator not in (Operator.IN, Operator.EXISTS) or source in HIDDEN_SOURCES:
            return ""
        name = "namespace" if key == NAMESPACE_KEY else key
        known = self._values.get(key)
        if known is None:
            return f"nobody has a label {name}"
        if operator is Operator.IN and not any(each in known for each in values):
            return f"nobody has {' or '.join(f'{name}={each}' for each in values)}"
        return ""

    def _meant(self, requirement: Requirement) -> str:
        known = self._values.get(requirement.key)
        if known is None:
            key = closest(requirement.key, self._values)
            return f"did you mean the label {key}?" if key else ""
        for value in requirement.values:
            if close := closest(value, known):
                name = "namespace" if requirement.key == NAMESPACE_KEY else requirement.key
                return f"did you mean {name}={close}?"
        return ""


def closest(word: str, known: Iterable[str]) -> str | None:
    """The known word that is fewest slips away, if those are few for its length."""
    most = next((slips for length, slips in _SLIPS if len(word) <= length), 0)
    near = [(distance(word, each), each) for each in known if abs(len(each) - len(word)) <= most]
    best = min(near, default=(most + 1, ""))
    return best[1] if best[0] <= most else None


def distance(one: str, other: str) -> int:
    """Letters to insert, leave out, replace or swap with their neighbour (optimal string alignment)."""
    before, row = [0] * (len(other) + 1), list(range(len(other) + 1))
    for i, letter in enumerate(one, 1):
        former, before, row = before, row, [i]
        for j, wanted in enumerate(other, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != wanted))
            if i > 1 and j > 1 and letter == other[j - 2] and one[i - 2] == wanted:
                cost = min(cost, former[j - 2] + 1)
            row.append(cost)
    return row[-1]
