"""The one shape every benchmark answers in.

A benchmark on a shared machine says little by itself: the same code is 20 % slower when somebody else
compiles. So every figure that has something to be compared with is measured *alternating* with that
baseline in the same run, in many short rounds; the ratio is the median of the rounds' ratios, not the
ratio of two medians, because noise that lasts longer than a round then hits both sides and cancels.
``compare`` does that arithmetic.

A question's module (``bench/packet_path.py`` …) exposes ``run(quick: bool = False) -> list[Figure]``;
quick means: a few rounds, enough to see that the benchmark works, no use as a figure. ``bench/run.py``
collects them.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

__all__ = ["Figure", "Goal", "compare", "median", "percentile", "resolution", "spread"]

#: Standard deviations to either side that hold 95 % of a normal distribution.
_NORMAL_95 = 1.96


@dataclass(frozen=True, slots=True)
class Goal:
    """A bound the figure's value, or its ratio to the baseline, is meant to hold."""

    subject: Literal["value", "ratio"]
    relation: Literal["<=", ">=", "=="]
    bound: float

    def met_by(self, subject: float) -> bool:
        if self.relation == "<=":
            return subject <= self.bound
        if self.relation == ">=":
            return subject >= self.bound
        return subject == self.bound

    def __str__(self) -> str:
        return f"{self.subject} {self.relation} {self.bound:g}"


@dataclass(frozen=True, slots=True)
class Figure:
    """One answer: a value, what it is measured against, and how far the rounds lay apart.

    ``ratio`` is value / baseline unless given (then: the median of per-round ratios). ``spread`` is the
    interquartile range of what ``goal`` speaks of, divided by its median: 0.05 means the middle half of the
    rounds lies within 5 %. ``resolution`` says how well many rounds know their median nevertheless: half of
    its 95 % confidence interval, divided by it; a smaller difference cannot be told from none. Figures that
    are exact (counts, bytes) have 0 for both.
    """

    name: str
    value: float
    unit: str
    baseline_name: str | None = None
    baseline: float | None = None
    ratio: float | None = None
    spread: float = 0.0
    resolution: float = 0.0
    goal: Goal | None = None

    def __post_init__(self) -> None:
        if (self.baseline_name is None) != (self.baseline is None):
            raise ValueError(f"{self.name}: a baseline needs a name and a value")
        if self.ratio is None and self.baseline:
            object.__setattr__(self, "ratio", self.value / self.baseline)
        if self.goal is not None and self.goal.subject == "ratio" and self.ratio is None:
            raise ValueError(f"{self.name}: a goal for the ratio needs a baseline")

    @property
    def met(self) -> bool | None:
        """Whether the goal holds; None without a goal."""
        if self.goal is None:
            return None
        subject = self.value if self.goal.subject == "value" else self.ratio
        assert subject is not None  # __post_init__ saw to it
        return self.goal.met_by(subject)

    def to_json(self) -> dict[str, object]:
        document = asdict(self)
        document["goal"] = str(self.goal) if self.goal else None
        document["met"] = self.met
        return document


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that at least ``percent`` of 100 of the values do not exceed (nearest rank)."""
    ordered = sorted(values)
    if not ordered:
        raise ValueError("no values to take a percentile of")
    rank = max(1, -(-len(ordered) * percent // 100))
    return ordered[int(rank) - 1]


def spread(values: Sequence[float]) -> float:
    """Interquartile range divided by the median; 0 for fewer than two values or a median of 0."""
    if len(values) < 2 or not statistics.median(values):
        return 0.0
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return abs((high - low) / statistics.median(values))


def resolution(values: Sequence[float]) -> float:
    """Half of the 95 % confidence interval of the median, divided by it; the range of a few values.

    By ranks (binomial, in its normal approximation), so whatever the distribution is.
    """
    middle = statistics.median(values)
    if len(values) < 2 or not middle:
        return 0.0
    ordered, reach = sorted(values), _NORMAL_95 * math.sqrt(len(values)) / 2
    low = max(0, math.floor(len(values) / 2 - reach) - 1)
    high = min(len(values) - 1, math.ceil(len(values) / 2 + reach))
    return abs((ordered[high] - ordered[low]) / 2 / middle)


def compare(
    name: str,
    unit: str,
    measured: Sequence[float],
    baseline_name: str,
    baseline: Sequence[float],
    goal: Goal | None = None,
) -> Figure:
    """A figure from alternating rounds: ``measured[i]`` and ``baseline[i]`` were taken next to each other.

    Raises ValueError when the two have different lengths or are empty.
    """
    ratios = [one / other for one, other in zip(measured, baseline, strict=True)]
    told = ratios if goal is None or goal.subject == "ratio" else measured
    return Figure(
        name=name,
        value=median(measured),
        unit=unit,
        baseline_name=baseline_name,
        baseline=median(baseline),
        ratio=median(ratios),
        spread=spread(told),
        resolution=resolution(told),
        goal=goal,
    )
