from pathlib import Path

import pytest

from kinety.model.address import Prefix
from kinety.model.rule import Action, Direction, PolicyKey, PortRange
from kinety.model.selector import CidrSelector, EntitySelector
from tests.unit.policy.sample import (
    CLUSTERWIDE,
    FIRST,
    NAMESPACED,
    parse,
    refused,
    refused_rule,
    rule,
    rules,
    text,
)

EXAMPLES = Path(__file__).parents[3] / "examples" / "star-wars"


def cidr(prefix: str, *excepted: str) -> CidrSelector:
    return CidrSelector(Prefix.parse(prefix), tuple(sorted(Prefix.parse(each) for each in excepted)))


def test_the_talk_s_policy() -> None:
    (policy,) = parse((EXAMPLES / "policy.yaml").read_text())
    assert policy.key == PolicyKey(NAMESPACED, "default", "rule1")
    (found,) = policy.rules
    assert found.direction is Direction.INGRESS
    assert found.action is Action.ALLOW
    assert found.default_deny
    assert found.ports == (PortRange(6, 80, 80),)
    assert found.origin.path == "spec.ingress[0]"
    assert (EXAMPLES / "policy.yaml").read_text().splitlines()[found.origin.line - 1] == "  - fromEndpoints:"


def test_rules_come_in_the_order_they_were_written() -> None:
    found = rules("""
endpointSelector: {}
egressDeny:
- toEntities: [world]
ingress:
- {}
- fromEntities: [host]
egress:
- {}
ingressDeny:
- fromEntities: [health]
""")
    assert [each.origin.path for each in found] == [
        "spec.egressDeny[0]",
        "spec.ingress[0]",
        "spec.ingress[1]",
        "spec.egress[0]",
        "spec.ingressDeny[0]",
    ]
    assert [each.origin.line for each in found] == [FIRST + 2, FIRST + 4, FIRST + 5, FIRST + 7, FIRST + 9]
    assert [each.action for each in found] == [
        Action.DENY,
        Action.ALLOW,
        Action.ALLOW,
        Action.ALLOW,
        Action.DENY,
    ]


@pytest.mark.parametrize("section", ["ingress", "ingressDeny", "egress", "egressDeny"])
def test_a_rule_that_says_nothing_isolates_and_names_nobody(section: str) -> None:
    found = rule("{}", section)
    assert found.peers == ()
    assert found.default_deny


@pytest.mark.parametrize("kind", ["Endpoints", "CIDR", "CIDRSet", "Entities"])
@pytest.mark.parametrize(("section", "side"), [("ingress", "from"), ("egressDeny", "to")])
def test_an_empty_list_of_peers_is_nobody(kind: str, section: str, side: str) -> None:
    found = rule(f"{side}{kind}: []", section)
    assert found.peers == ()
    assert found.ports is None
    assert found.default_deny


def test_without_peers_it_is_about_anybody() -> None:
    found = rule("toPorts: [{ports: [{port: '80', protocol: TCP}]}]")
    assert found.peers is None
    assert found.ports == (PortRange(6, 80, 80),)


def test_the_entity_all_is_anybody() -> None:
    assert rule("fromEntities: [all]").peers is None
    assert rule("fromEntities: [host, all]").peers is None


def test_the_entity_none_is_nobody() -> None:
    assert rule("fromEntities: [none]").peers == ()
    assert rule("fromEntities: [none, host]").peers == (EntitySelector("host"),)


def test_entities() -> None:
    assert rule("toEntities: [world, cluster, kube-apiserver]", "egress").peers == (
        EntitySelector("world"),
        EntitySelector("cluster"),
        EntitySelector("kube-apiserver"),
    )


def test_prefixes() -> None:
    assert rule("fromCIDR: [10.0.0.0/8, 192.0.2.1, '2001:db8::/32', '2001:db8::1']").peers == (
        cidr("10.0.0.0/8"),
        cidr("192.0.2.1/32"),
        cidr("2001:db8::/32"),
        cidr("2001:db8::1/128"),
    )


