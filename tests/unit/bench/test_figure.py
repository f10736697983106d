"""How well rounds know their median, whatever they are distributed like."""

import random

from bench.figure import compare, median, resolution


def test_the_interval_holds_the_true_median_as_often_as_it_says() -> None:
    """Of a skewed distribution: most intervals hold its median, and few are so wide that all do."""
    chance = random.Random(1)
    held = 0
    for _ in range(400):
        values = [chance.expovariate(1) + 1 for _ in range(101)]
        held += abs(median(values) - 1.693147) <= resolution(values) * median(values) * 1.2
    assert 0.9 < held / 400 < 1


def test_more_rounds_know_more() -> None:
    chance = random.Random(2)
    values = [chance.gauss(100, 5) for _ in range(1600)]
    assert 3 < resolution(values[:100]) / resolution(values) < 6


def test_a_few_values_know_no_more_than_their_range() -> None:
    assert resolution([9.0, 10.0, 12.0]) == 0.15
    assert resolution([10.0]) == 0


def test_a_comparison_tells_of_its_ratios() -> None:
    """What hits both sides of a round alike is no uncertainty."""
    figure = compare("a", "ns", [1.0, 2.0, 4.0, 8.0], "b", [2.0, 4.0, 8.0, 16.0])
    assert (figure.ratio, figure.spread, figure.resolution) == (0.5, 0, 0)
