"""Why one endpoint let nothing of a flow pass: who isolates it, and which rule came nearest.

What an event says beyond its packet. Smaller than an explanation, and its cost has a bound: somebody may be
sending packets to every port there is.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from kinety.explain.flow import Miss, misses
from kinety.explain.judge import rules_about
from kinety.model.endpoint import EndpointId
from kinety.model.identity import Identity
from kinety.model.rule import DEFAULT_RULE, Direction, PolicyKey
from kinety.model.verdict import VerdictKind
from kinety.plan.engine import Engine
from kinety.plan.rule_book import Numbered, NumberedRule

#: Policies that are named; rules and peers that are looked at for the nearest, some milliseconds of them.
NAMED, LOOKED_AT = 10, 600


@dataclass(frozen=True, slots=True)
class Denial:
    """The policies that isolate an endpoint in a direction, in deciding order, and the nearest rule."""

    isolated_by: tuple[PolicyKey, ...]
    nearest: Miss | None


def denial(
    engine: Engine, endpoint: EndpointId, direction: Direction, peer: Identity, protocol: int, port: int
) -> Denial | None:
    """Why a flow is denied by default; None where it is not, or no longer, or where an end is gone.

    ``port`` is the message type for ICMP.
    """
    if endpoint not in engine.endpoints or peer not in engine.identities:
        return None
    verdict = engine.verdict(endpoint, direction, peer, protocol, port)
    if (verdict.kind, verdict.rule) != (VerdictKind.DENY, DEFAULT_RULE):
        return None
    rules = rules_about(engine, engine.endpoint_plan(endpoint).identity, direction)
    isolating = dict.fromkeys(each.rule.origin.policy for each in rules if each.rule.default_deny)
    near = misses(engine.registry, tuple(_first(rules)), peer, protocol, port)
    return Denial(tuple(isolating)[:NAMED], next(iter(near), None))


def _first(rules: Numbered) -> Iterator[NumberedRule]:
    """The rules that there is time to look at."""
    room = LOOKED_AT
    for each in rules:
        room -= 1 + len(each.rule.peers or ())
        if room < 0:
            return
        yield each
