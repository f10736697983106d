"""Addresses of Debian's `host-local`, which the plugin runs as the specification has it."""

import json
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kinety.testing.wait import wait_until
from tests.e2e.outside import NEAR, NODE, outside
from tests.e2e.real_node import SOON, Node, TcpServer, connect, family_of
from tests.e2e.real_node import node as make_node
from tests.e2e.runtime import Answer, Runtime
from tests.feature import CNI_PLUGINS

pytestmark = pytest.mark.needs("root", "bpf", "netns", "bpffs", "nft", "objects", "ip", "ipv6", "runtimes")

#: A part of the agent's own pools, which is kept for the plugin: so they are masqueraded as all others.
SUBNETS = {4: "10.240.128.0/29", 6: "fd4b:696e:6574:79:8000::/125"}
#: Of eight addresses of IPv4 the network, the gateway and broadcast are never given.
ROOM = 5
OPTIONS = [word for each in SUBNETS.values() for word in ("--pool-reserve", each)]
#: Short, because this pool has few addresses. In seconds.
OPTIONS += ["--address-quarantine", "1"]


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with make_node(tmp_path_factory.mktemp("leases")) as made:
        made.start(*OPTIONS)
        yield made


class Leases:
    """A network whose addresses are `host-local`'s, and its directory of them."""

    def __init__(self, node: Node, directory: Path, version: str = "1.0.0") -> None:
        self.directory = directory / "kinety"
        ranges = [[{"subnet": each}] for each in SUBNETS.values()]
        ipam = {"type": "host-local", "dataDir": str(directory), "ranges": ranges}
        self.runtime = Runtime(node, version, ipam=ipam)
        self.runtime.path = f"/nowhere:{CNI_PLUGINS}"

    def held(self) -> dict[str, str]:
        """Containers by the addresses that the plugin has given them."""
        if not self.directory.exists():
            return {}
        files = [path for path in self.directory.iterdir() if re.match(r"[\da-f]+[.:]", path.name)]
        return {path.name: path.read_text().split()[0] for path in files}


@pytest.fixture
def leases(calm: Node, tmp_path: Path) -> Iterator[Leases]:
    made = Leases(calm, tmp_path)
    yield made
    for container in list(calm.workloads):
        made.runtime.call("DEL", container)
    with calm.client() as client:
        assert client.endpoints() == ()
        wait_until(lambda: client.addresses() == (), SOON, "all addresses have rested")
    while calm.workloads:
        calm.workloads.popitem()[1].remove()


def succeeded(answer: Answer) -> Answer | None:
    return answer if answer.code == 0 else None


def addresses(said: dict[str, Any]) -> set[str]:
    if "ips" in said:
        return {each["address"].partition("/")[0] for each in said["ips"]}
    return {said[key]["ip"].partition("/")[0] for key in ("ip4", "ip6")}


