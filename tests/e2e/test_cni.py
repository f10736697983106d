"""The CNI plugin against an agent: what the specification demands of every command, and what packets meet."""

import contextlib
import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from ipaddress import ip_interface
from pathlib import Path

import pytest

from kinety.api.bell import BELL, bell, holder
from kinety.cni.version import SUPPORTED
from kinety.kernel.netlink import Netlink
from kinety.testing.wait import wait_until
from tests.e2e.real_node import EMPIRE_ONLY, SOON, Node, TcpServer, connect, refused
from tests.e2e.real_node import node as make_node
from tests.e2e.runtime import Runtime, call

pytestmark = pytest.mark.needs("root", "bpf", "netns", "bpffs", "nft", "objects", "ip", "ipv6")

GATEWAYS = {4: "169.254.0.1", 6: "fe80::1"}


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """An agent that every test leaves without endpoints."""
    with make_node(tmp_path_factory.mktemp("cni")) as made:
        made.start()
        yield made


@pytest.fixture
def runtime(calm: Node) -> Iterator[Runtime]:
    made = Runtime(calm)
    yield made
    with calm.client() as client:
        for endpoint in client.endpoints():
            client.detach(endpoint.namespace, endpoint.name)
    while calm.workloads:
        calm.workloads.popitem()[1].remove()


def inside(runtime: Runtime, container: str, interface: str = "eth0") -> tuple[str, int, set[str]]:
    """MAC, MTU and addresses of an interface in a container."""
    with Netlink(runtime.container(container)) as netlink:
        link = netlink.link_named(interface)
        assert link is not None
        own = {f"{each.address}/{each.bits}" for each in netlink.addresses() if each.index == link.index}
        return link.mac.hex(":"), link.mtu, own


@pytest.mark.parametrize("version", SUPPORTED)
def test_add_answers_in_the_shape_of_the_version(runtime: Runtime, version: str) -> None:
    runtime.configuration["cniVersion"] = version
    said = dict(runtime.add("c1", dns={"nameservers": ["10.0.0.53"]}))
    assert said.pop("cniVersion") == version
    assert said.pop("dns") == {"nameservers": ["10.0.0.53"]}
    mac, mtu, addresses = inside(runtime, "c1")
    if version in ("0.1.0", "0.2.0"):
        assert said.keys() == {"ip4", "ip6"}
        for family, anywhere in ((4, "0.0.0.0/0"), (6, "::/0")):
            own = said[f"ip{family}"]
            assert own["ip"] in addresses
            assert own["gateway"] == GATEWAYS[family]
            assert own["routes"] == [{"dst": anywhere, "gw": GATEWAYS[family]}]
        return
    host, sandbox = said["interfaces"]
    assert (sandbox["name"], sandbox["mac"], sandbox["sandbox"]) == ("eth0", mac, runtime.netns("c1"))
    assert "sandbox" not in host
    with Netlink(runtime.node.namespace) as netlink:
        link = netlink.link_named(host["name"])
    assert link is not None
    assert host["mac"] == link.mac.hex(":")
    assert [each.get("mtu") for each in (host, sandbox)] == [mtu if version == "1.1.0" else None] * 2
    for each in said["ips"]:
        address = ip_interface(each["address"])
        assert each["address"] in addresses
        assert (each["interface"], each["gateway"]) == (1, GATEWAYS[address.version])
        assert each.get("version") == (None if version[0] == "1" else str(address.version))
    assert {each["dst"]: each["gw"] for each in said["routes"]} == {
        "0.0.0.0/0": GATEWAYS[4],
        "::/0": GATEWAYS[6],
    }
    if version not in ("0.3.0", "0.3.1"):
        assert runtime.check("c1").nothing
    runtime.delete("c1")


