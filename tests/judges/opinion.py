"""What the oracle and the plan say to a question, and whether they say the same."""

from dataclasses import dataclass, field, replace

from kinety.model.identity import Identity, ReservedIdentity
from kinety.model.layer7 import HttpRule, Layer7
from kinety.model.rule import DEFAULT_RULE, Direction, RuleId
from kinety.model.verdict import Verdict, VerdictKind
from kinety.plan.engine import Engine
from kinety.testing.oracle import Opinion, Oracle
from tests.judges.question import Question
from tests.judges.worlds import End, World

_WORDS = {VerdictKind.ALLOW: "allow", VerdictKind.DENY: "deny", VerdictKind.REDIRECT: "redirect"}


@dataclass(frozen=True, slots=True)
class Say:
    """One endpoint's say: the verdict, by which rule (0: the default), about whom.

    ``beside`` is what policies that are not in force make of it, if they have a say.
    """

    direction: Direction
    endpoint: int
    verdict: str
    rule: RuleId
    remote: Identity
    content: frozenset[tuple[object, ...]] = frozenset()
    beside: "Say | None" = field(default=None, compare=False)


class Disagreement(AssertionError):
    """Two judges say different things."""


def oracle_of(scene: World) -> Oracle:
    """The oracle on a world."""
    return Oracle(scene.everything_written)


def _planned(engine: Engine, question: Question, direction: Direction, own: End, peer: End) -> Say:
    remote, traffic = engine.identity_of_address(peer.address), (question.protocol, question.port)
    if own.endpoint is None:
        host = ReservedIdentity.HOST
        return _say(engine, direction, host, remote, engine.verdict(host, direction, remote, *traffic))
    subject = own.endpoint.id
    say = _say(engine, direction, subject, remote, engine.verdict(subject, direction, remote, *traffic))
    beside = engine.shadow_verdict(subject, direction, remote, *traffic)
    if beside is None:
        return say
    return replace(say, beside=_say(engine, direction, subject, remote, beside))


def _say(engine: Engine, direction: Direction, subject: int, remote: Identity, verdict: Verdict) -> Say:
    content = content_of(engine.layer7_sets[verdict.layer7]) if verdict.layer7 else frozenset()
    return Say(direction, subject, _WORDS[verdict.kind], verdict.rule, remote, content)


def content_of(layer7: Layer7) -> frozenset[tuple[object, ...]]:
    """What may pass, as the oracle says it."""
    found: list[tuple[object, ...]] = [_request(each) for each in layer7.http]
    found += [("dns", each.pattern) for each in layer7.dns]
    found += [("server name", each.pattern) for each in layer7.server_names]
    return frozenset(found)


def _request(http: HttpRule) -> tuple[object, ...]:
    headers = frozenset(
        (each.name, each.value, each.secret, None if each.mismatch is None else each.mismatch.value)
        for each in http.headers
    )
    return ("http", http.method, http.path, http.host, headers)


def check_plan(oracle: Oracle, engine: Engine, question: Question) -> list[Say]:
    """The plan's answers for each endpoint that judges, which are the oracle's too. Raises Disagreement."""
    for side in question.host_sides():
        _agreed(oracle, engine, question, *side)
    return [_agreed(oracle, engine, question, *side) for side in question.sides()]


def host_says(engine: Engine, question: Question) -> list[Say]:
    """The plan's answers for the node itself, where it is an end."""
    return [_planned(engine, question, *side) for side in question.host_sides()]


def _agreed(
    oracle: Oracle, engine: Engine, question: Question, direction: Direction, own: End, peer: End
) -> Say:
    """What plan and oracle say for one end. Raises Disagreement."""
    say, word = _planned(engine, question, direction, own, peer), direction.name.lower()
    asked = (own.party, word, peer.party, question.protocol, question.port)
    _compare(engine, f"{question}: {word}", say, oracle.judge(*asked))
    if own.endpoint is not None:
        beside = oracle.judge(*asked, shadow=True)
        _compare(engine, f"{question}: {word}, with what is not in force", say.beside or say, beside)
    return say


def _compare(engine: Engine, asked: str, say: Say, opinion: Opinion) -> None:
    """Raises Disagreement."""
    if not _same(engine, say, opinion):
        raise Disagreement(
            f"{asked}: the plan says {say.verdict} by {named(engine, say.rule)},"
            f" the oracle {opinion.verdict} by {sorted(opinion.rules) or 'default'}"
            + _contents(say.content, opinion.content)
        )


def _contents(planned: frozenset[tuple[object, ...]], read: frozenset[tuple[object, ...]]) -> str:
    if planned == read:
        return ""
    one, other = (sorted(map(str, each)) for each in (planned - read, read - planned))
    return f"; only the plan lets through {one}, only the oracle {other}"


def _same(engine: Engine, say: Say, opinion: Opinion) -> bool:
    if (say.verdict, say.content) != (opinion.verdict, opinion.content):
        return False
    if say.rule == DEFAULT_RULE:
        return not opinion.rules
    return named(engine, say.rule) in opinion.rules


def named(engine: Engine, rule: RuleId) -> tuple[str, str] | str:
    """A rule as the oracle names it: policy and path."""
    if rule == DEFAULT_RULE:
        return "default"
    if rule not in engine.rules:
        return f"rule {rule}, which is not in force"
    origin = engine.rules[rule].origin
    return origin.policy.name if origin.line else "", origin.path
