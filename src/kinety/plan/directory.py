"""What rules name and others tell: ports by name, groups of prefixes, services.

A rule that names such things is rewritten into parts that do not, before it enters the rule book. The
parts are the rule's: they have its number and its place in the file. When a thing changes, the policies
that name it are looked up again, and no others.

A thing nobody told of is nobody: the rule's other peers and ports stay what they are, and it isolates as
it did.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace

from kinety.identity.journal import Journal
from kinety.model.address import Prefix
from kinety.model.endpoint import Listen
from kinety.model.label import PORT, Labels
from kinety.model.reference import CidrGroup, CidrGroupReference, PeerReference, Service, ServiceReference
from kinety.model.rule import Direction, NamedPort, Policy, PolicyKey, PortRange, Rule
from kinety.model.selector import (
    BlockSelector,
    CidrSelector,
    EntitySelector,
    LabelSelector,
    Operator,
    PeerSelector,
    Requirement,
)

ServiceName = tuple[str, str]
#: What a policy may name: a kind of thing, and its name; "" is every thing of the kind.
_Name = tuple[str, str]
_ANY_GROUP, _SERVICES = ("group", ""), ("service", "")


class Directory:
    """Things by name, and the policies that name them."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._groups: dict[str, CidrGroup] = {}
        self._services: dict[ServiceName, Service] = {}
        self._ports: dict[str, Counter[Listen]] = {}
        self._naming: dict[_Name, dict[PolicyKey, None]] = {}
        #: Policies that this change must look up again.
        self.stale: dict[PolicyKey, None] = {}

    def begin(self) -> None:
        """A change begins."""
        self.stale = {}

    # What is told

    def put_group(self, name: str, group: CidrGroup | None) -> None:
        """A group is this now, or there is none."""
        if self._groups.get(name) == group:
            return
        if group is None:
            self._journal.pop(self._groups, name)
        else:
            self._journal.put(self._groups, name, group)
        self._touch(("group", name), _ANY_GROUP)

    def put_service(self, name: ServiceName, service: Service | None) -> None:
        """A service is this now, or there is none."""
        if self._services.get(name) == service:
            return
        if service is None:
            self._journal.pop(self._services, name)
        else:
            self._journal.put(self._services, name, service)
        self._touch(_SERVICES)

    def put_ports(self, before: Iterable[Listen], after: Iterable[Listen]) -> None:
        """Somebody has these named ports, and had those."""
        for listens, count in ((after, 1), (before, -1)):
            for listen in listens:
                self._count(listen, count)
                self._journal.did(self._count, listen, -count)

    # Who names it

    def file(self, policy: Policy) -> None:
        """A policy is in force from now on."""
        if _named(policy):
            self._file(policy)
            self._journal.did(self._unfile, policy)

    def unfile(self, policy: Policy) -> None:
        """A policy is not in force any more."""
        if _named(policy):
            self._unfile(policy)
            self._journal.did(self._file, policy)

    # Rewriting

    def look_up(self, rule: Rule) -> tuple[Rule, ...]:
        """The parts of a rule: itself without names, and one for each port that a name of its stands for.

        A rule about every port has no use for names.
        """
        if not rule.references and not rule.named_ports:
            return (rule,)
        plain = replace(rule, references=(), named_ports=())
        if rule.references:
            found = (peer for reference in rule.references for peer in self._peers(reference))
            plain = replace(plain, peers=tuple(dict.fromkeys((*(rule.peers or ()), *found))))
        if rule.ports is None or any(ports.protocol == 0 for ports in rule.ports):
            return (plain,)
        ports = sorted({listen for named in rule.named_ports for listen in self._listens(named)})
        return (plain, *(part for listen in ports if (part := _narrowed(plain, listen)) is not None))

    def _listens(self, named: NamedPort) -> Iterator[Listen]:
        return (each for each in self._ports.get(named.name, ()) if each.protocol == named.protocol)

    def _peers(self, reference: PeerReference) -> Iterator[PeerSelector]:
        match reference:
            case CidrGroupReference(except_=holes):
                for group in self._selected_groups(reference):
                    for prefix in group.prefixes:
                        yield from _without(prefix, holes)
            case ServiceReference():
                for service in self._selected_services(reference):
                    if service.pods is not None:
                        yield service.pods
                    yield from map(CidrSelector, service.addresses)

    def _selected_groups(self, reference: CidrGroupReference) -> Iterator[CidrGroup]:
        for name in sorted(self._groups) if reference.name is None else (reference.name,):
            group = self._groups.get(name)
            if group is not None and (reference.selector is None or reference.selector.matches(group.labels)):
                yield group

    def _selected_services(self, reference: ServiceReference) -> Iterator[Service]:
        for namespace, name in sorted(self._services):
            service = self._services[namespace, name]
            if (
                reference.namespace in ("", namespace)
                and reference.name in (None, name)
                and (reference.selector is None or reference.selector.matches(service.labels))
            ):
                yield service

    # Steps that can be taken back

    def _count(self, listen: Listen, count: int) -> None:
        known = self._ports.setdefault(listen.name, Counter())
        known[listen] += count
        if known[listen] == max(count, 0):  # the first came, or the last left
            self._touch(("port", listen.name))
        if not known[listen]:
            del known[listen]
            if not known:
                del self._ports[listen.name]

    def _touch(self, *names: _Name) -> None:
        for name in names:
            self.stale.update(self._naming.get(name, {}))

    def _file(self, policy: Policy) -> None:
        for name in _named(policy):
            self._naming.setdefault(name, {})[policy.key] = None

    def _unfile(self, policy: Policy) -> None:
        for name in _named(policy):
            naming = self._naming[name]
            del naming[policy.key]
            if not naming:
                del self._naming[name]


