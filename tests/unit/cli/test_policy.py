import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from click.testing import Result

from kinety.api import types
from kinety.api.errors import ApiError
from tests.served_node import ValueNode

Run = Callable[..., Result]
RESULT = types.PolicyResult(
    (
        types.PolicyOutcome("CiliumNetworkPolicy", "default", "rule1", "created", 1),
        types.PolicyOutcome("CiliumClusterwideNetworkPolicy", "", "all", "updated", 3),
    ),
    False,
    1,
    0.0042,
)


def test_apply_gives_the_agent_the_files_and_says_what_became_of_them(
    run: Run, node: ValueNode, tmp_path: Path
) -> None:
    node.result = RESULT
    file = tmp_path / "p.yaml"
    file.write_text("kind: X\n")
    assert run("policy", "apply", str(file), "-", stdin="kind: Y\n").stdout.splitlines() == [
        "CiliumNetworkPolicy/default/rule1 created, 1 rule",
        "CiliumClusterwideNetworkPolicy/all updated, 3 rules",
        "in force on 1 endpoint after 4.2 ms",
    ]
    documents = (types.Document(str(file), "kind: X\n"), types.Document("<stdin>", "kind: Y\n"))
    assert node.asked == [(types.PolicyDocuments(documents), False)]


def test_a_dry_run_promises_nothing(run: Run, node: ValueNode) -> None:
    node.result = types.PolicyResult(RESULT.policies[:1], True, 1, 0.001)
    shown = run("policy", "apply", "--dry-run", "-", stdin="kind: X").stdout
    assert shown.splitlines() == [
        "CiliumNetworkPolicy/default/rule1 created (dry run), 1 rule",
        "no verdict would change",
    ]
    assert node.asked == [(types.PolicyDocuments((types.Document("<stdin>", "kind: X"),)), True)]


@pytest.mark.parametrize(("output", "load"), [("json", json.loads), ("yaml", yaml.safe_load)])
def test_apply_for_programs(run: Run, node: ValueNode, output: str, load: Callable[[str], object]) -> None:
    node.result = RESULT
    value = load(run("policy", "apply", "-", "-o", output, stdin="kind: X").stdout)
    assert isinstance(value, dict)
    assert [item["outcome"] for item in value["policies"]] == ["created", "updated"]


def test_a_refusal_names_the_place(run: Run, node: ValueNode) -> None:
    with pytest.raises(ApiError, match=r"^p\.yaml:7: spec\.toPorts: no such field$"):
        run("policy", "apply", "-", stdin="kind: X")


def test_list(run: Run) -> None:
    lines = [line.split() for line in run("policy", "list").stdout.splitlines()]
    assert lines[1] == ["CiliumClusterwideNetworkPolicy", "-", "everywhere", "enforced", "4", "all.yaml:2"]
    assert lines[2] == ["CiliumNetworkPolicy", "default", "rule1", "enforced", "1", "policy.yaml:12"]


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("everywhere", ("CiliumClusterwideNetworkPolicy", "", "everywhere")),
        ("ccnp/everywhere", ("CiliumClusterwideNetworkPolicy", "", "everywhere")),
        ("default/rule1", ("CiliumNetworkPolicy", "default", "rule1")),
        ("cnp/prod/rule1", ("CiliumNetworkPolicy", "prod", "rule1")),
        ("networkpolicy/prod/rule1", ("NetworkPolicy", "prod", "rule1")),
        ("netpol/prod/rule1", ("NetworkPolicy", "prod", "rule1")),
    ],
)
def test_names_of_policies(run: Run, node: ValueNode, name: str, found: tuple[str, str, str]) -> None:
    shown = run("policy", "delete", name).stdout
    assert node.asked == [found]
    assert shown.splitlines()[0] == f"{'/'.join(filter(None, found))} deleted, 0 rules"


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("rule1",), "'rule1' could be any of CiliumNetworkPolicy/default/rule1, "),
        (("prod/rule1",), "'prod/rule1' could be any of CiliumNetworkPolicy/prod/rule1, NetworkPolicy"),
        (("nothing",), "there is no policy 'nothing'"),
        (("everywhere", "nothing"), "there is no policy 'nothing'"),
    ],
)
def test_when_one_name_is_unclear_nothing_is_deleted(
    run: Run, node: ValueNode, names: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        run("policy", "delete", *names)
    assert node.asked == []


def test_get_shows_the_text_as_it_was_written(run: Run) -> None:
    assert run("policy", "get", "everywhere").stdout == "text ü\n"
    assert json.loads(run("policy", "get", "everywhere", "-o", "json").stdout)["file"] == "a/b.yaml"
