"""Kubernetes ``Service`` objects, as far as policies refer to them: which pods a name leads to.

A service without a selector leads to addresses that other objects tell, so it has none of its own here.
"""

from pydantic import ValidationError

from kinety.model.label import K8S, NAMESPACE_KEY, Label
from kinety.model.reference import Service
from kinety.model.selector import LabelSelector, Operator, Requirement
from kinety.policy.diagnosis import diagnose
from kinety.policy.document import Path
from kinety.policy.kubernetes_schema import ELSEWHERE
from kinety.policy.kubernetes_schema import Service as ServiceObject
from kinety.policy.metadata import check_metadata
from kinety.policy.report import Report
from kinety.policy.selection import check_plain_label

API_VERSION = "v1"
KIND = "Service"


def translate(report: Report, path: Path) -> Service | None:
    """The service at a path, or None when something was reported."""
    before = len(report.findings)
    try:
        found = ServiceObject.model_validate(report.tree.value_at(path))
    except ValidationError as error:
        for finding in diagnose(report.tree, path, ServiceObject, error, ELSEWHERE):
            report.note(finding)
        return None
    metadata = found.metadata
    check_metadata(report, (*path, "metadata"), metadata, KIND, None)
    namespace = metadata.namespace or "default"
    labels = _labels(report, (*path, "metadata", "labels"), metadata.labels)
    wanted = _labels(report, (*path, "spec", "selector"), found.spec.selector)
    if len(report.findings) > before:
        return None
    pods = None
    if wanted:
        own = Label(K8S, NAMESPACE_KEY, namespace)
        required = (Requirement(K8S, key, Operator.IN, (value,)) for _, key, value in wanted | {own})
        pods = LabelSelector(tuple(sorted(required)))
    return Service(namespace, metadata.name, labels, pods, ())


def _labels(report: Report, path: Path, given: dict[str, str] | None) -> frozenset[Label]:
    for key, value in (given or {}).items():
        check_plain_label(report, (*path, key), key, value)
    return frozenset(Label(K8S, key, value) for key, value in (given or {}).items())
