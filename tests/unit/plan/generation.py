"""Random facts in a small world, where everything meets everything."""

from dataclasses import replace

from hypothesis import strategies as st

from kinety.model.address import Prefix, pack_address
from kinety.model.endpoint import EndpointId
from kinety.model.label import Label
from kinety.model.reference import CidrGroup, CidrGroupReference, Service, ServiceReference
from kinety.model.rule import Action, Direction, NamedPort, PolicyKey, PortRange, Tier
from kinety.model.selector import LabelSelector, Operator, Requirement
from kinety.plan.fact import (
    CidrGroupRemoved,
    CidrGroupUpserted,
    EndpointRemoved,
    EndpointUpserted,
    HostAddressesChanged,
    NamesLearnt,
    NodeLabelsChanged,
    PeerRemoved,
    PeerUpserted,
    PolicyRemoved,
    PolicyUpserted,
    ServiceRemoved,
    ServiceUpserted,
)
from tests.unit.plan.saying import (
    ICMP,
    TCP,
    UDP,
    block,
    cidr,
    endpoint,
    entity,
    fqdn,
    has,
    http,
    labels,
    node,
    policy,
    rule,
)

KEYS, VALUES = ("app", "tier"), ("a", "b", "c")
PREFIXES = (
    "0.0.0.0/0",
    "8.0.0.0/7",
    "8.8.0.0/16",
    "8.8.8.0/24",
    "8.8.8.8/32",
    "::/0",
    "::/3",
    "2001:db8::/32",
)
HOLES = {
    "0.0.0.0/0": "8.8.0.0/16",
    "8.0.0.0/7": "8.8.8.0/24",
    "8.8.0.0/16": "8.8.8.8/32",
    "::/0": "2001:db8::/32",
}
ADDRESSES = tuple(
    pack_address(text)
    for text in (
        *(f"10.0.0.{number}" for number in range(1, 5)),
        *(
            "fd00::1",
            "fd00::2",
            "8.8.8.8",
            "8.8.8.9",
            "8.8.9.9",
            "8.9.0.1",
            "9.9.9.9",
            "1.1.1.1",
            "2001:db8::1",
            "2a00::1",
        ),
        *("172.16.0.1", "192.168.0.1"),
    )
)
HOSTS = tuple(pack_address(text) for text in ("192.168.0.1", "8.8.8.8"))
PEERS = tuple(Prefix.parse(text) for text in ("172.16.0.1/32", "172.16.0.0/16", "8.8.8.9/32"))
NAMED = tuple(
    Prefix.parse(text)
    for text in ("8.8.8.8/32", "8.8.8.9/32", "8.8.9.9/32", "9.9.9.9/32", "10.0.0.1/32", "2001:db8::1/128")
)
PATTERNS = ("a.example", "*.example", "**.example", "*")
PORTS = (
    (TCP, 0),
    (TCP, 80),
    (TCP, 443),
    (TCP, 1000),
    (TCP, 65535),
    (UDP, 53),
    (UDP, 80),
    (ICMP, 8),
    (132, 80),
)

label_sets = st.dictionaries(st.sampled_from(KEYS), st.sampled_from(VALUES), max_size=2).map(
    lambda pairs: labels(**pairs)
)
requirements = st.builds(
    lambda source, key, operator, values: Requirement(
        source, key, operator, tuple(sorted(values)) if operator in (Operator.IN, Operator.NOT_IN) else ()
    ),
    st.sampled_from(("any", "k8s", "other")),
    st.sampled_from(KEYS),
    st.sampled_from(Operator),
    st.sets(st.sampled_from(VALUES), min_size=1, max_size=2),
)
label_selectors = st.lists(requirements, max_size=2).map(lambda parts: LabelSelector(tuple(parts)))
cidr_selectors = st.builds(
    lambda prefix, hole: cidr(prefix, *([HOLES[prefix]] if hole and prefix in HOLES else [])),
    st.sampled_from(PREFIXES),
    st.booleans(),
)
blocks = st.sampled_from(
    (
        block("10.0.0.0/31"),
        block("10.0.0.0/30"),
        block("10.0.0.0/8", "10.0.0.2/31"),
        block("0.0.0.0/0", "10.0.0.1/32"),
        block("fd00::/16"),
        block("fd00::/16", "fd00::2/128"),
        block("172.16.0.0/12"),
        block("8.8.0.0/16", "8.8.8.0/24"),
    )
)
domains = st.sampled_from(PATTERNS).map(fqdn)
nodes = st.sampled_from((node(), node(zone="a"), node(zone="b")))
entities = st.sampled_from(("world", "world-ipv4", "world-ipv6", "cluster", "host", "none")).map(entity)
peer_selectors = st.one_of(
    label_selectors, label_selectors, cidr_selectors, entities, blocks, blocks, domains, nodes
)
port_ranges = st.one_of(
    st.builds(
        PortRange, st.sampled_from((TCP, UDP)), st.sampled_from((80, 443)), st.sampled_from((443, 1000))
    ),
    st.sampled_from((80, 443, 53)).map(lambda port: PortRange(TCP, port, port)),
    st.just(PortRange(UDP)),
    st.just(PortRange(ICMP, 8, 8)),
    st.just(PortRange(0)),
)
normal_rules = st.builds(
    lambda subject, peers, ports, direction, action, isolating: rule(
        subject, peers, ports, direction=direction, action=action, default_deny=isolating
    ),
    label_selectors,
    st.none() | st.lists(peer_selectors, max_size=2),
    st.none() | st.lists(port_ranges, max_size=2),
    st.sampled_from(Direction),
    st.sampled_from((Action.ALLOW, Action.DENY)),
    st.integers(0, 3).map(bool),
)
tier_rules = st.builds(
    lambda each, tier, action, priority: replace(
        each, tier=tier, action=action, priority=priority, default_deny=False
    ),
    normal_rules,
    st.sampled_from((Tier.ADMIN, Tier.BASELINE)),
    st.sampled_from(Action),
    st.integers(0, 2),
)
content_rules = st.builds(
    lambda each, paths: replace(each, action=Action.ALLOW, layer7=http(*paths)),
    normal_rules,
    st.lists(st.sampled_from(("/a", "/b", "/c")), max_size=2),
)
rules = st.one_of(normal_rules, normal_rules, tier_rules, content_rules)