def test_traffic_meets_the_policy_from_the_first_packet(runtime: Runtime) -> None:
    runtime.node.apply(EMPIRE_ONLY)
    said = runtime.add(
        "deathstar", args="IgnoreUnknown=1;K8S_POD_NAME=d;KINETY_LABELS=org=empire,class=deathstar"
    )
    for family, each in zip((socket.AF_INET, socket.AF_INET6), said["ips"], strict=True):
        address = each["address"].partition("/")[0]
        with TcpServer(runtime.container("deathstar"), 80, family) as server:
            runtime.add("tiefighter", labels={"org": "empire"})
            connect(runtime.container("tiefighter"), address, 80).close()
            server.accept().close()
            runtime.add("xwing", args="KINETY_LABELS=org=alliance", labels={"org": "empire"})
            assert refused(runtime.container("xwing"), address, 80)
        runtime.delete("tiefighter")
        runtime.delete("xwing")
    runtime.node.kinety("policy", "delete", "rule1")


def test_names_labels_and_addresses_come_from_the_runtime(runtime: Runtime) -> None:
    said = runtime.add(
        "c1",
        args="K8S_POD_NAMESPACE=prod;K8S_POD_NAME=web;UNKNOWN=x;KINETY_LABELS=a=args",
        labels={"a": "network", "tier": "front"},
        mtu=1400,
        runtimeConfig={
            "ips": ["10.240.7.7/16"],
            "io.kubernetes.cri.pod-annotations": {"kinety.io/labels": "b=annotation,flag"},
            "dns": {"servers": ["10.0.0.9"], "searches": ["example.org"]},
        },
        dns={"nameservers": ["10.0.0.1"]},
    )
    with runtime.node.client() as client:
        endpoint = client.endpoint("prod", "web")
    assert {"k8s:a=args", "k8s:tier=front", "k8s:b=annotation", "k8s:flag"} <= set(endpoint.labels)
    assert (endpoint.ipv4, endpoint.mtu) == ("10.240.7.7", 1400)
    assert endpoint.attachment is not None
    assert (endpoint.attachment.container, endpoint.attachment.network) == ("c1", "kinety")
    assert said["dns"] == {"nameservers": ["10.0.0.9"], "search": ["example.org"]}


def test_a_container_has_as_many_interfaces_as_it_asks_for(runtime: Runtime) -> None:
    other = Runtime(runtime.node, network="other")
    runtime.add("c1")
    other.add("c1", "net1")
    names = {item["name"]: item["interface"] for item in runtime.node.json("endpoint", "list")}
    assert names == {"c1": "eth0", "c1-net1": "net1"}
    assert inside(runtime, "c1")[2].isdisjoint(inside(runtime, "c1", "net1")[2])
    assert other.results["c1", "net1"]["routes"] == [], "the default route is of the first"
    assert runtime.check("c1").nothing
    runtime.delete("c1")
    assert other.check("c1", "net1").nothing


def test_a_second_add_is_refused_and_harms_nothing(runtime: Runtime) -> None:
    runtime.add("c1")
    again = runtime.call("ADD", "c1")
    assert again.error == 101
    assert "already" in again.said["msg"]
    runtime.container("c2")
    assert runtime.call("ADD", "c2", args="K8S_POD_NAME=c1").error == 101
    assert runtime.check("c1").nothing
    assert [item["name"] for item in runtime.node.json("endpoint", "list")] == ["c1"]


def test_an_interface_of_the_name_that_is_not_ours_is_refused(runtime: Runtime) -> None:
    runtime.container("c1")
    assert runtime.call("ADD", "c1", "lo").error == 101
    assert runtime.node.json("endpoint", "list") == []


def test_del_is_done_as_often_as_it_is_asked(runtime: Runtime) -> None:
    runtime.delete("never-added")
    runtime.add("c1")
    for _ in range(3):
        runtime.delete("c1")
    assert runtime.node.json("endpoint", "list") == []
    with Netlink(runtime.container("c1")) as netlink:
        assert netlink.link_named("eth0") is None


def test_del_needs_no_namespace_and_no_working_configuration(runtime: Runtime) -> None:
    runtime.add("c1")
    runtime.add("c2")
    runtime.node.workloads.pop("c1").remove()
    runtime.delete("c1")
    del runtime.configuration["name"]
    assert runtime.call("DEL", "c2", args="=;nonsense", portMappings=[], ipam="nonsense").nothing
    assert runtime.node.json("endpoint", "list") == []


