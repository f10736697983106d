"""Rules of the specification that no other test holds, and its own example.

`docs/reference/cni-rules.md` lists all rules with the tests that hold them.
"""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.chain import Chain
from tests.e2e.outside import run
from tests.e2e.real_node import Node
from tests.e2e.real_node import node as make_node
from tests.e2e.runtime import Runtime

pytestmark = pytest.mark.needs("root", "bpf", "netns", "bpffs", "nft", "objects", "ip", "ipv6", "runtimes")


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """With one family, as the example has it."""
    with make_node(tmp_path_factory.mktemp("spec")) as made:
        made.start("--ipv6-pool", "none", "--pool-reserve", "10.240.1.0/24")
        yield made


@pytest.fixture
def runtime(calm: Node) -> Iterator[Runtime]:
    made = Runtime(calm)
    yield made
    for container in list(calm.workloads):
        made.call("DEL", container)
        calm.workloads.pop(container).remove()
    assert calm.json("endpoint", "list") == []


def test_a_del_goes_without_a_namespace(runtime: Runtime) -> None:
    runtime.add("c1")
    environment = runtime.environment("DEL", "c1")
    del environment["CNI_NETNS"]
    done = subprocess.run(
        [runtime.plugin],
        env=environment,
        input=json.dumps(runtime.configuration).encode(),
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert runtime.node.json("endpoint", "list") == []


def test_a_del_follows_an_add_that_failed(runtime: Runtime) -> None:
    runtime.container("c1")
    assert runtime.call("ADD", "c1", mtu=70000).error == 7
    runtime.delete("c1")
    runtime.add("c1")


def test_a_bad_status_stops_nothing(runtime: Runtime) -> None:
    runtime.add("c1")
    broken: dict[str, Any] = {"socket": "/nowhere"}
    assert runtime.call("STATUS", **broken).error == 50
    runtime.add("c2")
    assert runtime.check("c1").nothing
    runtime.delete("c1")


def test_a_result_of_plugins_before_it_is_passed_on(runtime: Runtime) -> None:
    before = {
        "interfaces": [{"name": "br0", "mac": "02:00:00:00:00:01"}],
        "ips": [{"address": "192.0.2.7/24", "interface": 0}],
        "routes": [{"dst": "198.18.0.0/15"}],
        "dns": {"nameservers": ["192.0.2.53"]},
    }
    said = runtime.add("c1", prevResult=before)
    assert said["interfaces"][0] == before["interfaces"][0]
    assert said["ips"][0] == before["ips"][0]
    assert said["routes"][0] == before["routes"][0]
    assert said["dns"] == before["dns"]
    assert [each["name"] for each in said["interfaces"][2:]] == ["eth0"]
    assert said["ips"][1]["interface"] == 2
    assert runtime.check("c1").nothing


OTHER = """#!/bin/sh
echo "$CNI_COMMAND was asked" >&2
case "$CNI_COMMAND" in
VERSION) echo '{"cniVersion": "1.1.0", "supportedVersions": ["1.1.0"]}' ;;
GC) echo '{"cniVersion": "1.1.0", "code": 120, "msg": "one is stuck"}'; exit 1 ;;
esac
"""


def test_a_delegated_plugin_is_asked_for_gc_and_heard(runtime: Runtime, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text(OTHER)
    other.chmod(0o755)
    runtime.add("c1")
    runtime.path = str(tmp_path)
    asked = runtime.configuration | {"ipam": {"type": "other"}, "cni.dev/valid-attachments": []}
    done = subprocess.run(
        [runtime.plugin],
        env=runtime.environment("GC"),
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    said = json.loads(done.stdout)
    assert (said["code"], said["msg"]) == (120, "IPAM plugin other: one is stuck")
    assert "GC was asked" in done.stderr
    assert runtime.node.json("endpoint", "list") == [], "what is ours is gone all the same"


def test_the_specifications_own_example(calm: Node, tmp_path: Path) -> None:
    """Its appendix, with Kinety in the place of the bridge, and without the MAC (see the chain's tests)."""
    container = calm.bare_workload("blue")
    ipam = {
        "type": "host-local",
        "dataDir": str(tmp_path / "leases"),
        "subnet": "10.240.1.0/24",
        "gateway": "10.240.1.1",
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    chain = Chain(
        calm,
        tmp_path,
        [
            {"ipam": ipam, "dns": {"nameservers": ["10.1.0.1"]}},
            {"type": "tuning", "capabilities": {"mac": True}, "sysctl": {"net.core.somaxconn": "500"}},
            {"type": "portmap", "capabilities": {"portMappings": True}},
        ],
    )
    mappings = [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]
    said = chain.add("blue", portMappings=mappings).said
    assert said["ips"] == [{"address": "10.240.1.2/32", "gateway": "169.254.0.1", "interface": 1}]
    assert said["routes"] == [{"dst": "0.0.0.0/0", "gw": "169.254.0.1"}]
    assert said["dns"] == {"nameservers": ["10.1.0.1"]}
    assert [each["name"] for each in said["interfaces"][1:]] == ["eth0"]
    assert run(container, "cat /proc/sys/net/core/somaxconn").strip() == "500"
    # The CHECK of Debian's `portmap` looks for rules of a family that the container does not have.
    assert [each.nothing for each in chain.check("blue", portMappings=mappings)][:2] == [True, True]
    chain.delete("blue", portMappings=mappings)
    chain.delete("blue", portMappings=mappings)
    assert calm.json("endpoint", "list") == []
    calm.workloads.pop("blue").remove()


@pytest.mark.parametrize("field", [{"bridge": "cni0"}, {"keyA": ["some more", "configuration"]}])
def test_fields_of_the_examples_bridge_are_refused_by_name(runtime: Runtime, field: dict[str, Any]) -> None:
    runtime.container("c1")
    refused = runtime.call("ADD", "c1", **field)
    ((key, value),) = field.items()
    assert (refused.error, key in refused.said["msg"], str(value) in refused.said["msg"]) == (2, True, True)