references = st.one_of(
    st.sampled_from(("g", "h")).map(lambda name: CidrGroupReference(name, None)),
    st.just(CidrGroupReference(None, has(team="a"), (Prefix.parse("8.8.8.0/24"),))),
    st.just(ServiceReference("default", "s", None)),
    st.just(ServiceReference("", None, has(team="a"))),
)
named_ports = st.sampled_from((NamedPort(TCP, "web"), NamedPort(TCP, "dns"), NamedPort(UDP, "dns")))
naming_rules = st.builds(
    lambda each, peers, ports: replace(
        each,
        ports=each.ports if each.ports is None else each.ports[:1],
        references=tuple(peers) if each.peers is not None else (),
        named_ports=tuple(ports),
    ),
    rules,
    st.lists(references, max_size=2, unique=True),
    st.lists(named_ports, max_size=2, unique=True),
)
group_prefixes = st.sets(st.sampled_from(PREFIXES[1:4]), max_size=2).map(
    lambda found: tuple(map(Prefix.parse, sorted(found)))
)
groups = st.builds(
    CidrGroup, st.sampled_from(("g", "h")), st.sampled_from((labels(), labels(team="a"))), group_prefixes
)
services = st.builds(
    lambda name, own, pods, prefixes: Service("default", name, own, pods, prefixes if pods is None else ()),
    st.sampled_from(("s", "t")),
    st.sampled_from((labels(), labels(team="a"))),
    st.none() | label_selectors,
    group_prefixes,
)
LISTENS = ("web=80/TCP", "web=1000/TCP", "dns=53/UDP", "dns=443/TCP")
NAMES = ("p", "q", "r")
policies = st.builds(
    lambda name, parts, line: policy(name, *parts, line=line),
    st.sampled_from(NAMES),
    st.lists(rules, max_size=3),
    st.sampled_from((1, 1, 7)),
)
naming_policies = st.builds(policy, st.sampled_from(NAMES), naming_rules, naming_rules)
numbers = st.integers(1, 4)
learnt = st.builds(
    NamesLearnt,
    st.sampled_from(NAMED),
    st.sets(st.sampled_from(("a.example", "b.example", "c.d.example")), max_size=2).map(frozenset),
)
facts = st.one_of(
    policies.map(PolicyUpserted),
    naming_policies.map(PolicyUpserted),
    st.builds(
        lambda number, listens, pairs: EndpointUpserted(endpoint(number, number < 3, listens, **pairs)),
        numbers,
        st.sets(st.sampled_from(LISTENS), max_size=2),
        st.dictionaries(st.sampled_from(KEYS), st.sampled_from(VALUES), max_size=2),
    ),
    st.sampled_from(NAMES).map(lambda name: PolicyRemoved(PolicyKey("CiliumNetworkPolicy", "default", name))),
    numbers.map(lambda number: EndpointRemoved(EndpointId(number))),
    st.sets(st.sampled_from(HOSTS)).map(lambda found: HostAddressesChanged(frozenset(found))),
    st.builds(PeerUpserted, st.sampled_from(PEERS), label_sets),
    st.sampled_from(PEERS).map(PeerRemoved),
    groups.map(CidrGroupUpserted),
    st.sampled_from(("g", "h")).map(CidrGroupRemoved),
    services.map(ServiceUpserted),
    st.sampled_from(("s", "t")).map(lambda name: ServiceRemoved("default", name)),
    learnt,
    st.sampled_from(("a", "b")).map(lambda zone: NodeLabelsChanged(frozenset({Label("node", "zone", zone)}))),
)
#: Little but names, prefixes around their addresses, and policies that come and go.
name_facts = st.one_of(
    learnt,
    learnt,
    st.builds(
        lambda name, peers, action: PolicyUpserted(
            policy(name, rule(LabelSelector(), peers, direction=Direction.EGRESS, action=action))
        ),
        st.sampled_from(NAMES),
        st.lists(st.one_of(domains, domains, cidr_selectors), min_size=1, max_size=2),
        st.sampled_from((Action.ALLOW, Action.ALLOW, Action.DENY)),
    ),
    st.sampled_from(NAMES).map(lambda name: PolicyRemoved(PolicyKey("CiliumNetworkPolicy", "default", name))),
    st.sets(st.sampled_from(HOSTS)).map(lambda found: HostAddressesChanged(frozenset(found))),
    st.sampled_from((1, 3)).map(lambda number: EndpointUpserted(endpoint(number, True))),
)
name_batches = st.lists(st.lists(name_facts, max_size=4), min_size=1, max_size=8)
batches = st.lists(st.lists(facts, max_size=5), min_size=1, max_size=6)
