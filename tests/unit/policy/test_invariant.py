import pytest

from kinety.model.address import Prefix
from kinety.model.invariant import Claim, Demand, Invariant
from kinety.model.label import Label, Labels, labels_of_endpoint
from kinety.model.rule import PolicyKey, PortRange
from kinety.model.selector import CidrSelector, EntitySelector, LabelSelector
from kinety.policy.document import Document
from kinety.policy.error import Finding, PolicyError
from kinety.policy.parse import parse_objects, parse_policies

HEAD = """\
apiVersion: kinety.io/v1alpha1
kind: Invariant
metadata: {name: sample}
spec:
"""
FIRST = 5


def text(*spec: str, namespace: str = "") -> str:
    head = HEAD.replace("sample", f"sample, namespace: {namespace}") if namespace else HEAD
    return head + "".join(f"  {line}\n" for line in spec)


def parse(document: str) -> Invariant:
    (found,) = parse_objects([Document("i.yaml", document)]).invariants
    return found


def claim(item: str, namespace: str = "") -> Claim:
    (found,) = parse(text(f"mustDeny: [{{{item}}}]", namespace=namespace)).claims
    return found


def refused(document: str) -> Finding:
    with pytest.raises(PolicyError) as caught:
        parse_objects([Document("i.yaml", document)])
    return caught.value.findings[0]


def pod(namespace: str, **own: str) -> Labels:
    return labels_of_endpoint(namespace, (Label("k8s", key, value) for key, value in own.items()))


def test_an_invariant() -> None:
    found = parse(
        text(
            "description: only the application talks to its data",
            "mustDeny:",
            "- from: {entity: world}",
            "  to: {endpoints: {matchLabels: {app: db}}}",
            "mustAllow:",
            "- from: {endpoints: {matchLabels: {app: web}}}",
            "  to: {endpoints: {matchLabels: {app: db}}}",
            "  ports: [{port: 5432, protocol: TCP}]",
            namespace="prod",
        )
    )
    assert found.key == PolicyKey("Invariant", "prod", "sample")
    deny, allow = found.claims
    assert (deny.demand, allow.demand) == (Demand.MUST_DENY, Demand.MUST_ALLOW)
    assert (deny.origin.path, deny.origin.line) == ("spec.mustDeny[0]", FIRST + 2)
    assert (allow.origin.path, allow.origin.line) == ("spec.mustAllow[0]", FIRST + 5)
    assert deny.origin.policy == found.key
    assert deny.source == EntitySelector("world")
    assert isinstance(allow.source, LabelSelector)
    assert isinstance(allow.destination, LabelSelector)
    assert allow.source.matches(pod("prod", app="web"))
    assert allow.destination.matches(pod("prod", app="db"))
    assert deny.ports is None
    assert allow.ports == (PortRange(6, 5432, 5432),)


def test_in_a_namespace_selectors_stay_there_unless_they_name_another() -> None:
    own = claim("from: {endpoints: {}}, to: {entity: host}", "prod").source
    named = claim(
        "from: {endpoints: {matchLabels: {io.kubernetes.pod.namespace: test}}}, to: {entity: host}", "prod"
    ).source
    everywhere = claim("from: {endpoints: {}}, to: {entity: host}").source
    for selector, reached in ((own, ["prod"]), (named, ["test"]), (everywhere, ["prod", "test"])):
        assert isinstance(selector, LabelSelector)
        assert [name for name in ("prod", "test") if selector.matches(pod(name))] == reached
        assert not selector.matches(frozenset({Label("reserved", "world")}))


def test_ends() -> None:
    assert claim("from: {entity: all}, to: {endpoints: {}}").source is None
    assert claim("from: {endpoints: {}}, to: {entity: all}").destination is None
    assert claim("from: {endpoints: {}}, to: {cidr: 10.1.2.3/8}").destination == CidrSelector(
        Prefix.parse("10.0.0.0/8")
    )
    assert claim("from: {cidr: '2001:db8::1'}, to: {endpoints: {}}").source == CidrSelector(
        Prefix.parse("2001:db8::1/128")
    )


@pytest.mark.parametrize(
    ("ports", "expected"),
    [
        ("{port: 80, protocol: TCP}", [(6, 80, 80)]),
        ("{port: '80', endPort: 90, protocol: UDP}", [(17, 80, 90)]),
        ("{port: 53}", [(6, 53, 53), (17, 53, 53), (132, 53, 53)]),
        ("{port: 0, protocol: TCP}", [(6, 0, 65535)]),
        ("{protocol: ICMP}", [(1, 0, 65535)]),
    ],
)
def test_ports(ports: str, expected: list[tuple[int, int, int]]) -> None:
    found = claim(f"from: {{endpoints: {{}}}}, to: {{endpoints: {{}}}}, ports: [{ports}]")
    assert found.ports == tuple(PortRange(*each) for each in expected)


