"""``networking.k8s.io/v1`` NetworkPolicy: every field, and everything that cannot be said."""

from collections.abc import Mapping

import pytest

from kinety.model.address import Prefix
from kinety.model.identity import ReservedIdentity
from kinety.model.label import Label, Labels, labels_of_endpoint
from kinety.model.rule import Action, Direction, NamedPort, PolicyKey, PortRange, Rule, Tier
from kinety.model.selector import BlockSelector, LabelSelector
from kinety.policy.gate import refuse_unenforced
from tests.unit.policy.sample import parse, refused

HEAD = """\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: sample, namespace: prod}
spec:
"""
FIRST = 5


def text(*spec: str) -> str:
    """A document whose spec has these lines."""
    return HEAD + "".join(f"  {line}\n" for line in spec)


def rules(*spec: str) -> tuple[Rule, ...]:
    (policy,) = parse(text(*spec))
    return policy.rules


def pod(namespace: str = "prod", labels: Mapping[str, str] | None = None, **own: str) -> Labels:
    return labels_of_endpoint(namespace, (Label("k8s", key, value) for key, value in own.items()), labels)


def selects(rule: Rule, peer: Labels) -> bool:
    assert rule.peers is not None
    return any(isinstance(each, LabelSelector) and each.matches(peer) for each in rule.peers)


RESERVED = [each.labels for each in ReservedIdentity]


def test_a_policy() -> None:
    (policy,) = parse(
        text(
            "podSelector: {matchLabels: {app: web}}",
            "policyTypes: [Ingress, Egress]",
            "ingress:",
            "- from: [{podSelector: {matchLabels: {app: proxy}}}]",
            "  ports: [{port: 80}]",
            "egress:",
            "- to: [{ipBlock: {cidr: 192.0.2.0/24}}]",
        )
    )
    assert policy.key == PolicyKey("NetworkPolicy", "prod", "sample")
    ingress, egress = policy.rules
    assert (ingress.direction, egress.direction) == (Direction.INGRESS, Direction.EGRESS)
    assert ingress.subject == egress.subject
    assert ingress.subject.matches(pod(app="web"))
    assert not ingress.subject.matches(pod("default", app="web"))
    assert not ingress.subject.matches(pod(app="proxy"))
    for found in policy.rules:
        assert (found.action, found.tier, found.default_deny) == (Action.ALLOW, Tier.NORMAL, True)
        assert (found.layer7, found.references, found.log) == (None, (), "")
    assert (ingress.origin.line, ingress.origin.path) == (FIRST + 3, "spec.ingress[0]")
    assert (egress.origin.line, egress.origin.path) == (FIRST + 6, "spec.egress[0]")


def test_without_a_namespace_it_is_in_the_one_called_default() -> None:
    document = text("podSelector: {}").replace(", namespace: prod", "")
    (policy,) = parse(document)
    assert policy.key.namespace == "default"
    assert policy.rules[0].subject.matches(pod("default"))


def test_what_names_only_pods_and_numbers_is_enforced() -> None:
    policies = parse(
        text(
            "podSelector: {}",
            "ingress:",
            "- from: [{namespaceSelector: {matchLabels: {team: blue}}, podSelector: {}}]",
            "  ports: [{port: 80}, {port: 90, endPort: 99, protocol: UDP}]",
        )
    )
    refuse_unenforced(policies)


# Isolation


@pytest.mark.parametrize(
    ("spec", "isolated"),
    [
        ([], {Direction.INGRESS}),
        (["policyTypes: []"], {Direction.INGRESS}),
        (["policyTypes:"], {Direction.INGRESS}),
        (["ingress: []"], {Direction.INGRESS}),
        (["egress: []"], {Direction.INGRESS}),
        (["egress: [{}]"], {Direction.INGRESS, Direction.EGRESS}),
        (["policyTypes: [Ingress]"], {Direction.INGRESS}),
        (["policyTypes: [Egress]"], {Direction.EGRESS}),
        (["policyTypes: [Egress]", "egress: []"], {Direction.EGRESS}),
        (["policyTypes: [Egress]", "ingress: []"], {Direction.EGRESS}),
        (["policyTypes: [Egress, Ingress]"], {Direction.INGRESS, Direction.EGRESS}),
    ],
)
def test_directions_that_are_isolated(spec: list[str], isolated: set[Direction]) -> None:
    found = rules("podSelector: {}", *spec)
    assert {each.direction for each in found if each.default_deny} == isolated
    assert all(each.default_deny for each in found)


