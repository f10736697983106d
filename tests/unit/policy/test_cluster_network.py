"""``policy.networking.k8s.io`` policies: three kinds, every field, and everything that cannot be said."""

import pytest

from kinety.model.address import Prefix
from kinety.model.identity import ReservedIdentity
from kinety.model.label import Label, Labels, labels_of_endpoint
from kinety.model.layer7 import NamePattern
from kinety.model.rule import Action, Direction, NamedPort, PolicyKey, PortRange, Rule, Tier
from kinety.model.selector import BlockSelector, FqdnSelector, LabelSelector
from tests.unit.policy.sample import parse, refused

HEADS = {
    "ClusterNetworkPolicy": "apiVersion: policy.networking.k8s.io/v1alpha2\nkind: ClusterNetworkPolicy\n"
    "metadata: {name: sample}\nspec:\n  tier: Admin\n  priority: 7\n",
    "AdminNetworkPolicy": "apiVersion: policy.networking.k8s.io/v1alpha1\nkind: AdminNetworkPolicy\n"
    "metadata: {name: sample}\nspec:\n  priority: 7\n",
    "BaselineAdminNetworkPolicy": "apiVersion: policy.networking.k8s.io/v1alpha1\n"
    "kind: BaselineAdminNetworkPolicy\nmetadata: {name: default}\nspec:\n",
}
CLUSTER, ADMIN, BASELINE = HEADS
NEWEST = "policy.networking.k8s.io/v1beta1"
EVERYBODY = "subject: {namespaces: {}}"
RESERVED = [each.labels for each in ReservedIdentity]
TRANSPORTS = (6, 17, 132)


def text(*spec: str, kind: str = CLUSTER) -> str:
    """A document whose spec has these lines, after tier and priority where the kind has them."""
    return HEADS[kind] + "".join(f"  {line}\n" for line in spec)


def rules(*spec: str, kind: str = CLUSTER) -> tuple[Rule, ...]:
    (policy,) = parse(text(EVERYBODY, *spec, kind=kind))
    return policy.rules


def ingress(item: str, kind: str = CLUSTER) -> Rule:
    (found,) = rules(f"ingress: [{{action: Deny, {item}}}]", kind=kind)
    return found


def egress(item: str, kind: str = CLUSTER, action: str = "Deny") -> Rule:
    (found,) = rules(f"egress: [{{action: {action}, {item}}}]", kind=kind)
    return found


def pod(namespace: str = "prod", **own: str) -> Labels:
    return labels_of_endpoint(namespace, (Label("k8s", key, value) for key, value in own.items()))


def team(name: str, **own: str) -> Labels:
    """A pod of a namespace that has a label."""
    labels = (Label("k8s", key, value) for key, value in own.items())
    return labels_of_endpoint("anywhere", labels, {"team": name})


def selects(rule: Rule, peer: Labels) -> bool:
    assert rule.peers is not None
    return any(isinstance(each, LabelSelector) and each.matches(peer) for each in rule.peers)