def test_prefixes_with_exceptions() -> None:
    found = rule(
        "toCIDRSet: [{cidr: 10.0.0.0/8, except: [10.1.0.0/16, 10.0.9.0/24]}, {cidr: '::/0'}]", "egress"
    )
    assert found.peers == (cidr("10.0.0.0/8", "10.1.0.0/16", "10.0.9.0/24"), cidr("::/0"))


def test_host_bits_mean_nothing() -> None:
    assert rule("fromCIDR: [10.1.2.3/8]").peers == (cidr("10.0.0.0/8"),)


@pytest.mark.parametrize(
    ("item", "path", "message", "hint"),
    [
        ("fromCIDR: ['']", "fromCIDR[0]", "'' is not an address prefix", "10.0.0.0/8"),
        ("fromCIDR: [10.0.0.0/33]", "fromCIDR[0]", "is not an address prefix", ""),
        ("fromCIDR: [10.0.0/8]", "fromCIDR[0]", "is not an address prefix", ""),
        ("fromCIDR: [10.0.0.0/255.0.255.0]", "fromCIDR[0]", "is not an address prefix", ""),
        ("fromCIDR: ['fe80::1%eth0']", "fromCIDR[0]", "is not an address prefix", ""),
        ("fromCIDR: ['::ffff:10.0.0.0/104']", "fromCIDR[0]", "an IPv4 prefix written as IPv6", "10.0.0.0/8"),
        ("fromCIDRSet: [{cidr: 10.0.0.0}]", "fromCIDRSet[0].cidr", "has no prefix length", ""),
        (
            "fromCIDRSet: [{cidr: 10.0.0.0/8, except: [11.0.0.0/16]}]",
            "fromCIDRSet[0].except[0]",
            "11.0.0.0/16 is not inside 10.0.0.0/8",
            "",
        ),
        (
            "fromCIDRSet: [{cidr: 10.0.0.0/8, except: [10.0.0.0/7]}]",
            "fromCIDRSet[0].except[0]",
            "10.0.0.0/7 is not inside 10.0.0.0/8",
            "",
        ),
        (
            "fromCIDRSet: [{cidr: '::/0', except: [10.0.0.0/8]}]",
            "fromCIDRSet[0].except[0]",
            "10.0.0.0/8 is not inside ::/0",
            "",
        ),
        ("fromCIDRSet: [{cidr: 10.0.0.0/8, except: [x]}]", "fromCIDRSet[0].except[0]", "'x'", ""),
        ("fromEntities: [wrld]", "fromEntities[0]", "there is no entity 'wrld'", "did you mean world?"),
        ("fromEntities: [everyone]", "fromEntities[0]", "there is no entity", "cluster"),
        (
            "fromEndpoints: [{}]\nfromEntities: [host]",
            "fromEntities",
            "combining fromEndpoints and fromEntities",
            "second rule",
        ),
        (
            "fromCIDR: [10.0.0.0/8]\nfromCIDRSet: [{cidr: 10.0.0.0/8}]",
            "fromCIDRSet",
            "combining fromCIDR and fromCIDRSet",
            "",
        ),
        (
            "icmps: [{fields: [{type: 8}]}]\ntoPorts: [{ports: [{port: '80'}]}]",
            "",
            "icmps and toPorts cannot be in one rule",
            "second rule",
        ),
    ],
)
def test_what_a_rule_cannot_say(item: str, path: str, message: str, hint: str) -> None:
    found = refused_rule(item)
    assert found.path == f"spec.ingress[0].{path}".rstrip(".")
    assert message in found.message
    assert hint in found.hint
    assert found.line >= FIRST + 2


def test_an_empty_list_combines_with_anything() -> None:
    assert rule("fromEndpoints: []\nfromEntities: [host]").peers == (EntitySelector("host"),)


