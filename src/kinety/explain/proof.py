"""Invariants, proved: for every source, destination, protocol and port, or a flow that breaks one.

What has no end on this node is left to others. Of a workload elsewhere, its rules are asked as they would be
here, though blocks of addresses that only they name are not told apart.

Who is treated alike is asked about once: sources that share their rules and their class, and likewise
destinations. Of each pair of such groups the two patterns say what gets through at every port.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from kinety.explain.actor import Actor, Cast
from kinety.explain.judge import pattern_between, rules_about
from kinety.explain.naming import Names
from kinety.explain.pattern import OPEN, Pattern, together, verdict_at
from kinety.explain.traffic import Traffic, common, describe, rest, traffic_of, union
from kinety.model.invariant import Claim, Demand, Invariant
from kinety.model.rule import DEFAULT_RULE, Direction, Origin
from kinety.model.verdict import Verdict, VerdictKind
from kinety.plan.engine import Engine
from kinety.policy.error import Finding, PolicyError


@dataclass(frozen=True, slots=True)
class Breach:
    """A claim that does not hold, and who shows it: all of ``traffic`` from the one to the other.

    ``egress`` and ``ingress`` are what both ends say to the first of it, with the rules that decide; a rule
    is None for a default.
    """

    claim: Claim
    source: str
    destination: str
    traffic: Traffic
    egress: VerdictKind
    egress_rule: Origin | None
    ingress: VerdictKind
    ingress_rule: Origin | None


def breaches(engine: Engine, invariants: Iterable[Invariant]) -> tuple[Breach, ...]:
    """One for each claim that does not hold; none proves that all do."""
    proof = _Proof(engine)
    found = (proof.breach(claim) for invariant in invariants for claim in invariant.claims)
    return tuple(each for each in found if each is not None)


def require(engine: Engine, invariants: Iterable[Invariant]) -> None:
    """Raises PolicyError with a counter-example for each claim that does not hold."""
    if broken := breaches(engine, invariants):
        raise PolicyError(sorted(map(_finding, broken)))


def _finding(breach: Breach) -> Finding:
    origin = breach.claim.origin
    egress, ingress = _said(breach.egress, breach.egress_rule), _said(breach.ingress, breach.ingress_rule)
    flow = f"{breach.source} → {breach.destination}, {describe(breach.traffic)}"
    wanted = _WANTED[breach.claim.demand]
    said = f"egress {egress}, ingress {ingress}"
    return Finding(
        origin.file, origin.line, 0, origin.path, f"broken by {flow}: it must be {wanted} ({said})"
    )


def _said(kind: VerdictKind, rule: Origin | None) -> str:
    return f"{kind.name.lower()}: {'default' if rule is None else rule}"


_WANTED = {Demand.MUST_ALLOW: "allowed", Demand.MUST_DENY: "denied"}
#: What makes sources, or destinations, alike: their rules, their class, their families.
_Kind = tuple[tuple[int, ...], int, frozenset[int]]


class _Proof:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._cast = Cast(engine)

    def breach(self, claim: Claim) -> Breach | None:
        """The first flow that breaks a claim."""
        ports = traffic_of(claim.ports)
        for source, destination in self._pairs(claim):
            egress = self._pattern(source, Direction.EGRESS, destination)
            ingress = self._pattern(destination, Direction.INGRESS, source)
            wrong = common(ports, _breaking(claim.demand, egress, ingress))
            if wrong:
                return self._told(claim, source, destination, wrong, egress, ingress)
        return None

    def _pairs(self, claim: Claim) -> Iterator[tuple[Actor, Actor]]:
        ends = [list(self._cast.selected(each)) for each in (claim.source, claim.destination)]
        here = {None, *self._engine.subjects}
        # Rules that no endpoint of this node has need not have made classes of whom they tell apart.
        exact = any(each.subject not in here for actors in ends for each in actors)
        sources = self._kinds(ends[0], Direction.EGRESS, exact)
        destinations = self._kinds(ends[1], Direction.INGRESS, exact)
        for some in sources:
            for others in destinations:
                pair = next(
                    (
                        (one, other)
                        for one in some
                        for other in others
                        if one.families & other.families
                        and not (one.alone and one.subject == other.subject)
                        and (one.subject in self._engine.subjects or other.subject in self._engine.subjects)
                    ),
                    None,
                )
                if pair is not None:
                    yield pair

    def _kinds(self, actors: Iterable[Actor], direction: Direction, exact: bool) -> list[list[Actor]]:
        """Two actors of each group that is treated alike: enough to find a pair of different ones."""
        found: dict[_Kind, list[Actor]] = defaultdict(list)
        for each in actors:
            rules = () if each.subject is None else rules_about(self._engine, each.subject, direction)
            numbers = tuple(id(rule) for rule in rules)
            alike = each.peer if exact else self._engine.registry.classes.of(each.peer)
            kind = numbers, alike, each.families
            if len(found[kind]) < 2:
                found[kind].append(each)
        return list(found.values())

    def _pattern(self, own: Actor, direction: Direction, other: Actor) -> Pattern:
        if own.subject is None:
            return OPEN
        return pattern_between(self._engine, own.subject, direction, other.peer)

    def _told(
        self,
        claim: Claim,
        source: Actor,
        destination: Actor,
        wrong: Traffic,
        egress: Pattern,
        ingress: Pattern,
    ) -> Breach:
        said = verdict_at(egress, wrong[0].first), verdict_at(ingress, wrong[0].first)
        return Breach(
            claim,
            self._name(source),
            self._name(destination),
            wrong,
            said[0].kind,
            self._origin(said[0]),
            said[1].kind,
            self._origin(said[1]),
        )

    def _name(self, actor: Actor) -> str:
        names = Names(self._engine)
        if actor.subject is not None and actor.subject in self._engine.subjects:
            return names.subjects((actor.subject,))[0]
        return names.peers((actor.peer,))[0]

    def _origin(self, verdict: Verdict) -> Origin | None:
        return None if verdict.rule == DEFAULT_RULE else self._engine.rules[verdict.rule].origin


def _breaking(demand: Demand, egress: Pattern, ingress: Pattern) -> Traffic:
    """All traffic that does not become what is demanded."""
    if demand is Demand.MUST_DENY:
        return union(
            stretch
            for stretch, one, other in together(egress, ingress)
            if VerdictKind.DENY not in (one.kind, other.kind)
        )
    return rest(
        union(
            stretch
            for stretch, one, other in together(egress, ingress)
            if one.kind is other.kind is VerdictKind.ALLOW
        )
    )
