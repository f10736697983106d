"""Patterns: a verdict for every protocol and port, as steps.

The rows of a class are prefixes, the longest of which decides. Laid out as steps, two tables can be
compared port by port without asking about any port.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from kinety.explain.traffic import END, Stretch, Traffic, union
from kinety.model.rule import DEFAULT_RULE
from kinety.model.verdict import DEFAULT_DENY, Verdict, VerdictKind
from kinety.plan.resolve import Row
from kinety.plan.table import DEFAULT_ALLOW

_ALL_BITS = 24


class Step(NamedTuple):
    """From this number on, up to the next step, this verdict."""

    first: int
    verdict: Verdict


#: Ascending from 0; neighbours differ.
Pattern = tuple[Step, ...]

OPEN: Pattern = (Step(0, DEFAULT_ALLOW),)


@lru_cache(maxsize=1 << 14)
def pattern_of(rows: tuple[Row, ...]) -> Pattern:
    """The pattern that the rows of one class make; what no row matches is denied."""
    steps: list[Step] = [Step(0, DEFAULT_DENY)]
    inside: list[Step] = [Step(END, DEFAULT_DENY)]  # where each row ends that the sweep is in
    for row in sorted(rows, key=lambda each: (_first(each), each.bits)):
        first = _first(row)
        while inside[-1].first <= first:
            end = inside.pop().first
            _put(steps, end, inside[-1].verdict)
        _put(steps, first, row.verdict)
        inside.append(Step(first + (1 << _ALL_BITS - row.bits), row.verdict))
    while len(inside) > 1:
        end = inside.pop().first
        if end < END:
            _put(steps, end, inside[-1].verdict)
    return tuple(
        each for index, each in enumerate(steps) if not index or steps[index - 1].verdict != each.verdict
    )


def verdict_at(pattern: Pattern, number: int) -> Verdict:
    """What a pattern says of one protocol and port."""
    return next(step.verdict for step in reversed(pattern) if step.first <= number)


def together(one: Pattern, other: Pattern) -> Iterator[tuple[Stretch, Verdict, Verdict]]:
    """Stretches on which both patterns are constant, with what each says there."""
    left = right = 0
    first = 0
    while first < END:
        after_left = one[left + 1].first if left + 1 < len(one) else END
        after_right = other[right + 1].first if right + 1 < len(other) else END
        end = min(after_left, after_right)
        yield Stretch(first, end - 1), one[left].verdict, other[right].verdict
        left += after_left == end
        right += after_right == end
        first = end


def stretches(pattern: Pattern) -> Iterator[tuple[Stretch, Verdict]]:
    """A pattern as stretches."""
    for index, (first, verdict) in enumerate(pattern):
        end = pattern[index + 1].first if index + 1 < len(pattern) else END
        yield Stretch(first, end - 1), verdict


def passing(pattern: Pattern) -> Traffic:
    """What is not denied."""
    return union(found for found, verdict in stretches(pattern) if verdict.kind is not VerdictKind.DENY)


@lru_cache(maxsize=1 << 14)
def outcome(verdict: Verdict) -> Verdict:
    """A verdict without the rule that decided it."""
    if verdict.rule == DEFAULT_RULE:
        return verdict
    said = {name: getattr(verdict, name) for name in Verdict.__dataclass_fields__}
    return Verdict(**(said | {"rule": DEFAULT_RULE}))


def _first(row: Row) -> int:
    return row.protocol << 16 | row.port


def _put(steps: list[Step], first: int, verdict: Verdict) -> None:
    if steps[-1].first == first:
        steps[-1] = Step(first, verdict)
    else:
        steps.append(Step(first, verdict))
