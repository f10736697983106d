"""``CiliumCIDRGroup`` objects: prefixes that policies refer to by name or by label."""

from pydantic import ValidationError

from kinety.model.label import CIDR_GROUP, Label
from kinety.model.reference import CidrGroup
from kinety.policy.cidr import prefix_of
from kinety.policy.diagnosis import Elsewhere, diagnose
from kinety.policy.document import Path
from kinety.policy.metadata import check_metadata
from kinety.policy.report import Report
from kinety.policy.schema import CiliumCidrGroup
from kinety.policy.selection import check_plain_label

API_VERSION = "cilium.io/v2"
#: What the object was before it was in ``cilium.io/v2``; it says the same.
OLDER_API_VERSION = "cilium.io/v2alpha1"
KIND = "CiliumCIDRGroup"

_ELSEWHERE: Elsewhere = {
    CiliumCidrGroup: {
        "externalCIDRs": ("externalCIDRs belongs under spec", "indent it to stand inside spec")
    },
}


def translate(report: Report, path: Path) -> CidrGroup | None:
    """The group at a path, or None when something was reported."""
    before = len(report.findings)
    try:
        found = CiliumCidrGroup.model_validate(report.tree.value_at(path))
    except ValidationError as error:
        for finding in diagnose(report.tree, path, CiliumCidrGroup, error, _ELSEWHERE):
            report.note(finding)
        return None
    check_metadata(report, (*path, "metadata"), found.metadata, KIND, "")
    labels = set()
    for key, value in (found.metadata.labels or {}).items():
        check_plain_label(report, (*path, "metadata", "labels", key), key, value)
        labels.add(Label(CIDR_GROUP, key, value))
    prefixes = set()
    for index, text in enumerate(found.spec.prefixes):
        prefix = prefix_of(report, (*path, "spec", "externalCIDRs", index), text, bare=True)
        if prefix is not None:
            prefixes.add(prefix)
    if len(report.findings) > before:
        return None
    return CidrGroup(found.metadata.name, frozenset(labels), tuple(sorted(prefixes)))
