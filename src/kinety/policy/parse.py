"""Documents as policies and what policies refer to: the one way in for text."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from kinety.model.address import Prefix
from kinety.model.invariant import Invariant
from kinety.model.reference import CidrGroup, Service, ServiceAddresses
from kinety.model.rule import Policy, PolicyKey
from kinety.policy import (
    cidr_group,
    cilium,
    cluster_network,
    invariant,
    kubernetes,
    service,
    service_addresses,
)
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
from kinety.policy.mode import in_its_mode, refuse_modes
from kinety.policy.report import MAX_REPORTED, Report

Object = Policy | CidrGroup | Service | ServiceAddresses | Invariant

#: By apiVersion and kind; of a kind's versions the one to write comes first.
_TRANSLATORS: Mapping[tuple[str, str], Callable[[Report, Path], Object | None]] = {
    (cilium.API_VERSION, cilium.NAMESPACED): cilium.translate,
    (cilium.API_VERSION, cilium.CLUSTERWIDE): cilium.translate,
    (kubernetes.API_VERSION, kubernetes.KIND): kubernetes.translate,
    (cluster_network.API_VERSION, cluster_network.KIND): cluster_network.translate,
    (cluster_network.NEWER_API_VERSION, cluster_network.KIND): cluster_network.translate,
    (cluster_network.OLDER_API_VERSION, cluster_network.ADMIN_KIND): cluster_network.translate,
    (cluster_network.OLDER_API_VERSION, cluster_network.BASELINE_KIND): cluster_network.translate,
    (cidr_group.API_VERSION, cidr_group.KIND): cidr_group.translate,
    (cidr_group.OLDER_API_VERSION, cidr_group.KIND): cidr_group.translate,
    (service.API_VERSION, service.KIND): service.translate,
    (service_addresses.API_VERSION, service_addresses.KIND): service_addresses.translate,
    (service_addresses.SLICE_API_VERSION, service_addresses.SLICE_KIND): service_addresses.translate_slice,
    (invariant.API_VERSION, invariant.KIND): invariant.translate,
}
_KINDS = tuple(dict.fromkeys(kind for _, kind in _TRANSLATORS))
_VERSIONS = {known: next(version for version, kind in _TRANSLATORS if kind == known) for known in _KINDS}
_LISTS = frozenset({"List", *(f"{kind}List" for kind in _KINDS)})


@dataclass(frozen=True, slots=True)
class Objects:
    """What documents hold by its name, in the order it was written, and the lines where it begins."""

    by_key: Mapping[PolicyKey, Object]
    lines: Mapping[PolicyKey, int] = field(default_factory=dict)

    @property
    def policies(self) -> tuple[Policy, ...]:
        """The policies."""
        return tuple(each for each in self.by_key.values() if isinstance(each, Policy))

    @property
    def cidr_groups(self) -> tuple[CidrGroup, ...]:
        """The groups of prefixes."""
        return tuple(each for each in self.by_key.values() if isinstance(each, CidrGroup))

    @property
    def services(self) -> tuple[Service, ...]:
        """The services; those that select no pods with the addresses that other objects tell."""
        told: defaultdict[tuple[str, str], set[Prefix]] = defaultdict(set)
        for each in self.by_key.values():
            if isinstance(each, ServiceAddresses):
                told[each.namespace, each.service].update(each.addresses)
        return tuple(
            each
            if each.pods is not None
            else replace(each, addresses=tuple(sorted(told[each.namespace, each.name])))
            for each in self.by_key.values()
            if isinstance(each, Service)
        )

    @property
    def invariants(self) -> tuple[Invariant, ...]:
        """The invariants."""
        return tuple(each for each in self.by_key.values() if isinstance(each, Invariant))


def parse_objects(documents: Sequence[Document]) -> Objects:
    """The objects in YAML or JSON documents.

    A document may be a stream, and an object in it a list of objects. All or nothing: raises
    PolicyError with what was found wrong, in order of file and line; the search ends after a hundred.
    """
    located = _located(documents)
    return Objects(
        {key: found for key, (found, _) in located.items()},
        {key: place.line for key, (_, place) in located.items()},
    )


def parse_policies(documents: Sequence[Document]) -> tuple[Policy, ...]:
    """The policies in documents that hold nothing else, in the order they were written.

    Raises PolicyError as `parse_objects` does, and for objects that are no policies.
    """
    found = _located(documents)
    others = [
        Finding(place.file, place.line, place.column, place.path, f"the kind {key.kind} is no policy")
        for key, (each, place) in found.items()
        if not isinstance(each, Policy)
    ]
    if others:
        raise PolicyError(others)
    return tuple(each for each, _ in found.values() if isinstance(each, Policy))


#: Objects by name, each with the place it was written at.
_Located = dict[PolicyKey, tuple[Object, Finding]]


def _located(documents: Sequence[Document]) -> _Located:
    length = 0
    for document in documents:
        length += len(document.text)
        if length > MAX_TEXT:
            raise PolicyError([too_large(document.file)])
    objects: _Located = {}
    findings: list[Finding] = []
    for document in documents:
        if len(findings) >= MAX_REPORTED:
            break
        try:
            _parse(document, objects, findings)
        except PolicyError as error:
            findings.extend(error.findings)
    if findings:
        raise PolicyError(findings)
    return objects


def _parse(document: Document, objects: _Located, findings: list[Finding]) -> None:
    """Add one file's objects and findings."""
    seen_any = False
    for tree in read(document):
        report = Report(tree)
        for path in _paths(report):
            seen_any = True
            found = _translate(report, path)
            if found is not None:
                _add(report, path, found, objects)
        findings.extend(sorted(report.findings, key=_place))
        seen_any = seen_any or bool(report.findings)
        if len(findings) >= MAX_REPORTED:
            break
    if not seen_any:
        findings.append(Finding(document.file, 0, 0, "", "there is no policy in it"))


