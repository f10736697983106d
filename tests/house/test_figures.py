"""Tables in documents say what the benchmark's results say."""

from __future__ import annotations

from tests.feature import ROOT
from tools.generation_figures import Document
from tools.tabulate_generations import TABLES, fill

RESULTS = ROOT / "bench/results/generations.json"
PAGE = ROOT / "docs/concepts/fast-datapaths.md"


def test_the_pages_tables_are_the_results() -> None:
    page = PAGE.read_text()
    assert fill(page, Document.read(RESULTS)) == page, "make figures"


def test_the_page_has_every_table() -> None:
    page = PAGE.read_text()
    assert not [name for name in TABLES if f"<!-- figures: {name} -->" not in page]