def listens_of(labels: Labels) -> Iterator[Listen]:
    """The named ports that labels tell of."""
    return (Listen.of(label) for label in labels if label.source == PORT)


def _named(policy: Policy) -> set[_Name]:
    found: set[_Name] = set()
    for rule in policy.rules:
        found.update(("port", named.name) for named in rule.named_ports)
        for reference in rule.references:
            if isinstance(reference, ServiceReference):
                found.add(_SERVICES)
            else:
                found.add(_ANY_GROUP if reference.name is None else ("group", reference.name))
    return found


def _without(prefix: Prefix, holes: tuple[Prefix, ...]) -> Iterator[CidrSelector]:
    """A prefix of a group without the holes that are in it; nothing when it is in a hole itself."""
    if not any(hole.covers(prefix) for hole in holes):
        yield CidrSelector(prefix, tuple(hole for hole in holes if prefix.covers(hole)))


def _narrowed(rule: Rule, listen: Listen) -> Rule | None:
    """A rule where a name stands for this port, or None when nobody has it.

    The name is the subject's own on ingress, and the peer's on egress.
    """
    label = listen.label
    has_port = Requirement(PORT, label.key, Operator.IN, (label.value,))
    ports = (PortRange(listen.protocol, listen.port, listen.port),)
    if rule.direction is Direction.INGRESS:
        return replace(rule, subject=_requiring(rule.subject, has_port), ports=ports)
    if rule.peers is None:
        return replace(rule, peers=(LabelSelector((has_port,)),), ports=ports)
    peers = tuple(dict.fromkeys(each for peer in rule.peers if (each := _having(peer, has_port)) is not None))
    return replace(rule, peers=peers, ports=ports) if peers else None


def _having(peer: PeerSelector, has_port: Requirement) -> PeerSelector | None:
    """Those of a selector's peers that have a port under a name: only endpoints may."""
    match peer:
        case LabelSelector():
            return _requiring(peer, has_port)
        case BlockSelector(among=among):
            return replace(peer, among=_requiring(among or LabelSelector(), has_port))
        case EntitySelector("cluster"):
            return LabelSelector((has_port,))
        case _:
            return None


def _requiring(selector: LabelSelector, requirement: Requirement) -> LabelSelector:
    return LabelSelector(tuple(sorted({*selector.requirements, requirement})))
