"""Why one flow is let through or not: both ends' verdicts, the rules that decided, and how they got there."""

from dataclasses import dataclass

from pyroaring import BitMap

from kinety.explain.condition import Condition, Failure, failing, failures
from kinety.explain.content import Fate, Request, content_text, fate_of
from kinety.explain.difference import peers_of_anybody
from kinety.explain.edit import Edit, edits
from kinety.explain.end import End, Judgement, find_end, judgements
from kinety.explain.judge import everybody_in, pattern_between, rules_about
from kinety.explain.naming import Names
from kinety.explain.pattern import verdict_at
from kinety.explain.supposition import supposing
from kinety.explain.traffic import (
    ECHO,
    NUMBERS,
    PROTOCOLS,
    WITH_PORTS,
    Stretch,
    Traffic,
    number_of,
    traffic_of,
)
from kinety.identity.registry import Registry
from kinety.model.identity import ClassId, Identity
from kinety.model.rule import Action, Direction, Origin, Rule
from kinety.model.verdict import Verdict, VerdictKind
from kinety.plan.change import RuleSetId
from kinety.plan.engine import Engine
from kinety.plan.lookup import template_for
from kinety.plan.resolve import Row
from kinety.plan.rule_book import Numbered
from kinety.plan.table import Table

#: Rules that are told of a flow that none of them names.
MISSES = 3
_PROTOCOL_BITS, _ALL_BITS = 8, 24


@dataclass(frozen=True, slots=True)
class Question:
    """A flow; ``port`` is the message type for ICMP. ``request`` is what it carries, where that is asked."""

    source: End
    destination: End
    protocol: int
    port: int
    request: Request | None = None


@dataclass(frozen=True, slots=True)
class Miss:
    """A rule that would have let the flow through, and the conditions of it that the flow fails."""

    origin: Origin
    failures: tuple[Failure, ...]


@dataclass(frozen=True, slots=True)
class Opening:
    """All that a rule lets through for its subject. ``peers`` None is everybody."""

    peers: tuple[str, ...] | None
    traffic: Traffic


@dataclass(frozen=True, slots=True)
class Side:
    """What one end says, and how it came to that.

    ``rule`` is None for a default; ``isolated_by`` is then the rule that made a default of denial.
    The chain: the peer's identity is in a class; the rule set's entry for that class and this traffic
    holds the verdict. ``entry`` is None where nothing matches, which denies, and where there is no rule set.
    """

    direction: Direction
    subject: str
    verdict: Verdict
    rule: Rule | None
    isolated_by: Origin | None
    peer: Identity
    labels: tuple[str, ...]
    class_id: ClassId
    rule_set: RuleSetId | None
    entry: Traffic | None
    misses: tuple[Miss, ...] = ()
    opening: Opening | None = None
    #: Of a redirection: what may pass, and what becomes of the request that was asked about.
    content: str = ""
    fate: Fate | None = None


@dataclass(frozen=True, slots=True)
class Explanation:
    """The answer. An end that is no workload has no say, and no side."""

    question: Question
    sides: tuple[Side, ...]
    #: Edits that let a denied flow through, the smallest first; each was tried.
    edits: tuple[Edit, ...]

    @property
    def kind(self) -> VerdictKind:
        """What becomes of the flow."""
        kinds = {side.verdict.kind for side in self.sides}
        for kind in (VerdictKind.DENY, VerdictKind.REDIRECT):
            if kind in kinds:
                return kind
        return VerdictKind.ALLOW


def question(
    engine: Engine,
    source: str,
    destination: str,
    protocol: str,
    port: int | None,
    request: Request | None = None,
) -> Question:
    """The question that texts mean; ``protocol`` is a name or a number, and an echo needs no port.

    Raises ValueError when one of them means nothing.
    """
    number = NUMBERS.get(protocol) or (int(protocol) if protocol.isdecimal() else PROTOCOLS)
    if number >= PROTOCOLS:
        raise ValueError(
            f"there is no protocol {protocol!r}; write {', '.join(NUMBERS)} or a number up to 255"
        )
    if port is None:
        port = ECHO.get(number, 0)
        if number in WITH_PORTS:
            raise ValueError(f"say which {protocol} port with --port")
    ends = find_end(engine, source), find_end(engine, destination, imagined=1)
    return Question(*ends, number, port, request)