def test_a_direction_without_rules_is_a_rule_that_names_nobody() -> None:
    ingress, egress = rules("podSelector: {}", "policyTypes:", "- Ingress", "- Egress", "ingress: []")
    assert ingress.peers == egress.peers == ()
    assert (ingress.origin.path, ingress.origin.line) == ("spec.ingress", FIRST + 4)
    assert (egress.origin.path, egress.origin.line) == ("spec.policyTypes[1]", FIRST + 3)
    (alone,) = rules("podSelector: {}")
    assert (alone.origin.path, alone.origin.line) == ("spec", FIRST - 1)


# Absent, empty and blank are one in this kind


@pytest.mark.parametrize("item", ["{}", "{from: []}", "{from: }", "{ports: []}", "{from: [], ports: }"])
def test_a_rule_that_says_nothing_lets_everything_in(item: str) -> None:
    (found,) = rules("podSelector: {}", f"ingress: [{item}]")
    assert found.peers is None
    assert found.ports is None


def test_peers_without_ports_and_ports_without_peers() -> None:
    (peers,) = rules("podSelector: {}", "ingress: [{from: [{podSelector: {}}]}]")
    assert peers.peers is not None
    assert peers.ports is None
    (ports,) = rules("podSelector: {}", "ingress: [{ports: [{port: 80}]}]")
    assert ports.peers is None
    assert ports.ports == (PortRange(6, 80, 80),)


# Peers


def test_pods_are_those_of_the_policy_s_namespace() -> None:
    (every, some) = rules(
        "podSelector: {}",
        "ingress:",
        "- from: [{podSelector: {}}]",
        "- from: [{podSelector: {matchExpressions: [{key: app, operator: NotIn, values: [web]}]}}]",
    )
    assert selects(every, pod(app="web"))
    assert not selects(every, pod("default"))
    assert selects(some, pod())
    assert not selects(some, pod(app="web"))
    assert not selects(some, pod("default"))


def test_namespaces_by_label() -> None:
    (found,) = rules(
        "podSelector: {}", "ingress: [{from: [{namespaceSelector: {matchLabels: {team: blue}}}]}]"
    )
    assert selects(found, pod("x", {"team": "blue"}))
    assert not selects(found, pod("x", {"team": "red"}))
    assert not selects(found, pod("prod"))
    assert not selects(found, pod("x", team="blue"))


def test_namespaces_by_the_label_every_cluster_gives_them() -> None:
    selector = "{matchExpressions: [{key: kubernetes.io/metadata.name, operator: In, values: [x, y]}]}"
    (found,) = rules("podSelector: {}", f"ingress: [{{from: [{{namespaceSelector: {selector}}}]}}]")
    assert selects(found, pod("x"))
    assert selects(found, pod("y", {"team": "blue"}))
    assert not selects(found, pod("prod"))


def test_pods_and_namespaces_in_one_item_must_both_hold_and_in_two_either() -> None:
    both, either = rules(
        "podSelector: {}",
        "ingress:",
        "- from:",
        "  - namespaceSelector: {matchLabels: {team: blue}}",
        "    podSelector: {matchLabels: {app: web}}",
        "- from:",
        "  - namespaceSelector: {matchLabels: {team: blue}}",
        "  - podSelector: {matchLabels: {app: web}}",
    )
    blue = {"team": "blue"}
    cast = [pod("x", blue, app="web"), pod("x", blue), pod(app="web"), pod("y", app="web")]
    assert [selects(both, each) for each in cast] == [True, False, False, False]
    assert [selects(either, each) for each in cast] == [True, True, True, False]


@pytest.mark.parametrize(
    "peer",
    [
        "{podSelector: {}}",
        "{namespaceSelector: {}}",
        "{namespaceSelector: {}, podSelector: {}}",
        "{namespaceSelector: {matchExpressions: [{key: team, operator: DoesNotExist}]}}",
        "{podSelector: {matchExpressions: [{key: app, operator: NotIn, values: [web]}]}}",
    ],
)
def test_only_pods_are_ever_selected(peer: str) -> None:
    (found,) = rules("podSelector: {}", f"ingress: [{{from: [{peer}]}}]")
    assert selects(found, pod())
    assert not any(selects(found, each) for each in RESERVED)
    assert not selects(found, frozenset())