LEASES = """#!/bin/sh
echo "$CNI_COMMAND $CNI_CONTAINERID" >> "$0.log"
test "$CNI_COMMAND" != ADD || echo '{"ips": [{"address": "192.0.2.77/24"}], "dns": {"domain": "leases"}}'
"""


def test_addresses_may_be_another_plugins(runtime: Runtime, tmp_path: Path) -> None:
    leases = tmp_path / "leases"
    leases.write_text(LEASES)
    leases.chmod(0o755)
    runtime.path = str(tmp_path)
    runtime.configuration["ipam"] = {"type": "leases"}
    said = runtime.add("c1")
    assert said["ips"][0]["address"] == "192.0.2.77/32"
    assert said["dns"] == {"domain": "leases"}
    assert runtime.check("c1").nothing
    assert runtime.call("ADD", "c1").error == 101
    runtime.container("c2")
    assert runtime.call("ADD", "c2").error == 101, "the address is in use"
    runtime.delete("c1")
    log = Path(f"{leases}.log").read_text().splitlines()
    assert log == ["ADD c1", "CHECK c1", "ADD c2", "DEL c2", "DEL c1"]


def test_check_tells_what_is_gone(runtime: Runtime) -> None:
    runtime.add("c1")
    namespace = runtime.container("c1")
    assert runtime.check("c1").nothing
    assert runtime.call("CHECK", "c1").error == 7
    assert runtime.call("CHECK", "c1", prevResult={"interfaces": "x"}).error == 7
    assert runtime.call("CHECK", "c1", prevResult={"interfaces": []}).error == 103
    run_in(runtime, "c1", "ip route del default")
    lost = runtime.check("c1")
    assert lost.error == 103
    assert "0.0.0.0/0 by 169.254.0.1 is gone" in lost.said["msg"]
    run_in(runtime, "c1", "ip address flush dev eth0 scope global")
    assert "has lost its address" in runtime.check("c1").said["msg"]
    with Netlink(namespace) as netlink, netlink.batch() as batch:
        batch.link_set("eth0", up=False)
    assert "is down" in runtime.check("c1").said["msg"]
    runtime.results["c2", "eth0"] = runtime.results["c1", "eth0"]
    runtime.container("c2")
    assert runtime.check("c2").error == 3


def run_in(runtime: Runtime, container: str, command: str) -> None:
    subprocess.run(
        ["nsenter", f"--net={runtime.netns(container)}", *command.split()], check=True, timeout=SOON
    )


def test_gc_ends_what_the_runtime_does_not_know(runtime: Runtime) -> None:
    other = Runtime(runtime.node, network="other")
    for name in ("c1", "c2", "c3"):
        runtime.add(name)
    other.add("c1", "net1")
    runtime.node.workload("by-hand", "a=b")
    assert runtime.call("GC").error == 7
    assert runtime.collect(("c2", "eth0"), ("gone", "eth0")).nothing
    left = {item["name"] for item in runtime.node.json("endpoint", "list")}
    assert left == {"c2", "c1-net1", "by-hand"}
    assert other.call("GC", **{"cni.dev/attachments": []}).nothing
    assert {item["name"] for item in runtime.node.json("endpoint", "list")} == {"c2", "by-hand"}


def test_status_is_that_of_the_agent(runtime: Runtime, tmp_path: Path) -> None:
    assert runtime.call("STATUS").nothing
    assert runtime.call("STATUS", socket=str(tmp_path / "nobody")).error == 50
    assert runtime.call("STATUS", ipam={"subnet": "10.0.0.0/8"}).error == 2


def test_without_an_agent_an_add_is_to_be_tried_again(runtime: Runtime, tmp_path: Path) -> None:
    runtime.container("c1")
    nobody = {"socket": str(tmp_path / "nobody"), "stateDir": str(tmp_path / "state")}
    assert runtime.call("ADD", "c1", **nobody).error == 11
    assert not (tmp_path / "state").exists()
    assert runtime.call("CHECK", "c1", prevResult={}, **nobody).error == 11
    assert runtime.call("GC", **{"cni.dev/valid-attachments": []}, **nobody).error == 11