def test_every_kind_of_spec_counts() -> None:
    (policy,) = parse("""
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: a, namespace: prod}
spec: {endpointSelector: {}, ingress: [{}]}
specs:
- {endpointSelector: {}, egress: [{}]}
- {endpointSelector: {}, egressDeny: [{toEntities: [world]}]}
""")
    assert policy.key == PolicyKey(NAMESPACED, "prod", "a")
    assert [each.origin.path for each in policy.rules] == [
        "spec.ingress[0]",
        "specs[0].egress[0]",
        "specs[1].egressDeny[0]",
    ]


@pytest.mark.parametrize(
    ("switch", "isolates"),
    [("{}", True), ("{ingress: true}", True), ("{ingress: false}", False)],
)
def test_isolation_can_be_switched_off(switch: str, isolates: bool) -> None:
    (found,) = rules(
        f"endpointSelector: {{}}\nenableDefaultDeny: {switch}\ningress: [{{fromEntities: [host]}}]"
    )
    assert found.default_deny is isolates


def test_isolation_can_be_switched_on_where_there_is_no_rule() -> None:
    found = rules("endpointSelector: {}\nenableDefaultDeny: {egress: true}\ningress: [{}]")
    isolating = next(each for each in found if each.direction is Direction.EGRESS)
    assert isolating.peers == ()
    assert isolating.default_deny
    assert isolating.origin.path == "spec.enableDefaultDeny.egress"
    assert isolating.origin.line == FIRST + 1


def test_an_empty_section_is_an_absent_one() -> None:
    found = rules("endpointSelector: {}\ningress: []\negress: [{}]")
    assert [each.direction for each in found] == [Direction.EGRESS]


@pytest.mark.parametrize(
    "spec", ["endpointSelector: {}", "endpointSelector: {}\ningress: []\negressDeny: []"]
)
def test_a_spec_without_rules_is_refused(spec: str) -> None:
    (finding,) = refused(text(spec))
    assert finding.path == "spec"
    assert "there is no rule" in finding.message
    assert "ingress: [{}]" in finding.hint


@pytest.mark.parametrize("body", ["", "specs: []"])
def test_a_policy_without_a_spec_is_refused(body: str) -> None:
    (finding,) = refused(f"apiVersion: cilium.io/v2\nkind: {NAMESPACED}\nmetadata: {{name: a}}\n{body}")
    assert finding.message == "the policy says nothing"


@pytest.mark.parametrize("name", ["", "Rule1", "a_b", "-a", "a-", "a..b", "a/b", "x" * 254])
def test_impossible_names(name: str) -> None:
    (finding,) = refused(
        f"apiVersion: cilium.io/v2\nkind: {NAMESPACED}\nmetadata: {{name: '{name}'}}\n"
        "spec: {endpointSelector: {}, ingress: [{}]}"
    )
    assert (finding.line, finding.path) == (3, "metadata.name")


@pytest.mark.parametrize("namespace", ["", "a.b", "Prod", "x" * 64])
def test_impossible_namespaces(namespace: str) -> None:
    (finding,) = refused(
        f"apiVersion: cilium.io/v2\nkind: {NAMESPACED}\nmetadata: {{name: a, namespace: '{namespace}'}}\n"
        "spec: {endpointSelector: {}, ingress: [{}]}"
    )
    assert (finding.line, finding.path) == (3, "metadata.namespace")


def test_a_cluster_wide_policy_is_in_no_namespace() -> None:
    head = f"apiVersion: cilium.io/v2\nkind: {CLUSTERWIDE}\nmetadata:\n  name: a\n"
    spec = "spec: {endpointSelector: {}, ingress: [{}]}"
    (policy,) = parse(head + spec)
    assert policy.key == PolicyKey(CLUSTERWIDE, "", "a")
    (finding,) = refused(head + "  namespace: prod\n" + spec)
    assert (finding.line, finding.path) == (5, "metadata.namespace")


