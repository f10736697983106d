from functools import lru_cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kinety.plan.cover import Prefix, Segments, cover

LAST = 65535
#: Ports at the sixteenths of the range, so that the smallest table can be found by trying.
COARSE = 4096


def segments(starts: dict[int, int]) -> Segments:
    """Colours by first port; where neighbours have one colour they are one segment."""
    found: list[tuple[int, int]] = []
    for first, colour in sorted(starts.items()):
        if not found or found[-1][1] != colour:
            found.append((first, colour))
    return tuple(found)


colours = st.integers(0, 4)
ports = st.one_of(st.integers(1, LAST), st.sampled_from((1, 79, 80, 81, 1023, 1024, 32768, LAST)))
anywhere = st.builds(
    lambda first, others: segments({0: first} | others),
    colours,
    st.dictionaries(ports, colours, max_size=8),
)
coarse = st.lists(colours, min_size=16, max_size=16).map(
    lambda found: segments({number * COARSE: colour for number, colour in enumerate(found)})
)


def colour_of(port: int, wanted: Segments) -> int:
    return next(colour for first, colour in reversed(wanted) if first <= port)


def longest(port: int, rows: tuple[Prefix, ...]) -> int:
    """The colour of the longest matching row; 0 where none does, for that is the row above."""
    best = max(
        (row for row in rows if port >> (24 - row.bits) == row.port >> (24 - row.bits)),
        key=lambda row: row.bits,
        default=Prefix(0, 0, 0),
    )
    return best.colour


@settings(deadline=None)
@given(anywhere)
def test_the_longest_match_gives_every_port_its_colour(wanted: Segments) -> None:
    rows = cover(wanted)
    edges = {port for first, _ in wanted for port in (first - 1, first, first + 1) if 0 <= port <= LAST}
    ends = {row.port + (1 << (24 - row.bits)) - 1 for row in rows} | {row.port for row in rows}
    for port in edges | ends | {LAST}:
        assert longest(port, rows) == colour_of(port, wanted), port


@given(anywhere)
def test_rows_are_prefixes_of_a_protocol_and_each_is_there_once(wanted: Segments) -> None:
    rows = cover(wanted)
    assert list(rows) == sorted(rows)
    assert len({(row.bits, row.port) for row in rows}) == len(rows)
    for row in rows:
        assert 8 <= row.bits <= 24
        assert row.port % (1 << (24 - row.bits)) == 0, "bits beyond the prefix are zero"


def fewest(wanted: Segments) -> int:
    """Rows of the smallest table, by trying at every node every colour, or no row."""
    leaves = [colour_of(number * COARSE, wanted) for number in range(16)]

    @lru_cache(None)
    def cost(first: int, size: int, inherited: int) -> int:
        def below(colour: int) -> float:
            if size == 1:
                return 0 if leaves[first] == colour else 99
            half = size // 2
            return cost(first, half, colour) + cost(first + half, half, colour)

        return int(min(below(inherited), *(1 + below(colour) for colour in range(5))))

    return cost(0, 16, 0)


@settings(max_examples=300, deadline=None)
@given(coarse)
def test_no_table_is_smaller(wanted: Segments) -> None:
    assert len(cover(wanted)) == fewest(wanted)


@pytest.mark.parametrize(
    ("wanted", "rows"),
    [
        (((0, 0),), ()),
        (((0, 1),), (Prefix(8, 0, 1),)),
        (((0, 0), (80, 1), (81, 0)), (Prefix(24, 80, 1),)),
        (((0, 1), (25, 0), (26, 1)), (Prefix(8, 0, 1), Prefix(24, 25, 0))),
        (((0, 0), (1024, 1), (2048, 0)), (Prefix(14, 1024, 1),)),
        (((0, 0), (LAST, 1)), (Prefix(24, LAST, 1),)),
        (((0, 2), (1, 0)), (Prefix(24, 0, 2),)),
        # 1-65534 is 30 prefixes; all less the two ends is three.
        (((0, 0), (1, 1), (LAST, 0)), (Prefix(8, 0, 1), Prefix(24, 0, 0), Prefix(24, LAST, 0))),
    ],
)
def test_tables(wanted: Segments, rows: tuple[Prefix, ...]) -> None:
    assert cover(wanted) == rows
