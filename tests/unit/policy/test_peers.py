"""Peers of ``cilium.io/v2`` beyond endpoints, entities and prefixes: nodes, groups, services, names."""

from itertools import combinations

import pytest

from kinety.model.address import Prefix
from kinety.model.label import Label, Labels, labels_of_endpoint
from kinety.model.layer7 import NamePattern
from kinety.model.reference import CidrGroupReference, ServiceReference
from kinety.model.rule import Rule
from kinety.model.selector import CidrSelector, EntitySelector, FqdnSelector, LabelSelector
from tests.unit.policy.sample import CLUSTERWIDE, FIRST, NAMESPACED, refused, refused_rule, rule, rules, text

HOST = frozenset({Label("reserved", "host")})
REMOTE = frozenset({Label("reserved", "remote-node")})
WORLD = frozenset({Label("reserved", "world")})


def pod(namespace: str = "default", **own: str) -> Labels:
    return labels_of_endpoint(namespace, (Label("k8s", key, value) for key, value in own.items()))


def selects(found: Rule, peer: Labels) -> bool:
    assert found.peers is not None
    return any(isinstance(each, LabelSelector) and each.matches(peer) for each in found.peers)


@pytest.mark.parametrize("kind", ["Endpoints", "CIDR", "CIDRSet", "Entities", "Nodes", "Services", "FQDNs"])
def test_an_empty_list_is_nobody_and_isolates(kind: str) -> None:
    found = rule(f"to{kind}: []", "egress", CLUSTERWIDE)
    assert (found.peers, found.references, found.default_deny) == ((), (), True)


LISTS = {
    "toEndpoints": "[{}]",
    "toCIDR": "[10.0.0.0/8]",
    "toCIDRSet": "[{cidr: 10.0.0.0/8}]",
    "toEntities": "[world]",
    "toNodes": "[{}]",
    "toServices": "[{k8sService: {serviceName: a}}]",
    "toFQDNs": "[{matchName: a.b}]",
}


@pytest.mark.parametrize(("first", "second"), list(combinations(LISTS, 2)))
def test_one_rule_has_one_kind_of_peers(first: str, second: str) -> None:
    found = refused_rule(f"{first}: {LISTS[first]}\n{second}: {LISTS[second]}", "egress", CLUSTERWIDE)
    assert found.message == f"combining {first} and {second} in one rule is not supported"
    assert (found.path, found.line) == (f"spec.egress[0].{second}", FIRST + 3)
    assert "second rule" in found.hint


# Nodes


def test_nodes_are_this_one_and_others() -> None:
    found = rule("fromNodes: [{}]", kind=CLUSTERWIDE)
    assert selects(found, HOST)
    assert selects(found, REMOTE)
    assert not selects(found, pod())
    assert not selects(found, WORLD)


@pytest.mark.parametrize("key", ["zone", "node:zone", "k8s:zone", "any:zone"])
def test_nodes_by_their_labels(key: str) -> None:
    found = rule(f"toNodes: [{{matchLabels: {{'{key}': a}}}}]", "egressDeny", CLUSTERWIDE)
    assert selects(found, HOST | {Label("node", "zone", "a")})
    assert selects(found, REMOTE | {Label("node", "zone", "a")})
    assert not selects(found, HOST | {Label("node", "zone", "b")})
    assert not selects(found, HOST)
    assert not selects(found, pod(zone="a"))


@pytest.mark.parametrize(("section", "field"), [("ingress", "fromNodes"), ("egressDeny", "toNodes")])
def test_nodes_are_in_no_namespace(section: str, field: str) -> None:
    found = refused_rule(f"{field}: [{{}}]", section)
    assert (found.path, found.message) == (f"spec.{section}[0].{field}", "nodes are in no namespace")
    assert CLUSTERWIDE in found.hint


