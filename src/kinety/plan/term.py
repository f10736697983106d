"""Terms: what each rule says to a peer that it applies to, in a form that can be ranked."""

from dataclasses import replace
from typing import NamedTuple

from kinety.model.layer7 import Layer7
from kinety.model.rule import Action, PortRange, Rule, RuleId, Tier
from kinety.model.verdict import Verdict, VerdictKind

#: Ranks of terms: a term of a lower one goes before all of a higher one.
ADMIN, DENY, CONTENT, ALLOW, BASELINE = range(5)

# Looking a member up in its enumeration, or hashing it, costs more than all the rest here.
_POLICIES, _ALLOWS, _DENIES = Tier.NORMAL, Action.ALLOW, Action.DENY
_ALLOWED, _DENIED, _REDIRECTED = VerdictKind.ALLOW, VerdictKind.DENY, VerdictKind.REDIRECT


class Term(NamedTuple):
    """What a rule says. ``verdict`` None passes: the rest of its rank is left out.

    ``ports`` None is every protocol and port. A term with ``layer7`` redirects.
    """

    verdict: Verdict | None
    ports: tuple[PortRange, ...] | None
    rank: int = ALLOW
    layer7: Layer7 | None = None


def term_of(rule: Rule, number: RuleId) -> Term:
    """What a rule says. Raises ValueError for one that cannot be."""
    ports = rule.ports
    for each in ports or ():
        if each.protocol == 0:
            ports = None
            break
    if rule.layer7 is not None:
        if rule.action is not _ALLOWS or rule.tier is not _POLICIES:
            raise ValueError(
                f"{rule.origin}: {rule.origin.path}: only allow rules of policies ask for content"
            )
        asked = replace(rule.layer7, policies=(str(rule.origin.policy),))
        return Term(Verdict(_REDIRECTED, number), ports, CONTENT, asked)
    if rule.action is _ALLOWS:
        return Term(Verdict(_ALLOWED, number), ports, ALLOW if rule.tier is _POLICIES else _rank(rule))
    if rule.action is _DENIES:
        return Term(Verdict(_DENIED, number), ports, DENY if rule.tier is _POLICIES else _rank(rule))
    if rule.tier is _POLICIES:
        raise ValueError(f"{rule.origin}: {rule.origin.path}: policies have no order in which to pass")
    return Term(None, ports, _rank(rule))


def _rank(rule: Rule) -> int:
    """Of a rule whose tier has an order."""
    return ADMIN if rule.tier is Tier.ADMIN else BASELINE
