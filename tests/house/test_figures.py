"""Tables in documents say what the benchmarks' results say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.feature import ROOT
from tools import generation_figures, tabulate_generations, tabulate_layer7
from tools.tables import Tables, fill


class Page(NamedTuple):
    """A page, what its tables are made of, and how."""

    path: str
    results: str
    tables: Tables[Any]
    read: Callable[[Path], Any]


PAGES = (
    Page(
        "docs/concepts/fast-datapaths.md",
        "bench/results/generations.json",
        tabulate_generations.TABLES,
        generation_figures.Document.read,
    ),
    Page(
        "docs/concepts/layer7-cost.md",
        "bench/results/layer7.json",
        tabulate_layer7.TABLES,
        tabulate_layer7.Document.read,
    ),
)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.path)
def test_the_pages_tables_are_the_results(page: Page) -> None:
    text = (ROOT / page.path).read_text()
    assert fill(text, page.tables, page.read(ROOT / page.results)) == text, "make figures"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.path)
def test_the_page_has_every_table(page: Page) -> None:
    text = (ROOT / page.path).read_text()
    assert not [name for name in page.tables if f"<!-- figures: {name} -->" not in text]