@pytest.mark.parametrize(
    ("change", "stdin", "code", "word"),
    [
        ({"CNI_COMMAND": "RUN"}, None, 4, "CNI_COMMAND"),
        ({"CNI_CONTAINERID": ""}, None, 4, "CNI_CONTAINERID"),
        ({"CNI_IFNAME": "a/b"}, None, 4, "CNI_IFNAME"),
        ({"CNI_NETNS": "/run/netns/no-such-thing"}, None, 4, "CNI_NETNS"),
        ({"CNI_NETNS": "relative"}, None, 4, "CNI_NETNS"),
        ({"CNI_NETNS": "/etc/passwd"}, None, 4, "CNI_NETNS"),
        ({"CNI_ARGS": "K8S_POD_NAME=a b"}, None, 7, "is no name"),
        ({"CNI_ARGS": "KINETY_LABELS=reserved:host"}, None, 7, "reserved"),
        ({"CNI_ARGS": "IP=127.0.0.1"}, None, 7, "127.0.0.1"),
        ({"CNI_ARGS": "nonsense"}, None, 4, "CNI_ARGS"),
        ({}, b"{", 6, "JSON"),
        ({}, b"[]", 6, "object"),
        ({}, b'{"cniVersion": "2.0.0", "name": "net"}', 1, "version"),
        ({}, b'{"cniVersion": "1.1.0"}', 7, "name"),
        ({}, b'{"cniVersion": "1.1.0", "name": "net", "bridge": "br0"}', 2, "bridge.*br0"),
    ],
)
def test_an_add_that_cannot_be_says_why_and_leaves_nothing(
    runtime: Runtime, change: dict[str, str], stdin: bytes | None, code: int, word: str
) -> None:
    runtime.container("c1")
    environment = {
        "CNI_COMMAND": "ADD",
        "CNI_CONTAINERID": "c1",
        "CNI_NETNS": runtime.netns("c1"),
        "CNI_IFNAME": "eth0",
    }
    answer = call(environment | change, stdin or json.dumps(runtime.configuration).encode(), runtime.plugin)
    assert answer.error == code, answer
    assert re.search(word, answer.said["msg"])
    assert runtime.node.json("endpoint", "list") == []
    assert runtime.node.json("status")["pools"][0]["used"] == 0


def test_twenty_containers_at_once(runtime: Runtime) -> None:
    names = [f"c{number}" for number in range(20)]
    for name in names:
        runtime.container(name)
    with ThreadPoolExecutor(20) as pool:
        results = list(pool.map(runtime.add, names))
        addresses = [each["address"] for said in results for each in said["ips"]]
        assert len(set(addresses)) == 40
        assert all(pool.map(lambda name: runtime.check(name).nothing, names))
        list(pool.map(runtime.delete, names))
    assert runtime.node.json("endpoint", "list") == []


def test_a_del_without_an_agent_is_done_by_the_next_one(running: Node) -> None:
    runtime = Runtime(running)
    said = runtime.add("c1")
    runtime.add("c2")
    running.end(signal.SIGKILL)
    runtime.delete("c1")
    runtime.delete("c1")
    assert [path.name for path in (running.state / "departures").iterdir()] == ["c1:eth0"]
    running.start()
    assert [item["name"] for item in running.json("endpoint", "list")] == ["c2"]
    assert not list((running.state / "departures").iterdir())
    wait_until(lambda: host_interface(running, said) is None, SOON, "the interface is gone")
    assert runtime.check("c2").nothing
    runtime.add("c1")
    assert runtime.check("c1").nothing


