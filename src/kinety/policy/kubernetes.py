"""``networking.k8s.io/v1`` NetworkPolicy as rules.

A NetworkPolicy only allows. It isolates the pods it selects in each direction it is about, and the rules
say what still passes; a direction without rules becomes one rule that isolates and names nobody.

Here, unlike in a CiliumNetworkPolicy, an empty list of peers or of ports means all of them, as an absent
one does: so says the API's reference ("If this field is empty or missing, this rule matches all sources").
An ``ipBlock`` is about addresses whoever has them. Kubernetes leaves open whether it covers those of pods;
its own conformance tests take it so.
"""

from collections.abc import Iterator

from pydantic import ValidationError

from kinety.model.rule import Action, Direction, NamedPort, Origin, Policy, PolicyKey, PortRange, Rule
from kinety.model.selector import BlockSelector, LabelSelector, PeerSelector
from kinety.policy.cidr import EVERYWHERE, exceptions, prefix_of
from kinety.policy.diagnosis import closest, diagnose
from kinety.policy.document import Path, path_text
from kinety.policy.kubernetes_port import (
    EVERY_PORT,
    LAST_PORT,
    Ports,
    name_of,
    number_of,
    ports_of,
    protocol_of,
)
from kinety.policy.kubernetes_schema import ELSEWHERE, Egress, Ingress, IpBlock, NetworkPolicy, Peer, Port
from kinety.policy.kubernetes_selection import pods_of_namespace, pods_of_namespaces
from kinety.policy.metadata import check_metadata
from kinety.policy.report import Report

API_VERSION = "networking.k8s.io/v1"
KIND = "NetworkPolicy"

#: Section, direction, name of the list of peers, and what policyTypes calls the direction.
_SECTIONS = {
    "ingress": (Direction.INGRESS, "from", "Ingress"),
    "egress": (Direction.EGRESS, "to", "Egress"),
}
_TYPES = tuple(name for _, _, name in _SECTIONS.values())


def translate(report: Report, path: Path) -> Policy | None:
    """The rules of the object at a path, or None when something was reported."""
    before = len(report.findings)
    try:
        found = NetworkPolicy.model_validate(report.tree.value_at(path))
    except ValidationError as error:
        for finding in diagnose(report.tree, path, NetworkPolicy, error, ELSEWHERE):
            report.note(finding)
        return None
    check_metadata(report, (*path, "metadata"), found.metadata, KIND, None)
    policy = _Translation(report, path, found).policy()
    return policy if len(report.findings) == before else None


