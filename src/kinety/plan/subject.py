"""Subjects: label sets that endpoints of this node have, and the rules that select each."""

from dataclasses import dataclass, field
from operator import attrgetter
from typing import NamedTuple

from kinety.model.endpoint import EndpointId
from kinety.model.identity import Identity
from kinety.model.rule import Direction
from kinety.plan.change import EndpointPlan, RuleSetId
from kinety.plan.rule_book import Numbered, NumberedRule, PolicyName
from kinety.plan.table import Table

#: Tables in the order of directions; None means no rule selects the subject in that direction.
Tables = tuple[Table | None, Table | None]
OPEN: Tables = (None, None)
_ORDER = attrgetter("order")


@dataclass(slots=True, eq=False)
class Subject:
    """One identity that endpoints of this node have. Equal endpoints are one subject."""

    identity: Identity
    endpoints: set[EndpointId] = field(default_factory=set)
    policies: dict[PolicyName, Numbered] = field(default_factory=dict)
    tables: Tables = OPEN

    def plan(self, ipv4: Identity | None = None, ipv6: Identity | None = None) -> EndpointPlan:
        """What an endpoint's row points at, given who its addresses are to others if not its subject."""
        egress, ingress = self.tables
        own = self.identity
        return EndpointPlan(own, _id(egress), _id(ingress), ipv4 or own, ipv6 or own)


class Flip(NamedTuple):
    """A subject that gets other tables."""

    subject: Subject
    before: Tables
    after: Tables


def directed(
    policies: dict[PolicyName, Numbered], direction: Direction, option: NumberedRule | None
) -> Numbered:
    """A subject's rules in one direction that have a say, in the order that decides attribution.

    ``option`` is added last where the rules isolate the subject: it lets somebody in regardless. Then
    rules of the baseline tier have no say.
    """
    rules = [each for name in sorted(policies) for each in policies[name] if each.rule.direction is direction]
    if any(map(_ORDER, rules)):
        rules.sort(key=_ORDER)
    if any(each.isolates for each in rules):
        while rules[-1].order > 0:
            rules.pop()
        if option is not None and option.rule.direction is direction:
            rules.append(option)
    return tuple(rules)


def _id(table: Table | None) -> RuleSetId | None:
    return None if table is None else table.id
