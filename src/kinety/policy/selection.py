"""Label selectors of ``cilium.io/v2`` as the model's selectors, with the scope their policy gives them.

An endpoint selector selects endpoints. In a namespaced policy that means those of its namespace,
unless a peer names another one (by name or by the labels of namespaces). In a cluster-wide policy
it means endpoints of any namespace. Either way the host, the world and the other reserved
identities stay outside, whatever NotIn or DoesNotExist would say about labels they do not carry:
they are reached by entities, or by asking for a label of the source ``reserved``, which lifts the scope.

Nodes, groups of prefixes and services have selectors of their own. Their keys are those of the
object; a node's carry the source ``node``, where no workload's label is ever looked for.
"""

import re
from collections.abc import Callable, Iterable

from kinety.model.label import (
    ANY_SOURCE,
    CIDR,
    CIDR_GROUP,
    K8S,
    NAMESPACE_KEY,
    NAMESPACE_LABELS_PREFIX,
    NODE,
    RESERVED,
    Label,
)
from kinety.model.selector import LabelSelector, Operator, Requirement
from kinety.policy.diagnosis import closest
from kinety.policy.document import Path
from kinety.policy.entity import RESERVED_KEYS
from kinety.policy.report import Report
from kinety.policy.schema import Expression, Selector

#: Sources of labels that no endpoint carries, and what selects those who do.
_OTHER_SOURCES = {
    CIDR: "write the prefix with fromCIDR or toCIDR",
    CIDR_GROUP: "write cidrGroupSelector in fromCIDRSet or toCIDRSet",
    "fqdn": "write the name with toFQDNs",
    NODE: "write fromNodes or toNodes in a CiliumClusterwideNetworkPolicy",
    "port": "write the port's name in toPorts",
    "block": "write an ipBlock in a NetworkPolicy, or the prefix with fromCIDR or toCIDR",
}
#: Kubernetes, "Labels and Selectors", syntax and character set.
_NAME = re.compile(r"[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?\Z")
_PREFIX = re.compile(r"[a-z0-9](?:[-a-z0-9.]{0,251}[a-z0-9])?\Z")
_KEY_HINT = "write [source:][prefix/]name"
_OPERATORS = {operator.value: operator for operator in Operator}
#: Whoever is selected by these has the label.
_WANTED = (Operator.IN, Operator.EXISTS)
_HAS_NAMESPACE = Requirement(K8S, NAMESPACE_KEY, Operator.EXISTS)
_IS_HOST = Requirement(RESERVED, "host", Operator.EXISTS)
_IS_REMOTE_NODE = Requirement(RESERVED, "remote-node", Operator.EXISTS)

#: Source and key of a key as it was written; problems are reported.
_Split = Callable[[Report, Path, str], tuple[str, str]]


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


def peer(
    report: Report, path: Path, selector: Selector, namespace: str, narrowed: Iterable[Requirement] = ()
) -> LabelSelector:
    """The peers that one item of fromEndpoints or toEndpoints selects, of those that are ``narrowed``."""
    found = _requirements(report, path, selector)
    return _selector([*_scoped(found, namespace), *narrowed])


def constraints(report: Report, path: Path, selectors: Iterable[Selector]) -> list[Requirement]:
    """What fromRequires or toRequires asks of a peer: all of it."""
    return [
        requirement
        for index, selector in enumerate(selectors)
        for requirement in _requirements(report, (*path, index), selector)
    ]


def constrained(requirements: list[Requirement], namespace: str) -> LabelSelector:
    """Every peer in scope that meets constraints."""
    return _selector(_scoped(requirements, namespace))


def node_subject(report: Report, path: Path, selector: Selector) -> LabelSelector:
    """The nodes that a rule with a nodeSelector is about: each agent's own, if it is selected."""
    return _selector([*_requirements(report, path, selector, _node_key), _IS_HOST])


def node_peers(report: Report, path: Path, selector: Selector) -> tuple[LabelSelector, ...]:
    """The nodes that one item of fromNodes or toNodes selects: this one, and others."""
    found = _requirements(report, path, selector, _node_key)
    return tuple(_selector([*found, which]) for which in (_IS_HOST, _IS_REMOTE_NODE))


