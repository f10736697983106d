"""Counts and percentiles."""

import pytest

from kinety.proxy.dns.counters import Counters


def test_percentiles_are_right_within_a_quarter() -> None:
    counters = Counters()
    for number in range(1000):
        counters.answered(0.001 if number < 980 else 0.1)
    found = counters.statistics()
    assert found.answers == 1000
    assert found.p50_milliseconds == pytest.approx(1, rel=0.25)
    assert found.p99_milliseconds == pytest.approx(100, rel=0.25)


def test_without_answers_there_is_none() -> None:
    assert Counters().statistics().p99_milliseconds == 0


def test_what_took_longer_than_anything_counts() -> None:
    counters = Counters()
    counters.answered(1000)
    assert counters.statistics().p50_milliseconds > 5000
