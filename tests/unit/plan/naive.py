"""The oracle of these tests: what facts mean, worked out afresh for every question."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from kinety.model.address import Prefix
from kinety.model.endpoint import Endpoint, EndpointId
from kinety.model.identity import ReservedIdentity
from kinety.model.label import Labels
from kinety.model.rule import Direction, Policy, PolicyKey, Rule, Tier
from kinety.model.selector import CidrSelector, EntitySelector, LabelSelector, PeerSelector
from kinety.model.verdict import VerdictKind
from kinety.plan import fact as facts
from tests.unit.plan.winner import winner

#: Kind, path of the deciding rule with its policy's name, empty for the default; and content to ask for.
Outcome = tuple[VerdictKind, str, frozenset[str] | None]


@dataclass
class World:
    """Facts that hold."""

    endpoints: dict[EndpointId, Endpoint] = field(default_factory=dict)
    policies: dict[PolicyKey, Policy] = field(default_factory=dict)
    peers: dict[Prefix, Labels] = field(default_factory=dict)
    hosts: frozenset[bytes] = frozenset()

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

    def copy(self) -> "World":
        return World(dict(self.endpoints), dict(self.policies), dict(self.peers), self.hosts)

    def owner(self, address: bytes) -> Labels | bytes:
        """Labels of whoever has an address, or the address itself when it is out in the world."""
        for endpoint in self.endpoints.values():
            if address in (endpoint.ipv4, endpoint.ipv6):
                return endpoint.labels
        if address in self.hosts:
            return ReservedIdentity.HOST.labels
        for prefix in sorted(self.peers, key=lambda each: -each.length):
            if same_family(prefix, address) and prefix.contains(Prefix(address, 128)):
                return self.peers[prefix]
        return address

    def judge(
        self, subject: Labels, direction: Direction, peer: Labels | bytes, protocol: int, port: int,
        *, allow_localhost: bool = True,
    ) -> Outcome:  # fmt: skip
        rules = [
            rule
            for key in sorted(self.policies, key=lambda each: (each.kind, each.namespace, each.name))
            for rule in self.policies[key].rules
            if rule.direction is direction and rule.subject.matches(subject)
        ]
        isolated = any(rule.default_deny and rule.tier is Tier.NORMAL for rule in rules)
        named = [rule for rule in rules if names(rule, peer)]
        kind, decided, content = winner(named, isolated=isolated, protocol=protocol, port=port)
        is_host = peer == ReservedIdentity.HOST.labels and direction is Direction.INGRESS
        if kind is VerdictKind.DENY and decided is None and is_host and allow_localhost:
            return VerdictKind.ALLOW, "allow-localhost allow-localhost", None
        return kind, "" if decided is None else name(decided), content


def name(rule: Rule) -> str:
    return f"{rule.origin.policy.name} {rule.origin.path}"


def names(rule: Rule, peer: Labels | bytes) -> bool:
    return rule.peers is None or any(selects(selector, peer) for selector in rule.peers)


def selects(selector: PeerSelector, peer: Labels | bytes) -> bool:
    labels = world_of(peer).labels if isinstance(peer, bytes) else peer
    match selector:
        case LabelSelector():
            return selector.matches(labels)
        case CidrSelector(prefix, holes):
            return (
                isinstance(peer, bytes) and inside(prefix, peer) and not any(inside(h, peer) for h in holes)
            )
        case EntitySelector(entity):
            return is_member(entity, labels)


def is_member(entity: str, labels: Labels) -> bool:
    names = {label.key for label in labels if label.source == "reserved"}
    world = {"world", "world-ipv4", "world-ipv6"}
    if entity == "cluster":
        return not names & world
    return bool(names & (world if entity == "world" else {entity}))


def world_of(address: bytes) -> ReservedIdentity:
    ipv4 = Prefix(address, 128).is_ipv4
    return ReservedIdentity.WORLD_IPV4 if ipv4 else ReservedIdentity.WORLD_IPV6


def same_family(prefix: Prefix, address: bytes) -> bool:
    return prefix.is_ipv4 == Prefix(address, 128).is_ipv4


def inside(prefix: Prefix, address: bytes) -> bool:
    return same_family(prefix, address) and prefix.contains(Prefix(address, 128))
