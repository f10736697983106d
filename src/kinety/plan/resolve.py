"""Rules that apply to one peer become rows: who wins is settled here, once.

At every protocol and port: the first rule of the admin tier that names it; else the first deny rule of a
policy, else its allow rules; else the first rule of the baseline tier; else the default. "First" is the
order of rules given, which is by priority, policy key and then as written, so that the rule a verdict is
attributed to does not depend on history. See docs/reference/precedence.md; its lines are tests. Where
ranks alone do not tell, `kinety.plan.contest` does.
"""

from collections.abc import Mapping, Sequence
from heapq import heappop, heappush
from operator import itemgetter
from types import MappingProxyType
from typing import NamedTuple

from kinety.model.layer7 import Layer7, Layer7Id
from kinety.model.rule import RuleId
from kinety.model.verdict import Verdict
from kinety.plan.contest import LAST_PORT, Contest, Steps
from kinety.plan.cover import Segments, cover
from kinety.plan.term import Term

_NO_CONTENT: Mapping[Layer7Id, Layer7] = MappingProxyType({})
_rank = itemgetter(Term._fields.index("rank"))


class Row(NamedTuple):
    """A row of any class: ``bits`` leading bits of protocol and port, and the verdict."""

    bits: int
    protocol: int
    port: int
    verdict: Verdict


class Template(NamedTuple):
    """What is said of a class: rows, and the content to which they redirect.

    ``conflicts`` are pairs of rules that ask for two kinds of content at one port; there, they deny.
    """

    rows: tuple[Row, ...]
    layer7_sets: Mapping[Layer7Id, Layer7] = _NO_CONTENT
    conflicts: frozenset[tuple[RuleId, RuleId]] = frozenset()


class _Claim(NamedTuple):
    """Ports ``first`` to ``last`` belong to the verdict of this place unless a lower place claims them."""

    first: int
    place: int
    last: int


def resolve(terms: Sequence[Term], default: Verdict) -> Template:
    """What is said of one class; the first row is that of 0 bits, for whatever no other row names."""
    ranked = sorted(terms, key=_rank)
    verdicts = [term.verdict for term in ranked if term.verdict is not None]
    if len(verdicts) < len(ranked) or any(term.layer7 is not None for term in ranked):
        return _contested(Contest(ranked, default))
    verdicts.append(default)
    otherwise = len(ranked)  # place of the first term that names every protocol
    claims: dict[int, list[_Claim]] = {}
    for place, term in enumerate(ranked):
        if term.ports is None:
            otherwise = place
            break
        for ports in term.ports:
            claims.setdefault(ports.protocol, []).append(_Claim(ports.first, place, ports.last))
    rows = [Row(0, 0, 0, verdicts[otherwise])]
    for protocol, claimed in sorted(claims.items()):
        rows += _protocol_rows(protocol, _steps(claimed, otherwise, verdicts), verdicts[otherwise])
    return Template(tuple(rows))


def _contested(contest: Contest) -> Template:
    otherwise = contest.otherwise()
    rows = [Row(0, 0, 0, otherwise)]
    for protocol in contest.protocols:
        rows += _protocol_rows(protocol, contest.steps(protocol), otherwise)
    return Template(tuple(rows), contest.layer7_sets, frozenset(contest.conflicts))


def _protocol_rows(protocol: int, steps: Steps, otherwise: Verdict) -> list[Row]:
    colours: dict[Verdict, int] = {otherwise: 0}
    segments: list[tuple[int, int]] = []
    for first, verdict in steps:
        colour = colours.setdefault(verdict, len(colours))
        if not segments or segments[-1][1] != colour:
            segments.append((first, colour))
    palette = list(colours)
    pattern: Segments = tuple(segments)
    return [Row(bits, protocol, port, palette[colour]) for bits, port, colour in cover(pattern)]


def _steps(claims: list[_Claim], otherwise: int, verdicts: list[Verdict]) -> Steps:
    """Whose each stretch of ports is, where the lowest place wins."""
    pending = sorted(claims, reverse=True)
    edges = sorted({0, *(each.first for each in claims), *(each.last + 1 for each in claims)})
    active: list[tuple[int, int]] = []
    steps: Steps = []
    for edge in edges:
        if edge > LAST_PORT:
            break
        while pending and pending[-1].first <= edge:
            claim = pending.pop()
            heappush(active, (claim.place, claim.last))
        while active and active[0][1] < edge:
            heappop(active)
        steps.append((edge, verdicts[active[0][0] if active else otherwise]))
    return steps
