"""The figure shows what the benchmark wrote, and refuses a document without it."""

from pathlib import Path

import pytest

from tools.plot_generations import draw, parts, series

FIGURES = [
    {"name": "symbols, 1 endpoints: generate + load, each", "value": 30.0, "baseline": 50.0},
    {"name": "symbols, 10 endpoints: generate + load, each", "value": 20.0, "baseline": 40.0},
    {"name": "symbols, 10: generate, each", "value": 1.0},
    {"name": "symbols, 10: load, each", "value": 19.0},
    {"name": "symbols, 10: attach, each", "value": 27.0},
    {"name": "symbols, 10: kernel memory of maps", "value": 0.0},
    {"name": "symbols against compile, 10 endpoints", "value": 20.0, "baseline": 900.0},
]


def test_lines_are_the_means_and_the_baselines() -> None:
    assert series(FIGURES) == {"symbols": {1: 30.0, 10: 20.0}, "libbpf": {1: 50.0, 10: 40.0}}


def test_bars_are_the_parts() -> None:
    assert parts(FIGURES) == {
        "generate": {"symbols": 1.0},
        "load": {"symbols": 19.0},
        "attach": {"symbols": 27.0},
    }


def test_a_document_without_the_question_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no figures of compile, rodata, resident: ask bench\.run"):
        draw(FIGURES, tmp_path / "figure")
    assert not list(tmp_path.iterdir())