def test_only_labels_of_kubernetes_count() -> None:
    (found,) = rules("podSelector: {}", "ingress: [{from: [{podSelector: {matchLabels: {app: web}}}]}]")
    assert not selects(found, pod() | {Label("container", "app", "web")})


def test_the_namespace_of_a_pod_counts_as_its_label() -> None:
    selector = "{matchLabels: {io.kubernetes.pod.namespace: kube-system}}"
    scoped, wide = rules(
        "podSelector: {}",
        "ingress:",
        f"- from: [{{podSelector: {selector}}}]",
        f"- from: [{{podSelector: {selector}, namespaceSelector: {{}}}}]",
    )
    assert not selects(scoped, pod("kube-system"))
    assert not selects(scoped, pod())
    assert selects(wide, pod("kube-system"))
    assert not selects(wide, pod())


def test_blocks_cover_addresses_whoever_has_them() -> None:
    (found,) = rules(
        "podSelector: {}",
        "ingress:",
        "- from:",
        "  - ipBlock: {cidr: 10.0.0.0/8, except: [10.2.0.0/16, 10.1.0.0/16]}",
        "  - ipBlock: {cidr: '2001:db8::/32', except: }",
    )
    excepted = (Prefix.parse("10.1.0.0/16"), Prefix.parse("10.2.0.0/16"))
    assert found.peers == (
        BlockSelector(Prefix.parse("10.0.0.0/8"), excepted),
        BlockSelector(Prefix.parse("2001:db8::/32")),
    )


# Ports


@pytest.mark.parametrize(
    ("port", "ranges", "named"),
    [
        ("{port: 80}", [PortRange(6, 80, 80)], []),
        ("{port: 80, protocol: TCP}", [PortRange(6, 80, 80)], []),
        ("{port: 53, protocol: UDP}", [PortRange(17, 53, 53)], []),
        ("{port: 9, protocol: SCTP}", [PortRange(132, 9, 9)], []),
        ("{port: 1, endPort: 65535}", [PortRange(6, 1, 65535)], []),
        ("{port: 80, endPort: 80}", [PortRange(6, 80, 80)], []),
        ("{protocol: UDP}", [PortRange(17, 0, 65535)], []),
        ("{}", [PortRange(6, 0, 65535)], []),
        ("{port: http}", [], [NamedPort(6, "http")]),
        ("{port: dns-2, protocol: UDP}", [], [NamedPort(17, "dns-2")]),
        ("{port: 443}, {port: http}, {port: 80}", [PortRange(6, 80, 80), PortRange(6, 443, 443)], ["http"]),
        ("{port: 80}, {port: 80}", [PortRange(6, 80, 80)], []),
    ],
)
def test_ports(port: str, ranges: list[PortRange], named: list[NamedPort | str]) -> None:
    (found,) = rules("podSelector: {}", f"ingress: [{{ports: [{port}]}}]")
    assert found.ports == tuple(ranges)
    assert found.named_ports == tuple(NamedPort(6, each) if isinstance(each, str) else each for each in named)


# What cannot be said


