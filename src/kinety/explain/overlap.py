"""Whether one selector or rule says all that another says, from what is written alone.

"Yes" is certain, whoever there is. "No" may only mean that it cannot be seen from here.
"""

from kinety.explain.traffic import covers, traffic_of
from kinety.model.label import ANY_SOURCE, HIDDEN_SOURCES
from kinety.model.rule import Rule
from kinety.model.selector import (
    BlockSelector,
    CidrSelector,
    EntitySelector,
    LabelSelector,
    Operator,
    PeerSelector,
    Requirement,
)

_WORLD = ("world", "world-ipv4", "world-ipv6")


def rule_covers(outer: Rule, inner: Rule) -> bool:
    """Whether a rule names every flow that another names: for its subjects, peers and ports."""
    return (
        outer.direction is inner.direction
        and selector_covers(outer.subject, inner.subject)
        and _names_cover(outer, inner)
        and _peers_cover(outer, inner)
        and covers(traffic_of(outer.ports), traffic_of(inner.ports))
    )


def selector_covers(outer: PeerSelector, inner: PeerSelector) -> bool:
    """Whether a selector selects everybody whom another selects."""
    if outer == inner:
        return True
    match outer, inner:
        case LabelSelector(), LabelSelector():
            return all(
                any(_implies(given, wanted) for given in inner.requirements) for wanted in outer.requirements
            )
        case CidrSelector(), CidrSelector():
            return _prefix_covers(outer, inner)
        case BlockSelector(), BlockSelector() | CidrSelector():
            return outer.among is None and _prefix_covers(outer, inner)
        case EntitySelector("world"), EntitySelector(entity):
            return entity in _WORLD
        case EntitySelector("world"), CidrSelector():
            return True
    return False


def _names_cover(outer: Rule, inner: Rule) -> bool:
    """Peers and ports that are told elsewhere: those of the inner one have to be the outer one's too."""
    return set(inner.references) <= set(outer.references) and (
        outer.ports is None or set(inner.named_ports) <= set(outer.named_ports)
    )


def _peers_cover(outer: Rule, inner: Rule) -> bool:
    if outer.peers is None or inner.peers is None:
        return outer.peers is None
    return all(any(selector_covers(one, each) for one in outer.peers or ()) for each in inner.peers)


def _prefix_covers(outer: CidrSelector | BlockSelector, inner: CidrSelector | BlockSelector) -> bool:
    return outer.prefix.covers(inner.prefix) and all(
        not hole.covers(inner.prefix)
        and (not inner.prefix.covers(hole) or any(each.covers(hole) for each in inner.except_))
        for hole in outer.except_
    )


def _implies(given: Requirement, wanted: Requirement) -> bool:
    """Whether whoever meets one requirement meets another about the same key."""
    if given.key != wanted.key:
        return False
    positive = given.operator in (Operator.IN, Operator.EXISTS)
    if given.source != wanted.source:
        # A label of one source is one of any; lacking one of any source is lacking that of one.
        narrow, wide = (given, wanted) if positive else (wanted, given)
        if wide.source != ANY_SOURCE or narrow.source in HIDDEN_SOURCES:
            return False
    match wanted.operator:
        case Operator.EXISTS:
            return positive
        case Operator.IN:
            return given.operator is Operator.IN and set(given.values) <= set(wanted.values)
        case Operator.DOES_NOT_EXIST:
            return given.operator is Operator.DOES_NOT_EXIST
        case Operator.NOT_IN:
            return given.operator is Operator.DOES_NOT_EXIST or (
                given.operator is Operator.NOT_IN and set(wanted.values) <= set(given.values)
            )