@pytest.mark.parametrize("version", ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0"])
def test_both_families_in_every_version_that_it_knows(leases: Leases, version: str) -> None:
    runtime = leases.runtime
    runtime.configuration["cniVersion"] = version
    said = runtime.add("c1")
    assert leases.held().keys() == addresses(said)
    with runtime.node.client() as client:
        (endpoint,) = client.endpoints()
    assert {endpoint.ipv4, endpoint.ipv6} == addresses(said)
    if version not in ("0.1.0", "0.2.0", "0.3.0", "0.3.1"):
        assert runtime.check("c1").nothing
        for address in addresses(said):
            (leases.directory / address).unlink()
        assert runtime.check("c1").code == 1, "its CHECK counts, too"
    runtime.delete("c1")
    assert leases.held() == {}
    runtime.delete("c1")


def test_the_gateway_and_routes_are_the_datapaths(leases: Leases) -> None:
    leases.runtime.configuration["ipam"]["routes"] = [{"dst": "0.0.0.0/0"}, {"dst": "198.18.0.0/15"}]
    resolv = leases.directory.parent / "resolv.conf"
    resolv.write_text("nameserver 10.240.128.1\nsearch example.org\n")
    leases.runtime.configuration["ipam"]["resolvConf"] = str(resolv)
    said = leases.runtime.add("c1")
    assert {each["dst"]: each["gw"] for each in said["routes"]} == {
        "0.0.0.0/0": "169.254.0.1",
        "::/0": "fe80::1",
    }
    assert said["dns"] == {"nameservers": ["10.240.128.1"], "search": ["example.org"]}


def test_exhaustion_is_told_and_an_address_comes_back(leases: Leases) -> None:
    runtime = leases.runtime
    names = [f"c{number}" for number in range(ROOM)]
    seen = [addresses(runtime.add(name)) for name in names]
    assert len(set.union(*seen)) == 2 * ROOM
    runtime.container("late")
    before = leases.held()
    full = runtime.call("ADD", "late")
    assert full.code == 1
    assert "IPAM plugin host-local" in full.said["msg"]
    assert "no IP addresses available" in json.dumps(full.said)
    assert leases.held() == before
    runtime.delete("c0")
    # The one address that there is rests, as every other that the agent's pools have; `late` tries again.
    resting = runtime.call("ADD", "late")
    assert (resting.error, "quarantine" in resting.said["msg"]) == (101, True)
    assert leases.held().keys() == set.union(*seen[1:])
    again = wait_until(lambda: succeeded(runtime.call("ADD", "late")), SOON, "it has rested")
    assert addresses(again.said) & seen[0]


def test_an_address_goes_back_when_the_agent_refuses(leases: Leases) -> None:
    runtime = leases.runtime
    runtime.add("c1", args="IgnoreUnknown=1;K8S_POD_NAME=web")
    before = leases.held()
    runtime.container("c2")
    taken = {"args": "IgnoreUnknown=1;K8S_POD_NAME=web"}
    for change in (taken, {"mtu": 70000}, {"labels": {"reserved:host": ""}}):
        refused = runtime.call("ADD", "c2", **change)
        assert refused.code == 1, refused
        assert leases.held() == before, change
    again = runtime.call("ADD", "c1")
    assert again.error == 101
    assert leases.held() == before, "the second ADD takes nothing from the first"
    assert runtime.check("c1").nothing


def test_without_an_agent_nothing_is_taken_and_everything_is_given_back(node: Node, tmp_path: Path) -> None:
    node.start(*OPTIONS)
    leases = Leases(node, tmp_path)
    runtime = leases.runtime
    runtime.add("c1")
    node.end(signal.SIGKILL)
    runtime.container("c2")
    assert runtime.call("ADD", "c2").error == 11
    assert set(leases.held().values()) == {"c1"}
    runtime.delete("c1")
    assert leases.held() == {}
    node.start(*OPTIONS)
    assert node.json("endpoint", "list") == []
    assert addresses(runtime.add("c2")) <= leases.held().keys()


def test_a_newer_network_than_it_knows_is_refused_clearly(leases: Leases) -> None:
    """Debian's is of 1.0.0; a delegated plugin gets the configuration as it is, version and all."""
    runtime = leases.runtime
    runtime.configuration["cniVersion"] = "1.1.0"
    runtime.container("c1")
    for command, container in (("ADD", "c1"), ("STATUS", "")):
        refused = runtime.call(command, container)
        assert refused.error == 1, refused
        assert refused.said["msg"] == "IPAM plugin host-local does not support CNI version 1.1.0"
        assert "1.0.0" in refused.said["details"]
    assert runtime.collect().error == 1
    assert leases.held() == {}
    assert runtime.call("DEL", "c1").nothing, "what could not be added is not there"


def test_they_reach_each_other_and_the_outside(node: Node, tmp_path: Path) -> None:
    with outside(node) as router:
        node.start(*OPTIONS)
        runtime = Leases(node, tmp_path).runtime
        runtime.add("c1")
        targets = sorted(addresses(runtime.add("c2")))
        for target in targets:
            with TcpServer(runtime.container("c2"), 80, family_of(target)) as server:
                connect(runtime.container("c1"), target, 80).close()
                server.accept().close()
        for family, target in NEAR.items():
            with TcpServer(router, 80, family_of(target)) as server:
                connect(runtime.container("c1"), target, 80).close()
                with server.accept() as stream:
                    assert stream.getpeername()[0] == NODE[family]