@pytest.mark.parametrize(
    ("kind", "allow", "tier", "priority"),
    [
        (CLUSTER, "Accept", Tier.ADMIN, 7),
        (ADMIN, "Allow", Tier.ADMIN, 7),
        (BASELINE, "Allow", Tier.BASELINE, 1001),
    ],
)
def test_a_policy(kind: str, allow: str, tier: Tier, priority: int) -> None:
    (policy,) = parse(
        text(
            "subject: {pods: {namespaceSelector: {}, podSelector: {matchLabels: {app: web}}}}",
            "egress:",
            "- {name: first, action: Deny, to: [{namespaces: {}}]}",
            "ingress:",
            f"- {{action: {allow}, from: [{{namespaces: {{}}}}], ports: [{{portNumber: {{port: 80}}}}]}}",
            "- {action: Deny, from: [{namespaces: {}}]}",
            kind=kind,
        )
    )
    assert policy.key == PolicyKey(kind, "", "default" if kind == BASELINE else "sample")
    assert [each.origin.path for each in policy.rules] == [
        "spec.ingress[0]",
        "spec.ingress[1]",
        "spec.egress[0]",
    ]
    first_line = HEADS[kind].count("\n") + 1
    assert [each.origin.line - first_line for each in policy.rules] == [4, 5, 2]
    assert [each.direction for each in policy.rules] == [
        Direction.INGRESS,
        Direction.INGRESS,
        Direction.EGRESS,
    ]
    assert [each.action for each in policy.rules] == [Action.ALLOW, Action.DENY, Action.DENY]
    for found in policy.rules:
        assert (found.tier, found.priority, found.default_deny) == (tier, priority, False)
        assert (found.layer7, found.references) == (None, ())
        assert found.subject.matches(pod(app="web"))
        assert not found.subject.matches(pod())
    assert policy.rules[0].ports == (PortRange(6, 80, 80),)
    assert policy.rules[1].ports is None


def test_the_newest_version_says_the_same() -> None:
    document = text(EVERYBODY, "ingress: [{action: Pass, from: [{namespaces: {}}]}]")
    assert parse(document) == parse(document.replace("policy.networking.k8s.io/v1alpha2", NEWEST))


@pytest.mark.parametrize(("kind", "allow"), [(CLUSTER, "Accept"), (ADMIN, "Allow")])
def test_actions(kind: str, allow: str) -> None:
    items = ", ".join(f"{{action: {each}, from: [{{namespaces: {{}}}}]}}" for each in (allow, "Deny", "Pass"))
    found = rules(f"ingress: [{items}]", kind=kind)
    assert [each.action for each in found] == [Action.ALLOW, Action.DENY, Action.PASS]


def test_tiers_and_priorities() -> None:
    document = text(EVERYBODY, "ingress: [{action: Deny, from: [{namespaces: {}}]}]")
    for tier, expected in (("Admin", Tier.ADMIN), ("Baseline", Tier.BASELINE)):
        for priority in (0, 1000):
            changed = document.replace("tier: Admin", f"tier: {tier}").replace("7", str(priority))
            (found,) = parse(changed)[0].rules
            assert (found.tier, found.priority) == (expected, priority)


# Peers


@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.parametrize(
    "item",
    [
        "namespaces: {}",
        "namespaces: {matchExpressions: [{key: team, operator: DoesNotExist}]}",
        "pods: {namespaceSelector: {}, podSelector: {}}",
        "pods: {namespaceSelector: {}, podSelector: {matchExpressions: [{key: a, operator: DoesNotExist}]}}",
    ],
)
def test_only_pods_are_selected(item: str, kind: str) -> None:
    for found in (ingress(f"from: [{{{item}}}]", kind), egress(f"to: [{{{item}}}]", kind)):
        assert selects(found, pod())
        assert not any(selects(found, each) for each in RESERVED)
    (subject,) = (each.subject for each in parse(text(f"subject: {{{item}}}", _deny(), kind=kind))[0].rules)
    assert subject.matches(pod())
    assert not any(subject.matches(each) for each in RESERVED)


def _deny() -> str:
    return "ingress: [{action: Deny, from: [{namespaces: {}}]}]"


def test_namespaces_and_pods() -> None:
    blue = "{matchLabels: {team: blue}}"
    by_namespace = ingress(f"from: [{{namespaces: {blue}}}]")
    both = ingress(
        f"from: [{{pods: {{namespaceSelector: {blue}, podSelector: {{matchLabels: {{app: web}}}}}}}}]"
    )
    cast = [team("blue", app="web"), team("blue"), team("red", app="web")]
    assert [selects(by_namespace, each) for each in cast] == [True, True, False]
    assert [selects(both, each) for each in cast] == [True, False, False]