def object_selector(report: Report, path: Path, selector: Selector) -> LabelSelector:
    """Objects by the labels in their metadata: groups of prefixes, services."""
    return _selector(_requirements(report, path, selector, _plain_key))


def check_plain_label(report: Report, path: Path, key: str, value: str) -> None:
    """Report what cannot be a label in an object's metadata."""
    _check_key(report, path, key, key)
    _check_value(report, path, "", value)


def _scoped(found: list[Requirement], namespace: str) -> list[Requirement]:
    if any(requirement.source == RESERVED and requirement.operator in _WANTED for requirement in found):
        return found
    names_any = any(
        requirement.key == NAMESPACE_KEY or requirement.key.startswith(NAMESPACE_LABELS_PREFIX)
        for requirement in found
    )
    if namespace and not names_any:
        return [*found, _in_namespace(namespace)]
    return found if _names_namespace(found) else [*found, _HAS_NAMESPACE]


def _in_namespace(namespace: str) -> Requirement:
    return Requirement(K8S, NAMESPACE_KEY, Operator.IN, (namespace,))


def _names_namespace(requirements: Iterable[Requirement]) -> bool:
    return any(
        requirement.key == NAMESPACE_KEY and requirement.operator in _WANTED for requirement in requirements
    )


def _selector(requirements: Iterable[Requirement]) -> LabelSelector:
    return LabelSelector(tuple(sorted(set(requirements))))


def _plain_key(report: Report, path: Path, text: str) -> tuple[str, str]:
    _check_key(report, path, text, text)
    return ANY_SOURCE, text


def _node_key(report: Report, path: Path, text: str) -> tuple[str, str]:
    source, colon, key = text.partition(":")
    if not colon:
        source, key = NODE, text
    if source not in (NODE, K8S, ANY_SOURCE):
        report.add(path, f"no node carries labels of the source {source!r}", "write the key alone")
    _check_key(report, path, text, key)
    return NODE, key


def _requirements(
    report: Report, path: Path, selector: Selector, split: _Split | None = None
) -> list[Requirement]:
    """Conditions of a selector, of endpoints unless ``split`` says whose keys they are."""
    split = split or _split
    found = []
    for text, value in (selector.labels or {}).items():
        where = (*path, "matchLabels", text)
        source, key = split(report, where, text)
        _check_value(report, where, source, value)
        found.append(Requirement(source, key, Operator.IN, (value,)))
    for index, expression in enumerate(selector.expressions or ()):
        requirement = _expression(report, (*path, "matchExpressions", index), expression, split)
        if requirement is not None:
            found.append(requirement)
    return found


def _expression(report: Report, path: Path, expression: Expression, split: _Split) -> Requirement | None:
    source, key = split(report, (*path, "key"), expression.key)
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
    if source in _OTHER_SOURCES:
        message = f"no endpoint carries labels of the source {source!r}"
        report.add(path, message, _OTHER_SOURCES[source])
        return source, key
    tail = key.removeprefix(NAMESPACE_LABELS_PREFIX)
    if source:
        _check_key(report, path, text, tail)
    else:
        report.add(path, f"{text!r} is not a label key", _KEY_HINT)
    if source == ANY_SOURCE and (key == NAMESPACE_KEY or tail != key):
        # Nobody else may vouch for a namespace.
        source = K8S
    return source, key


def _check_key(report: Report, path: Path, text: str, key: str) -> None:
    prefix, slash, name = key.rpartition("/")
    if not _NAME.match(name) or (slash and not _PREFIX.match(prefix)):
        report.add(path, f"{text!r} is not a label key", _KEY_HINT)


def _check_value(report: Report, path: Path, source: str, value: str) -> None:
    if source == RESERVED and value:
        report.add(path, "reserved labels have no value", 'write ""')
    elif value and not _NAME.match(value):
        hint = "at most 63 letters, digits, dashes, dots and underscores, the ends letters or digits"
        report.add(path, f"{value!r} is not a label value", hint)
