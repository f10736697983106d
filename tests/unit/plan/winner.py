"""Who wins at one port: the sentences of docs/reference/precedence.md, asked of rules one by one."""

from collections.abc import Sequence

from kinety.model.layer7 import Layer7
from kinety.model.rule import Action, PortRange, Rule, Tier
from kinety.model.verdict import VerdictKind

ALLOW, DENY, REDIRECT = VerdictKind.ALLOW, VerdictKind.DENY, VerdictKind.REDIRECT

#: Kind, deciding rule (None: the default), and content by kind and text (None: not asked about).
Outcome = tuple[VerdictKind, Rule | None, frozenset[str] | None]
_KINDS = {Action.ALLOW: ALLOW, Action.DENY: DENY}


def winner(rules: Sequence[Rule], *, isolated: bool, protocol: int, port: int) -> Outcome:
    """``rules`` select the subject and name the peer, in order of policies and as written."""
    for tier in Tier:
        naming = [each for each in rules if each.tier is tier and ports_naming(each, protocol, port)]
        if tier is Tier.NORMAL:
            decision = _policies(naming, protocol, port)
            if decision is None and isolated:
                return DENY, None, None
        else:
            decision = _ordered(naming)
        if decision is not None:
            return decision
    return ALLOW, None, None


def _ordered(naming: Sequence[Rule]) -> Outcome | None:
    """The first by priority decides, unless it passes."""
    first = min(naming, key=lambda rule: rule.priority, default=None)
    if first is None or first.action is Action.PASS:
        return None
    return _KINDS[first.action], first, None


def _policies(naming: Sequence[Rule], protocol: int, port: int) -> Outcome | None:
    for rule in naming:
        if rule.action is Action.DENY:
            return DENY, rule, None
    asking = [rule for rule in naming if rule.layer7 is not None]
    limits = [each for rule in asking for each in ports_naming(rule, protocol, port)]
    for rule in naming:
        if rule.layer7 is None and any(
            all(no_wider(each, limit) for limit in limits) for each in ports_naming(rule, protocol, port)
        ):
            return ALLOW, rule, None
    if not asking:
        return None
    contents = [rule.layer7 for rule in asking if rule.layer7 is not None]
    kinds = {kind for each in contents for kind, _ in _asked(each)}
    if len(kinds) > 1:
        return DENY, asking[0], None
    return REDIRECT, asking[0], content(*contents)


def content(*parts: Layer7) -> frozenset[str]:
    """What any of these lets through."""
    return frozenset(text for each in parts for _, text in _asked(each))


def _asked(layer7: Layer7) -> list[tuple[str, str]]:
    lists = {"http": layer7.http, "dns": layer7.dns, "server names": layer7.server_names}
    return [(kind, f"{kind}: {item}") for kind, items in lists.items() for item in items]


def ports_naming(rule: Rule, protocol: int, port: int) -> list[PortRange]:
    """Those of a rule's ranges that hold a port. A rule with a range of every protocol has only that."""
    everything = rule.ports is None or any(each.protocol == 0 for each in rule.ports)
    ranges = [PortRange(0)] if everything else rule.ports or ()
    return [
        each
        for each in ranges
        if each.protocol == 0 or (each.protocol == protocol and each.first <= port <= each.last)
    ]


def no_wider(ports: PortRange, limit: PortRange) -> bool:
    """Whether every port of the one is a port of the other."""
    if limit.protocol == 0:
        return True
    return ports.protocol == limit.protocol and limit.first <= ports.first and ports.last <= limit.last