def test_namespaces_by_name() -> None:
    found = ingress("from: [{namespaces: {matchLabels: {kubernetes.io/metadata.name: prod}}}]")
    assert selects(found, pod("prod"))
    assert not selects(found, pod("test"))


@pytest.mark.parametrize("kind", HEADS)
def test_networks_cover_whoever_is_in_them(kind: str) -> None:
    found = egress("to: [{networks: [10.0.0.0/8, '2001:db8::/32']}, {networks: [10.0.0.0/8]}]", kind)
    assert found.peers == (
        BlockSelector(Prefix.parse("10.0.0.0/8")),
        BlockSelector(Prefix.parse("2001:db8::/32")),
    )


@pytest.mark.parametrize("kind", HEADS)
def test_nodes(kind: str) -> None:
    found = egress("to: [{nodes: {matchLabels: {zone: a}}}]", kind)
    for name in ("host", "remote-node"):
        assert selects(found, frozenset({Label("reserved", name), Label("node", "zone", "a")}))
        assert not selects(found, frozenset({Label("reserved", name), Label("node", "zone", "b")}))
    assert not selects(found, pod(zone="a"))


@pytest.mark.parametrize(("kind", "allow"), [(CLUSTER, "Accept"), (ADMIN, "Allow")])
def test_domain_names(kind: str, allow: str) -> None:
    found = egress("to: [{domainNames: [Example.com, '*.example.com', a.example.com.]}]", kind, allow)
    assert found.peers == (
        FqdnSelector(NamePattern("example.com")),
        FqdnSelector(NamePattern("**.example.com")),
        FqdnSelector(NamePattern("a.example.com")),
    )


# Ports


@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.parametrize(
    ("item", "expected"),
    [
        ("portNumber: {port: 80}", [PortRange(6, 80, 80)]),
        ("portNumber: {port: 53, protocol: UDP}", [PortRange(17, 53, 53)]),
        ("portNumber: {port: 9, protocol: SCTP}", [PortRange(132, 9, 9)]),
        ("portRange: {start: 1, end: 65535}", [PortRange(6, 1, 65535)]),
        ("portRange: {start: 8000, end: 8001, protocol: UDP}", [PortRange(17, 8000, 8001)]),
    ],
)
def test_ports(item: str, expected: list[PortRange], kind: str) -> None:
    for found in (
        ingress(f"from: [{{namespaces: {{}}}}], ports: [{{{item}}}, {{{item}}}]", kind),
        egress(f"to: [{{networks: [10.0.0.0/8]}}], ports: [{{{item}}}]", kind),
    ):
        assert found.ports == tuple(expected)
        assert found.named_ports == ()


@pytest.mark.parametrize(("protocol", "number"), [("tcp", 6), ("udp", 17), ("sctp", 132)])
def test_protocols(protocol: str, number: int) -> None:
    numbered = f"{{{protocol}: {{destinationPort: {{number: 80}}}}}}"
    ranged = f"{{{protocol}: {{destinationPort: {{range: {{start: 90, end: 99}}}}}}}}"
    for found in (
        ingress(f"from: [{{namespaces: {{}}}}], protocols: [{ranged}, {numbered}]"),
        egress(f"to: [{{namespaces: {{}}}}], protocols: [{ranged}, {numbered}]"),
    ):
        assert found.ports == (PortRange(number, 80, 80), PortRange(number, 90, 99))


@pytest.mark.parametrize(
    ("kind", "field"),
    [
        (CLUSTER, "protocols: [{destinationNamedPort: http}]"),
        *((kind, "ports: [{namedPort: http}]") for kind in HEADS),
    ],
)
def test_ports_by_name_are_of_whichever_protocol(kind: str, field: str) -> None:
    found = ingress(f"from: [{{namespaces: {{}}}}], {field}", kind)
    assert found.ports == ()
    assert found.named_ports == tuple(NamedPort(protocol, "http") for protocol in TRANSPORTS)


# What cannot be said

