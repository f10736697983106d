import json

import pytest
import yaml

from kinety.model.rule import PolicyKey
from kinety.policy.document import MAX_TEXT, Document
from kinety.policy.error import PolicyError
from kinety.policy.parse import parse_objects, parse_policies
from kinety.policy.report import MAX_REPORTED
from tests.unit.policy.sample import CLUSTERWIDE, NAMESPACED, parse, refused, text

GOOD = text("endpointSelector: {}\ningress:\n- fromEntities: [host]")


def named(name: str, kind: str = NAMESPACED) -> str:
    return text("endpointSelector: {}\ningress: [{}]", kind).replace("sample", name)


def keys(*documents: Document) -> list[str]:
    return [str(policy.key) for policy in parse_policies(documents)]


def test_nothing_gives_nothing() -> None:
    assert parse_policies([]) == ()


def test_policies_come_in_the_order_of_files_and_streams() -> None:
    stream = f"{named('b')}---\n{named('a', CLUSTERWIDE)}---\n"
    assert keys(Document("1.yaml", stream), Document("2.yaml", named("c"))) == [
        f"{NAMESPACED}/default/b",
        f"{CLUSTERWIDE}/a",
        f"{NAMESPACED}/default/c",
    ]


def test_lines_count_from_the_beginning_of_the_file() -> None:
    first, second = parse(f"{GOOD}---\n{named('b')}")
    assert first.rules[0].origin.line == 8
    assert second.rules[0].origin.line == len(GOOD.splitlines()) + 1 + 7


def test_json_has_lines_too() -> None:
    (policy,) = parse(json.dumps(yaml.safe_load(GOOD), indent="\t"))
    assert policy.rules[0].peers == parse(GOOD)[0].rules[0].peers
    assert policy.rules[0].origin.line == 10


@pytest.mark.parametrize(
    ("head", "name"),
    [
        ("apiVersion: v1\nkind: List\nmetadata: {resourceVersion: ''}\n", "List"),
        (f"apiVersion: cilium.io/v2\nkind: {NAMESPACED}List\n", f"{NAMESPACED}List"),
    ],
)
def test_lists(head: str, name: str) -> None:
    items = [yaml.safe_load(named("a")), yaml.safe_load(named("b"))]
    found = parse(head + yaml.safe_dump({"items": items}))
    assert [policy.key.name for policy in found] == ["a", "b"]
    assert found[1].rules[0].origin.path == "items[1].spec.ingress[0]"
    (finding,) = refused(head)
    assert finding.message == f"a {name} has a list of items"
    (finding,) = refused(head + "items: [{}, 1]\nfoo: 1")[1:2]
    assert finding.path == "items[1]"


def test_a_bad_item_of_a_list_is_named() -> None:
    items = [yaml.safe_load(named("a")), yaml.safe_load(named("b"))]
    items[1]["spec"]["ingress"] = [{"fromCIDR": ["x"]}]
    (finding,) = refused("apiVersion: v1\nkind: List\n" + yaml.safe_dump({"items": items}))
    assert finding.path == "items[1].spec.ingress[0].fromCIDR[0]"


def test_all_or_nothing_and_everything_wrong_in_every_file() -> None:
    bad = named("bad").replace("ingress", "ingres")
    with pytest.raises(PolicyError) as caught:
        parse_policies([Document("a.yaml", GOOD), Document("b.yaml", bad), Document("c.yaml", "a:\n\tb")])
    assert [(finding.file, finding.line) for finding in caught.value.findings] == [
        ("b.yaml", 7),
        ("c.yaml", 2),
    ]


def test_findings_come_in_the_order_of_lines() -> None:
    spec = "foo: 1\nendpointSelector: {}\ningress: [{fromCIDR: [1]}]\nbar: 2\nenableDefaultDeny: 3"
    lines = [finding.line for finding in refused(text(spec))]
    assert lines == sorted(lines)
    assert len(lines) == 4


def test_the_same_policy_twice() -> None:
    with pytest.raises(PolicyError) as caught:
        parse_policies([Document("a.yaml", GOOD), Document("b.yaml", f"---\n{GOOD}")])
    (finding,) = caught.value.findings
    assert (finding.file, finding.line) == ("b.yaml", 2)
    assert f"{NAMESPACED}/default/sample is given twice" in finding.message
    assert "a.yaml:1" in finding.hint


def test_the_same_name_in_two_scopes_is_two_policies() -> None:
    prod = GOOD.replace("name: sample", "name: sample\n  namespace: prod")
    both = parse(f"{GOOD}---\n{prod}---\n{named('sample', CLUSTERWIDE)}")
    assert [policy.key for policy in both] == [
        PolicyKey(NAMESPACED, "default", "sample"),
        PolicyKey(NAMESPACED, "prod", "sample"),
        PolicyKey(CLUSTERWIDE, "", "sample"),
    ]


OTHERS = """\
apiVersion: v1
kind: Service
metadata: {name: sample}
spec: {selector: {app: web}}
---
apiVersion: cilium.io/v2
kind: CiliumCIDRGroup
metadata: {name: sample}
spec: {externalCIDRs: [10.0.0.0/8]}
---
apiVersion: kinety.io/v1alpha1
kind: Invariant
metadata: {name: sample}
spec: {mustDeny: [{from: {entity: world}, to: {endpoints: {}}}]}
"""


