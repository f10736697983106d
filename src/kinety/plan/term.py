"""Terms: what each rule says to a peer that it applies to, in a form that can be ranked."""

from typing import NamedTuple

from kinety.model.layer7 import Layer7
from kinety.model.rule import Action, PortRange, Rule, RuleId, Tier
from kinety.model.verdict import Verdict, VerdictKind

#: Ranks of terms: a term of a lower one goes before all of a higher one.
ADMIN, DENY, CONTENT, ALLOW, BASELINE = range(5)

_KINDS = {Action.ALLOW: VerdictKind.ALLOW, Action.DENY: VerdictKind.DENY}


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
    if ports is not None and any(each.protocol == 0 for each in ports):
        ports = None
    if rule.layer7 is not None and (rule.action is not Action.ALLOW or rule.tier is not Tier.NORMAL):
        raise ValueError(f"{rule.origin}: {rule.origin.path}: only allow rules of policies ask for content")
    if rule.action is Action.PASS:
        if rule.tier is Tier.NORMAL:
            raise ValueError(f"{rule.origin}: {rule.origin.path}: there is no order in which to pass")
        return Term(None, ports, _rank(rule))
    kind = _KINDS[rule.action] if rule.layer7 is None else VerdictKind.REDIRECT
    return Term(Verdict(kind, number), ports, _rank(rule), rule.layer7)


def _rank(rule: Rule) -> int:
    match rule.tier:
        case Tier.ADMIN:
            return ADMIN
        case Tier.BASELINE:
            return BASELINE
        case Tier.NORMAL if rule.action is Action.DENY:
            return DENY
        case Tier.NORMAL:
            return ALLOW if rule.layer7 is None else CONTENT
