"""Flaws that policy engines have had: each is a case of its own, asked of every judge there is.

Most let through what a policy forbids, and were published: the numbers are those of the advisories. Some of
what is asked here is also a line of docs/reference/precedence.md; here it is asked the way it went wrong.
"""

import pytest

from kinety.model.address import Prefix, pack_address
from kinety.model.endpoint import Endpoint, EndpointId
from kinety.model.label import Label, labels_of_endpoint
from kinety.model.rule import Direction
from kinety.model.verdict import VerdictKind
from kinety.plan.engine import Engine
from kinety.plan.fact import EndpointUpserted, Fact, PeerUpserted, PolicyUpserted
from kinety.policy.document import Document
from kinety.policy.error import PolicyError
from kinety.policy.parse import parse_policies
from tests.unit.plan.judging import Judges
from tests.unit.plan.precedence import EVERYBODY, NARROW, A, B, Case, tcp
from tests.unit.plan.precedence_tiers import AB, FROM_PODS, http, rules

WIDE = "fromCIDR: [198.51.0.0/16, '2001:db8::/32']"
LACKS = "fromEndpoints: [{{matchExpressions: [{{key: '{}', operator: DoesNotExist}}]}}]"
PODS = "[10.0.0.0/24, 'fd00::/64']"

FLAWS = {
    # CVE-2024-52529: a plain rule about a range of ports took content at one of them out of force.
    "a range of ports over a port with content": Case(
        {"p": f"ingress: [{{{A}, {tcp('1-1000')}}}]", "q": f"ingress: [{{{A}, {http(AB, '80')}}}]"},
        "from a tcp/80 redirect q ingress[0] /a /b\nfrom a tcp/81 allow p ingress[0]",
    ),
    # CVE-2023-30851: what one of several peers may have was given to all that share the content.
    "everything for one of several peers with content": Case(
        {"p": f"ingress: [{{{EVERYBODY}, {http(AB, '80')}}}, {{{A}}}, {{{A}, {tcp('80')}}}]"},
        "from a tcp/80 allow p ingress[2]\nfrom a tcp/81 allow p ingress[1]\n"
        "from b tcp/80 redirect p ingress[0] /a /b\nfrom world tcp/80 redirect p ingress[0] /a /b\n"
        "from b tcp/81 deny",
    ),
    # CVE-2024-47825: a prefix that is denied, and a narrower one that is only named elsewhere.
    "a wide prefix denied beside a narrow one": Case(
        {
            "p": f"ingressDeny: [{{{WIDE}}}]",
            "q": f"ingress: [{{{EVERYBODY}}}]",
            "r": f"enableDefaultDeny: {{ingress: false}}\ningress: [{{{NARROW}}}]",
        },
        "from narrow tcp/80 deny p ingressDeny[0]\nfrom wide tcp/80 deny p ingressDeny[0]\n"
        "from world tcp/80 allow q ingress[0]",
    ),
    # The world denied, and a prefix of it allowed (Cilium, pull request 22314).
    "the world denied beside a prefix": Case(
        {"p": f"ingressDeny: [{{fromEntities: [world]}}]\ningress: [{{{NARROW}}}, {{{A}}}]"},
        "from narrow tcp/80 deny p ingressDeny[0]\nfrom world tcp/80 deny p ingressDeny[0]\n"
        "from a tcp/80 allow p ingress[1]",
    ),
    # CVE-2025-64715: a reference to what does not exist became a rule about everybody.
    "what does not exist is not everybody": Case(
        {
            "p": "egress: [{toCIDRSet: [{cidrGroupRef: nothing}]}, {toCIDRSet: []},"
            " {toFQDNs: [{matchName: a.b}]},"
            " {toServices: [{k8sService: {serviceName: nothing, namespace: default}}]}]\n"
            "ingress: [{fromCIDRSet: [{cidrGroupSelector: {matchLabels: {not: there}}}]}]"
        },
        "to world tcp/80 deny\nto a tcp/80 deny\nto host tcp/80 deny\nfrom world tcp/80 deny\n"
        "from a tcp/80 deny",
    ),
    "a denial of what does not exist is not of everybody": Case(
        {"p": f"ingressDeny: [{{fromCIDRSet: [{{cidrGroupRef: nothing}}]}}]\ningress: [{{{EVERYBODY}}}]"},
        "from world tcp/80 allow p ingress[0]\nfrom a tcp/80 allow p ingress[0]",
    ),
    "a port that nobody calls so is not every port": Case(
        {"p": f"ingress: [{{{A}, toPorts: [{{ports: [{{port: nothing, protocol: TCP}}]}}]}}]"},
        "from a tcp/80 deny\nfrom a tcp/0 deny\nfrom a icmp/8 deny",
    ),
    # CVE-2026-56743: a block without selectors was given one, of all pods in the namespace.
    "a block alone is not the namespace": Case(
        {"netpol/p": "ingress: [{from: [{ipBlock: {cidr: 192.0.2.0/24}}, {ipBlock: {cidr: '2a00::/16'}}]}]"},
        "from world tcp/80 allow netpol/p ingress[0]\nfrom a tcp/80 deny\nfrom foreign tcp/80 deny\n"
        "from wide tcp/80 deny",
    ),
    # A peer that lacks a label is an endpoint that lacks it: never the host, never the world.
    "who lacks a label is an endpoint": Case(
        {
            "p": f"ingress: [{{{LACKS.format('role')}}}, {{{LACKS.format('reserved:init')}}}]",
            "cluster/q": f"ingress: [{{{LACKS.format('k8s:io.kubernetes.pod.namespace')}}}]",
        },
        "from a tcp/80 allow p ingress[0]\nfrom foreign tcp/80 deny\nfrom host tcp/80 deny\n"
        "from world tcp/80 deny",
        allow_localhost=False,
    ),
    # A prefix that holds pods' addresses selects none of them in a CiliumNetworkPolicy, denying included…
    "a prefix of pods does not deny them": Case(
        {"p": f"ingressDeny: [{{fromCIDR: {PODS}}}]\ningress: [{{{A}}}]"},
        "from a tcp/80 allow p ingress[0]\nfrom b tcp/80 deny",
    ),
    # …and all of them where Kubernetes says so, whoever else names them.
    "a block of pods denies them": Case(
        {
            "admin-1/x": rules(f"Deny, to: [{{networks: {PODS}}}]", section="egress"),
            "p": "egress: [{toEndpoints: [{matchLabels: {app: a}}]}, {toEntities: [world]}]",
        },
        "to a tcp/80 deny admin-1/x egress[0]\nto foreign tcp/80 deny admin-1/x egress[0]\n"
        "to world tcp/80 allow p egress[1]",
    ),
    # Both families, whatever a policy says that does not speak of addresses.
    "six is not forgotten": Case(
        {
            "p": f"ingressDeny: [{{{A}, {tcp('80')}}}, {{fromEntities: [world], {tcp('80')}}}]\n"
            f"ingress: [{{{EVERYBODY}, {tcp('80-90')}}}]",
            "admin-1/x": rules(
                f"Deny, {FROM_PODS}, protocols: [{{tcp: {{destinationPort: {{number: 90}}}}}}]"
            ),
        },
        "from a tcp/80 deny p ingressDeny[0]\nfrom world6 tcp/80 deny p ingressDeny[1]\n"
        "from world4 tcp/80 deny p ingressDeny[1]\nfrom world6 tcp/81 allow p ingress[0]\n"
        "from b tcp/90 deny admin-1/x ingress[0]",
    ),
    "a prefix of one family says nothing of the other": Case(
        {"p": "ingress: [{fromCIDR: [0.0.0.0/0]}]\ningressDeny: [{fromCIDR: ['::/0']}]"},
        "from world4 tcp/80 allow p ingress[0]\nfrom world6 tcp/80 deny p ingressDeny[0]",
    ),
    # A denial of one port was kept out by an allow rule about all of them, and the reverse.
    "a port denied within a range and a range over it": Case(
        {
            "p": f"ingress: [{{{A}}}, {{{B}, {tcp('80')}}}]",
            "q": f"ingressDeny: [{{{A}, {tcp('80')}}}, {{{B}, {tcp('1-65535')}}}]",
        },
        "from a tcp/80 deny q ingressDeny[0]\nfrom a tcp/81 allow p ingress[0]\n"
        "from b tcp/80 deny q ingressDeny[1]",
    ),
}


