"""Answers as JSON values, in the shapes of ``kinety.api.insight``."""

from collections.abc import Iterable
from typing import Any

from pyroaring import FrozenBitMap

from kinety.explain.content import content_text
from kinety.explain.denial import Denial
from kinety.explain.difference import Difference, VerdictChange, peers_of_anybody
from kinety.explain.edit import Edit
from kinety.explain.flow import Explanation, Miss, Opening, Side
from kinety.explain.lint import Suspicion
from kinety.explain.matrix import VerdictRow
from kinety.explain.naming import Names
from kinety.explain.proposal import Step
from kinety.explain.traffic import NUMBERS, Traffic, blocks, describe
from kinety.model.rule import Direction, Origin
from kinety.model.verdict import Verdict
from kinety.plan.engine import Engine

_PROTOCOLS = {number: name for name, number in NUMBERS.items()}


def explanation_value(found: Explanation) -> dict[str, Any]:
    """An explanation."""
    question = found.question
    sides = {each.direction: each for each in found.sides}
    return {
        "source": question.source.name,
        "destination": question.destination.name,
        "protocol": _PROTOCOLS.get(question.protocol, str(question.protocol)),
        "port": question.port,
        "verdict": found.kind.name.lower(),
        "egress": _side(sides.get(Direction.EGRESS)),
        "ingress": _side(sides.get(Direction.INGRESS)),
        "edits": [_edit(each) for each in found.edits],
    }


def denial_value(found: Denial) -> dict[str, Any]:
    """Why nothing was let through."""
    return {
        "isolated_by": [str(each) for each in found.isolated_by],
        "nearest": None if found.nearest is None else _miss(found.nearest),
    }


def difference_value(engine: Engine, found: Difference) -> list[dict[str, Any]]:
    """What a change would change."""
    grouped = Groups(engine, found)
    return [_change(grouped, each) for each in found.changes]


def matrix_value(engine: Engine, rows: Iterable[VerdictRow]) -> list[dict[str, Any]]:
    """Every verdict."""
    everybody = FrozenBitMap(peers_of_anybody(engine))
    grouped = Groups(engine, Difference((), everybody, {}, engine.layer7_sets))
    return [
        {
            "direction": each.direction.name.lower(),
            "subjects": grouped.subjects(each.subjects),
            "peers": grouped.value(each.peers),
            "traffic": traffic_value(each.traffic),
            "verdict": verdict_word(each.verdict),
            "content": grouped.content(each.verdict),
            "rule": place(each.rule),
        }
        for each in rows
    ]


def lint_value(found: Iterable[Suspicion]) -> list[dict[str, Any]]:
    """What is odd about policies."""
    return [
        {
            "check": each.check,
            "file": each.origin.file,
            "line": each.origin.line,
            "path": each.origin.path,
            "message": each.message,
            "hint": each.hint,
        }
        for each in found
    ]


class Groups:
    """Groups by name, or of more than half of all by who is missing; and content in words."""

    def __init__(self, engine: Engine, found: Difference) -> None:
        self._names = Names(engine, found.outside)
        self._everybody = found.everybody
        self._contents = found.contents

    def value(self, identities: FrozenBitMap) -> dict[str, Any]:
        """A group."""
        others = self._everybody - identities
        all_but = len(others) < len(identities)
        return {"names": list(self._names.peers(others if all_but else identities)), "all_but": all_but}

    def content(self, verdict: Verdict) -> str:
        """What may pass where a verdict redirects."""
        return content_text(self._contents[verdict.layer7]) if verdict.layer7 else ""

    def subjects(self, identities: FrozenBitMap) -> dict[str, Any]:
        """A group of those whose verdicts they are; its members are always named."""
        return {"names": list(self._names.subjects(identities)), "all_but": False}


def traffic_value(traffic: Traffic) -> dict[str, Any]:
    """A set of traffic."""
    return {"text": describe(traffic), "blocks": [each.value() for each in blocks(traffic)]}


def place(origin: Origin | None) -> str | None:
    """File and line of a rule, None for a default."""
    return None if origin is None else str(origin)


def verdict_word(verdict: Verdict) -> str:
    """A verdict's kind."""
    return verdict.kind.name.lower()


def _change(grouped: Groups, change: VerdictChange) -> dict[str, Any]:
    return {
        "direction": change.direction.name.lower(),
        "subjects": grouped.subjects(change.subjects),
        "peers": grouped.value(change.peers),
        "traffic": traffic_value(change.traffic),
        "before": verdict_word(change.before),
        "before_content": grouped.content(change.before),
        "before_rule": place(change.before_rule),
        "after": verdict_word(change.after),
        "after_content": grouped.content(change.after),
        "after_rule": place(change.after_rule),
    }


def _side(side: Side | None) -> dict[str, Any] | None:
    if side is None:
        return None
    chain = {
        "identity": side.peer,
        "labels": list(side.labels),
        "class_id": side.class_id,
        "rule_set": side.rule_set,
        "entry": None if side.entry is None else traffic_value(side.entry),
    }
    return {
        "subject": side.subject,
        "verdict": verdict_word(side.verdict),
        "decided_by": None if side.rule is None else _place(side.rule.origin),
        "isolated_by": None if side.isolated_by is None else _place(side.isolated_by),
        "chain": chain,
        "nearest": [_miss(each) for each in side.misses],
        "content": side.content,
        "request": None if side.fate is None else side.fate.value,
        "opening": None if side.opening is None else _opening(side.opening),
    }


def _place(origin: Origin) -> dict[str, str]:
    return {"rule": str(origin), "policy": str(origin.policy), "path": origin.path}


def _miss(miss: Miss) -> dict[str, Any]:
    failures = [{"condition": each.condition.value, "reason": each.reason} for each in miss.failures]
    return {"place": _place(miss.origin), "failures": failures}


def _opening(opening: Opening) -> dict[str, Any]:
    peers = {"names": list(opening.peers or ()), "all_but": opening.peers is None}
    return {"peers": peers, "traffic": traffic_value(opening.traffic)}


def _edit(edit: Edit) -> dict[str, Any]:
    return {"steps": [_step(each) for each in edit.steps], "opened": edit.opened}


def _step(step: Step) -> dict[str, Any]:
    return {
        "operation": "remove" if step.after is None else "add",
        "place": _place(step.origin),
        "path": step.path,
        "value": step.value,
        "text": str(step),
    }