POD = "{endpoints: {}}"


@pytest.mark.parametrize(
    ("line", "path", "message", "hint"),
    [
        ("{}", "", "the invariant demands nothing", "mustDeny"),
        ("mustDeny: []", "", "the invariant demands nothing", "mustAllow"),
        ("mustDeny: [{}]", "mustDeny[0]", "from is missing", "`from: {endpoints: {}}`"),
        (f"mustDeny: [{{from: {POD}}}]", "mustDeny[0]", "to is missing", "`to: {entity: all}`"),
        (f"mustAllow: [{{to: {POD}}}]", "mustAllow[0]", "from is missing", "everybody"),
        (
            f"mustDeny: [{{from: {{}}, to: {POD}}}]",
            "mustDeny[0].from",
            "says nothing",
            "endpoints, entity, cidr",
        ),
        (
            f"mustDeny: [{{from: {{entity: host, cidr: '::/0'}}, to: {POD}}}]",
            "mustDeny[0].from",
            "entity and cidr cannot be in one item",
            "",
        ),
        (
            f"mustDeny: [{{from: {{entity: wrld}}, to: {POD}}}]",
            "mustDeny[0].from.entity",
            "there is no entity 'wrld'",
            "did you mean world?",
        ),
        (
            f"mustDeny: [{{from: {{entity: none}}, to: {POD}}}]",
            "mustDeny[0].from.entity",
            "about nobody always holds",
            "somebody",
        ),
        (
            f"mustDeny: [{{from: {{cidr: 10.0.0.0/33}}, to: {POD}}}]",
            "mustDeny[0].from.cidr",
            "is not an address prefix",
            "",
        ),
        (
            "mustDeny: [{from: {entity: world}, to: {entity: host}}]",
            "mustDeny[0]",
            "no policy is about traffic between these two",
            "endpoints at one end",
        ),
        (
            f"mustDeny: [{{from: {POD}, to: {POD}, ports: []}}]",
            "mustDeny[0].ports",
            "no ports are named",
            "every port",
        ),
        (
            f"mustDeny: [{{from: {POD}, to: {POD}, ports: [{{}}]}}]",
            "mustDeny[0].ports[0]",
            "port is missing",
            "leave ports out",
        ),
        (
            f"mustDeny: [{{from: {POD}, to: {POD}, ports: [{{port: http, protocol: TCP}}]}}]",
            "mustDeny[0].ports[0].port",
            "'http' is the name of a port",
            "write its number",
        ),
        (
            f"mustDeny: [{{from: {POD}, to: {POD}, ports: [{{port: 65536}}]}}]",
            "mustDeny[0].ports[0].port",
            "there is no port 65536",
            "",
        ),
        (f"from: {POD}", "from", "from belongs inside an item of mustAllow or mustDeny", "- "),
        (
            f"mustDeny: [{{entity: world, to: {POD}}}]",
            "mustDeny[0].entity",
            "entity belongs inside from or to",
            "from: {...}",
        ),
        (
            f"mustDeny: [{{from: {{matchLabels: {{}}}}, to: {POD}}}]",
            "mustDeny[0].from.matchLabels",
            "matchLabels belongs inside endpoints",
            "",
        ),
        (f"mustDeny: [{{from: {POD}, to: {POD}, toPorts: []}}]", "mustDeny[0].toPorts", "", "write ports"),
        (f"mustDeny: [{{from: [{POD}], to: {POD}}}]", "mustDeny[0].from", "expected a mapping", "remove the"),
        ("mustdeny: []", "mustdeny", "unknown field 'mustdeny'", "did you mean mustDeny?"),
    ],
)
def test_what_cannot_be_said(line: str, path: str, message: str, hint: str) -> None:
    found = refused(text(line))
    assert found.path == (f"spec.{path}" if path else "spec")
    assert found.line == (FIRST if path else FIRST - 1)
    assert message in found.message
    assert hint in found.hint


def test_what_belongs_under_spec() -> None:
    found = refused(f"{text('mustDeny: []')}mustAllow: []\n")
    assert (found.path, found.message) == ("mustAllow", "mustAllow belongs under spec")


def test_an_invariant_is_no_policy() -> None:
    document = Document("i.yaml", text(f"mustDeny: [{{from: {POD}, to: {POD}}}]"))
    assert parse_objects([document]).policies == ()
    with pytest.raises(PolicyError, match="the kind Invariant is no policy"):
        parse_policies([document])
