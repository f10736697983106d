"""Tables of pages that say what benchmarks found.

Between ``<!-- figures: NAME -->`` and ``<!-- figures end -->`` a page gets the table of that name. The
rest stays.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

T = TypeVar("T")

#: By name, what makes a table of a benchmark's document.
Tables = Mapping[str, Callable[[T], str]]
Figure = Mapping[str, Any]

NOTHING = "–"
_BLOCK = re.compile(r"(<!-- figures: (\w+) -->\n).*?(<!-- figures end -->)", re.S)
_LEAST = 0.001


def fill(page: str, tables: Tables[T], document: T) -> str:
    """The page with its tables. Raises ValueError for a table that nobody knows."""

    def table(match: re.Match[str]) -> str:
        if match[2] not in tables:
            raise ValueError(f"no table of figures is called {match[2]}; there are {', '.join(tables)}")
        return match[1] + tables[match[2]](document) + match[3]

    return _BLOCK.sub(table, page)


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def amount(value: float | None) -> str:
    """Two significant digits, or all before the point; nothing is said of less than a thousandth."""
    if value is None:
        return NOTHING
    if 0 < value < _LEAST:
        return f"< {_LEAST}"
    return f"{value:.0f}" if abs(value) >= 10 else f"{value:.2g}"


def ratio(figure: Figure) -> str:
    """To the baseline, and how exactly the rounds know it."""
    exactly = f" ± {100 * figure['resolution']:.1f} %" if figure["resolution"] else ""
    return f"{figure['ratio']:.3f}{exactly}"
