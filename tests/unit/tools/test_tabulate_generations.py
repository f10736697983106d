"""Tables come between their marks, and nothing else of a page changes."""

import pytest

from tests.unit.tools.generations import document
from tools.tables import amount, fill
from tools.tabulate_generations import TABLES, seconds, size

PAGE = """\
# A page

<!-- figures: deploy -->
| old |
<!-- figures end -->

Words.

<!-- figures: goals -->
<!-- figures end -->
"""


def test_a_page_gets_its_tables() -> None:
    assert (
        fill(PAGE, TABLES, document())
        == """\
# A page

<!-- figures: deploy -->
| generate and load, ms each | 1 endpoint | 10 | 1000 |
| --- | --- | --- | --- |
| compile | 500 | 490 | – |
| symbols | 30 | 20 | 19 |
| rodata | 31 | – | – |
| resident | 24 | – | 0.024 |
| libbpf, open and load | 25 | 26 | 27 |
<!-- figures end -->

Words.

<!-- figures: goals -->
| ratio | measured | goal | met |
| --- | --- | --- | --- |
| bulk stream: resident | 0.975 ± 0.4 % | >= 0.98 | **no** |
<!-- figures end -->
"""
    )


def test_what_hangs_at_the_hook_point_is_told_by_family() -> None:
    assert TABLES["hooks"](document()).splitlines()[2:] == [
        "| no filter loaded | 0 | 0 |",
        "| a filter at both points | 28 | 29 |",
    ]


def test_filling_again_changes_nothing() -> None:
    once = fill(PAGE, TABLES, document())
    assert fill(once, TABLES, document()) == once


def test_a_table_that_nobody_knows_is_refused() -> None:
    with pytest.raises(ValueError, match="called prices; there are deploy, parts"):
        fill("<!-- figures: prices -->\n<!-- figures end -->\n", TABLES, document())
    assert "deploy" in TABLES


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (522.4, "522"),
        (31.4, "31"),
        (9.97, "10"),
        (2.35, "2.4"),
        (0.0235, "0.024"),
        (0, "0"),
        (1e-05, "< 0.001"),
        (None, "–"),
    ],
)
def test_amounts_have_two_digits(value: float | None, shown: str) -> None:
    assert amount(value) == shown


def test_units_follow_the_size() -> None:
    assert (seconds(29.0), seconds(51_800.0), seconds(None)) == ("0.029 s", "52 s", "–")
    assert (size(67.2), size(67_200), size(0)) == ("67 KiB", "66 MiB", "0")
