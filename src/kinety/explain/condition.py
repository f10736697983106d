"""Conditions of a rule, one by one: whom and what it names, and which condition a flow fails."""

from dataclasses import dataclass
from enum import StrEnum

from kinety.explain.traffic import NUMBERS, describe, number_of, traffic_of
from kinety.identity.registry import Registry
from kinety.model.identity import Identity
from kinety.model.label import ANY_SOURCE, K8S, NAMESPACE_KEY, Labels
from kinety.model.rule import Rule
from kinety.model.selector import (
    BlockSelector,
    CidrSelector,
    EntitySelector,
    FqdnSelector,
    LabelSelector,
    Operator,
    PeerSelector,
    Requirement,
)

_NAMES = {number: name for name, number in NUMBERS.items()}


class Condition(StrEnum):
    """What a rule asks of a flow."""

    PEER = "peer"
    PROTOCOL = "protocol"
    PORT = "port"


@dataclass(frozen=True, slots=True)
class Failure:
    """A condition that a flow fails, and a few words about why."""

    condition: Condition
    reason: str


def failing(
    registry: Registry, rule: Rule, peer: Identity, protocol: int, port: int
) -> tuple[Condition, ...]:
    """The conditions of a rule that a flow fails; none when the rule names it."""
    found = []
    if rule.peers is not None and not any(registry.selects(each, peer) for each in rule.peers):
        found.append(Condition.PEER)
    number = number_of(protocol, port)
    if not any(first <= number <= last for first, last in traffic_of(rule.ports)):
        same = any(each.protocol == protocol for each in rule.ports or ())
        found.append(Condition.PORT if same else Condition.PROTOCOL)
    return tuple(found)


def failures(registry: Registry, rule: Rule, peer: Identity, protocol: int, port: int) -> tuple[Failure, ...]:
    """The same with why."""
    return tuple(
        Failure(
            each,
            _unlike(registry, rule.peers or (), peer)
            if each is Condition.PEER
            else f"it names {describe(traffic_of(rule.ports))}",
        )
        for each in failing(registry, rule, peer, protocol, port)
    )


def missing(selector: LabelSelector, labels: Labels) -> tuple[Requirement, ...]:
    """The requirements that labels do not meet."""
    return tuple(each for each in selector.requirements if not each.matches(labels))


def selector_text(selector: PeerSelector) -> str:
    """A selector in words, as short as it can be."""
    match selector:
        case LabelSelector():
            return ", ".join(map(requirement_text, selector.requirements)) or "everybody"
        case CidrSelector(prefix, excepted) | BlockSelector(prefix, excepted):
            holes = f" except {', '.join(map(str, excepted))}" if excepted else ""
            return f"{prefix}{holes}"
        case FqdnSelector(pattern):
            return pattern.pattern
        case EntitySelector(entity):
            return f"the entity {entity}"


def requirement_text(requirement: Requirement) -> str:
    """A requirement as it is written on one line."""
    source, key, operator, values = requirement
    name = key if source in (ANY_SOURCE, K8S) else f"{source}:{key}"
    if key == NAMESPACE_KEY:
        name = "namespace"
    match operator:
        case Operator.EXISTS:
            return name
        case Operator.DOES_NOT_EXIST:
            return f"no {name}"
        case Operator.IN:
            return f"{name}={'|'.join(values)}"
        case Operator.NOT_IN:
            return f"{name} not {'|'.join(values)}"


def _unlike(registry: Registry, peers: tuple[PeerSelector, ...], peer: Identity) -> str:
    """Why none of the selectors selects a peer, by the one that comes nearest."""
    if not peers:
        return "it names nobody"
    labels = registry[peer]
    about_labels = [each for each in peers if isinstance(each, LabelSelector)]
    if not about_labels:
        return f"it names {', '.join(map(selector_text, peers))}"
    lacking = missing(min(about_labels, key=lambda each: len(missing(each, labels))), labels)
    return f"it asks for {', '.join(f'{requirement_text(each)}{_instead(each, labels)}' for each in lacking)}"


def _instead(requirement: Requirement, labels: Labels) -> str:
    values = sorted(
        each.value
        for each in labels
        if each.key == requirement.key and requirement.source in (ANY_SOURCE, each.source)
    )
    if requirement.operator in (Operator.NOT_IN, Operator.DOES_NOT_EXIST):
        return ""
    return f" (it has {', '.join(values)})" if values else ""