PEER = "{namespaces: {}}"
MANY = ", ".join([PEER] * 26)
EVERY_POD = "{namespaceSelector: {}, podSelector: {}}"
RULE = "{action: Deny, from: [{namespaces: {}}]}"
NAMED = "{destinationNamedPort: a}"
FROM = "from: [{namespaces: {}}]"
TO = "to: [{namespaces: {}}]"


@pytest.mark.parametrize(
    ("line", "path", "message", "hint"),
    [
        (f"ingress: [{', '.join([RULE] * 26)}]", "ingress", "26 rules; the limit is 25", "second policy"),
        (f"ingress: [{{action: Deny, from: [{MANY}]}}]", "ingress[0].from", "26 peers; the limit is 25", ""),
        ("ingress: [{action: Deny, from: []}]", "ingress[0].from", "names nobody", "[{namespaces: {}}]"),
        ("egress: [{action: Deny, to: []}]", "egress[0].to", "names nobody", "`to: [{namespaces: {}}]`"),
        ("ingress: [{action: Deny}]", "ingress[0]", "from is missing", "for every pod"),
        ("egress: [{action: Deny}]", "egress[0]", "to is missing", "for every pod"),
        (f"ingress: [{{{FROM}}}]", "ingress[0]", "action is missing", ""),
        ("ingress: [{action: Deny, from: }]", "ingress[0].from", "there is no value", "for every pod"),
        (f"ingress: [{{action: Allow, {FROM}}}]", "ingress[0].action", "cannot 'Allow'", "write Accept"),
        (f"ingress: [{{action: deny, {FROM}}}]", "ingress[0].action", "cannot 'deny'", "did you mean Deny?"),
        (f"ingress: [{{action: Log, {FROM}}}]", "ingress[0].action", "cannot 'Log'", "Accept, Deny, Pass"),
        (
            f"ingress: [{{name: {'n' * 101}, action: Deny, {FROM}}}]",
            "ingress[0].name",
            "101 characters; the limit is 100",
            "shorter",
        ),
        ("ingress: [{action: Deny, from: [{}]}]", "ingress[0].from[0]", "says nothing", "namespaces, pods"),
        (
            f"ingress: [{{action: Deny, from: [{{namespaces: {{}}, pods: {EVERY_POD}}}]}}]",
            "ingress[0].from[0]",
            "namespaces and pods cannot be in one item",
            "second item",
        ),
        (
            "egress: [{action: Deny, to: [{namespaces: {}, networks: [10.0.0.0/8]}]}]",
            "egress[0].to[0]",
            "namespaces and networks cannot be in one item",
            "",
        ),
        (
            "ingress: [{action: Deny, from: [{pods: {podSelector: {}}}]}]",
            "ingress[0].from[0].pods",
            "namespaceSelector is missing",
            "every namespace",
        ),
        (
            "ingress: [{action: Deny, from: [{pods: {namespaceSelector: {}}}]}]",
            "ingress[0].from[0].pods",
            "podSelector is missing",
            "every pod",
        ),
        (
            "ingress: [{action: Deny, from: [{networks: [10.0.0.0/8]}]}]",
            "ingress[0].from[0].networks",
            "only a peer of egress has networks",
            "namespaces or pods",
        ),
        (
            "ingress: [{action: Deny, from: [{nodes: {}}]}]",
            "ingress[0].from[0].nodes",
            "only a peer of egress",
            "",
        ),
        (
            "ingress: [{action: Deny, from: [{podSelector: {}}]}]",
            "ingress[0].from[0].podSelector",
            "podSelector belongs inside pods",
            "",
        ),
        ("egress: [{action: Deny, to: [{networks: []}]}]", "egress[0].to[0].networks", "names nobody", ""),
        (
            f"egress: [{{action: Deny, to: [{{networks: [{', '.join(['10.0.0.0/8'] * 26)}]}}]}}]",
            "egress[0].to[0].networks",
            "26 networks; the limit is 25",
            "",
        ),
        (
            "egress: [{action: Deny, to: [{networks: [10.0.0.1]}]}]",
            "egress[0].to[0].networks[0]",
            "has no prefix length",
            "",
        ),
        (
            "egress: [{action: Accept, to: [{domainNames: []}]}]",
            "egress[0].to[0].domainNames",
            "names nobody",
            "",
        ),
        (
            "egress: [{action: Deny, to: [{domainNames: [example.com]}]}]",
            "egress[0].to[0].domainNames",
            "cannot be in a rule that says Deny",
            "in a rule below",
        ),
        (
            "egress: [{action: Pass, to: [{domainNames: [example.com]}]}]",
            "egress[0].to[0].domainNames",
            "cannot be in a rule that says Pass",
            "",
        ),
        *(
            (
                f"egress: [{{action: Accept, to: [{{domainNames: ['{name}']}}]}}]",
                "egress[0].to[0].domainNames[0]",
                message,
                "",
            )
            for name, message in (
                ("*", "whole labels at the front only"),
                ("a.*.com", "whole labels at the front only"),
                ("*a.com", "whole labels at the front only"),
                ("**.a.com", "whole labels at the front only"),
                ("", "the name is empty"),
                ("a b.com", "is not a pattern of DNS names"),
            )
        ),
        (
            "egress: [{action: Deny, to: [{networks: ['::/0']}], protocols: [{destinationNamedPort: a}]}]",
            "egress[0].to[0].networks",
            "networks and ports by name cannot be in one rule",
            "numbers",
        ),
        (
            "egress: [{action: Deny, to: [{nodes: {}}], ports: [{namedPort: http}]}]",
            "egress[0].to[0].nodes",
            "nodes and ports by name",
            "",
        ),
        (f"ingress: [{{action: Deny, {FROM}, ports: []}}]", "ingress[0].ports", "ports is empty", "leave it"),
        (f"ingress: [{{action: Deny, {FROM}, protocols: []}}]", "ingress[0].protocols", "is empty", ""),
        (
            f"ingress: [{{action: Deny, {FROM}, protocols: [{', '.join([NAMED] * 26)}]}}]",
            "ingress[0].protocols",
            "26 protocols; the limit is 25",
            "",
        ),
        (
            f"ingress: [{{action: Deny, {FROM}, ports: [{{namedPort: a}}], protocols: [{NAMED}]}}]",
            "ingress[0].ports",
            "ports and protocols cannot be in one rule",
            "write protocols",
        ),
        (
            f"ingress: [{{action: Deny, {FROM}, ports: [{{}}]}}]",
            "ingress[0].ports[0]",
            "says nothing",
            "portNumber",
        ),
        (
            f"ingress: [{{action: Deny, {FROM}, ports: [{{namedPort: a, portNumber: {{port: 1}}}}]}}]",
            "ingress[0].ports[0]",
            "portNumber and namedPort cannot",
            "",
        ),
        (
            f"ingress: [{{action: Deny, {FROM}, protocols: [{{}}]}}]",
            "ingress[0].protocols[0]",
            "says nothing",
            "tcp, udp, sctp",
        ),
        (
            f"ingress: [{{action: Deny, {FROM}, protocols: [{{tcp: {{}}}}]}}]",
            "ingress[0].protocols[0].tcp",
            "destinationPort is missing",
            "",
        ),
        (
            f"ingress: [{{action: Deny, {FROM}, protocols: [{{tcp: {{destinationPort: {{}}}}}}]}}]",
            "ingress[0].protocols[0].tcp.destinationPort",
            "says nothing",
            "number, range",
        ),
        (
            f"ingress: [{{action: Deny, {FROM}, protocols: [{{tcp: {{number: 80}}}}]}}]",
            "ingress[0].protocols[0].tcp",
            "destinationPort is missing",
            "",
        ),
        (
            f"ingress: [{{action: Deny, {FROM}, protocols: [{{udp: {{destinationPort: {{number: 0}}}}}}]}}]",
            "ingress[0].protocols[0].udp.destinationPort.number",
            "there is no port 0",
            "1 to 65535",
        ),
        (
            f"ingress: [{{action: Deny, {FROM}, ports: [{{portNumber: {{port: '80'}}}}]}}]",
            "ingress[0].ports[0].portNumber.port",
            "expected a port number",
            "without quotes",
        ),
        (
            f"ingress: [{{action: Deny, {FROM}, ports: [{{portNumber: {{port: 80, protocol: IP}}}}]}}]",
            "ingress[0].ports[0].portNumber.protocol",
            "unknown protocol 'IP'",
            "",
        ),
        (
            f"ingress: [{{action: Deny, {FROM}, ports: [{{portRange: {{start: 80, end: 80}}}}]}}]",
            "ingress[0].ports[0].portRange.end",
            "end 80 is not above start 80",
            "",
        ),
        (
            f"ingress: [{{action: Deny, {FROM}, ports: [{{portRange: {{start: 0, end: 80}}}}]}}]",
            "ingress[0].ports[0].portRange.start",
            "there is no port 0",
            "",
        ),
        (
            f"ingress: [{{action: Deny, {FROM}, ports: [{{namedPort: '80'}}]}}]",
            "ingress[0].ports[0].namedPort",
            "in quotes is a name",
            "80 bare",
        ),
        (
            f"ingress: [{{action: Deny, {FROM}, to: []}}]",
            "ingress[0].to",
            "not a field of ingress",
            "write from",
        ),
        (
            f"egress: [{{action: Deny, {TO}, from: []}}]",
            "egress[0].from",
            "not a field of egress",
            "write to",
        ),
        (
            f"ingress: [{{action: Deny, {FROM}, toPorts: []}}]",
            "ingress[0].toPorts",
            "CiliumNetworkPolicy",
            "",
        ),
        (f"ingress: [{{action: Deny, {FROM}, port: 80}}]", "ingress[0].port", "an item of ports", "`- `"),
        (f"podSelector: {{}}\n  {_deny()}", "podSelector", "a field of NetworkPolicy", "write subject"),
        (f"policyTypes: []\n  {_deny()}", "policyTypes", "a field of NetworkPolicy", "remove it"),
        (f"from: []\n  {_deny()}", "from", "belongs inside an item of ingress or egress", ""),
    ],
)
def test_what_cannot_be_said(line: str, path: str, message: str, hint: str) -> None:
    found = refused(text(EVERYBODY) + f"  {line}\n")[0]
    assert (found.file, found.path) == ("p.yaml", f"spec.{path}")
    assert found.line >= 8
    assert message in found.message
    assert hint in found.hint