@pytest.mark.parametrize("order", ["forwards", "backwards"])
@pytest.mark.parametrize("flaw", FLAWS)
def test_flaw(flaw: str, order: str) -> None:
    judges = Judges(FLAWS[flaw])
    judges.apply(FLAWS[flaw].policies, backwards=order == "backwards")
    judges.ask_all(FLAWS[flaw].probes)


def pod(number: int, *labels: Label, namespace: str = "default") -> Endpoint:
    carried = labels_of_endpoint(namespace, [Label("k8s", "app", "a"), *labels])
    address = pack_address(f"10.0.0.{number}")
    return Endpoint(EndpointId(number), namespace, f"pod{number}", carried, address, None)


def told(*texts: str) -> list[Fact]:
    return [PolicyUpserted(each) for each in parse_policies([Document("p.yaml", "\n---\n".join(texts))])]


def kind(engine: Engine, subject: int, peer: int, port: int = 80) -> VerdictKind:
    identity = engine.endpoint_plan(EndpointId(peer)).identity
    return engine.verdict(EndpointId(subject), Direction.INGRESS, identity, 6, port).kind


POLICY = """
apiVersion: cilium.io/v2
kind: {kind}
metadata: {{name: p}}
spec:
  endpointSelector: {selector}
  ingress: [{{{peers}}}]
"""