class _Translation:
    """One object on its way to rules."""

    def __init__(self, report: Report, path: Path, found: NetworkPolicy) -> None:
        self._report = report
        self._path = (*path, "spec")
        self._spec = found.spec
        self._namespace = found.metadata.namespace or "default"
        self._key = PolicyKey(KIND, self._namespace, found.metadata.name)

    def policy(self) -> Policy:
        subject = pods_of_namespace(
            self._report, (*self._path, "podSelector"), self._spec.subject, self._namespace
        )
        isolated = self._isolated()
        rules: list[Rule] = []
        for section, (_, _, name) in _SECTIONS.items():
            found = list(self._rules(section, subject))
            if name in isolated:
                rules += found or [self._isolation(section, subject)]
            elif found:
                hint = f"write `policyTypes: [Ingress, Egress]`, or remove {section}"
                message = f"there are {section} rules, but policyTypes leaves {name} out"
                self._report.add((*self._path, section), message, hint)
        return Policy(self._key, tuple(rules))

    def _isolated(self) -> frozenset[str]:
        """The directions the policy is about, as policyTypes calls them."""
        given = self._spec.types or []
        for index, text in enumerate(given):
            if text not in _TYPES:
                meant = closest(text, _TYPES)
                hint = f"did you mean {meant}?" if meant else f"write {' or '.join(_TYPES)}"
                self._report.add((*self._path, "policyTypes", index), f"unknown policy type {text!r}", hint)
        if given:
            return frozenset(given)
        return frozenset(_TYPES if self._spec.egress else _TYPES[:1])

    def _isolation(self, section: str, subject: LabelSelector) -> Rule:
        """The rule of a direction in which nothing may pass."""
        direction, _, name = _SECTIONS[section]
        path = self._path
        if getattr(self._spec, section) is not None:
            path = (*path, section)
        elif self._spec.types:
            path = (*path, "policyTypes", self._spec.types.index(name))
        return Rule(subject, direction, Action.ALLOW, (), None, True, self._origin(path))

    def _rules(self, section: str, subject: LabelSelector) -> Iterator[Rule]:
        direction, side, _ = _SECTIONS[section]
        items: list[Ingress | Egress] = getattr(self._spec, section) or []
        for index, item in enumerate(items):
            path = (*self._path, section, index)
            peers = self._peers((*path, side), item.peers)
            ports = self._ports((*path, "ports"), item.ports)
            yield Rule(
                subject,
                direction,
                Action.ALLOW,
                peers,
                ports.ranges,
                True,
                self._origin(path),
                named_ports=ports.named,
            )

    def _origin(self, path: Path) -> Origin:
        tree = self._report.tree
        return Origin(self._key, tree.file, tree.place_of(path)[0], path_text(path))

    def _peers(self, path: Path, items: list[Peer] | None) -> tuple[PeerSelector, ...] | None:
        if not items:
            return None
        found = dict.fromkeys(self._peer((*path, index), item) for index, item in enumerate(items))
        return tuple(found)

    def _peer(self, path: Path, item: Peer) -> PeerSelector:
        if item.block is not None:
            if item.pods is not None or item.namespaces is not None:
                other = "podSelector" if item.pods is not None else "namespaceSelector"
                message = f"ipBlock and {other} cannot be in one item"
                self._report.add((*path, "ipBlock"), message, "make a second item for it")
            return self._block((*path, "ipBlock"), item.block)
        if item.namespaces is not None:
            where = (*path, "namespaceSelector")
            return pods_of_namespaces(self._report, where, item.namespaces, (*path, "podSelector"), item.pods)
        if item.pods is None:
            hint = "write podSelector, namespaceSelector or ipBlock; leave the list out for everybody"
            self._report.add(path, "the item names nobody", hint)
            return LabelSelector()
        return pods_of_namespace(self._report, (*path, "podSelector"), item.pods, self._namespace)

    def _block(self, path: Path, block: IpBlock) -> BlockSelector:
        prefix = prefix_of(self._report, (*path, "cidr"), block.cidr)
        excepted = exceptions(self._report, (*path, "except"), block.excepted or [], prefix)
        if prefix in excepted:
            message = f"except leaves nothing of {prefix}"
            self._report.add((*path, "except"), message, "leave out only parts of cidr")
        return BlockSelector(prefix or EVERYWHERE, excepted)

    def _ports(self, path: Path, items: list[Port] | None) -> Ports:
        if not items:
            return EVERY_PORT
        return ports_of(each for index, item in enumerate(items) for each in self._port((*path, index), item))

    def _port(self, path: Path, item: Port) -> list[PortRange | NamedPort]:
        protocol = protocol_of(self._report, (*path, "protocol"), item.protocol)
        if item.port is None or isinstance(item.port, str):
            return self._named(path, item, protocol)
        first = number_of(self._report, (*path, "port"), item.port)
        last = first if item.end is None else number_of(self._report, (*path, "endPort"), item.end)
        if protocol is None or first is None or last is None:
            return []
        if last < first:
            hint = "write the lower number as port"
            self._report.add((*path, "endPort"), f"endPort {last} is below port {first}", hint)
            return []
        return [PortRange(protocol, first, last)]

    def _named(self, path: Path, item: Port, protocol: int | None) -> list[PortRange | NamedPort]:
        """A port by name, or without a port every one of the protocol."""
        if item.end is not None:
            begin = f"at a name, {item.port!r}" if item.port else "nowhere"
            hint = "write the first number as port, or remove endPort"
            self._report.add((*path, "endPort"), f"a range cannot begin {begin}", hint)
        if item.port is None:
            return [] if protocol is None else [PortRange(protocol, 0, LAST_PORT)]
        name = name_of(self._report, (*path, "port"), item.port)
        return [] if protocol is None or name is None else [NamedPort(protocol, name)]
