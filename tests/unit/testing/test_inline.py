"""A policy written inside a scenario must mean what it would mean in a file of its own, line for line."""

import pytest

from kinety.policy.document import Document, LocatedMapping, read
from kinety.policy.parse import parse_policies
from kinety.testing.inline import inline_policy

RULES = """\
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: two}
spec:
  endpointSelector: {}
  ingress:
    - fromEndpoints: [{matchLabels: {app: a}}]
    - toPorts:
        - ports: [{port: "80", protocol: TCP}]
"""
FLOW = """\
{apiVersion: cilium.io/v2, kind: CiliumNetworkPolicy, metadata: {name: flow},
spec: {endpointSelector: {},
       ingress: [{fromEndpoints: [{}]},
  {fromEntities: [world]}]}}"""


def indented(text: str, by: int) -> str:
    return text.replace("\n", "\n" + " " * by).rstrip(" ")


def inline(text: str, index: int = 0) -> Document:
    document = Document("s.yaml", text)
    (tree,) = read(document)
    policy = tree.value_at(("policies", index))
    assert isinstance(policy, LocatedMapping)
    return inline_policy(document, policy)


def lines_of_rules(document: Document) -> list[int]:
    (policy,) = parse_policies([document])
    return [rule.origin.line for rule in policy.rules]


@pytest.mark.parametrize("indent", [0, 2, 6])
def test_rules_keep_their_lines(indent: int) -> None:
    item = " " * indent + "- " + indented(RULES, indent + 2)
    assert lines_of_rules(inline(f"# scenario\nname: x\npolicies:\n{item}\nprobes: []\n")) == [10, 11]


def test_comments_further_left_do_not_end_it() -> None:
    spoiled = indented(RULES, 4).replace("        - toPorts", "# to the port\n  # and\n\n        - toPorts")
    assert lines_of_rules(inline(f"policies:\n  - {spoiled}\nprobes: []\n")) == [8, 12]


def test_each_of_several_is_itself_alone() -> None:
    other = RULES.replace("name: two", "name: other")
    text = f"policies:\n- {indented(RULES, 2)}\n- {indented(other, 2)}"
    for index, name in enumerate(("two", "other")):
        (policy,) = parse_policies([inline(text, index)])
        assert policy.key.name == name
    assert lines_of_rules(inline(text, 1)) == [18, 19]


def test_flow_style() -> None:
    text = f"policies: [{FLOW}, {FLOW.replace('name: flow', 'name: second')}]\nprobes: []\n"
    assert lines_of_rules(inline(text)) == [3, 4]
    (second,) = parse_policies([inline(text, 1)])
    assert (second.key.name, [rule.origin.line for rule in second.rules]) == ("second", [6, 7])


def test_the_last_item_of_a_file_without_a_newline() -> None:
    text = f"policies:\n  - {indented(RULES, 4).rstrip()}"
    assert lines_of_rules(inline(text)) == [8, 9]


def test_literal_text_is_left_as_it_is() -> None:
    described = RULES.replace("spec:\n", "spec:\n  description: |\n    # no comment\n\n      deeper\n")
    (tree,) = read(inline(f"policies:\n  - {indented(described, 4)}"))
    assert tree.value_at(("spec", "description")) == "# no comment\n\n  deeper\n"
