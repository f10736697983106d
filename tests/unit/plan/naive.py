"""The oracle of these tests: what facts mean, worked out afresh for every question."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from kinety.model.address import Prefix
from kinety.model.endpoint import Endpoint, EndpointId, Listen
from kinety.model.identity import ReservedIdentity
from kinety.model.label import Labels
from kinety.model.reference import CidrGroup, CidrGroupReference, PeerReference, Service
from kinety.model.rule import Direction, Policy, PolicyKey, PortRange, Rule, Tier
from kinety.model.selector import (
    BlockSelector,
    CidrSelector,
    EntitySelector,
    FqdnSelector,
    LabelSelector,
    PeerSelector,
)
from kinety.model.verdict import VerdictKind
from kinety.plan import fact as facts
from kinety.plan.rule_book import ALLOW_LOCALHOST
from tests.unit.plan.winner import winner

#: Kind, path of the deciding rule with its policy's name, empty for the default; and content to ask for.
Outcome = tuple[VerdictKind, str, frozenset[str] | None]
ServiceName = tuple[str, str]


@dataclass(frozen=True)
class Party:
    """One end of a flow: labels, the prefix it was found by, and what is told of it."""

    labels: Labels
    prefix: Prefix | None = None
    outside: bool = False
    listens: frozenset[Listen] = frozenset()
    names: frozenset[str] = frozenset()


@dataclass
class World:
    """Facts that hold."""

    endpoints: dict[EndpointId, Endpoint] = field(default_factory=dict)
    policies: dict[PolicyKey, Policy] = field(default_factory=dict)
    peers: dict[Prefix, Labels] = field(default_factory=dict)
    groups: dict[str, CidrGroup] = field(default_factory=dict)
    services: dict[ServiceName, Service] = field(default_factory=dict)
    names: dict[Prefix, frozenset[str]] = field(default_factory=dict)
    hosts: frozenset[bytes] = frozenset()
    node: Labels | None = None

    def learn(self, news: Iterable[facts.Fact]) -> None:
        for each in news:
            match each:
                case facts.EndpointUpserted(endpoint):
                    self.endpoints[endpoint.id] = endpoint
                case facts.EndpointRemoved(key):
                    self.endpoints.pop(key, None)
                case facts.PolicyUpserted(policy):
                    self.policies[policy.key] = policy
                case facts.PolicyRemoved(name):
                    self.policies.pop(name, None)
                case facts.PeerUpserted(prefix, labels):
                    self.peers[prefix] = labels
                case facts.PeerRemoved(prefix):
                    self.peers.pop(prefix, None)
                case facts.HostAddressesChanged(addresses):
                    self.hosts = addresses
                case facts.CidrGroupUpserted(group):
                    self.groups[group.name] = group
                case facts.CidrGroupRemoved(name):
                    self.groups.pop(name, None)
                case facts.ServiceUpserted(service):
                    self.services[service.namespace, service.name] = service
                case facts.ServiceRemoved(namespace, name):
                    self.services.pop((namespace, name), None)
                case facts.NamesLearnt(prefix, names):
                    self.names[prefix] = names
                case facts.NodeLabelsChanged(labels):
                    self.node = labels

    def copy(self) -> "World":
        return replace(
            self,
            **{
                part: dict(getattr(self, part))
                for part in ("endpoints", "policies", "peers", "groups", "services", "names")
            },
        )

    @property
    def host(self) -> Party:
        return Party(ReservedIdentity.HOST.labels | (self.node or frozenset()))

    def owner(self, address: bytes) -> Party:
        """Whoever has an address."""
        own = Prefix(address, 128)
        for endpoint in self.endpoints.values():
            if address in (endpoint.ipv4, endpoint.ipv6):
                return Party(endpoint.labels, own, listens=endpoint.listens)
        if address in self.hosts:
            return self.host
        for prefix in sorted(self.peers, key=lambda each: -each.length):
            if inside(prefix, own):
                return Party(self.peers[prefix], prefix)
        world = ReservedIdentity.WORLD_IPV4 if own.is_ipv4 else ReservedIdentity.WORLD_IPV6
        return Party(world.labels, own, outside=True, names=self.names.get(own, frozenset()))

    def judge(
        self, subject: Endpoint | Party, direction: Direction, peer: Party, protocol: int, port: int,
        *, allow_localhost: bool = True,
    ) -> Outcome:  # fmt: skip
        rules = [
            rule
            for key in sorted(self.policies, key=lambda each: (each.kind, each.namespace, each.name))
            for rule in self.policies[key].rules
            if rule.direction is direction and rule.subject.matches(subject.labels)
        ]
        isolated = any(rule.default_deny and rule.tier is Tier.NORMAL for rule in rules)
        with_ports = subject if direction is Direction.INGRESS else peer
        naming = [self._with_ports(rule, with_ports.listens) for rule in rules if self.is_about(rule, peer)]
        is_host = ReservedIdentity.HOST.labels <= peer.labels and direction is Direction.INGRESS
        if isolated and is_host and allow_localhost:
            naming.append(ALLOW_LOCALHOST)
        kind, decided, content = winner(naming, isolated=isolated, protocol=protocol, port=port)
        return kind, "" if decided is None else name(decided), content

    def is_about(self, rule: Rule, peer: Party) -> bool:
        if rule.peers is None:
            return True
        told = (each for reference in rule.references for each in self._told(reference))
        return any(selects(selector, peer) for selector in (*rule.peers, *told))

    def _told(self, reference: PeerReference) -> Iterator[PeerSelector]:
        wanted = reference.selector
        if isinstance(reference, CidrGroupReference):
            for group in self.groups.values():
                if reference.name in (None, group.name) and (wanted is None or wanted.matches(group.labels)):
                    yield from (CidrSelector(prefix, reference.except_) for prefix in group.prefixes)
            return
        for service in self.services.values():
            if reference.namespace not in ("", service.namespace) or reference.name not in (
                None,
                service.name,
            ):
                continue
            if wanted is None or wanted.matches(service.labels):
                yield from map(CidrSelector, service.addresses)
                yield from () if service.pods is None else (service.pods,)

    def _with_ports(self, rule: Rule, listens: frozenset[Listen]) -> Rule:
        """A rule with what its names stand for at one end, as far as an endpoint here says so."""
        if rule.ports is None:
            return rule
        known = {each for endpoint in self.endpoints.values() for each in endpoint.listens}
        named = {(each.protocol, each.name) for each in rule.named_ports}
        ports = [
            PortRange(each.protocol, each.port, each.port)
            for each in sorted(listens & known)
            if (each.protocol, each.name) in named
        ]
        return replace(rule, ports=(*rule.ports, *ports))


def name(rule: Rule) -> str:
    return f"{rule.origin.policy.name} {rule.origin.path}"


def selects(selector: PeerSelector, peer: Party) -> bool:
    match selector:
        case LabelSelector():
            return selector.matches(peer.labels)
        case CidrSelector(prefix, holes):
            return peer.outside and within(prefix, holes, peer)
        case BlockSelector(prefix, holes):
            return within(prefix, holes, peer)
        case FqdnSelector(pattern):
            return any(pattern.matches(each) for each in peer.names)
        case EntitySelector(entity):
            return is_member(entity, peer.labels)


def within(prefix: Prefix, holes: Iterable[Prefix], peer: Party) -> bool:
    if peer.prefix is None or not inside(prefix, peer.prefix):
        return False
    return not any(inside(hole, peer.prefix) for hole in holes)


def is_member(entity: str, labels: Labels) -> bool:
    names = {label.key for label in labels if label.source == "reserved"}
    world = {"world", "world-ipv4", "world-ipv6"}
    if entity == "cluster":
        return not names & world
    return bool(names & (world if entity == "world" else {entity}))


def inside(prefix: Prefix, other: Prefix) -> bool:
    return prefix.is_ipv4 == other.is_ipv4 and prefix.contains(other)
