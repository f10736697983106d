"""Subjects: label sets that endpoints of this node have, and the rules that select each."""

from dataclasses import dataclass, field
from typing import NamedTuple

from kinety.model.endpoint import EndpointId
from kinety.model.identity import Identity
from kinety.model.rule import Direction
from kinety.plan.change import EndpointPlan, RuleSetId
from kinety.plan.rule_book import Numbered, NumberedRule, PolicyName
from kinety.plan.table import Table

#: Tables by direction; None means no rule selects the subject in that direction.
Tables = tuple[Table | None, Table | None]
OPEN: Tables = (None, None)


@dataclass(slots=True, eq=False)
class Subject:
    """One identity that endpoints of this node have. Equal endpoints are one subject."""

    identity: Identity
    endpoints: set[EndpointId] = field(default_factory=set)
    policies: dict[PolicyName, Numbered] = field(default_factory=dict)
    tables: Tables = OPEN

    def plan(self) -> EndpointPlan:
        """What rows of the subject's endpoints point at."""
        egress, ingress = (self.tables[direction] for direction in (Direction.EGRESS, Direction.INGRESS))
        return EndpointPlan(self.identity, _id(egress), _id(ingress))


class Flip(NamedTuple):
    """A subject that gets other tables."""

    subject: Subject
    before: Tables
    after: Tables


def directed(
    policies: dict[PolicyName, Numbered], direction: Direction, option: NumberedRule | None
) -> Numbered:
    """A subject's rules in one direction, in the order that decides attribution.

    ``option`` is added last where the rules isolate the subject: it lets somebody in regardless.
    """
    rules = [each for name in sorted(policies) for each in policies[name] if each.rule.direction is direction]
    isolated = any(each.rule.default_deny for each in rules)
    if option is not None and option.rule.direction is direction and isolated:
        rules.append(option)
    return tuple(rules)


def _id(table: Table | None) -> RuleSetId | None:
    return None if table is None else table.id
