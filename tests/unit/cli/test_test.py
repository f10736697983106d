"""``kinety test``: scenarios in several files and documents, for people and for programs."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

KINETY = [sys.executable, "-m", "kinety.cli.main", "test"]
POLICY = """apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: rule1}
spec:
  endpointSelector: {matchLabels: {app: server}}
  ingress:
  - fromEndpoints: [{matchLabels: {app: client}}]
    toPorts: [{ports: [{port: "80", protocol: TCP}]}]
  ingressDeny:
  - fromEndpoints: [{matchLabels: {app: enemy}}]
"""
SCENARIO = """apiVersion: kinety.io/v1alpha1
kind: Scenario
name: NAME
endpoints:
- {name: server, labels: {app: server}, listens: [{port: 80, protocol: TCP}]}
- {name: client, labels: {app: client}}
- {name: enemy, labels: {app: enemy}}
policies: [policy.yaml]
probes:
- {from: client, to: server, port: 80, protocol: TCP, expect: EXPECT}
- {from: client, to: server, port: 81, protocol: TCP, expect: deny}
- {from: enemy, to: server, port: 80, protocol: TCP, expect: deny}
"""
KEYS = {"scenario", "from", "to", "port", "protocol", "expect", "outcome", "ok", "egress", "ingress"}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "policy.yaml").write_text(POLICY)
    return tmp_path


def scenario(name: str, expect: str = "allow") -> str:
    return SCENARIO.replace("NAME", name).replace("EXPECT", expect)


def kinety(*words: str, stdin: str | None = None) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*KINETY, *words], input=stdin, capture_output=True, text=True, check=False, timeout=60
    )


def test_several_files_and_documents_are_one_run(place: Path) -> None:
    first, second = place / "first.yaml", place / "second.yaml"
    first.write_text(scenario("a") + "---\n" + scenario("b"))
    second.write_text(scenario("c"))
    done = kinety("--output", "json", str(first), str(second))
    assert (done.returncode, done.stderr) == (0, "")
    probes = json.loads(done.stdout)
    assert [probe["scenario"] for probe in probes] == ["a"] * 3 + ["b"] * 3 + ["c"] * 3
    assert all(probe.keys() >= KEYS for probe in probes)


def test_both_sides_are_told_apart_each_with_its_rule(place: Path) -> None:
    file = place / "s.yaml"
    file.write_text(scenario("a"))
    allowed, by_default, by_rule = json.loads(kinety("-o", "json", str(file)).stdout)
    assert (allowed["outcome"], allowed["ok"], allowed["port"], allowed["protocol"]) == (
        "allow",
        True,
        80,
        "TCP",
    )
    assert allowed["egress"] == {"verdict": "allow", "rule": None}
    assert allowed["ingress"]["rule"] == f"{place}/policy.yaml:7"
    assert (by_default["outcome"], by_default["ingress"]) == ("deny", {"verdict": "deny", "rule": None})
    assert by_rule["ingress"]["verdict"] == "deny"
    assert by_rule["ingress"]["rule"] == f"{place}/policy.yaml:10"


def test_yaml_says_the_same_as_json(place: Path) -> None:
    file = place / "s.yaml"
    file.write_text(scenario("a"))
    as_json, as_yaml = (kinety("-o", output, str(file)).stdout for output in ("json", "yaml"))
    assert yaml.safe_load(as_yaml) == json.loads(as_json)


def test_a_probe_that_differs_is_status_1_and_marked(place: Path) -> None:
    file = place / "s.yaml"
    file.write_text(scenario("a", expect="deny"))
    done = kinety(str(file))
    assert (done.returncode, done.stderr) == (1, "")
    failing, second, third = done.stdout.splitlines()[1:]
    assert failing.split()[:6] == ["FAIL", "client", "server", "TCP/80", "deny", "allow"]
    assert second.startswith("ok ")
    assert third.startswith("ok ")
    assert "policy.yaml:10" in third


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("policies: [policy.yaml]", "policies: [missing.yaml]"), "missing.yaml"),
        (("to: server, port: 81", "to: nobody, port: 81"), "s.yaml:11"),
        (("expect: deny", "expect: maybe"), "s.yaml:11"),
        (("port: 81", "port: 70000"), "s.yaml:11"),
        (("probes:", "proobes:"), "s.yaml:9"),
        (("kind: Scenario", "kind: Scenery"), "s.yaml:2"),
        (("endpoints:\n", "endpoints: ["), "s.yaml"),
    ],
)
def test_mistakes_are_lines_with_a_place_and_nothing_is_answered(
    place: Path, change: tuple[str, str], message: str
) -> None:
    file = place / "s.yaml"
    file.write_text(scenario("a").replace(*change))
    done = kinety("-o", "json", str(file))
    assert (done.returncode, done.stdout) == (1, ""), done.stderr
    assert message in done.stderr
    assert all(line.startswith("kinety: ") for line in done.stderr.splitlines())


def test_a_policy_inside_is_found_at_the_scenarios_own_line(place: Path) -> None:
    inside = "policies:\n- " + POLICY.replace("\n", "\n  ").rstrip() + "\n"
    text = scenario("a").replace("policies: [policy.yaml]\n", inside)
    done = kinety("-o", "json", "-", stdin=text)
    assert done.returncode == 0, done.stderr
    line = next(n for n, row in enumerate(text.splitlines(), 1) if "fromEndpoints" in row)
    assert json.loads(done.stdout)[0]["ingress"]["rule"] == f"<stdin>:{line}"
