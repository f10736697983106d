"""Whose doing it would be: rows of the shadow counters as changes by policy. On the worker thread."""

import time
from collections.abc import Iterable, Sequence

from kinety import abi
from kinety.agent.control import Control
from kinety.agent.stream import WOULD, protocol_name, word
from kinety.agent.unjudged import NODE
from kinety.api import shadow
from kinety.model.address import unpack_address
from kinety.model.endpoint import HOST, EndpointId
from kinety.model.identity import Identity
from kinety.model.rule import DEFAULT_RULE, Direction, Mode, PolicyKey, RuleId
from kinety.plan.rule_book import NumberedRule

#: A policy, and what it would be in force by.
_Culprit = tuple[PolicyKey, Mode]


def report(control: Control) -> shadow.ShadowReport:
    """What policies that are staged or in audit would have changed since then."""
    changes: dict[_Culprit, list[shadow.ShadowChange]] = {}
    selected: dict[_Culprit, set[EndpointId]] = {}
    for endpoint in (*control.engine.endpoints, HOST):
        for direction in Direction:
            rules = control.engine.beside(endpoint, direction)
            for culprit in _culprits(rules, _in_audit(control, endpoint)):
                selected.setdefault(culprit, set()).add(endpoint)
    for policy in control.policies.values():
        if policy.mode is not Mode.ENFORCED:
            selected.setdefault((policy.key, policy.mode), set())
    now = time.time_ns() - time.monotonic_ns()
    known: dict[tuple[int, int, int], frozenset[_Culprit]] = {}  # many peers differ by the same rule
    for row, counter in control.datapath.shadow_counters().items():
        alike = row.endpoint, row.direction, row.rule
        if alike not in known:
            known[alike] = culprits(control, row)
        for culprit in known[alike]:
            changes.setdefault(culprit, []).append(_change(control, row, counter, now))
    return shadow.ShadowReport(
        tuple(
            _policy(control, culprit, len(selected[culprit]), changes.get(culprit, ()))
            for culprit in sorted(selected)
        ),
        tuple(sorted(namespace for namespace, name in control.audited if not name)),
        tuple(sorted(f"{namespace}/{name}" for namespace, name in control.audited if namespace and name)),
        control.datapath.shadows_lost(),
        NODE in control.audited,
    )


def culprits(control: Control, row: abi.ShadowKey) -> frozenset[_Culprit]:
    """Policies by which a flow would have met another end; none for a row about what is no more.

    The rule's that would decide. Where it is in force, or none would, policies that are not in force left
    it the say: those that isolate, if it is the default that denies, else all of them.
    """
    endpoint = EndpointId(row.endpoint)
    if endpoint != HOST and endpoint not in control.engine.endpoints:
        return frozenset()
    audit = _in_audit(control, endpoint)
    rules = control.engine.beside(endpoint, Direction(row.direction))
    deciding = _culprits((each for each in rules if each.number == row.rule), audit)
    if row.rule == DEFAULT_RULE:
        deciding = _culprits((each for each in rules if each.isolates), audit)
    return deciding or _culprits(rules, audit)


def _in_audit(control: Control, endpoint: EndpointId) -> bool:
    return NODE in control.audited if endpoint == HOST else control.engine.endpoints[endpoint].audit


def _culprits(rules: Iterable[NumberedRule], audit: bool) -> frozenset[_Culprit]:
    """Policies of rules that are not in force for an endpoint, which may be in audit."""
    return frozenset(
        (each.rule.origin.policy, Mode.AUDIT if each.in_force else each.rule.mode)
        for each in rules
        if (audit or not each.in_force) and each.rule.origin.line
    )


def _name(control: Control, endpoint: EndpointId) -> str:
    return "host" if endpoint == HOST else str(control.engine.endpoints[endpoint])


def _policy(
    control: Control, culprit: _Culprit, endpoints: int, changes: Sequence[shadow.ShadowChange]
) -> shadow.ShadowPolicy:
    key, mode = culprit
    declared = control.declarations[key]
    line = min((each.origin.line for each in control.policies[key].rules), default=declared.line)
    ordered = sorted(changes, key=lambda each: (-each.packets, each.endpoint, each.direction, each.rule.id))
    return shadow.ShadowPolicy(
        key.kind, key.namespace, key.name, mode.value, declared.file, line, endpoints, tuple(ordered)
    )


def _change(
    control: Control, row: abi.ShadowKey, counter: abi.ShadowCounter, clock_offset: int
) -> shadow.ShadowChange:
    directory = control.directory
    peer = directory.at(counter.peer)
    return shadow.ShadowChange(
        would=WOULD[abi.Verdict(row.verdict)],
        endpoint=_name(control, EndpointId(row.endpoint)),
        direction=word(abi.Direction(row.direction)),
        peer=shadow.ShadowPeer(
            identity=row.remote_identity,
            labels=directory.labels(Identity(row.remote_identity)),
            endpoint=None if peer is None else str(peer),
            address=str(unpack_address(counter.peer)),
            protocol=protocol_name(counter.protocol),
            port=counter.port,
        ),
        rule=directory.rule(RuleId(row.rule)),
        rule_in_force=directory.rule(RuleId(row.rule_in_force)),
        flows=counter.flows,
        packets=counter.packets,
        bytes=counter.bytes,
        last_seen=(counter.last_seen + clock_offset) / 1e9,
    )
