"""The smallest edits of policies that let a denied flow through, each tried in the engine.

Candidates come from the rules at hand: name another port, name another peer, write another rule, take
out a rule that denies. None is believed: the engine makes the change, is asked about the flow, and takes
the change back. What else a candidate would let through is counted the same way, and those that open
least come first.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice, product

from pyroaring import BitMap

from kinety.explain.difference import difference
from kinety.explain.end import End, Judgement, judgements
from kinety.explain.judge import pattern_between, rules_about
from kinety.explain.pattern import verdict_at
from kinety.explain.proposal import Step, Wish, additions, removals
from kinety.explain.supposition import supposing
from kinety.explain.traffic import number_of
from kinety.model.rule import Direction, PolicyKey, Rule
from kinety.model.verdict import VerdictKind
from kinety.plan.engine import Engine
from kinety.plan.fact import Fact, PolicyRemoved, PolicyUpserted

#: Edits that are told, and that are tried at most.
_SHOWN, _TRIED = 3, 64

Steps = tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Edit:
    """Steps that together let a flow through.

    ``opened`` counts the other pairs of a subject and a peer between which something more gets through.
    """

    steps: Steps
    opened: int


def edits(engine: Engine, source: End, destination: End, protocol: int, port: int) -> tuple[Edit, ...]:
    """Edits that let a flow through that is denied now: those that open least, then the shortest.

    One that consists of all the steps of another and more is left out.
    """
    asked = _Asked(engine, source, destination, protocol, port)
    found: list[Edit] = []
    for steps in islice(asked.candidates(), _TRIED):
        smaller = any(set(map(str, each.steps)) <= set(map(str, steps)) for each in found)
        if not smaller and asked.passes_after(steps):
            found.append(Edit(steps, asked.opened_by(steps)))
    return tuple(sorted(found, key=_size)[:_SHOWN])


def _size(edit: Edit) -> tuple[int, int, int]:
    return len(edit.steps), edit.opened, sum(len(str(each)) for each in edit.steps)


class _Asked:
    """A flow that is denied, and an engine to try things in."""

    def __init__(self, engine: Engine, source: End, destination: End, protocol: int, port: int) -> None:
        self._engine = engine
        self._ends = (source, destination)
        self._facts: tuple[Fact, ...] = (*source.facts(engine), *destination.facts(engine))
        self._protocol = protocol
        self._port = port

    def candidates(self) -> Iterator[Steps]:
        """Steps to try: for each end that denies, whatever denies goes, and something may come."""
        choices: list[list[Steps]] = []
        with supposing(self._engine, self._facts):
            for asked in self._denied():
                wish = Wish(asked.direction, asked.other, asked.peer, self._protocol, self._port)
                rules = [each.rule for each in rules_about(self._engine, asked.subject, asked.direction)]
                gone = removals(self._engine.registry, rules, wish)
                come = list(additions(self._engine.registry, rules, wish))
                choices.append([*([gone] if gone else []), *((*gone, each) for each in come)])
        for choice in product(*choices):
            yield tuple(step for steps in choice for step in steps)

    def passes_after(self, steps: Steps) -> bool:
        """Whether neither end denies the flow after these steps."""
        with supposing(self._engine, (*self._facts, *self._facts_of(steps))):
            return not list(self._denied())

    def opened_by(self, steps: Steps) -> int:
        """How many other pairs of a subject and a peer get something let through by these steps."""
        facts = self._facts_of(steps)
        with supposing(self._engine, (*self._facts, *facts)):
            meant = list(judgements(self._engine, *self._ends))
        opened: dict[tuple[Direction, int], BitMap] = defaultdict(BitMap)
        for change in difference(self._engine, facts).changes:
            if change.before.kind is VerdictKind.DENY:
                for subject in change.subjects:
                    opened[change.direction, subject] |= change.peers
        for asked in meant:
            opened[asked.direction, asked.subject].discard(asked.peer)
        return sum(map(len, opened.values()))

    def _denied(self) -> Iterator[Judgement]:
        number = number_of(self._protocol, self._port)
        for asked in judgements(self._engine, *self._ends):
            pattern = pattern_between(self._engine, asked.subject, asked.direction, asked.peer)
            if verdict_at(pattern, number).kind is VerdictKind.DENY:
                yield asked

    def _facts_of(self, steps: Sequence[Step]) -> tuple[Fact, ...]:
        """The policies as they would be."""
        rules: dict[PolicyKey, list[Rule]] = {}
        for step in steps:
            key = step.origin.policy
            kept = rules.setdefault(key, list(self._engine.policies[key].rules))
            if step.before is not None and step.before in kept:
                place = kept.index(step.before)
                kept[place : place + 1] = [] if step.after is None else [step.after]
            elif step.after is not None:
                kept.append(step.after)
        return tuple(
            PolicyUpserted(replace(self._engine.policies[key], rules=tuple(kept)))
            if kept
            else PolicyRemoved(key)
            for key, kept in rules.items()
        )
