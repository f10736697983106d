"""Pods and namespaces that Kubernetes' label selectors select, as selectors of the model.

A pod carries its namespace's labels beside its own, so "pods like this in namespaces like that" is one
selector over both. The label ``kubernetes.io/metadata.name``, which a cluster gives every namespace, is
taken to be the namespace's name, so it works where nobody labels namespaces as well.

The namespace a pod is in counts as a label of its own, ``io.kubernetes.pod.namespace``; a selector of pods
that names another than its scope selects nobody.

Only pods are ever selected: each selector asks for a namespace, so that one without requirements, or with
only NotIn and DoesNotExist, does not reach the host or the world.
"""

from kinety.model.label import K8S, NAMESPACE_KEY, NAMESPACE_LABELS_PREFIX
from kinety.model.selector import LabelSelector, Operator, Requirement
from kinety.policy.document import Path
from kinety.policy.report import Report
from kinety.policy.schema import Selector
from kinety.policy.selection import object_selector

#: Kubernetes, "Well-Known Labels": set by the cluster to the namespace's name, and not to be changed.
NAME_OF_NAMESPACE = "kubernetes.io/metadata.name"

_EVERY_NAMESPACE = Requirement(K8S, NAMESPACE_KEY, Operator.EXISTS)


def pods_of_namespace(report: Report, path: Path, pods: Selector, namespace: str) -> LabelSelector:
    """The pods of one namespace that the selector at a path selects."""
    own = Requirement(K8S, NAMESPACE_KEY, Operator.IN, (namespace,))
    return _selector([*_of_pods(report, path, pods), own])


def pods_of_namespaces(
    report: Report, path: Path, namespaces: Selector, pods_path: Path = (), pods: Selector | None = None
) -> LabelSelector:
    """The pods, or those that ``pods`` selects, of the namespaces that the selector at a path selects."""
    found = _of_namespaces(report, path, namespaces)
    if pods is not None:
        found += _of_pods(report, pods_path, pods)
    return _selector([*found, _EVERY_NAMESPACE])


def _selector(requirements: list[Requirement]) -> LabelSelector:
    return LabelSelector(tuple(sorted(set(requirements))))


def _of_pods(report: Report, path: Path, selector: Selector) -> list[Requirement]:
    found = []
    for _, key, operator, values in object_selector(report, path, selector).requirements:
        if key.startswith(NAMESPACE_LABELS_PREFIX):
            hint = "write a namespaceSelector; its keys are those of the namespaces' labels"
            report.add(path, f"{key} speaks for a namespace, and no pod's own label can", hint)
        found.append(Requirement(K8S, key, operator, values))
    return found


def _of_namespaces(report: Report, path: Path, selector: Selector) -> list[Requirement]:
    return [
        Requirement(
            K8S,
            NAMESPACE_KEY if key == NAME_OF_NAMESPACE else NAMESPACE_LABELS_PREFIX + key,
            operator,
            values,
        )
        for _, key, operator, values in object_selector(report, path, selector).requirements
    ]
