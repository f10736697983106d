import json
from dataclasses import replace
from pathlib import Path

from click.testing import CliRunner

from kinety.api.proxy import Proxies, Proxy, ProxyListener
from kinety.cli.main import kinety
from tests.served_node import ValueNode

HTTP = ProxyListener(
    10000, "http", ("GET /v1/.*",), ("CiliumNetworkPolicy/default/rule1",), 2, 3, False, 7, 4, 0.0, 2.07
)
TLS = replace(HTTP, port=10001, kind="tls", leaving=True, p50_milliseconds=None, p99_milliseconds=None)
FOUND = Proxies(
    "tproxy",
    (
        Proxy("envoy", 4711, "1.40.0", None, 1),
        Proxy("dns", None, None, "no policy needs it", 0),
    ),
    (HTTP, TLS),
    "not sk_assign: this kernel has no sk_lookup programs",
)


def shown(socket_path: Path, *words: str) -> str:
    command = ["--socket", str(socket_path), "proxy", "status", *words]
    return CliRunner().invoke(kinety, command, catch_exceptions=False).stdout


def test_proxies_and_what_came_of_each_listener(socket_path: Path, node: ValueNode) -> None:
    node.proxying = FOUND
    lines = [line.split() for line in shown(socket_path).splitlines() if line]
    assert " ".join(lines[0]) == "redirect tproxy (not sk_assign: this kernel has no sk_lookup programs)"
    assert lines[2] == ["envoy", "running", "4711", "1", "1.40.0"]
    assert " ".join(lines[3]) == "dns no policy needs it - 0 -"
    policy, rule = "CiliumNetworkPolicy/default/rule1", "GET /v1/.*"
    assert " ".join(lines[5]) == f"10000 http 2 3 7 4 <1 ms 2.1 ms {policy} {rule}"
    assert " ".join(lines[6]) == f"10001 tls leaving 3 7 4 - - {policy} {rule}"


def test_structured_output_has_everything(socket_path: Path, node: ValueNode) -> None:
    node.proxying = FOUND
    told = json.loads(shown(socket_path, "-o", "json"))
    assert told["redirect_remark"] == FOUND.redirect_remark
    assert told["proxies"][0]["pid"] == 4711
    assert (told["listeners"][0]["p50_milliseconds"], told["listeners"][1]["leaving"]) == (0.0, True)
