"""The soak's driver: every target has its time, and a finding is shown and is the run's status."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.soak import SHARES, Outcome, soak
from tests.fuzz.target import TARGETS


def test_every_target_has_a_share_of_the_time_and_the_seed_is_told(
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked: list[tuple[str, int, int]] = []

    def run(name: str, seconds: int, seed: int) -> Outcome:
        asked.append((name, seconds, seed))
        return Outcome(7)

    assert soak(250, 99, run) == 0
    assert [name for name, _, _ in asked] == list(SHARES)
    assert SHARES.keys() == TARGETS.keys()
    assert 230 <= sum(seconds for _, seconds, _ in asked) <= 250
    assert {seed for _, _, seed in asked} == {99}
    assert "seed 99" in capsys.readouterr().out


def test_a_finding_is_shown_and_the_others_still_have_their_turn(capsys: pytest.CaptureFixture[str]) -> None:
    found = Outcome(3, "IndexError: tuple index out of range", (Path("found/btf/crash-1"),))
    asked: list[str] = []

    def run(name: str, _seconds: int, _seed: int) -> Outcome:
        asked.append(name)
        return found if name == "btf" else Outcome(1)

    assert soak(10, 1, run) == 1
    assert asked == list(SHARES)
    said = capsys.readouterr().out
    assert "IndexError: tuple index out of range\nfuzz: btf BROKE on\n  found/btf/crash-1\n" in said
    assert said.count("BROKE") == 1
