"""Addresses of services that select no pods: Kubernetes' ``Endpoints`` and ``EndpointSlice`` objects."""

from pydantic import Field, ValidationError

from kinety.model.address import Prefix
from kinety.model.reference import ServiceAddresses
from kinety.policy.cidr import prefix_of
from kinety.policy.diagnosis import diagnose
from kinety.policy.document import Path
from kinety.policy.metadata import check_metadata, check_name
from kinety.policy.report import Report
from kinety.policy.schema import Metadata, Model, Unjudged

API_VERSION, KIND = "v1", "Endpoints"
SLICE_API_VERSION, SLICE_KIND = "discovery.k8s.io/v1", "EndpointSlice"
#: The label by which a slice says whose it is.
SERVICE_LABEL = "kubernetes.io/service-name"
_FAMILIES = ("IPv4", "IPv6")


class Address(Model):
    """One address of a subset."""

    ip: str
    hostname: Unjudged = None
    nodeName: Unjudged = None
    targetRef: Unjudged = None


class Subset(Model):
    """Addresses that are ready, of the same ports. Those that are not ready serve nobody."""

    addresses: list[Address] | None = None
    notReadyAddresses: Unjudged = None
    ports: Unjudged = None


class Endpoints(Model):
    """The older object: all addresses of the service that it is called like."""

    apiVersion: str
    kind: str
    metadata: Metadata
    subsets: list[Subset] | None = None


class Conditions(Model):
    """Whether an endpoint of a slice serves; absent is yes."""

    ready: bool | None = None
    serving: Unjudged = None
    terminating: Unjudged = None


class SliceEndpoint(Model):
    """One endpoint of a slice, by its addresses."""

    addresses: list[str]
    conditions: Conditions = Field(default_factory=Conditions)
    deprecatedTopology: Unjudged = None
    hints: Unjudged = None
    hostname: Unjudged = None
    nodeName: Unjudged = None
    targetRef: Unjudged = None
    zone: Unjudged = None


class EndpointSlice(Model):
    """Some addresses of the service that a label names."""

    apiVersion: str
    kind: str
    metadata: Metadata
    addressType: str
    endpoints: list[SliceEndpoint]
    ports: Unjudged = None


def translate(report: Report, path: Path) -> ServiceAddresses | None:
    """The addresses that an Endpoints object tells, or None when something was reported."""
    before = len(report.findings)
    try:
        found = Endpoints.model_validate(report.tree.value_at(path))
    except ValidationError as error:
        _note(report, path, Endpoints, error)
        return None
    check_metadata(report, (*path, "metadata"), found.metadata, KIND, None)
    prefixes = {
        _prefix(report, (*path, "subsets", number, "addresses", index, "ip"), address.ip)
        for number, subset in enumerate(found.subsets or ())
        for index, address in enumerate(subset.addresses or ())
    }
    if len(report.findings) > before:
        return None
    namespace, name = found.metadata.namespace or "default", found.metadata.name
    return ServiceAddresses(KIND, namespace, name, name, _known(prefixes))


def translate_slice(report: Report, path: Path) -> ServiceAddresses | None:
    """The addresses that an EndpointSlice tells, or None when something was reported."""
    before = len(report.findings)
    try:
        found = EndpointSlice.model_validate(report.tree.value_at(path))
    except ValidationError as error:
        _note(report, path, EndpointSlice, error)
        return None
    check_metadata(report, (*path, "metadata"), found.metadata, SLICE_KIND, None)
    service = (found.metadata.labels or {}).get(SERVICE_LABEL, "")
    if service:
        check_name(report, (*path, "metadata", "labels", SERVICE_LABEL), service)
    else:
        hint = f"write the label `{SERVICE_LABEL}: <name>`"
        report.add((*path, "metadata", "labels"), f"an {SLICE_KIND} says whose it is by a label", hint)
    if found.addressType not in _FAMILIES:
        hint = f"write {' or '.join(_FAMILIES)}"
        report.add((*path, "addressType"), f"{found.addressType} is no family of addresses", hint)
    prefixes = {
        _prefix(report, (*path, "endpoints", number, "addresses", index), text, found.addressType)
        for number, endpoint in enumerate(found.endpoints)
        for index, text in enumerate(endpoint.addresses)
        if endpoint.conditions.ready is not False
    }
    if len(report.findings) > before:
        return None
    namespace = found.metadata.namespace or "default"
    return ServiceAddresses(SLICE_KIND, namespace, found.metadata.name, service, _known(prefixes))


def _note(report: Report, path: Path, model: type[Model], error: ValidationError) -> None:
    for finding in diagnose(report.tree, path, model, error):
        report.note(finding)


def _prefix(report: Report, path: Path, text: str, family: str = "") -> Prefix | None:
    """One address; of the family, where one is given."""
    if "/" in text:
        report.add(path, f"{text!r} is not an address", "write one address, such as 192.0.2.7")
        return None
    prefix = prefix_of(report, path, text, bare=True)
    if prefix is not None and family in _FAMILIES and prefix.is_ipv4 != (family == "IPv4"):
        report.add(path, f"{text} is no {family} address", "a slice has addresses of one family")
    return prefix


def _known(prefixes: set[Prefix | None]) -> tuple[Prefix, ...]:
    return tuple(sorted(each for each in prefixes if each is not None))
