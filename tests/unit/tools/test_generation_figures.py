"""Figures are found by their names, whichever questions were asked."""

import json
from pathlib import Path

import pytest

from tests.unit.tools.generations import FIGURES, document
from tools.generation_figures import CONTROL, Document


def test_a_line_is_the_figure_by_count_and_the_baselines() -> None:
    assert document().by_count("generate + load, each") == {
        "compile": {1: 500.0, 10: 490.0},
        "symbols": {1: 30.0, 10: 20.0, 1000: 19.0},
        "rodata": {1: 31.0},
        "resident": {1: 24.0, 1000: 0.024},
        "libbpf": {1: 25.0, 10: 26.0, 1000: 27.0},
    }


def test_what_has_no_baseline_says_nothing_of_libbpf() -> None:
    assert document().by_count("attach, each") == {"symbols": {10: 27.0}}


def test_packets_and_traffic_are_told_apart() -> None:
    found = document()
    assert found.packets().keys() == {("resident", "IPv4")}
    assert found.traffic().keys() == {("bulk stream", "resident"), ("bulk stream", CONTROL)}


def test_templates_are_in_order_of_size_the_real_one_last() -> None:
    found = document().templates()
    assert [(each.real, each.instructions) for each in found] == [(False, 487), (False, 8003), (True, 4981)]
    assert found[0].value("load once, resident") == 1.5
    assert found[0].baseline("load once, resident") == 1.75


def test_goals_are_the_figures_that_have_one() -> None:
    assert [each["name"] for each in document().goals()] == ["bulk stream: resident"]


def test_a_document_without_the_question_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text(json.dumps({"figures": [each for each in FIGURES if "symbols" in str(each["name"])]}))
    with pytest.raises(ValueError, match=r"no figures of compile, rodata, resident: ask bench\.run"):
        Document.read(path)
