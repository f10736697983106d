"""Rules that apply to one peer become rows: who wins is settled here, once.

At every protocol and port: the first deny rule that names it, else the first allow rule that names
it, else the default. "First" is the order of rules given, which is by policy key and then as
written, so that the rule a verdict is attributed to does not depend on history. See
docs/reference/precedence.md; its lines are tests.
"""

from collections.abc import Sequence
from heapq import heappop, heappush
from typing import NamedTuple

from kinety.model.rule import PortRange
from kinety.model.verdict import Verdict, VerdictKind
from kinety.plan.cover import Segments, cover

_LAST_PORT = 65535


class Term(NamedTuple):
    """What a rule says to a peer it applies to. ``ports`` None: every protocol and port."""

    verdict: Verdict
    ports: tuple[PortRange, ...] | None


class Row(NamedTuple):
    """A row of any class: ``bits`` leading bits of protocol and port, and the verdict."""

    bits: int
    protocol: int
    port: int
    verdict: Verdict


class _Claim(NamedTuple):
    """Ports ``first`` to ``last`` belong to the verdict of this rank unless a lower rank claims them."""

    first: int
    rank: int
    last: int


def resolve(terms: Sequence[Term], default: Verdict) -> tuple[Row, ...]:
    """The rows of one class; the first is that of 0 bits, for whatever no other row names."""
    ranked = [term for term in terms if term.verdict.kind is VerdictKind.DENY]
    ranked += [term for term in terms if term.verdict.kind is not VerdictKind.DENY]
    verdicts = [term.verdict for term in ranked] + [default]
    otherwise = len(ranked)  # rank of the first term that names every protocol
    claims: dict[int, list[_Claim]] = {}
    for rank, term in enumerate(ranked):
        if term.ports is None or any(ports.protocol == 0 for ports in term.ports):
            otherwise = rank
            break
        for ports in term.ports:
            claims.setdefault(ports.protocol, []).append(_Claim(ports.first, rank, ports.last))
    rows = [Row(0, 0, 0, verdicts[otherwise])]
    for protocol, claimed in sorted(claims.items()):
        rows += _protocol_rows(protocol, claimed, otherwise, verdicts)
    return tuple(rows)


def _protocol_rows(protocol: int, claims: list[_Claim], otherwise: int, verdicts: list[Verdict]) -> list[Row]:
    colours: dict[Verdict, int] = {verdicts[otherwise]: 0}
    segments: list[tuple[int, int]] = []
    for first, rank in _steps(claims, otherwise):
        colour = colours.setdefault(verdicts[rank], len(colours))
        if not segments or segments[-1][1] != colour:
            segments.append((first, colour))
    palette = list(colours)
    pattern: Segments = tuple(segments)
    return [Row(bits, protocol, port, palette[colour]) for bits, port, colour in cover(pattern)]


def _steps(claims: list[_Claim], otherwise: int) -> list[tuple[int, int]]:
    """First port and winning rank of each stretch of ports, ascending from 0."""
    pending = sorted(claims, reverse=True)
    edges = sorted({0, *(each.first for each in claims), *(each.last + 1 for each in claims)})
    active: list[tuple[int, int]] = []
    steps: list[tuple[int, int]] = []
    for edge in edges:
        if edge > _LAST_PORT:
            break
        while pending and pending[-1].first <= edge:
            claim = pending.pop()
            heappush(active, (claim.rank, claim.last))
        while active and active[0][1] < edge:
            heappop(active)
        steps.append((edge, active[0][0] if active else otherwise))
    return steps
