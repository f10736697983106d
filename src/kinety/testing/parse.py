"""Scenarios, read from documents. The format is that of `docs/guide/scenario-tests.md`.

Reading is pure: files come in as text, and a policy that a scenario names by path is asked of the
caller. Everything that is wrong is found in one go, each with its line and, where it is known, what
to write instead.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from ipaddress import ip_address
from typing import Any

from pydantic import ValidationError

from kinety.model.address import IPAddress, pack_address
from kinety.model.endpoint import Endpoint, EndpointId, Listen
from kinety.model.label import NODE, Label, Labels, labels_of_endpoint
from kinety.policy.diagnosis import closest, describe, diagnose
from kinety.policy.document import Document, LocatedMapping, Path, Tree, read
from kinety.policy.error import Finding, PolicyError
from kinety.policy.parse import Objects, parse_objects
from kinety.testing.content import DNS_PORT, REFUSALS, Content, DnsQuestion
from kinety.testing.content_entry import content_of
from kinety.testing.entry import EndpointEntry, ProbeEntry, ScenarioDocument
from kinety.testing.inline import inline_policy
from kinety.testing.scenario import (
    DEFAULT_NAMESPACE,
    ECHO_TYPES,
    ENDPOINT_NETWORKS,
    HOST,
    HOST_ADDRESSES,
    OUTCOMES,
    PROTOCOLS,
    WORLD,
    WORLD_ADDRESSES,
    End,
    Host,
    Outside,
    Probe,
    Scenario,
    ScenarioEndpoint,
    addresses_of,
)

API_VERSION = "kinety.io/v1alpha1"
KIND = "Scenario"
_FIRST_ENDPOINT = 10
_ICMP_FAMILIES = {"ICMP": (4,), "ICMPv6": (6,)}
_NAME = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?\Z")
_NAME_HINT = f"write lower-case letters, digits and -; {HOST} and {WORLD} are taken"


def parse_scenarios(
    documents: Sequence[Document], read_policy: Callable[[str, str], Document]
) -> tuple[Scenario, ...]:
    """The scenarios in some files, each of which may hold several.

    ``read_policy`` gets a scenario's file and a path it names, and returns that file; it may raise
    OSError. Raises PolicyError with everything that is wrong, policies included.
    """
    findings: list[Finding] = []
    scenarios: list[Scenario] = []
    for document in documents:
        try:
            trees = tuple(read(document))
        except PolicyError as error:
            findings.extend(error.findings)
            continue
        if not trees:
            findings.append(Finding(document.file, 0, 0, "", "there is no scenario in it"))
        for number, tree in enumerate(trees, 1):
            reader = _Reader(tree, document, number if len(trees) > 1 else 0, read_policy)
            scenario = reader.scenario()
            findings.extend(reader.findings)
            if scenario is not None and not reader.findings:
                scenarios.append(scenario)
    if findings:
        raise PolicyError(findings)
    return tuple(scenarios)


def speaks_of_scenarios(document: Document) -> bool:
    """Whether a document is meant as a scenario; what cannot be read is, so that somebody is told."""
    try:
        roots = [tree.root for tree in read(document)]
    except PolicyError:
        return True
    kinds = [root.get("kind") if isinstance(root, LocatedMapping) else None for root in roots]
    return any(not isinstance(kind, str) or closest(kind, [KIND]) for kind in kinds)


class _Reader:
    """One document on its way to a scenario."""

    def __init__(
        self, tree: Tree, document: Document, number: int, read_policy: Callable[[str, str], Document]
    ) -> None:
        self._tree = tree
        self._document = document
        self._number = number
        self._read_policy = read_policy
        self._declared: set[str] = set()
        self.findings: list[Finding] = []

    def scenario(self) -> Scenario | None:
        if not isinstance(self._tree.root, LocatedMapping):
            self._add((), f"expected a {KIND}, found {describe(self._tree.root)}")
            return None
        for field, wanted in (("kind", KIND), ("apiVersion", API_VERSION)):
            if self._tree.root.get(field) != wanted:
                self._add((field,), f"{field} is not {wanted}", f"write `{field}: {wanted}`")
                return None
        try:
            found = ScenarioDocument.model_validate(self._tree.root)
        except ValidationError as error:
            self.findings.extend(diagnose(self._tree, (), ScenarioDocument, error))
            return None
        for name in found.namespaces:
            if not _NAME.match(name):
                self._add(("namespaces", name), f"{name!r} cannot be a namespace's name", _NAME_HINT)
        if not found.probes:
            self._add(("probes",), "there is no probe, so nothing is tested")
        endpoints = self._endpoints(found)
        objects, policy_documents = self._objects(found.policies)
        names, node = self._names(found.names), self._node(found.node)
        probes = tuple(filter(None, (self._probe(i, p, endpoints) for i, p in enumerate(found.probes))))
        suffix = f"#{self._number}" if self._number else ""
        return Scenario(
            found.name or f"{self._document.file}{suffix}",
            self._document.file,
            tuple(endpoints.values()),
            objects,
            policy_documents,
            probes,
            names,
            node,
        )

    def _add(self, path: Path, message: str, hint: str = "") -> None:
        self.findings.append(self._tree.finding(path, message, hint))

    def _endpoints(self, found: ScenarioDocument) -> dict[str, ScenarioEndpoint]:
        endpoints: dict[str, ScenarioEndpoint] = {}
        taken: set[IPAddress] = {*HOST_ADDRESSES.values(), *WORLD_ADDRESSES.values()}
        for index, each in enumerate(found.endpoints):
            path: Path = ("endpoints", index)
            self._declared.add(key := f"{each.namespace}/{each.name}")
            if each.namespace not in found.namespaces and each.namespace != DEFAULT_NAMESPACE:
                hint = f"add it under namespaces: `{each.namespace}: {{}}`"
                self._add((*path, "namespace"), f"there is no namespace {each.namespace!r}", hint)
                continue
            if not _NAME.match(each.name) or each.name in (HOST, WORLD):
                self._add((*path, "name"), f"{each.name!r} cannot be an endpoint's name", _NAME_HINT)
                continue
            built = self._endpoint(path, index, each, found.namespaces.get(each.namespace, {}), taken)
            if built is None:
                continue
            if key in endpoints:
                self._add((*path, "name"), f"there is an endpoint {key} already")
            endpoints[key] = built
        return endpoints

    def _endpoint(
        self,
        path: Path,
        index: int,
        found: EndpointEntry,
        namespace_labels: Mapping[str, str],
        taken: set[IPAddress],
    ) -> ScenarioEndpoint | None:
        try:
            own = tuple(
                Label.parse(f"{key}={value}" if value else key) for key, value in found.labels.items()
            )
            labels = labels_of_endpoint(found.namespace, own, namespace_labels)
        except ValueError as error:
            self._add((*path, "labels"), str(error))
            return None
        addresses = self._addresses(path, index, found, taken)
        if not addresses:
            return None
        listens: set[tuple[str, int]] = set()
        named: set[Listen] = set()
        for number, listen in enumerate(found.listens):
            here = (*path, "listens", number)
            if not (self._check_protocol(here, listen.protocol) and self._check_port(here, listen.port)):
                continue
            listens.add((listen.protocol, listen.port))
            if listen.name is not None and listen.protocol not in ECHO_TYPES:
                named.add(Listen(listen.name, PROTOCOLS[listen.protocol], listen.port))
        endpoint = Endpoint(
            EndpointId(index + 1),
            found.namespace,
            found.name,
            labels,
            _pack(addresses.get(4)),
            _pack(addresses.get(6)),
            frozenset(named),
        )
        return ScenarioEndpoint(endpoint, namespace_labels, own, addresses, frozenset(listens))

    def _addresses(
        self, path: Path, index: int, found: EndpointEntry, taken: set[IPAddress]
    ) -> dict[int, IPAddress]:
        """An endpoint's addresses by family: those given, or else one of each family."""
        if not found.addresses:
            offset = _FIRST_ENDPOINT + index
            addresses = {family: first + offset for family, first in ENDPOINT_NETWORKS.items()}
        else:
            addresses = {}
            for number, text in enumerate(found.addresses):
                here = (*path, "addresses", number)
                address = self._address(here, text)
                if address is None:
                    continue
                if address.version in addresses:
                    self._add(here, f"a second address of IPv{address.version}", "give one of each family")
                addresses[address.version] = address
        for address in addresses.values():
            if address in taken:
                self._add(path, f"the address {address} is taken")
            taken.add(address)
        return addresses

    def _objects(self, given: Iterable[Any]) -> tuple[Objects, tuple[Document, ...]]:
        """Policies and what they refer to, named by path, or written out in place."""
        documents: list[Document] = []
        for index, item in enumerate(given):
            path: Path = ("policies", index)
            if isinstance(item, LocatedMapping):
                documents.append(inline_policy(self._document, item))
            elif not isinstance(item, str):
                self._add(path, f"expected a path or a policy, found {describe(item)}")
            else:
                try:
                    documents.append(self._read_policy(self._document.file, item))
                except (OSError, ValueError) as error:
                    self._add(path, f"cannot read {item}: {getattr(error, 'strerror', None) or error}")
        if not documents or self.findings:
            return Objects({}), ()
        try:
            return parse_objects(documents), tuple(documents)
        except PolicyError as error:
            self.findings.extend(error.findings)
            return Objects({}), ()

    def _names(self, given: Mapping[str, list[str]]) -> dict[IPAddress, frozenset[str]]:
        """DNS names of addresses outside, in lower case."""
        found: dict[IPAddress, frozenset[str]] = {}
        for text, names in given.items():
            address = self._address(("names", text), text)
            if address is not None:
                found[address] = frozenset(name.lower().removesuffix(".") for name in names)
        return found

    def _node(self, given: Mapping[str, str]) -> Labels:
        return frozenset(Label(NODE, key, value) for key, value in given.items())

    def _probe(
        self, index: int, found: ProbeEntry, endpoints: Mapping[str, ScenarioEndpoint]
    ) -> Probe | None:
        path: Path = ("probes", index)
        source = self._end((*path, "from"), found.source, endpoints)
        destination = self._end((*path, "to"), found.to, endpoints)
        content = content_of(found, lambda below, *said: self._add((*path, *below), *said))
        protocol = found.protocol or ("TCP" if content is None else content.PROTOCOLS[0])
        if not self._check_protocol(path, protocol):
            return None
        self._check_expected(path, found, content)
        port = found.port
        if protocol in ECHO_TYPES:
            if port is not None:
                self._add((*path, "port"), f"{protocol} has no ports", "leave it out: an echo is sent")
            port = ECHO_TYPES[protocol]
        elif port is None and isinstance(content, DnsQuestion):
            port = DNS_PORT
        elif port is None:
            self._add(path, "port is missing", f"write which {protocol} port, such as `port: 80`")
            return None
        elif not self._check_port(path, port):
            return None
        if content is not None and protocol not in content.PROTOCOLS:
            carriers = " or ".join(content.PROTOCOLS)
            self._add(path, f"{REFUSALS[content.REFUSAL]} goes over {carriers}, not {protocol}")
        if source is None or destination is None:
            return None
        families = self._families(path, found.family, protocol, source, destination)
        line = self._tree.place_of(path)[0]
        return Probe(
            source, destination, protocol, port, families, found.expect, self._document.file, line, content
        )

    def _check_expected(self, path: Path, found: ProbeEntry, content: Content | None) -> None:
        path = (*path, "expect")
        if found.expect not in OUTCOMES:
            hint = _meant(found.expect, OUTCOMES)
            self._add(path, f"{found.expect!r} is not one of {', '.join(OUTCOMES)}", hint)
        field = REFUSALS.get(found.expect)
        if field is not None and (content is None or found.expect != content.REFUSAL):
            self._add(path, f"{found.expect} is an outcome of probes with {field}", f"write `{field}:` too")

    def _families(
        self, path: Path, family: int | None, protocol: str, source: End, destination: End
    ) -> tuple[int, ...]:
        """The families a probe is asked in: the one given, or all that both ends have."""
        if source == destination or not (_is_judged(source) or _is_judged(destination)):
            self._add(path, f"nothing from {source} to {destination} is judged by an endpoint or the node")
            return ()
        common = [f for f in (4, 6) if f in addresses_of(source) and f in addresses_of(destination)]
        common = [f for f in common if f in _ICMP_FAMILIES.get(protocol, (4, 6))]
        if family is not None:
            if family not in (4, 6):
                self._add((*path, "family"), f"{family} is not 4 or 6")
                return ()
            common = [each for each in common if each == family]
        if not common:
            self._add(path, f"{source} and {destination} have no address family in common for this probe")
        return tuple(common)

    def _end(self, path: Path, text: str, endpoints: Mapping[str, ScenarioEndpoint]) -> End | None:
        if text == HOST:
            return Host()
        if text == WORLD:
            return Outside(WORLD, WORLD_ADDRESSES)
        key = text if "/" in text else f"{DEFAULT_NAMESPACE}/{text}"
        if key in endpoints:
            return endpoints[key]
        if key in self._declared:  # and something is wrong with it, which was said
            return None
        try:
            ip_address(text)
        except ValueError:
            names = [*map(str, endpoints.values()), HOST, WORLD]
            hint = _meant(text, names) or f"there are {', '.join(names)}"
            self._add(path, f"there is no endpoint {text!r}", hint)
            return None
        address = self._address(path, text)
        if address is None:
            return None
        for each in endpoints.values():
            if address in each.addresses.values():
                return each
        return Host() if address in HOST_ADDRESSES.values() else Outside(text, {address.version: address})

    def _address(self, path: Path, text: str) -> IPAddress | None:
        """An address that one host has and others can send to."""
        try:
            address = ip_address(text)
        except ValueError:
            self._add(path, f"{text!r} is not an address")
            return None
        mapped = address.ipv4_mapped if address.version == 6 else None
        if mapped is not None:
            self._add(path, f"{text} is an IPv4 address written as IPv6", f"write {mapped}")
            return None
        special = ("multicast", "loopback", "unspecified", "link_local")
        for kind in special:
            if getattr(address, f"is_{kind}"):
                self._add(path, f"{text} is a {kind.replace('_', '-')} address, which no probe can use")
                return None
        return address

    def _check_protocol(self, path: Path, protocol: str) -> bool:
        if protocol not in PROTOCOLS:
            hint = _meant(protocol, PROTOCOLS)
            self._add((*path, "protocol"), f"{protocol!r} is not one of {', '.join(PROTOCOLS)}", hint)
            return False
        return True

    def _check_port(self, path: Path, port: int) -> bool:
        if not 0 < port < 65536:
            self._add((*path, "port"), f"{port} is not a port", "write 1 to 65535")
            return False
        return True


def _meant(word: str, known: Iterable[str]) -> str:
    found = closest(word, known)
    return f"did you mean {found}?" if found else ""


def _is_judged(end: End) -> bool:
    return isinstance(end, ScenarioEndpoint | Host)


def _pack(address: IPAddress | None) -> bytes | None:
    return None if address is None else pack_address(address)