@pytest.mark.parametrize(
    ("change", "path", "message", "hint"),
    [
        (("tier: Admin", "tier: admin"), "spec.tier", "unknown tier 'admin'", "did you mean Admin?"),
        (("tier: Admin", "tier: Normal"), "spec.tier", "unknown tier", "Admin, Baseline"),
        (("  tier: Admin\n", ""), "spec", "tier is missing", "Admin or Baseline"),
        (("priority: 7", "priority: 1001"), "spec.priority", "there is no priority 1001", "0 to 1000"),
        (("priority: 7", "priority: -1"), "spec.priority", "there is no priority -1", ""),
        (("priority: 7", "priority: '7'"), "spec.priority", "expected a number", "without quotes: 7"),
        (("priority: 7", "priority: true"), "spec.priority", "a number, found the boolean true", ""),
        (("  priority: 7\n", ""), "spec", "priority is missing", "the lower is asked first"),
        (("subject: {namespaces: {}}", "subject: {}"), "spec.subject", "says nothing", "namespaces, pods"),
        (("  subject: {namespaces: {}}\n", ""), "spec", "subject is missing", "every pod"),
        (
            ("subject: {namespaces: {}}", "subject: {nodes: {}}"),
            "spec.subject.nodes",
            "only a peer of egress",
            "",
        ),
        (
            ("{name: sample}", "{name: a, namespace: b}"),
            "metadata.namespace",
            "is in no namespace",
            "NetworkPolicy",
        ),
        (("  ingress:", "  other:"), "spec.other", "unknown field 'other'", "known here"),
        (("  ingress: [{action", "ingress: [{action"), "ingress", "ingress belongs under spec", "indent it"),
    ],
)
def test_bad_specs(change: tuple[str, str], path: str, message: str, hint: str) -> None:
    document = text(EVERYBODY, _deny())
    assert change[0] in document
    found = refused(document.replace(*change))[0]
    assert found.path == path
    assert message in found.message
    assert hint in found.hint


