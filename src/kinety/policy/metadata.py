"""Names of policy objects, and of what they refer to."""

import re

from kinety.policy.document import Path
from kinety.policy.report import Report
from kinety.policy.schema import Metadata

#: Kubernetes, "Object Names and IDs": DNS subdomain (RFC 1123), DNS label.
_NAME = re.compile(r"(?=.{1,253}\Z)[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*\Z")
_LABEL = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?\Z")
_HINT = "lower-case letters, digits and dashes, the ends letters or digits"


def check_metadata(report: Report, path: Path, metadata: Metadata, kind: str, namespaced: str | None) -> None:
    """Judge an object's metadata. ``namespaced`` is the kind to write where this one has no namespace.

    It is None for kinds that are in a namespace, and "" where no such kind exists.
    """
    check_name(report, (*path, "name"), metadata.name)
    if metadata.namespace is None:
        return
    where = (*path, "namespace")
    if namespaced is None:
        check_namespace(report, where, metadata.namespace)
    else:
        hint = f"remove it, or write a {namespaced}" if namespaced else "remove it"
        report.add(where, f"a {kind} is in no namespace", hint)


def check_name(report: Report, path: Path, text: str) -> None:
    """Report what cannot be the name of an object."""
    if not _NAME.match(text):
        report.add(path, f"{text!r} cannot be a name", _HINT)


def check_namespace(report: Report, path: Path, text: str) -> None:
    """Report what cannot be the name of a namespace."""
    if not _LABEL.match(text):
        report.add(path, f"{text!r} cannot be a namespace", _HINT)