def test_rules_about_nodes() -> None:
    (found,) = rules(
        "nodeSelector: {matchLabels: {zone: a}}\ningress: [{fromEntities: [world]}]", CLUSTERWIDE
    )
    assert found.subject.matches(HOST | {Label("node", "zone", "a")})
    assert not found.subject.matches(HOST)
    assert not found.subject.matches(REMOTE | {Label("node", "zone", "a")})
    assert not found.subject.matches(pod(zone="a"))


@pytest.mark.parametrize(
    ("spec", "kind", "path", "message", "hint"),
    [
        ("nodeSelector: {}", NAMESPACED, "spec.nodeSelector", "nodes are in no namespace", CLUSTERWIDE),
        (
            "nodeSelector: {}\nendpointSelector: {}",
            CLUSTERWIDE,
            "spec.nodeSelector",
            "endpointSelector and nodeSelector cannot be in one block",
            "specs",
        ),
        (
            "nodeSelector: {matchLabels: {'cidr:a': b}}",
            CLUSTERWIDE,
            'spec.nodeSelector.matchLabels["cidr:a"]',
            "no node carries labels of the source 'cidr'",
            "the key alone",
        ),
        ("description: a", CLUSTERWIDE, "spec", "endpointSelector is missing", "`endpointSelector: {}`"),
    ],
)
def test_impossible_subjects(spec: str, kind: str, path: str, message: str, hint: str) -> None:
    (found,) = refused(text(f"{spec}\ningress: [{{}}]", kind))
    assert (found.path, found.message) == (path, message)
    assert hint in found.hint


def test_rules_about_nodes_do_not_ask_for_content() -> None:
    item = "toPorts: [{ports: [{port: '80', protocol: TCP}], rules: {http: [{}]}}]"
    (found,) = refused(text(f"nodeSelector: {{}}\ningress: [{{{item}}}]", CLUSTERWIDE))
    assert found.path == "spec.ingress[0].toPorts"
    assert found.message == "content is not supported yet in rules about nodes"


# What must hold of peers besides


def test_requirements_narrow_every_peer() -> None:
    found = rule(
        "fromEndpoints: [{matchLabels: {app: a}}, {matchLabels: {app: b}}]\n"
        "fromRequires: [{matchLabels: {env: x}}]"
    )
    assert selects(found, pod(app="a", env="x"))
    assert selects(found, pod(app="b", env="x"))
    assert not selects(found, pod(app="a"))
    assert not selects(found, pod(app="c", env="x"))


def test_requirements_alone_are_about_every_peer_that_meets_them() -> None:
    found = rule("toRequires: [{matchLabels: {env: x}}]", "egress")
    assert selects(found, pod(env="x"))
    assert not selects(found, pod("prod", env="x"))
    assert not selects(found, pod())


def test_requirements_of_nobody_are_nobody() -> None:
    assert rule("fromEndpoints: []\nfromRequires: [{matchLabels: {env: x}}]").peers == ()


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ("fromRequires: []", "fromRequires is empty"),
        ("fromEntities: [host]\nfromRequires: [{}]", "fromRequires narrows fromEndpoints, not fromEntities"),
        ("fromCIDR: [10.0.0.0/8]\nfromRequires: [{}]", "fromRequires narrows fromEndpoints, not fromCIDR"),
    ],
)
def test_impossible_requirements(item: str, message: str) -> None:
    found = refused_rule(item)
    assert (found.path, found.message) == ("spec.ingress[0].fromRequires", message)


# Groups of prefixes


def test_groups_by_name_and_by_label() -> None:
    found = rule(
        "fromCIDRSet: [{cidrGroupRef: vpn, except: [10.1.0.0/16]}, "
        "{cidrGroupSelector: {matchLabels: {a: b}}}, {cidr: 192.0.2.0/24}]"
    )
    assert found.peers == (CidrSelector(Prefix.parse("192.0.2.0/24")),)
    named, selected = found.references
    assert named == CidrGroupReference("vpn", None, (Prefix.parse("10.1.0.0/16"),))
    assert isinstance(selected, CidrGroupReference)
    assert (selected.name, selected.except_) == (None, ())
    assert selected.selector is not None
    assert selected.selector.matches(frozenset({Label("cidrgroup", "a", "b")}))
    assert not selected.selector.matches(frozenset({Label("cidrgroup", "a", "c")}))