def _add(report: Report, path: Path, found: Object, objects: _Located) -> None:
    key = _key(found)
    here = report.tree.finding(path, f"{key} is given twice")
    if key in objects:
        first = objects[key][1]
        report.add(path, here.message, f"the first is at {first.file}:{first.line}; keep one of them")
    else:
        objects[key] = (found, here)


def _key(found: Object) -> PolicyKey:
    match found:
        case Policy() | Invariant():
            return found.key
        case CidrGroup():
            return PolicyKey(cidr_group.KIND, "", found.name)
        case Service():
            return PolicyKey(service.KIND, found.namespace, found.name)
        case ServiceAddresses():
            return PolicyKey(found.kind, found.namespace, found.name)


def _paths(report: Report) -> Iterator[Path]:
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
    for name in root:
        if name not in ("apiVersion", "kind", "metadata", "items"):
            report.add((name,), f"unknown field {name!r} of a {kind}")
    for index in range(len(items)):
        yield ("items", index)


def _translate(report: Report, path: Path) -> Object | None:
    found = report.tree.value_at(path)
    if not isinstance(found, LocatedMapping):
        message = f"expected a policy, found {describe(found)}"
        report.add(path, message, "a policy begins with apiVersion, kind, metadata and spec")
        return None
    for name in ("apiVersion", "kind"):
        if not isinstance(found.get(name), str):
            problem = f"{name} is not text" if name in found else f"{name} is missing"
            version = _VERSIONS.get(str(found.get("kind")), cilium.API_VERSION)
            report.add((*path, name), problem, f"write `apiVersion: {version}` and `kind: ...`")
            return None
    version, kind = found["apiVersion"], found["kind"]
    if translator := _TRANSLATORS.get((version, kind)):
        done = translator(report, path)
        if isinstance(done, Policy):
            return in_its_mode(report, path, done)
        if done is not None:
            refuse_modes(report, path)
        return done
    if kind in _KINDS:
        message = f"unknown apiVersion {version!r} of {kind}"
        report.add((*path, "apiVersion"), message, f"write {_VERSIONS[kind]}")
    else:
        meant = closest(kind, _KINDS)
        hint = f"did you mean {meant}?" if meant else f"there are {', '.join(_KINDS)}"
        report.add((*path, "kind"), f"unknown kind {kind!r}", hint)
    return None


def _place(finding: Finding) -> tuple[int, int]:
    return (finding.line, finding.column)