def test_objects_of_every_kind_by_name() -> None:
    found = parse_objects([Document("1.yaml", OTHERS), Document("2.yaml", f"{named('b')}---\n{named('a')}")])
    assert [str(key) for key in found.by_key] == [
        "Service/default/sample",
        "CiliumCIDRGroup/sample",
        "Invariant/sample",
        f"{NAMESPACED}/default/b",
        f"{NAMESPACED}/default/a",
    ]
    assert [policy.key.name for policy in found.policies] == ["b", "a"]
    assert [group.name for group in found.cidr_groups] == ["sample"]
    assert [service.name for service in found.services] == ["sample"]
    assert [each.key.name for each in found.invariants] == ["sample"]


def test_the_same_object_twice() -> None:
    with pytest.raises(PolicyError) as caught:
        parse_objects([Document("1.yaml", OTHERS), Document("2.yaml", OTHERS)])
    assert [finding.message for finding in caught.value.findings] == [
        f"{key} is given twice"
        for key in ("Service/default/sample", "CiliumCIDRGroup/sample", "Invariant/sample")
    ]
    assert [finding.line for finding in caught.value.findings] == [1, 6, 11]


def test_what_is_no_policy_is_refused_where_only_policies_are_taken() -> None:
    with pytest.raises(PolicyError) as caught:
        parse_policies([Document("1.yaml", f"{GOOD}---\n{OTHERS}")])
    first = len(GOOD.splitlines()) + 2
    assert [(finding.line, finding.message) for finding in caught.value.findings] == [
        (first, "the kind Service is no policy"),
        (first + 5, "the kind CiliumCIDRGroup is no policy"),
        (first + 10, "the kind Invariant is no policy"),
    ]


@pytest.mark.parametrize("nothing", ["", "---\n", "# a comment\n", "apiVersion: v1\nkind: List\nitems: []\n"])
def test_a_file_without_a_policy(nothing: str) -> None:
    (finding,) = refused(nothing)
    assert str(finding) == "p.yaml: there is no policy in it"


@pytest.mark.parametrize(
    ("change", "line", "path", "message", "hint"),
    [
        (("apiVersion: cilium.io/v2\n", ""), 1, "apiVersion", "apiVersion is missing", "cilium.io/v2"),
        (
            ("cilium.io/v2", "cilium.io/v3"),
            1,
            "apiVersion",
            "unknown apiVersion 'cilium.io/v3'",
            "cilium.io/v2",
        ),
        ((f"kind: {NAMESPACED}\n", ""), 1, "kind", "kind is missing", ""),
        ((f"kind: {NAMESPACED}", "kind: 3"), 2, "kind", "kind is not text", ""),
        ((f"kind: {NAMESPACED}", "kind: {a: b}"), 2, "kind", "kind is not text", ""),
        ((NAMESPACED, "CiliumNetworkPolcy"), 2, "kind", "unknown kind", f"did you mean {NAMESPACED}?"),
        ((NAMESPACED, "Pod"), 2, "kind", "unknown kind 'Pod'", NAMESPACED),
        ((NAMESPACED, "NetworkPolicy"), 1, "apiVersion", "'cilium.io/v2' of NetworkPolicy", "k8s.io/v1"),
        ((NAMESPACED, "ClusterNetworkPolicy"), 1, "apiVersion", "unknown apiVersion", "v1alpha2"),
        ((NAMESPACED, "NetworkPolcy"), 2, "kind", "unknown kind", "did you mean NetworkPolicy?"),
        (("metadata:\n  name: sample\n", ""), 1, "", "metadata is missing", "name"),
        (("  name: sample\n", "  namespace: a\n"), 3, "metadata", "name is missing", ""),
        (("name: sample", "name: 5"), 4, "metadata.name", "expected text, found the unquoted 5", '"5"'),
        (("name: sample", "nam: sample"), 3, "metadata", "name is missing", ""),
    ],
)
def test_bad_envelopes(change: tuple[str, str], line: int, path: str, message: str, hint: str) -> None:
    finding = refused(GOOD.replace(*change))[0]
    assert (finding.line, finding.path) == (line, path)
    assert message in finding.message
    assert hint in finding.hint


@pytest.mark.parametrize("root", ["- a\n", "hello\n", "80\n", "[[1]]\n"])
def test_what_is_no_object(root: str) -> None:
    (finding,) = refused(root)
    assert "expected a policy, found" in finding.message


def test_too_much_text_is_refused_unread() -> None:
    half = "#" * (MAX_TEXT // 2) + "\n"
    with pytest.raises(PolicyError, match=r"^b.yaml: more than 4 MiB of policy text"):
        parse_policies([Document("a.yaml", half), Document("b.yaml", half)])


def test_much_text_is_accepted() -> None:
    assert len(parse("---\n".join(named(f"p{i}") for i in range(300)))) == 300


@pytest.mark.parametrize(
    "endless",
    [
        text(f"endpointSelector: {{}}\ningress: [{', '.join(['1'] * 1000)}]"),
        text(f"endpointSelector: {{}}\ningress: [{{fromCIDR: [{', '.join(['x'] * 1000)}]}}]"),
        "--- a\n" * 1000,
    ],
)
def test_the_search_for_mistakes_ends(endless: str) -> None:
    assert len(refused(endless)) == MAX_REPORTED