def lacking(key: str) -> str:
    selector = f"{{matchExpressions: [{{key: '{key}', operator: DoesNotExist}}]}}"
    return POLICY.format(kind="CiliumNetworkPolicy", selector=selector, peers="")


def test_a_subject_that_lacks_a_label_is_in_the_policys_namespace() -> None:
    """CVE-2023-41333: a policy about whoever lacks ``reserved:init`` was about every namespace."""
    engine = Engine()
    engine.change(EndpointUpserted(pod(number, namespace="other")) for number in (1, 2))
    engine.change(told(lacking("role")))
    assert kind(engine, 1, 2) is VerdictKind.ALLOW
    assert not engine.snapshot().rule_sets


@pytest.mark.parametrize("key", ["reserved:init", "io.kubernetes.pod.namespace"])
def test_a_subject_that_lacks_what_kinety_sets_is_refused(key: str) -> None:
    with pytest.raises(PolicyError, match=r"reserved label|another namespace"):
        told(lacking(key))


@pytest.mark.parametrize(
    "label",
    [
        Label("reserved", "host"),
        Label("cidr", "0.0.0.0/0"),
        Label("any", "app", "b"),
        Label("block", "10.0.0.0/8"),
        Label("fqdn", "a.b"),
    ],
    ids=str,
)
def test_nobody_is_who_his_labels_say_he_is(label: Label) -> None:
    """CVE-2023-39347, and its kin: labels of sources that only Kinety vouches for."""
    with pytest.raises(ValueError, match=label.source):
        pod(1, label)
    forged = pod(1)
    forged = Endpoint(forged.id, "default", "pod1", forged.labels | {label}, forged.ipv4, None)
    engine = Engine()
    for fact in (EndpointUpserted(forged), PeerUpserted(Prefix.parse("172.16.0.1/32"), forged.labels)):
        with pytest.raises(ValueError, match=label.source):
            engine.change([fact])
    assert not engine.endpoints


def test_nobody_names_a_port_by_a_label_of_his_own() -> None:
    with pytest.raises(ValueError, match="port"):
        pod(1, Label("port", "http", "80/TCP"))


@pytest.mark.parametrize("source", ["k8s", "container", "unspec"])
@pytest.mark.parametrize("key", ["io.kubernetes.pod.namespace", "io.cilium.k8s.namespace.labels.env"])
def test_nobody_is_of_the_namespace_that_his_labels_say(source: str, key: str) -> None:
    """CVE-2023-39347: a label of the workload's own chose which policies apply to it."""
    with pytest.raises(ValueError, match="speaks for a namespace"):
        pod(1, Label(source, key, "other"))


def test_an_endpoint_with_a_nodes_labels_is_no_node() -> None:
    """CVE-2025-30163: rules about nodes let in endpoints with the same labels."""
    zone = [Label(source, "zone", "a") for source in ("k8s", "container", "node")]
    engine = Engine()
    engine.change([EndpointUpserted(pod(1)), EndpointUpserted(pod(2, *zone))])
    text = POLICY.format(
        kind="CiliumClusterwideNetworkPolicy", selector="{}", peers="fromNodes: [{matchLabels: {zone: a}}]"
    )
    engine.change(told(text))
    assert kind(engine, 1, 2) is VerdictKind.DENY
