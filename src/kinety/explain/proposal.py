"""Candidate steps towards letting a flow through, from the rules of one end. Nobody says yet that they do."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from kinety.explain.condition import Condition, failures
from kinety.explain.end import End
from kinety.explain.judge import is_workload
from kinety.explain.phrase import CILIUM, KUBERNETES, flow_text, peer_item, port_item
from kinety.identity.registry import Registry
from kinety.model.address import Prefix
from kinety.model.identity import Identity
from kinety.model.label import (
    ANY_SOURCE,
    HIDDEN_SOURCES,
    K8S,
    NAMESPACE_KEY,
    NAMESPACE_LABELS_PREFIX,
    RESERVED,
)
from kinety.model.rule import Action, Direction, Origin, PortRange, Rule, Tier
from kinety.model.selector import (
    BlockSelector,
    CidrSelector,
    EntitySelector,
    LabelSelector,
    Operator,
    PeerSelector,
    Requirement,
)

#: Allow rules of one end that are tried, the nearest first.
_MOST = 12
#: Labels that mean one copy of a workload, which the next roll-out replaces.
_PASSING = {"pod-template-hash", "controller-revision-hash", "statefulset.kubernetes.io/pod-name"}
_WORLD = {"world", "world-ipv4", "world-ipv6"}


@dataclass(frozen=True, slots=True)
class Step:
    """One place to change: ``value`` is a further item of the list at ``path``, or the rule there goes.

    ``before`` is None for a rule that is new, ``after`` for one that goes.
    """

    origin: Origin
    path: str
    value: Any
    before: Rule | None
    after: Rule | None

    def __str__(self) -> str:
        if self.after is None:
            return f"{self.origin}: remove {self.path}"
        return f"{self.origin}: add to {self.path}: {flow_text(self.value)}"


@dataclass(frozen=True, slots=True)
class Wish:
    """A flow that one end denies, as that end sees it."""

    direction: Direction
    end: End
    peer: Identity
    protocol: int
    port: int


def removals(registry: Registry, rules: Sequence[Rule], wish: Wish) -> tuple[Step, ...]:
    """A step for each rule that denies the flow: it goes."""
    return tuple(
        Step(each.origin, each.origin.path, None, each, None)
        for each in rules
        if each.action is Action.DENY and not failures(registry, each, wish.peer, wish.protocol, wish.port)
    )


def additions(registry: Registry, rules: Sequence[Rule], wish: Wish) -> Iterator[Step]:
    """Steps each of which may let the flow through where nothing denies it: wider rules, then new ones."""
    near = [each for each in rules if _is_editable(each)]
    near.sort(key=lambda each: len(failures(registry, each, wish.peer, wish.protocol, wish.port)))
    ports = PortRange(wish.protocol, wish.port, wish.port)
    for rule in near[:_MOST]:
        failed = {each.condition for each in failures(registry, rule, wish.peer, wish.protocol, wish.port)}
        if failed == {Condition.PEER}:
            yield from _more_peers(registry, rule, wish)
        elif failed and Condition.PEER not in failed:
            yield from _more_ports(rule, ports)
    policies = set()
    for rule in rules:
        if rule.tier is Tier.NORMAL and rule.origin.policy not in policies:
            policies.add(rule.origin.policy)
            yield from _new_rules(registry, rule, wish, ports)


def _is_editable(rule: Rule) -> bool:
    """Whether a rule is an item of a list that another peer or port can be added to."""
    return (
        rule.action is Action.ALLOW
        and rule.tier is Tier.NORMAL
        and rule.layer7 is None
        and rule.origin.path.endswith("]")
        and rule.origin.policy.kind in (*CILIUM, KUBERNETES)
    )


def _more_ports(rule: Rule, ports: PortRange) -> Iterator[Step]:
    item = port_item(rule.origin.policy, ports)
    if item is None or not rule.ports:
        return
    path, value = f"{rule.origin.path}.{item.field}", item.value
    if rule.origin.policy.kind in CILIUM:
        is_icmp = [port_item(rule.origin.policy, each) for each in rule.ports]
        if any(each is None or each.field != item.field for each in is_icmp):
            return  # ports and ICMP types cannot be in one rule
        inner = "ports" if item.field == "toPorts" else "fields"
        path, value = f"{path}[0].{inner}", value[inner][0]
    yield Step(rule.origin, path, value, rule, replace(rule, ports=(*rule.ports, ports)))


def _more_peers(registry: Registry, rule: Rule, wish: Wish) -> Iterator[Step]:
    kinds = {type(each) for each in rule.peers or ()}
    keys = {
        each.key for peer in rule.peers or () if isinstance(peer, LabelSelector) for each in peer.requirements
    }
    for peer in _selectors(registry, wish, keys):
        item = peer_item(rule.origin.policy, rule.direction, peer)
        if item is None or (kinds != {type(peer)} and rule.origin.policy.kind != KUBERNETES):
            continue  # one kind of peer in a rule
        after = replace(rule, peers=(*(rule.peers or ()), peer))
        yield Step(rule.origin, f"{rule.origin.path}.{item.field}", item.value, rule, after)


def _new_rules(registry: Registry, beside: Rule, wish: Wish, ports: PortRange) -> Iterator[Step]:
    """A rule of its own for the flow, in the policy of another rule with the same subject."""
    key = beside.origin.policy
    section = "ingress" if wish.direction is Direction.INGRESS else "egress"
    path = f"{beside.origin.path.partition('.')[0]}.{section}"
    port = port_item(key, ports)
    for peer in _selectors(registry, wish, set()):
        item = peer_item(key, wish.direction, peer)
        if item is None or port is None:
            continue
        value = {each.field: [each.value] for each in (item, port)}
        origin = replace(beside.origin, path=f"{path}[+]")
        rule = Rule(
            beside.subject, wish.direction, Action.ALLOW, (peer,), (ports,), beside.default_deny, origin
        )
        yield Step(beside.origin, path, value, None, rule)


def _selectors(registry: Registry, wish: Wish, keys: set[str]) -> Iterator[PeerSelector]:
    """Selectors of the peer: by the labels of these keys, where it has some, and by all of its own."""
    labels = registry[wish.peer]
    if not is_workload(wish.peer):
        outside = {each.key for each in labels if each.source == RESERVED}
        if wish.end.address is not None and not outside - _WORLD:
            own = Prefix(wish.end.address, 128)
            yield from (CidrSelector(own), BlockSelector(own))
        else:
            yield from map(EntitySelector, sorted(outside))
        return
    namespace = [each for each in labels if (each.source, each.key) == (K8S, NAMESPACE_KEY)]
    own_labels = [
        each
        for each in sorted(labels)
        if each.key != NAMESPACE_KEY
        and not each.key.startswith(NAMESPACE_LABELS_PREFIX)
        and each.key not in _PASSING
        and each.source not in HIDDEN_SOURCES
    ]
    chosen = [each for each in own_labels if each.key in keys]
    for picked in {tuple(chosen): None, tuple(own_labels): None}:
        if picked or not own_labels:
            wanted = [
                Requirement(
                    ANY_SOURCE if each.source == K8S else each.source, each.key, Operator.IN, (each.value,)
                )
                for each in picked
            ]
            wanted += [Requirement(K8S, NAMESPACE_KEY, Operator.IN, (each.value,)) for each in namespace]
            yield LabelSelector(tuple(sorted(wanted)))