@pytest.mark.parametrize(
    ("item", "path", "message"),
    [
        ("{}", "", "cidr is missing"),
        (
            "{cidr: 10.0.0.0/8, cidrGroupRef: a}",
            ".cidrGroupRef",
            "cidr and cidrGroupRef cannot be in one item",
        ),
        (
            "{cidrGroupRef: a, cidrGroupSelector: {}}",
            ".cidrGroupSelector",
            "cidrGroupRef and cidrGroupSelector cannot be in one item",
        ),
        ("{cidrGroupRef: A_b}", ".cidrGroupRef", "'A_b' cannot be a name"),
        ("{cidrGroupRef: a, except: [x]}", ".except[0]", "'x' has no prefix length"),
        (
            "{cidrGroupSelector: {matchLabels: {'k8s:a': b}}}",
            '.cidrGroupSelector.matchLabels["k8s:a"]',
            "'k8s:a' is not a label key",
        ),
    ],
)
def test_impossible_groups(item: str, path: str, message: str) -> None:
    found = refused_rule(f"fromCIDRSet: [{item}]")
    assert found.path == f"spec.ingress[0].fromCIDRSet[0]{path}"
    assert found.message == message
    assert found.hint


# Services


def test_services_by_name_and_by_label() -> None:
    found = rule(
        "toServices: [{k8sService: {serviceName: a}}, {k8sService: {serviceName: a, namespace: prod}}, "
        "{k8sServiceSelector: {selector: {matchLabels: {x: y}}}}]",
        "egress",
    )
    assert found.peers == ()
    own, other, selected = found.references
    assert own == ServiceReference("default", "a", None)
    assert other == ServiceReference("prod", "a", None)
    assert isinstance(selected, ServiceReference)
    assert (selected.namespace, selected.name) == ("default", None)
    assert selected.selector is not None
    assert selected.selector.matches(frozenset({Label("k8s", "x", "y")}))


def test_services_of_a_cluster_wide_policy_are_in_any_namespace() -> None:
    found = rule("toServices: [{k8sServiceSelector: {selector: {}}}]", "egressDeny", CLUSTERWIDE)
    (reference,) = found.references
    assert isinstance(reference, ServiceReference)
    assert reference.namespace == ""


@pytest.mark.parametrize(
    ("item", "path", "message"),
    [
        ("{}", "", "there is neither k8sService nor k8sServiceSelector"),
        ("{k8sService: {serviceName: a}, k8sServiceSelector: {selector: {}}}", "", "there is both"),
        ("{k8sService: {}}", ".k8sService", "serviceName is missing"),
        ("{k8sService: {serviceName: A}}", ".k8sService.serviceName", "'A' cannot be a name"),
        (
            "{k8sService: {serviceName: a, namespace: B}}",
            ".k8sService.namespace",
            "'B' cannot be a namespace",
        ),
        ("{k8sServiceSelector: {}}", ".k8sServiceSelector", "selector is missing"),
    ],
)
def test_impossible_services(item: str, path: str, message: str) -> None:
    found = refused_rule(f"toServices: [{item}]", "egress")
    assert found.path == f"spec.egress[0].toServices[0]{path}"
    assert message in found.message


# Names


def test_names_of_outside() -> None:
    found = rule("toFQDNs: [{matchName: Example.COM.}, {matchPattern: '*.example.com'}]", "egress")
    assert found.peers == (
        FqdnSelector(NamePattern("example.com")),
        FqdnSelector(NamePattern("*.example.com")),
    )


def test_an_impossible_name_is_placed() -> None:
    found = refused_rule("toFQDNs: [{matchName: a.b}, {matchName: ''}]", "egress")
    assert found.path == "spec.egress[0].toFQDNs[1].matchName"
    assert found.message == "the name is empty"


def test_the_same_peer_twice_counts_once() -> None:
    assert rule("fromEntities: [host, host]").peers == (EntitySelector("host"),)
