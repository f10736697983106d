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
    #: Tables of all rules, those not in force included; None where that makes no difference.
    shadow: Tables = OPEN

    def plan(
        self, ipv4: Identity | None = None, ipv6: Identity | None = None, *, audit: bool = False
    ) -> EndpointPlan:
        """What an endpoint's row points at, given who its addresses are to others if not its subject."""
        own = self.identity
        (egress, ingress), shadow = self.pointers(audit=audit)
        return EndpointPlan(
            own, _id(egress), _id(ingress), ipv4 or own, ipv6 or own, _id(shadow[0]), _id(shadow[1])
        )

    def pointers(self, *, audit: bool) -> tuple[Tables, Tables]:
        """Tables that an endpoint of this subject obeys, and those that are only told of.

        In ``audit``, it obeys none, and all there are, are told of.
        """
        if not audit:
            return self.tables, self.shadow
        (egress, ingress), (beside_egress, beside_ingress) = self.tables, self.shadow
        return OPEN, (beside_egress or egress, beside_ingress or ingress)


class Flip(NamedTuple):
    """A subject that gets other tables: these in force, which may be the same, or others beside them."""

    subject: Subject
    before: Tables
    after: Tables


def directed(
    policies: dict[PolicyName, Numbered], direction: Direction, option: NumberedRule | None
) -> Numbered:
    """A subject's rules in force, in one direction, that have a say, in the order that decides attribution.

    ``option`` is added last where the rules isolate the subject: it lets somebody in regardless. Then
    rules of the baseline tier have no say.
    """
    return _ordered(
        [
            each
            for name in sorted(policies)
            for each in policies[name]
            if each.in_force and each.rule.direction is direction
        ],
        direction,
        option,
    )


def shadowing(
    policies: dict[PolicyName, Numbered], direction: Direction, option: NumberedRule | None
) -> Numbered:
    """What `directed` would be if all rules were in force; no rules where that is the same."""
    rules = [each for name in sorted(policies) for each in policies[name] if each.rule.direction is direction]
    if all(each.in_force for each in rules):
        return ()
    ordered = _ordered(rules, direction, option)
    return () if ordered == directed(policies, direction, option) else ordered


def _ordered(rules: list[NumberedRule], direction: Direction, option: NumberedRule | None) -> Numbered:
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