def test_a_container_of_the_same_name_is_not_the_former_one(running: Node) -> None:
    """Its namespace has the path of the former one, and often the inode."""
    runtime = Runtime(running)
    for _ in range(3):
        runtime.add("c1", args="KINETY_LABELS=org=empire")
        running.end(signal.SIGKILL)
        inode = runtime.container("c1").inode
        running.workloads.pop("c1").remove()
        with suppress(TimeoutError):
            wait_until(lambda inode=inode: made_with(inode, runtime), 1, "the kernel gives the inode again")
        runtime.container("c1")
        running.start()
        wait_until(lambda: running.json("endpoint", "list") == [], SOON, "the former one is gone")
        with Netlink(runtime.container("c1")) as netlink:
            assert netlink.link_named("eth0") is None


def made_with(inode: int, runtime: Runtime) -> bool:
    """Whether a container made now has this inode; it is gone again if not."""
    if runtime.container("c1").inode == inode:
        return True
    runtime.node.workloads.pop("c1").remove()
    return False


def test_cleaning_up_leaves_no_deletion_behind(running: Node) -> None:
    runtime = Runtime(running)
    runtime.add("c1")
    running.end()
    runtime.delete("c1")
    subprocess.run(running.agent("--cleanup"), check=True, timeout=60)
    assert not running.state.exists()


def test_a_deletion_that_was_left_behind_does_not_end_the_next_container(running: Node) -> None:
    runtime = Runtime(running)
    (running.state / "departures").mkdir()
    (running.state / "departures" / "c1:eth0").touch()
    runtime.add("c1")
    running.end(signal.SIGKILL)
    running.start()
    assert runtime.check("c1").nothing


@pytest.mark.parametrize("way", ["socket", "bell"])
def test_an_add_in_which_the_agent_dies_leaves_nothing(running: Node, way: str) -> None:
    """Its store is locked, so it has heard and cannot have done it."""
    runtime = Runtime(running)
    runtime.container("c1")
    if way == "socket":
        holder(running.socket).unlink()
    with contextlib.closing(sqlite3.connect(running.state / "kinety.db")) as store:
        store.execute("BEGIN IMMEDIATE")
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(runtime.call, "ADD", "c1")
            wait_until(lambda: taken(running) == 1, SOON, "the agent has the request")
            running.end(signal.SIGKILL)
            assert asked.result().error == 11
    running.start()
    assert running.json("endpoint", "list") == []
    runtime.add("c1")
    assert runtime.check("c1").nothing


def test_who_rings_as_the_agent_dies_waits_for_nobody(running: Node) -> None:
    runtime = Runtime(running)
    runtime.container("c1")
    assert running.process is not None
    running.process.send_signal(signal.SIGSTOP)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(runtime.call, "ADD", "c1")
        wait_until(lambda: ringing(running) == 1, SOON, "the plugin has rung")
        running.end(signal.SIGKILL)
        assert asked.result().error == 11
    running.start()
    assert running.json("endpoint", "list") == []
    runtime.add("c1")
    runtime.delete("c1")


def ringing(node: Node) -> int:
    """Processes that hold the bell, without the agent."""
    found = 0
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            found += os.path.samefile(process / "fd" / str(BELL), bell(node.socket))
    return found


def taken(node: Node) -> int:
    """Connections to the agent's socket that it has taken, from here or from its own process.

    Source: proc_net(5).
    """
    read = Path("/proc/thread-self/net/unix").read_text
    lines = [line.split() for text in (read(), node.namespace.call(read)) for line in text.splitlines()]
    return sum(line[-1] == str(node.socket) and (line[3], line[5]) == ("00000000", "03") for line in lines)


def host_interface(node: Node, said: dict[str, list[dict[str, str]]]) -> object:
    with Netlink(node.namespace) as netlink:
        return netlink.link_named(said["interfaces"][0]["name"])


def test_the_pool_is_exhausted(node: Node) -> None:
    node.start("--ipv4-pool", "10.9.0.0/30")
    runtime = Runtime(node)
    for name in ("c1", "c2"):
        runtime.add(name)
    runtime.container("c3")
    full = runtime.call("ADD", "c3")
    assert full.error == 102
    assert re.search("10.9.0.0/30 is exhausted", full.said["msg"])
    assert runtime.call("STATUS").error == 50