@pytest.mark.parametrize(
    ("line", "path", "message", "hint"),
    [
        (
            "policyTypes: [ingress]",
            "policyTypes[0]",
            "unknown policy type 'ingress'",
            "did you mean Ingress?",
        ),
        ("policyTypes: [Both]", "policyTypes[0]", "unknown policy type", "write Ingress or Egress"),
        (
            "policyTypes: [Ingress]\n  egress: [{}]",
            "egress",
            "there are egress rules, but policyTypes leaves Egress out",
            "remove egress",
        ),
        (
            "policyTypes: [Egress]\n  ingress: [{}]",
            "ingress",
            "policyTypes leaves Ingress out",
            "[Ingress, Egress]",
        ),
        ("ingress: [{from: [{}]}]", "ingress[0].from[0]", "the item names nobody", "leave the list out"),
        (
            "ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8}, podSelector: {}}]}]",
            "ingress[0].from[0].ipBlock",
            "ipBlock and podSelector cannot be in one item",
            "second item",
        ),
        (
            "ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8}, namespaceSelector: {}}]}]",
            "ingress[0].from[0].ipBlock",
            "ipBlock and namespaceSelector cannot",
            "second item",
        ),
        ("ingress: [{from: [{ipBlock: {}}]}]", "ingress[0].from[0].ipBlock", "cidr is missing", "10.0.0.0/8"),
        (
            "ingress: [{from: [{ipBlock: {cidr: 10.0.0.0}}]}]",
            "ingress[0].from[0].ipBlock.cidr",
            "has no prefix length",
            "10.0.0.0/8",
        ),
        (
            "ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/255.255.0.255}}]}]",
            "ingress[0].from[0].ipBlock.cidr",
            "is not an address prefix",
            "",
        ),
        (
            "ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [11.0.0.0/16]}}]}]",
            "ingress[0].from[0].ipBlock.except[0]",
            "11.0.0.0/16 is not inside 10.0.0.0/8",
            "",
        ),
        (
            "ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.0.0.0/8]}}]}]",
            "ingress[0].from[0].ipBlock.except",
            "except leaves nothing of 10.0.0.0/8",
            "",
        ),
        ("ingress: [{ports: [{port: 0}]}]", "ingress[0].ports[0].port", "there is no port 0", "1 to 65535"),
        ("ingress: [{ports: [{port: 65536}]}]", "ingress[0].ports[0].port", "there is no port 65536", ""),
        ("ingress: [{ports: [{port: -1}]}]", "ingress[0].ports[0].port", "there is no port -1", ""),
        ("ingress: [{ports: [{port: '80'}]}]", "ingress[0].ports[0].port", "in quotes is a name", "80 bare"),
        ("ingress: [{ports: [{port: true}]}]", "ingress[0].ports[0].port", "found the boolean true", "1 to"),
        ("ingress: [{ports: [{port: 8.5}]}]", "ingress[0].ports[0].port", "expected a port number", ""),
        ("ingress: [{ports: [{port: }]}]", "ingress[0].ports[0].port", "found nothing", ""),
        ("ingress: [{ports: [{port: HTTP}]}]", "ingress[0].ports[0].port", "cannot be the name", "15 lower"),
        ("ingress: [{ports: [{port: ''}]}]", "ingress[0].ports[0].port", "cannot be the name", ""),
        (
            "ingress: [{ports: [{port: 90, endPort: 80}]}]",
            "ingress[0].ports[0].endPort",
            "endPort 80 is below port 90",
            "lower number",
        ),
        (
            "ingress: [{ports: [{port: http, endPort: 80}]}]",
            "ingress[0].ports[0].endPort",
            "a range cannot begin at a name, 'http'",
            "remove endPort",
        ),
        ("ingress: [{ports: [{endPort: 80}]}]", "ingress[0].ports[0].endPort", "begin nowhere", ""),
        (
            "ingress: [{ports: [{port: 80, endPort: '90'}]}]",
            "ingress[0].ports[0].endPort",
            "expected a port number, found the text '90'",
            "without quotes: 90",
        ),
        (
            "ingress: [{ports: [{port: 80, protocol: tcp}]}]",
            "ingress[0].ports[0].protocol",
            "unknown protocol 'tcp'",
            "did you mean TCP?",
        ),
        (
            "ingress: [{ports: [{protocol: ICMP}]}]",
            "ingress[0].ports[0].protocol",
            "unknown protocol 'ICMP'",
            "TCP, UDP, SCTP",
        ),
        (
            "ingress: [{from: [{podSelector: {matchLabels: {'k8s:app': x}}}]}]",
            'ingress[0].from[0].podSelector.matchLabels["k8s:app"]',
            "is not a label key",
            "",
        ),
        (
            "ingress: [{from: [{podSelector: {matchExpressions: [{key: a, operator: In}]}}]}]",
            "ingress[0].from[0].podSelector.matchExpressions[0]",
            "at least one value",
            "",
        ),
        (
            "ingress: [{from: [{namespaceSelector: {matchLabels: {a: 'b c'}}}]}]",
            "ingress[0].from[0].namespaceSelector.matchLabels.a",
            "is not a label value",
            "",
        ),
        (
            "ingress: [{from: [{podSelector: {matchLabels: {io.cilium.k8s.namespace.labels.a: b}}}]}]",
            "ingress[0].from[0].podSelector",
            "speaks for a namespace",
            "namespaceSelector",
        ),
        ("ingress: [{from: {podSelector: {}}}]", "ingress[0].from", "expected a list", "begin each item"),
        ("ingress: {}", "ingress", "expected a list", ""),
        ("podSelectr: {}", "podSelectr", "unknown field 'podSelectr'", "did you mean podSelector?"),
        ("from: []", "from", "from belongs inside an item of ingress", ""),
        ("to: []", "to", "to belongs inside an item of egress", ""),
        ("ports: []", "ports", "ports belongs inside an item of ingress", ""),
        ("endpointSelector: {}", "endpointSelector", "a field of CiliumNetworkPolicy", "write podSelector"),
        ("enableDefaultDeny: {}", "enableDefaultDeny", "a field of CiliumNetworkPolicy", "policyTypes"),
        ("ingressDeny: []", "ingressDeny", "a field of CiliumNetworkPolicy", "only allows"),
        ("egressDeny: []", "egressDeny", "a field of CiliumNetworkPolicy", "only allows"),
        ("ingress: [{to: []}]", "ingress[0].to", "to is not a field of ingress", "write from"),
        ("egress: [{from: []}]", "egress[0].from", "from is not a field of egress", "write to"),
        ("ingress: [{podSelector: {}}]", "ingress[0].podSelector", "belongs inside an item of from", ""),
        ("egress: [{ipBlock: {}}]", "egress[0].ipBlock", "belongs inside an item of to", ""),
        ("ingress: [{port: 80}]", "ingress[0].port", "port belongs inside an item of ports", ""),
        ("ingress: [{toPorts: []}]", "ingress[0].toPorts", "a field of CiliumNetworkPolicy", "write ports"),
        ("egress: [{toFQDNs: []}]", "egress[0].toFQDNs", "a field of CiliumNetworkPolicy", ""),
        ("ingress: [{from: [{cidr: a}]}]", "ingress[0].from[0].cidr", "cidr belongs inside ipBlock", ""),
        ("ingress: [{from: [{except: []}]}]", "ingress[0].from[0].except", "belongs inside ipBlock", ""),
        ("ingress: [{from: [{ports: []}]}]", "ingress[0].from[0].ports", "belongs beside from or to", "less"),
        (
            "ingress: [{from: [{matchLabels: {}}]}]",
            "ingress[0].from[0].matchLabels",
            "inside podSelector",
            "",
        ),
    ],
)
def test_what_cannot_be_said(line: str, path: str, message: str, hint: str) -> None:
    findings = refused(
        text("podSelector: {}", *line.split("\n")[:1]) + "".join(f"{each}\n" for each in line.split("\n")[1:])
    )
    (found,) = findings
    assert found.path == f"spec.{path}"
    assert found.file == "p.yaml"
    assert FIRST < found.line <= FIRST + 2
    assert message in found.message
    assert hint in found.hint


@pytest.mark.parametrize("field", ["podSelector", "policyTypes", "ingress", "egress"])
def test_what_belongs_under_spec(field: str) -> None:
    (found,) = refused(text("podSelector: {}") + f"{field}: []\n")
    assert found.message == f"{field} belongs under spec"
    assert found.line == FIRST + 1


def test_what_is_missing() -> None:
    (found,) = refused(text("policyTypes: [Ingress]"))
    assert (found.path, found.line) == ("spec", FIRST - 1)
    assert found.message == "podSelector is missing"
    assert found.hint == "write `podSelector: {}` to select every pod"


def test_a_selector_that_is_blank_is_neither_everything_nor_nothing() -> None:
    (found,) = refused(text("podSelector:"))
    assert (found.path, found.line, found.message) == ("spec.podSelector", FIRST, "there is no value")
    assert "{}" in found.hint


def test_metadata_is_judged() -> None:
    (found,) = refused(text("podSelector: {}").replace("namespace: prod", "namespace: Prod"))
    assert (found.path, found.message) == ("metadata.namespace", "'Prod' cannot be a namespace")
