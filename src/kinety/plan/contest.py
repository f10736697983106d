"""Who wins at a port where more than a rank counts: where a rule passes, or asks for content.

A rule that passes leaves the rest of its rank out. Allow rules that ask for content are taken together
and redirect; but not where a plain one speaks of just as few ports, or fewer: it then says that these may
be had whatever the content. A plain rule about more ports does not: whoever writes "every port" beside
"only GET at port 80" wants both to hold.
"""

from bisect import insort
from collections.abc import Sequence
from typing import NamedTuple

from kinety.model.layer7 import Layer7, Layer7Id
from kinety.model.rule import RuleId
from kinety.model.verdict import Verdict, VerdictKind
from kinety.plan.content import united
from kinety.plan.term import BASELINE, Term

LAST_PORT = 65535
#: Where the ports begin and end of a rule about every protocol: it is about more than any other.
_BEFORE, _BEYOND = -1, LAST_PORT + 1

#: First port and verdict of each stretch of ports, ascending from 0.
Steps = list[tuple[int, Verdict]]


class _Claim(NamedTuple):
    """A term about ports ``first`` to ``last``; ``place`` is the term's among all that are ranked."""

    place: int
    first: int
    last: int


class Contest:
    """The terms that apply to one peer, by rank and then as given, and the default."""

    def __init__(self, ranked: Sequence[Term], default: Verdict) -> None:
        self._ranked = ranked
        self._default = default
        self._everywhere: list[_Claim] = []
        self._claims: dict[int, list[_Claim]] = {}
        #: Content that a verdict redirects to, and pairs of rules that ask for two kinds of it at once.
        self.layer7_sets: dict[Layer7Id, Layer7] = {}
        self.conflicts: set[tuple[RuleId, RuleId]] = set()
        for place, term in enumerate(ranked):
            if term.ports is None:
                self._everywhere.append(_Claim(place, _BEFORE, _BEYOND))
                continue
            for ports in term.ports:
                claim = _Claim(place, ports.first, ports.last)
                self._claims.setdefault(ports.protocol, []).append(claim)

    @property
    def protocols(self) -> list[int]:
        """Protocols of which a term speaks by number, ascending."""
        return sorted(self._claims)

    def otherwise(self) -> Verdict:
        """What is said of every other protocol."""
        return self._winner(self._everywhere)

    def steps(self, protocol: int) -> Steps:
        """What is said of each port of one of the ``protocols``."""
        claims = self._claims[protocol]
        pending = sorted(claims, key=lambda claim: claim.first, reverse=True)
        edges = sorted({0, *(each.first for each in claims), *(each.last + 1 for each in claims)})
        active = list(self._everywhere)
        steps: Steps = []
        for edge in edges:
            if edge > LAST_PORT:
                break
            active = [claim for claim in active if claim.last >= edge]
            while pending and pending[-1].first <= edge:
                insort(active, pending.pop())
            steps.append((edge, self._winner(active)))
        return steps

    def _winner(self, active: Sequence[_Claim]) -> Verdict:
        """Whose port it is that all these claim, by rank and then as given."""
        passed: int | None = None
        asking: list[_Claim] = []
        first, last = _BEFORE, _BEYOND  # what all that ask are about
        for claim in active:
            term = self._ranked[claim.place]
            if term.rank == passed:
                continue
            if asking and term.rank == BASELINE:
                break
            if term.verdict is None:
                passed = term.rank
            elif term.layer7 is not None:
                asking.append(claim)
                first, last = max(first, claim.first), min(last, claim.last)
            elif first <= claim.first and claim.last <= last:
                return term.verdict
        return self._redirection(asking) if asking else self._default

    def _redirection(self, asking: Sequence[_Claim]) -> Verdict:
        """Content that any of these asks for; nothing at all where they do not agree on its kind."""
        terms = [self._ranked[place] for place in dict.fromkeys(claim.place for claim in asking)]
        first = terms[0].verdict
        assert first is not None
        content = united(tuple(term.layer7 for term in terms if term.layer7 is not None))
        if len(content.layer7.kinds) > 1:
            self.conflicts.update(_pairs(terms))
            return Verdict(VerdictKind.DENY, first.rule)
        self.layer7_sets[content.id] = content.layer7
        return Verdict(VerdictKind.REDIRECT, first.rule, layer7=content.id)


def _pairs(terms: Sequence[Term]) -> set[tuple[RuleId, RuleId]]:
    """The first rule of all, with each that asks for another kind of content."""
    first, *others = [
        (term.verdict.rule, term.layer7.kinds)
        for term in terms
        if term.verdict is not None and term.layer7 is not None
    ]
    return {(first[0], rule) for rule, asked in others if asked != first[1]}
