"""Label selectors of ``cilium.io/v2`` as the model's selectors, with the scope their policy gives them.

An endpoint selector selects endpoints. In a namespaced policy that means those of its namespace,
unless a peer names another one (by name or by the labels of namespaces). In a cluster-wide policy
it means endpoints of any namespace. Either way the host, the world and the other reserved
identities stay outside, whatever NotIn or DoesNotExist would say about labels they do not carry:
they are reached by entities, or by naming a label of the source ``reserved``, which lifts the scope.
"""

import re
from collections.abc import Iterable

from kinety.model.label import (
    ANY_SOURCE,
    CIDR,
    K8S,
    NAMESPACE_KEY,
    NAMESPACE_LABELS_PREFIX,
    RESERVED,
    Label,
)
from kinety.model.selector import LabelSelector, Operator, Requirement
from kinety.policy.diagnosis import closest
from kinety.policy.document import Path
from kinety.policy.entity import RESERVED_KEYS
from kinety.policy.report import Report
from kinety.policy.schema import Expression, Selector

_LATER_SOURCES = frozenset({CIDR, "cidrgroup", "fqdn", "node"})
#: Kubernetes, "Labels and Selectors", syntax and character set.
_NAME = re.compile(r"[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?\Z")
_PREFIX = re.compile(r"[a-z0-9](?:[-a-z0-9.]{0,251}[a-z0-9])?\Z")
_OPERATORS = {operator.value: operator for operator in Operator}
_HAS_NAMESPACE = Requirement(K8S, NAMESPACE_KEY, Operator.EXISTS)


def subject(report: Report, path: Path, selector: Selector, namespace: str) -> LabelSelector:
    """The endpoints a rule is about. ``namespace`` is empty for a cluster-wide policy."""
    found = _requirements(report, path, selector)
    if any(requirement.source == RESERVED for requirement in found):
        report.add(path, "no endpoint carries a reserved label", "select endpoints by their own labels")
    if not namespace:
        return _selector(found if _names_namespace(found) else [*found, _HAS_NAMESPACE])
    own = frozenset({Label(K8S, NAMESPACE_KEY, namespace)})
    kept = []
    for requirement in found:
        if requirement.key != NAMESPACE_KEY:
            kept.append(requirement)
        elif not requirement.matches(own):
            report.add(
                path,
                f"selects another namespace than the policy's own, {namespace!r}",
                "set metadata.namespace, or write a CiliumClusterwideNetworkPolicy",
            )
    return _selector([*kept, _in_namespace(namespace)])


def peer(report: Report, path: Path, selector: Selector, namespace: str) -> LabelSelector:
    """The peers that one item of fromEndpoints or toEndpoints selects."""
    found = _requirements(report, path, selector)
    if any(requirement.source == RESERVED for requirement in found):
        return _selector(found)
    names_any = any(
        requirement.key == NAMESPACE_KEY or requirement.key.startswith(NAMESPACE_LABELS_PREFIX)
        for requirement in found
    )
    if namespace and not names_any:
        return _selector([*found, _in_namespace(namespace)])
    return _selector(found if _names_namespace(found) else [*found, _HAS_NAMESPACE])


def _in_namespace(namespace: str) -> Requirement:
    return Requirement(K8S, NAMESPACE_KEY, Operator.IN, (namespace,))


def _names_namespace(requirements: Iterable[Requirement]) -> bool:
    return any(
        requirement.key == NAMESPACE_KEY and requirement.operator in (Operator.IN, Operator.EXISTS)
        for requirement in requirements
    )


def _selector(requirements: Iterable[Requirement]) -> LabelSelector:
    return LabelSelector(tuple(sorted(set(requirements))))


def _requirements(report: Report, path: Path, selector: Selector) -> list[Requirement]:
    found = []
    for text, value in (selector.labels or {}).items():
        where = (*path, "matchLabels", text)
        source, key = _split(report, where, text)
        _check_value(report, where, source, value)
        found.append(Requirement(source, key, Operator.IN, (value,)))
    for index, expression in enumerate(selector.expressions or ()):
        requirement = _expression(report, (*path, "matchExpressions", index), expression)
        if requirement is not None:
            found.append(requirement)
    return found


def _expression(report: Report, path: Path, expression: Expression) -> Requirement | None:
    source, key = _split(report, (*path, "key"), expression.key)
    operator = _OPERATORS.get(expression.operator)
    values = expression.values or []
    if operator is None:
        meant = closest(expression.operator, _OPERATORS)
        hint = f"did you mean {meant}?" if meant else f"write one of {', '.join(_OPERATORS)}"
        report.add((*path, "operator"), f"unknown operator {expression.operator!r}", hint)
        return None
    if operator in (Operator.IN, Operator.NOT_IN):
        if not values:
            report.add(path, f"{operator} needs at least one value", "write `values: [...]`")
    elif values:
        report.add((*path, "values"), f"{operator} takes no values", "remove them, or write In or NotIn")
    for index, value in enumerate(values):
        _check_value(report, (*path, "values", index), source, value)
    return Requirement(source, key, operator, tuple(sorted(set(values))))


def _split(report: Report, path: Path, text: str) -> tuple[str, str]:
    """Source and key of ``[source:]key``; problems are reported."""
    source, colon, key = text.partition(":")
    if not colon:
        source, key = ANY_SOURCE, text
    if source == RESERVED:
        if key not in RESERVED_KEYS:
            meant = closest(key, RESERVED_KEYS)
            hint = f"did you mean {meant}?" if meant else f"there are {', '.join(sorted(RESERVED_KEYS))}"
            report.add(path, f"there is no reserved label {key!r}", hint)
        return source, key
    if source in _LATER_SOURCES:
        hint = "write the prefix with fromCIDR or toCIDR" if source == CIDR else ""
        report.add(path, f"selecting labels of the source {source!r} is not supported yet", hint)
        return source, key
    tail = key.removeprefix(NAMESPACE_LABELS_PREFIX)
    prefix, slash, name = tail.rpartition("/")
    if not source or not _NAME.match(name) or (slash and not _PREFIX.match(prefix)):
        report.add(path, f"{text!r} is not a label key", "write [source:][prefix/]name")
    if source == ANY_SOURCE and (key == NAMESPACE_KEY or tail != key):
        # Nobody else may vouch for a namespace.
        source = K8S
    return source, key


def _check_value(report: Report, path: Path, source: str, value: str) -> None:
    if source == RESERVED and value:
        report.add(path, "reserved labels have no value", 'write ""')
    elif value and not _NAME.match(value):
        hint = "at most 63 letters, digits, dashes, dots and underscores, the ends letters or digits"
        report.add(path, f"{value!r} is not a label value", hint)
