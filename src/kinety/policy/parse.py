"""Policy documents as policies: the one way in for text."""

from collections.abc import Iterator, Sequence

from kinety.model.rule import Policy, PolicyKey
from kinety.policy import cilium
from kinety.policy.diagnosis import closest, describe
from kinety.policy.document import (
    MAX_TEXT,
    Document,
    LocatedMapping,
    LocatedSequence,
    Path,
    read,
    too_large,
)
from kinety.policy.error import Finding, PolicyError
from kinety.policy.report import MAX_REPORTED, Report

_TRANSLATORS = {
    (cilium.API_VERSION, cilium.NAMESPACED): cilium.translate,
    (cilium.API_VERSION, cilium.CLUSTERWIDE): cilium.translate,
}
_KINDS = {kind: version for version, kind in _TRANSLATORS}
_LATER = frozenset(
    {
        "NetworkPolicy",
        "ClusterNetworkPolicy",
        "AdminNetworkPolicy",
        "BaselineAdminNetworkPolicy",
        "CiliumCIDRGroup",
    }
)
_LISTS = frozenset({"List", *(f"{kind}List" for kind in _KINDS)})


def parse_policies(documents: Sequence[Document]) -> tuple[Policy, ...]:
    """The policies in YAML or JSON documents, in the order they were written.

    A document may be a stream, and an object in it a list of objects. All or nothing: raises
    PolicyError with what was found wrong, in order of file and line; the search ends after a hundred.
    """
    length = 0
    for document in documents:
        length += len(document.text)
        if length > MAX_TEXT:
            raise PolicyError([too_large(document.file)])
    policies: dict[PolicyKey, tuple[Policy, Finding]] = {}
    findings: list[Finding] = []
    for document in documents:
        if len(findings) >= MAX_REPORTED:
            break
        try:
            _parse(document, policies, findings)
        except PolicyError as error:
            findings.extend(error.findings)
    if findings:
        raise PolicyError(findings)
    return tuple(policy for policy, _ in policies.values())


def _parse(
    document: Document, policies: dict[PolicyKey, tuple[Policy, Finding]], findings: list[Finding]
) -> None:
    """Add one file's policies and findings; ``policies`` remembers where each was written."""
    seen_any = False
    for tree in read(document):
        report = Report(tree)
        for path in _objects(report):
            seen_any = True
            policy = _translate(report, path)
            if policy is None:
                continue
            here = tree.finding(path, f"{policy.key} is given twice")
            if policy.key in policies:
                first = policies[policy.key][1]
                report.add(path, here.message, f"the first is at {first.file}:{first.line}; keep one of them")
            else:
                policies[policy.key] = (policy, here)
        findings.extend(sorted(report.findings, key=_place))
        seen_any = seen_any or bool(report.findings)
        if len(findings) >= MAX_REPORTED:
            break
    if not seen_any:
        findings.append(Finding(document.file, 0, 0, "", "there is no policy in it"))


def _objects(report: Report) -> Iterator[Path]:
    """Paths of the objects of one YAML document: the document itself, or the items of a list."""
    root = report.tree.root
    kind = root.get("kind") if isinstance(root, LocatedMapping) else None
    if not isinstance(kind, str) or kind not in _LISTS:
        yield ()
        return
    items = root.get("items")
    if not isinstance(items, LocatedSequence):
        report.add(("items",), f"a {kind} has a list of items")
        return
    for field in root:
        if field not in ("apiVersion", "kind", "metadata", "items"):
            report.add((field,), f"unknown field {field!r} of a {kind}")
    for index in range(len(items)):
        yield ("items", index)


def _translate(report: Report, path: Path) -> Policy | None:
    found = report.tree.value_at(path)
    if not isinstance(found, LocatedMapping):
        message = f"expected a policy, found {describe(found)}"
        report.add(path, message, "a policy begins with apiVersion, kind, metadata and spec")
        return None
    for field in ("apiVersion", "kind"):
        if not isinstance(found.get(field), str):
            problem = f"{field} is not text" if field in found else f"{field} is missing"
            report.add((*path, field), problem, f"write `apiVersion: {cilium.API_VERSION}` and `kind: ...`")
            return None
    version, kind = found["apiVersion"], found["kind"]
    if translator := _TRANSLATORS.get((version, kind)):
        return translator(report, path)
    if kind in _KINDS:
        report.add(
            (*path, "apiVersion"), f"unknown apiVersion {version!r} of {kind}", f"write {_KINDS[kind]}"
        )
    elif kind in _LATER:
        report.add((*path, "kind"), f"the kind {kind} is not supported yet", f"write a {cilium.NAMESPACED}")
    else:
        meant = closest(kind, _KINDS)
        hint = f"did you mean {meant}?" if meant else f"there are {', '.join(_KINDS)}"
        report.add((*path, "kind"), f"unknown kind {kind!r}", hint)
    return None


def _place(finding: Finding) -> tuple[int, int]:
    return (finding.line, finding.column)