@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.parametrize("rest", [(), ("ingress: []",), ("egress: []", "ingress: []")])
def test_a_policy_that_says_nothing(rest: tuple[str, ...], kind: str) -> None:
    (found,) = refused(text(EVERYBODY, *rest, kind=kind))
    assert (found.path, found.message) == ("spec", "there is no rule in ingress or egress")


@pytest.mark.parametrize(
    ("kind", "line", "path", "message", "hint"),
    [
        (
            ADMIN,
            f"ingress: [{{action: Accept, {FROM}}}]",
            "ingress[0].action",
            "cannot 'Accept'",
            "write Allow",
        ),
        (
            BASELINE,
            f"ingress: [{{action: Pass, {FROM}}}]",
            "ingress[0].action",
            "cannot 'Pass'",
            "Allow, Deny",
        ),
        (ADMIN, "tier: Admin", "tier", "only a ClusterNetworkPolicy names its tier", "remove it"),
        (BASELINE, "priority: 5", "priority", "has no priority", "remove it"),
        (
            ADMIN,
            f"ingress: [{{action: Deny, {FROM}, protocols: []}}]",
            "ingress[0].protocols",
            "a field of ClusterNetworkPolicy",
            "write ports",
        ),
        (
            BASELINE,
            "egress: [{action: Allow, to: [{domainNames: [a.b]}]}]",
            "egress[0].to[0].domainNames",
            "a BaselineAdminNetworkPolicy knows no domainNames",
            "write networks",
        ),
        *(
            (kind, f"ingress: [{', '.join([RULE] * 101)}]", "ingress", "101 rules; the limit is 100", "")
            for kind in (ADMIN, BASELINE)
        ),
    ],
)
def test_what_older_kinds_cannot_say(kind: str, line: str, path: str, message: str, hint: str) -> None:
    found = refused(text(EVERYBODY, line, *(() if "gress" in line else (_deny(),)), kind=kind))[0]
    assert found.path == f"spec.{path}"
    assert message in found.message
    assert hint in found.hint


@pytest.mark.parametrize(("kind", "most"), [(CLUSTER, 25), (ADMIN, 100), (BASELINE, 100)])
def test_as_many_as_may_be(kind: str, most: int) -> None:
    ports = ", ".join(f"{{portNumber: {{port: {number + 1}}}}}" for number in range(most))
    rule = f"{{action: Deny, name: {'n' * 100}, from: [{', '.join([PEER] * most)}], ports: [{ports}]}}"
    found = rules(f"ingress: [{', '.join([rule] * most)}]", kind=kind)
    assert len(found) == most
    assert {len(each.ports or ()) for each in found} == {most}


def test_there_is_one_older_baseline_policy() -> None:
    document = text(EVERYBODY, _deny(), kind=BASELINE).replace("default", "other")
    (found,) = refused(document)
    assert (found.path, found.message) == ("metadata.name", f"the one {BASELINE} is called default")
    assert "tier: Baseline" in found.hint
