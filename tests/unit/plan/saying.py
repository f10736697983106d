"""Short ways to say policies and endpoints in tests."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from kinety.model.address import Prefix, pack_address
from kinety.model.endpoint import Endpoint, EndpointId, Listen
from kinety.model.label import Label, Labels
from kinety.model.layer7 import HttpRule, Layer7, NamePattern
from kinety.model.reference import PeerReference
from kinety.model.rule import (
    Action,
    Direction,
    NamedPort,
    Origin,
    Policy,
    PolicyKey,
    PortRange,
    Rule,
    Tier,
)
from kinety.model.selector import (
    BlockSelector,
    CidrSelector,
    EntitySelector,
    FqdnSelector,
    LabelSelector,
    Operator,
    PeerSelector,
    Requirement,
)

TCP, UDP, ICMP = 6, 17, 1
ANYONE = LabelSelector()


def labels(**pairs: str) -> Labels:
    return frozenset(Label("k8s", key, value) for key, value in pairs.items())


def has(source: str = "any", **pairs: str) -> LabelSelector:
    return LabelSelector(
        tuple(Requirement(source, key, Operator.IN, (value,)) for key, value in sorted(pairs.items()))
    )


def where(key: str, operator: Operator, *values: str, source: str = "any") -> LabelSelector:
    return LabelSelector((Requirement(source, key, operator, tuple(sorted(values))),))


def cidr(text: str, *holes: str) -> CidrSelector:
    return CidrSelector(Prefix.parse(text), tuple(Prefix.parse(hole) for hole in holes))


def block(text: str, *holes: str) -> BlockSelector:
    return BlockSelector(Prefix.parse(text), tuple(Prefix.parse(hole) for hole in holes))


def fqdn(pattern: str) -> FqdnSelector:
    return FqdnSelector(NamePattern(pattern))


def node(**pairs: str) -> LabelSelector:
    """This node, if it has labels."""
    found = (Requirement("node", key, Operator.IN, (value,)) for key, value in sorted(pairs.items()))
    return LabelSelector((*found, Requirement("reserved", "host", Operator.EXISTS)))


def entity(name: str) -> EntitySelector:
    return EntitySelector(name)


def tcp(first: int, last: int | None = None) -> PortRange:
    return PortRange(TCP, first, first if last is None else last)


def udp(first: int, last: int | None = None) -> PortRange:
    return PortRange(UDP, first, first if last is None else last)


def rule(
    subject: LabelSelector = ANYONE,
    peers: Sequence[PeerSelector] | None = None,
    ports: Sequence[PortRange] | None = None,
    *,
    direction: Direction = Direction.INGRESS,
    action: Action = Action.ALLOW,
    default_deny: bool = True,
    tier: Tier = Tier.NORMAL,
    priority: int = 0,
    layer7: Layer7 | None = None,
    references: Sequence[PeerReference] = (),
    named: Sequence[NamedPort] = (),
) -> Rule:
    """A rule that does not know its policy yet."""
    return Rule(
        subject,
        direction,
        action,
        None if peers is None else tuple(peers),
        None if ports is None else tuple(ports),
        default_deny,
        Origin(PolicyKey("", "", ""), "", 0, ""),
        tier,
        priority,
        layer7,
        references=tuple(references),
        named_ports=tuple(named),
    )


def http(*paths: str) -> Layer7:
    return Layer7(http=tuple(HttpRule(path=path) for path in paths))


def dns(*patterns: str) -> Layer7:
    return Layer7(dns=tuple(map(NamePattern, patterns)))


def policy(name: str, *rules: Rule, file: str = "p.yaml", line: int = 1) -> Policy:
    key = PolicyKey("CiliumNetworkPolicy", "default", name)
    return Policy(
        key,
        tuple(
            replace(each, origin=Origin(key, file, line + number, f"spec.rule[{number}]"))
            for number, each in enumerate(rules)
        ),
    )


def endpoint(number: int, ipv6: bool = False, listens: Iterable[str] = (), **pairs: str) -> Endpoint:
    return Endpoint(
        EndpointId(number),
        "default",
        f"e{number}",
        labels(**pairs),
        pack_address(f"10.0.0.{number}"),
        pack_address(f"fd00::{number}") if ipv6 else None,
        frozenset(map(Listen.parse, listens)),
    )
