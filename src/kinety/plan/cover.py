"""Ports as prefixes: the smallest table whose longest match gives every port its colour.

This is optimal routing table construction (Draves, King, Venkatachary, Zill: "Constructing optimal
IP routing tables", INFOCOM 1999) on the 16 bits of a port below the 8 bits of a protocol: bottom up,
each node learns which colours serve it best; top down, a row is written only where what is inherited
is not among them. "All ports but 25" is two rows this way, and sixteen by cutting ranges.
"""

from bisect import bisect_left
from functools import lru_cache
from typing import NamedTuple

_PROTOCOL_BITS = 8
_PORT_BITS = 16

#: First port and colour of each segment, ascending, from port 0; neighbours differ in colour.
Segments = tuple[tuple[int, int], ...]


class Prefix(NamedTuple):
    """A row: ``bits`` leading bits of protocol and port (8-24), and the colour of what is below."""

    bits: int
    port: int
    colour: int


class _Node(NamedTuple):
    colours: frozenset[int]
    children: "tuple[_Node, _Node] | None"


@lru_cache(maxsize=4096)
def cover(segments: Segments) -> tuple[Prefix, ...]:
    """Rows for one protocol under a table row of colour 0; ascending by bits and port."""
    rows: list[Prefix] = []
    _write(_build(segments, 0, _PORT_BITS), 0, _PORT_BITS, 0, rows)
    return tuple(sorted(rows))


def _build(segments: Segments, first: int, free_bits: int) -> _Node:
    """The node of ``2 ** free_bits`` ports from ``first``; ``segments`` are those that touch it."""
    if len(segments) == 1:
        return _Node(frozenset((segments[0][1],)), None)
    half = free_bits - 1
    middle = first + (1 << half)
    count = bisect_left(segments, (middle,))
    below, above = segments[:count], segments[count:]
    if not above or above[0][0] > middle:
        above = (below[-1], *above)
    low, high = _build(below, first, half), _build(above, middle, half)
    return _Node(low.colours & high.colours or low.colours | high.colours, (low, high))


def _write(node: _Node, first: int, free_bits: int, inherited: int, rows: list[Prefix]) -> None:
    if inherited not in node.colours:
        inherited = min(node.colours)
        rows.append(Prefix(_PROTOCOL_BITS + _PORT_BITS - free_bits, first, inherited))
    if node.children is not None:
        half = free_bits - 1
        _write(node.children[0], first, half, inherited, rows)
        _write(node.children[1], first + (1 << half), half, inherited, rows)