def request_of(method: str | None, path: str | None) -> Request | None:
    """A request as far as it is given; None when nothing is."""
    return None if method is None and path is None else Request(method, path)


def explain(engine: Engine, question: Question) -> Explanation:
    """Why a flow is let through or not. The engine is left as it is.

    Raises what the engine raises about an endpoint that is only imagined.
    """
    facts = (*question.source.facts(engine), *question.destination.facts(engine))
    with supposing(engine, facts):
        asked = judgements(engine, question.source, question.destination)
        sides = tuple(_side(engine, question, each) for each in asked)
    found = Explanation(question, sides, ())
    if found.kind is not VerdictKind.DENY:
        return found
    return Explanation(
        question, sides, edits(engine, question.source, question.destination, *_asked(question))
    )


def _asked(question: Question) -> tuple[int, int]:
    return question.protocol, question.port


def _side(engine: Engine, question: Question, asked: Judgement) -> Side:
    direction, own, peer = asked.direction, asked.subject, asked.peer
    number = number_of(question.protocol, question.port)
    rules = rules_about(engine, own, direction)
    verdict = verdict_at(pattern_between(engine, own, direction, peer), number)
    decided = next((each.rule for each in rules if each.number == verdict.rule), None)
    isolating = next((each.rule.origin for each in rules if each.rule.default_deny), None)
    denied = verdict.kind is VerdictKind.DENY
    subject = engine.subjects.get(own)
    table = None if subject is None else subject.tables[direction]
    class_id = engine.registry.classes.of(peer)
    layer7 = engine.layer7_sets.get(verdict.layer7) if verdict.layer7 else None
    return Side(
        direction,
        asked.end.name,
        verdict,
        decided,
        isolating if denied and decided is None else None,
        peer,
        tuple(sorted(map(str, engine.registry[peer]))),
        class_id,
        None if table is None else table.id,
        _entry(table, class_id, number),
        misses(engine.registry, rules, peer, *_asked(question)) if denied else (),
        None if denied or decided is None else _opening(engine, decided),
        "" if layer7 is None else content_text(layer7),
        None if layer7 is None or question.request is None else fate_of(layer7, question.request),
    )


def _entry(table: Table | None, class_id: ClassId, number: int) -> Traffic | None:
    """The traffic of the longest row that matches."""
    if table is None:
        return None
    matching = [
        each
        for each in map(_stretched, template_for(table, class_id).rows)
        if each.first <= number <= each.last
    ]
    return (min(matching, key=lambda each: each.last - each.first),) if matching else None


def _stretched(row: Row) -> Stretch:
    first = number_of(row.protocol, row.port)
    return Stretch(first, first + (1 << _ALL_BITS - row.bits) - 1)


def misses(registry: Registry, rules: Numbered, peer: Identity, protocol: int, port: int) -> tuple[Miss, ...]:
    """Allow rules that do not name a flow, a few of those that come nearest to it."""
    found = [
        (_distance(failed), each.rule)
        for each in rules
        if each.rule.action is Action.ALLOW
        and each.rule.origin.line  # an option is no rule to come near to
        and (failed := failing(registry, each.rule, peer, protocol, port))
    ]
    nearest = sorted(found, key=lambda each: each[0])[:MISSES]
    return tuple(Miss(rule.origin, failures(registry, rule, peer, protocol, port)) for _, rule in nearest)


def _distance(failed: tuple[Condition, ...]) -> tuple[int, bool]:
    return len(failed), Condition.PROTOCOL in failed


def _opening(engine: Engine, rule: Rule) -> Opening:
    if rule.peers is None:
        return Opening(None, traffic_of(rule.ports))
    named = BitMap().union(*(everybody_in(engine.registry, each) for each in rule.peers))
    return Opening(Names(engine).peers(named & peers_of_anybody(engine)), traffic_of(rule.ports))