def test_metadata_of_a_cluster_is_accepted() -> None:
    (policy,) = parse("""
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata:
  name: a
  labels: {team: red}
  annotations:
  creationTimestamp: null
  generation: 3
  managedFields: [{manager: kubectl}]
  resourceVersion: "12"
  uid: 0f
spec: {endpointSelector: {}, ingress: [{}], description: who comes in, labels: [{key: a, value: b}]}
status: {conditions: [{type: Valid, status: "True"}]}
""")
    assert len(policy.rules) == 1


@pytest.mark.parametrize("label", ["{key: a, source: reserved}", "{key: 'reserved:host'}"])
def test_policies_cannot_use_reserved_labels(label: str) -> None:
    (finding,) = refused(text(f"endpointSelector: {{}}\nlabels: [{label}]\ningress: [{{}}]"))
    assert finding.path == "spec.labels[0]"
    assert "reserved" in finding.message


@pytest.mark.parametrize("section", ["ingress", "ingressDeny", "egress", "egressDeny"])
def test_events_about_a_rule_carry_its_text(section: str) -> None:
    found = rules(f"endpointSelector: {{}}\nlog: {{value: '{'x' * 32}'}}\n{section}: [{{}}]")
    assert [each.log for each in found] == ["x" * 32]
    (isolating,) = rules("endpointSelector: {}\nlog: {value: a}\ningress: [{}]")
    assert isolating.log == "a"
    (silent,) = rules("endpointSelector: {}\nlog: {}\ningress: [{}]")
    assert silent.log == ""


@pytest.mark.parametrize(
    ("value", "message", "hint"),
    [
        ("x" * 33, "a text of 33 characters; the limit is 32", "shorter"),
        ('"a\\tb"', "characters that cannot be printed", "remove them"),
        ("5", "expected text, found the unquoted 5", 'quote it: "5"'),
    ],
)
def test_impossible_texts_for_events(value: str, message: str, hint: str) -> None:
    (finding,) = refused(text(f"endpointSelector: {{}}\nlog: {{value: {value}}}\ningress: [{{}}]"))
    assert (finding.path, finding.line) == ("spec.log.value", FIRST + 1)
    assert message in finding.message
    assert hint in finding.hint


@pytest.mark.parametrize(("section", "said"), [("ingress", ""), ("egress", ", toEntities: [host]")])
def test_peers_that_need_not_prove_who_they_are(section: str, said: str) -> None:
    found = rule(f"{{authentication: {{mode: disabled}}{said}}}", section)
    assert found.peers == ((EntitySelector("host"),) if said else ())


@pytest.mark.parametrize(
    ("item", "path", "message", "hint"),
    [
        ("{mode: required}", "", "authentication in the mode required is not supported yet", "leave it out"),
        ("{mode: test-always-fail}", "", "in the mode test-always-fail is not supported yet", "labels only"),
        ("{mode: require}", ".mode", "unknown mode 'require'", "did you mean required?"),
        ("{mode: mutual}", ".mode", "unknown mode 'mutual'", "disabled, required, test-always-fail"),
        ("{}", "", "mode is missing", ""),
    ],
)
def test_peers_cannot_prove_who_they_are(item: str, path: str, message: str, hint: str) -> None:
    found = refused_rule(f"fromEntities: [host]\nauthentication: {item}")
    assert (found.path, found.line) == (f"spec.ingress[0].authentication{path}", FIRST + 3)
    assert message in found.message
    assert hint in found.hint


def test_everything_wrong_is_said_at_once() -> None:
    found = refused(
        text("""
endpointSelector: {}
ingress:
- fromCIDR: [300.0.0.0/8]
- fromEntities: [nobody]
  toPorts: [{ports: [{port: "70000", protocol: tcp}]}]
""")
    )
    assert [finding.path for finding in found] == [
        "spec.ingress[0].fromCIDR[0]",
        "spec.ingress[1].fromEntities[0]",
        "spec.ingress[1].toPorts[0].ports[0].port",
        "spec.ingress[1].toPorts[0].ports[0].protocol",
    ]
