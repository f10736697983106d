"""Explaining and comparing from files, as people and programs are told; and what goes to the agent."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import Result

from kinety.api import insight, types
from kinety.api.decode import decode
from kinety.cli.insight import change_table
from kinety.cli.offline import explanation
from tests.served_node import ValueNode

Run = Callable[..., Result]
SHIPS = "examples/star-wars/scenario.yaml"
POLICY = "examples/star-wars/policy.yaml"


def test_a_denied_flow_is_explained_to_people(run: Run) -> None:
    done = run("policy", "explain", "--from", "xwing", "--to", "deathstar", "--port", "80", "-f", SHIPS)
    lines = done.stdout.splitlines()
    assert lines[0] == "default/xwing → default/deathstar, TCP/80, is denied"
    assert lines[2] == "egress of default/xwing: allow, because no rule isolates it"
    assert lines[5] == (
        "ingress of default/deathstar: deny, because no rule names the flow and"
        f" {POLICY}:12 (spec.ingress[0]) isolates it"
    )
    assert (
        f"  near      {POLICY}:12 (spec.ingress[0]): peer: it asks for org=empire (it has alliance)" in lines
    )
    start = lines.index("Any of these would let it through; each was tried:")
    step = "add to spec.ingress[0].fromEndpoints: {matchLabels: {org: alliance}}"
    assert lines[start + 1 : start + 3] == [f"  1. {POLICY}:12: {step}", "     opens nothing else"]


def test_an_allowed_flow_shows_what_else_its_rule_allows(run: Run) -> None:
    done = run("policy", "explain", "--from", "tiefighter", "--to", "deathstar", "--port", "80", "-f", SHIPS)
    lines = done.stdout.splitlines()
    assert lines[0] == "default/tiefighter → default/deathstar, TCP/80, is allowed"
    assert lines[-1] == "  the rule  allows TCP/80 from default/deathstar, default/tiefighter"
    assert "entry TCP/80" in lines[-2]


def test_an_explanation_for_programs(run: Run) -> None:
    words = ("policy", "explain", "--from", "xwing", "--to", "deathstar", "--protocol", "ICMP", "-f", SHIPS)
    found = decode(insight.Explanation, json.loads(run(*words, "-o", "json").stdout))
    assert (found.protocol, found.port, found.verdict) == ("ICMP", 8, "deny")
    assert found.ingress is not None
    assert found.ingress.chain.entry is None
    assert found.edits[0].steps[0].value == {
        "fromEndpoints": [{"matchLabels": {"class": "xwing", "org": "alliance"}}],
        "icmps": [{"fields": [{"family": "IPv4", "type": 8}]}],
    }


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--from", "xwng", "--to", "deathstar", "--port", "80"), "did you mean default/xwing?"),
        (("--from", "xwing", "--to", "deathstar"), "say which TCP port with --port"),
        (
            ("--from", "xwing", "--to", "host", "--port", "1", "--protocol", "TPC"),
            "there is no protocol 'TPC'",
        ),
    ],
)
def test_what_cannot_be_asked(run: Run, words: tuple[str, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("?", r"\?")):
        run("policy", "explain", *words, "-f", SHIPS)


def test_without_files_the_agent_is_asked(run: Run, node: ValueNode) -> None:
    value = explanation([SHIPS], "xwing", "deathstar", "TCP", 80)
    node.explained = decode(insight.Explanation, value)
    shown = run(
        "policy",
        "explain",
        "--from",
        "xwing",
        "--to",
        "a=b,c=d",
        "--port",
        "80",
        "--http-path",
        "/a b",
        "-o",
        "json",
    ).stdout
    assert json.loads(shown) == value
    assert node.asked == [("xwing", "a=b,c=d", "TCP", 80, (None, "/a b"))]


def test_a_difference(run: Run, tmp_path: Path) -> None:
    new = tmp_path / "new.yaml"
    new.write_text(Path(POLICY).read_text().replace('port: "80"', 'port: "443"'))
    done = run("policy", "diff", SHIPS, str(new))
    assert [line.split("  ")[0] for line in done.stdout.splitlines()] == ["DIRECTION", "ingress", "ingress"]
    empire = "ingress default/deathstar default/deathstar, default/tiefighter"
    assert [" ".join(line.split()) for line in done.stdout.splitlines()[1:]] == [
        f"{empire} TCP/80 allow: {POLICY}:12 deny: default",
        f"{empire} TCP/443 deny: default allow: {new}:12",
    ]
    changes = json.loads(run("policy", "diff", SHIPS, str(new), "-o", "json").stdout)
    assert [each["traffic"]["blocks"] for each in changes] == [
        [{"protocols": [6, 6], "ports": [port, port]}] for port in (80, 443)
    ]


def test_no_difference(run: Run) -> None:
    assert run("policy", "diff", SHIPS, POLICY).stdout == "no verdict differs\n"
    assert json.loads(run("policy", "diff", SHIPS, POLICY, "-o", "json").stdout) == []


def test_a_difference_needs_somebody(run: Run) -> None:
    with pytest.raises(ValueError, match="add a scenario that has some with --file"):
        run("policy", "diff", POLICY, POLICY)
    assert run("policy", "diff", POLICY, POLICY, "-f", SHIPS).stdout == "no verdict differs\n"


CHANGE = insight.VerdictChange(
    "egress",
    insight.Group(("a/b", "a/c", "a/d", "a/e", "a/f")),
    insight.Group(("host",), all_but=True),
    insight.Traffic("all", ()),
    "allow",
    "",
    None,
    "redirect",
    "GET /v1/.*",
    "p.yaml:3",
)


def test_groups_are_short_for_people() -> None:
    line = change_table((CHANGE, replace(CHANGE, peers=insight.Group((), all_but=True)))).splitlines()[1:]
    assert " ".join(line[0].split()) == (
        "egress a/b, a/c, a/d and 2 more all but host all allow: default redirect (GET /v1/.*): p.yaml:3"
    )
    assert " everybody " in line[1]


def test_a_dry_run_shows_what_would_change(run: Run, node: ValueNode) -> None:
    node.result = types.PolicyResult((), True, 1, 0.001, (CHANGE,))
    shown = run("policy", "apply", "--dry-run", "-", stdin="kind: X").stdout
    assert shown.splitlines() == change_table((CHANGE,)).splitlines()


def test_what_is_odd_has_line_reason_and_way_out(run: Run, tmp_path: Path) -> None:
    odd = tmp_path / "odd.yaml"
    odd.write_text(
        Path(POLICY).read_text().replace("name: rule1", "name: odd").replace("deathstar\n", "deathstr\n")
    )
    done = run("policy", "lint", str(odd), SHIPS)
    assert done.stdout.splitlines() == [
        f"{odd}:12: spec.ingress[0]: the policy is about nobody there is: class=deathstr, org=empire,"
        " namespace=default; nobody has class=deathstr; did you mean class=deathstar? [nobody]"
    ]
    (value,) = json.loads(run("policy", "lint", str(odd), SHIPS, "-o", "json").stdout)
    assert (value["check"], value["line"]) == ("nobody", 12)
    assert run("policy", "lint", str(odd)).stdout == "", "without a scenario nobody is known"


def test_without_files_the_agents_policies_are_looked_at(run: Run) -> None:
    shown = run("policy", "lint").stdout
    assert shown == "p.yaml:7: spec.ingress[0]: never decides; remove it [shadowed]\n"


def test_every_verdict(run: Run) -> None:
    lines = [line.split("  ")[0] for line in run("policy", "verdicts", "-f", SHIPS).stdout.splitlines()]
    assert lines[1:] == [
        "default/deathstar, default/tiefighter, default/xwing",
        *["default/deathstar"] * 4,
        "default/tiefighter, default/xwing",
    ]
    rows = json.loads(run("policy", "verdicts", "-f", SHIPS, "-o", "json").stdout)
    (door,) = [row for row in rows if row["rule"] == f"{POLICY}:12"]
    assert door["peers"] == {"names": ["default/deathstar", "default/tiefighter"], "all_but": False}
    assert door["traffic"]["blocks"] == [{"protocols": [6, 6], "ports": [80, 80]}]
    assert run("policy", "verdicts").stdout.splitlines()[1].split() == [
        *("default/web", "ingress", "everybody", "all", "deny:", "default")
    ]
