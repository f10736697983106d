import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from kinety.api import types
from kinety.cli.main import kinety
from tests.served_node import ENDPOINT, ValueNode


def run(socket_path: Path, *words: str) -> Result:
    return CliRunner().invoke(kinety, ["--socket", str(socket_path), *words], catch_exceptions=False)


def test_list_as_a_table(socket_path: Path) -> None:
    head, row = run(socket_path, "endpoint", "list").stdout.splitlines()
    assert head.split() == [
        "NAMESPACE", "NAME", "IDENTITY", "IPV4", "IPV6", "EGRESS", "INGRESS", "STATE", "LABELS",
    ]  # fmt: skip
    assert row.split() == [
        "default", "deathstar", "256", "10.0.0.1", "-", "open", "enforced", "ready", "org=empire",
    ]  # fmt: skip


def test_a_wide_list_has_host_ports_and_bandwidth(socket_path: Path, node: ValueNode) -> None:
    wished = replace(
        ENDPOINT,
        host_ports=("8080:80/TCP", "[::]:53:53/UDP"),
        bandwidth=types.Bandwidth(egress_rate=1_500_000, ingress_rate=10**9),
        rate_exceeded=7,
    )
    node.stored = {("default", "x"): wished}
    head, row = run(socket_path, "endpoint", "list", "-o", "wide").stdout.splitlines()
    assert head.split()[-4:] == ["LABELS", "HOST", "PORTS", "BANDWIDTH"]
    assert row.split()[-2:] == ["8080:80/TCP,[::]:53:53/UDP", "egress=1500kbit/s,ingress=1Gbit/s"]
    shown = run(socket_path, "endpoint", "get", "x").stdout
    assert "Published  8080:80/TCP, [::]:53:53/UDP" in shown
    assert "Bandwidth  egress=1500kbit/s,ingress=1Gbit/s, 7 dropped" in shown


@pytest.mark.parametrize(("output", "load"), [("json", json.loads), ("yaml", yaml.safe_load)])
def test_list_for_programs(socket_path: Path, output: str, load: object) -> None:
    assert callable(load)
    (value,) = load(run(socket_path, "endpoint", "list", "-o", output).stdout)
    assert value["name"] == "deathstar"
    assert value["ingress"] == {"enforced": True, "rule_set": "abc", "shadow": None}


def test_an_endpoint_in_audit_is_told_by_the_direction_that_is_not_enforced(
    socket_path: Path, node: ValueNode
) -> None:
    beside = types.DirectionState(False, None, "def")
    node.stored = {("default", "x"): replace(ENDPOINT, ingress=beside, audit=True)}
    assert run(socket_path, "endpoint", "list").stdout.splitlines()[1].split()[5:7] == ["open", "audit"]
    shown = run(socket_path, "endpoint", "get", "x").stdout.splitlines()
    assert "Ingress    open, beside it def" in shown
    assert "Audit      yes" in shown


@pytest.mark.parametrize(("switch", "on"), [("on", True), ("off", False)])
def test_audit_is_switched(socket_path: Path, node: ValueNode, switch: str, on: bool) -> None:
    said = run(socket_path, "endpoint", "audit", "prod/x", switch).stdout
    assert node.asked == [("prod", "x", on)]
    assert said.startswith("prod/x is in audit" if on else "prod/x obeys its policies")
    assert said.endswith("new for 2 endpoints\n")


def test_list_of_one_namespace(socket_path: Path) -> None:
    assert run(socket_path, "endpoint", "list", "--namespace", "prod").stdout.count("\n") == 1


@pytest.mark.parametrize(
    "words", [("deathstar",), ("default/deathstar",), ("deathstar", "--namespace", "default")]
)
def test_get_by_any_name(socket_path: Path, words: tuple[str, ...]) -> None:
    shown = run(socket_path, "endpoint", "get", *words).stdout
    assert "Name       default/deathstar" in shown
    assert "Ingress    enforced (rule set abc)" in shown


def test_attach_says_everything_to_the_agent(socket_path: Path, node: ValueNode) -> None:
    words = "--netns blue --name prod/x -l org=empire --label a --namespace-label env=prod"
    words += " --port-name http=80/TCP --port-name dns=53/UDP"
    words += " --address 10.0.0.9 --interface net0 --mtu 1400 --mac 02:00:00:00:00:07"
    words += " --publish 8080:80/tcp --publish [::]:53:53/udp --egress-rate 1.5M --ingress-burst 64Ki"
    assert run(socket_path, "endpoint", "attach", *words.split()).exit_code == 0
    assert node.asked == [
        types.EndpointRequest(
            name="x",
            namespace="prod",
            netns="/run/netns/blue",
            labels=("org=empire", "a"),
            namespace_labels={"env": "prod"},
            interface="net0",
            addresses=("10.0.0.9",),
            mtu=1400,
            host_ports=("8080:80/tcp", "[::]:53:53/udp"),
            mac="02:00:00:00:00:07",
            bandwidth=types.Bandwidth(egress_rate=1_500_000, ingress_burst=65536),
            port_names=("http=80/TCP", "dns=53/UDP"),
        )
    ]


def test_relative_paths_are_the_users(
    socket_path: Path, node: ValueNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run(socket_path, "endpoint", "attach", "--netns", "./ns", "--name", "x")
    (request,) = node.asked
    assert isinstance(request, types.EndpointRequest)
    assert request.netns == str(tmp_path / "ns")


def test_detach(socket_path: Path, node: ValueNode) -> None:
    assert run(socket_path, "endpoint", "detach", "deathstar").exit_code == 0
    assert node.stored == {}
