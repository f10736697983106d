"""`bench.generations` with nothing left out: a thousand endpoints are compiled, too, and compiled anew.

Asked by name only (``python -m bench.run generations_in_full``): clang runs 2600 times, for some 25 minutes.
"""

from __future__ import annotations

from bench.figure import Figure
from bench.generations import COUNTS, QUICK_COUNTS, figures, measure


def run(quick: bool = False) -> list[Figure]:
    """The figures of `bench.generations`, with ``compile`` at every count."""
    counts = QUICK_COUNTS if quick else COUNTS
    return figures(measure(counts, compiled=max(counts)))
