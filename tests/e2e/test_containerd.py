"""Containers of containerd: attached through the plugin, judged by their labels, and by others at once."""

import json
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from ipaddress import ip_address
from pathlib import Path

import pytest

from kinety.kernel.namespace import Namespace
from kinety.testing.echo import EchoServers
from kinety.testing.wait import wait_until
from tests.e2e.containerd import ContainerdNode, containerd_node
from tests.e2e.real_node import SOON, TcpServer, refused
from tests.e2e.runtime import Runtime, call
from tests.e2e.traffic import TcpStream

pytestmark = pytest.mark.needs("root", "bpf", "netns", "bpffs", "nft", "objects", "ip", "ipv6", "runtimes")

FAMILIES = {"ipv4": socket.AF_INET, "ipv6": socket.AF_INET6}
#: A web server for clients, and a database for admins.
POLICIES = """
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: web}
spec:
  endpointSelector: {matchLabels: {app: web}}
  ingress:
  - fromEndpoints: [{matchLabels: {role: client}}]
---
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: db}
spec:
  endpointSelector: {matchLabels: {"container:app": db}}
  ingress:
  - fromEndpoints: [{matchLabels: {role: admin}}]
"""


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ContainerdNode]:
    """A node that every test leaves without containers."""
    with containerd_node(tmp_path_factory.mktemp("containerd")) as made:
        start(made)
        yield made


@pytest.fixture
def calm(shared: ContainerdNode) -> Iterator[ContainerdNode]:
    yield shared
    shared.end_containers()
    wait_until(lambda: shared.json("endpoint", "list") == [], SOON, "endpoints go with their namespaces")


@pytest.fixture
def node(tmp_path: Path) -> Iterator[ContainerdNode]:
    """A node whose parts a test may end."""
    with containerd_node(tmp_path) as made:
        start(made)
        yield made


def start(node: ContainerdNode, policies: str = POLICIES) -> None:
    node.start("--runtime", f"containerd={node.containerd_socket}")
    node.apply(policies)


def labels(node: ContainerdNode, name: str) -> set[str]:
    """The labels of a container's endpoint."""
    own = set(node.json("endpoint", "get", f"default-{name}")["labels"])
    return own - {"k8s:io.kubernetes.pod.namespace=default"}


def relabel(node: ContainerdNode, name: str, label: str) -> None:
    """``ctr containers label``, and wait until the endpoint has the label."""
    node.ctr("containers", "label", name, label)
    wait_labelled(node, name, label)


def wait_labelled(node: ContainerdNode, name: str, label: str) -> None:
    wait_until(lambda: f"container:{label}" in labels(node, name), SOON, f"{name} is {label}")


def addresses(node: ContainerdNode, name: str) -> list[str]:
    return [node.address(f"default-{name}", family) for family in FAMILIES]


def open_to(source: Namespace, target: Namespace, address: str, port: int) -> bool:
    """Whether a new connection is let through; one that is not is dropped without a word."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with TcpServer(target, port, family) as server:
        if refused(source, address, port):
            return False
        server.accept().close()
    return True


@pytest.mark.parametrize("family", FAMILIES)
def test_a_container_whose_first_act_is_to_send(calm: ContainerdNode, family: str) -> None:
    with EchoServers() as servers, calm.container("web", "app=web") as web:
        address = calm.address("default-web", family)
        servers.listen(web, ip_address(address), "TCP", 80)
        for role, allowed in (("client", True), ("stranger", False)):
            send = f"echo -n {role} | nc -w 1 {address} 80"
            words = calm.run_words(role, "/bin/sh", "-c", send, labels=[f"role={role}"])
            done = calm.try_ctr(*words)
            assert (done.returncode == 0, done.stdout) == (allowed, role if allowed else ""), done
            assert servers.saw(role.encode()) == allowed
            left = [item["name"] for item in calm.json("endpoint", "list")]
            assert left == ["default-web"], "a container that has ended by itself is gone"


def test_an_endpoint_is_named_and_labelled_after_its_container(calm: ContainerdNode) -> None:
    long = "x" * 400
    with calm.container("web", "app=web", "tier", f"long={long}", "nerdctl/hostname=h", "built=by me"):
        (item,) = calm.json("endpoint", "list")
        assert (item["namespace"], item["name"]) == ("default", "default-web")
        assert labels(calm, "web") == {"container:app=web", "container:tier=true"}
        calm.ctr("containers", "label", "web", "tier=front", "app=")
        wait_labelled(calm, "web", "tier=front")
        assert labels(calm, "web") == {"container:tier=front"}
    assert re.search(r"^Runtimes +containerd$", calm.kinety("status"), re.M)


def test_a_relabelled_container_is_judged_anew_at_its_next_packet(calm: ContainerdNode) -> None:
    with ExitStack() as stack:
        names = {"web": "app=web", "db": "app=db", "someone": "role=client"}
        made = {name: stack.enter_context(calm.container(name, label)) for name, label in names.items()}
        someone = made["someone"]
        live = [
            stack.enter_context(TcpStream(someone, made["web"], address, 80))
            for address in addresses(calm, "web")
        ]
        for address in addresses(calm, "db"):
            assert not open_to(someone, made["db"], address, 5432)
        relabel(calm, "someone", "role=admin")
        stopped = [stream.arrived for stream in live]
        dropped = calm.dropped()
        wait_until(lambda: calm.dropped() >= dropped + 4, SOON, "packets are denied")
        assert [stream.arrived for stream in live] == stopped
        for address in addresses(calm, "db"):
            assert open_to(someone, made["db"], address, 5432)
        relabel(calm, "someone", "role=client")
        wait_until(
            lambda: all(stream.arrived > count for stream, count in zip(live, stopped, strict=True)),
            30,
            "the connections go on",
        )
        relabel(calm, "web", "app=db")
        stopped = [stream.arrived for stream in live]
        dropped = calm.dropped()
        wait_until(lambda: calm.dropped() >= dropped + 4, SOON, "it is another's policy now")
        assert [stream.arrived for stream in live] == stopped
        relabel(calm, "web", "app=web")


def test_ten_at_once_whose_first_act_is_to_send(calm: ContainerdNode) -> None:
    with EchoServers() as servers, calm.container("web", "app=web") as web:
        own = addresses(calm, "web")
        for address in own:
            servers.listen(web, ip_address(address), "TCP", 80)

        def run(number: int) -> bool:
            role = "client" if number % 2 else "stranger"
            send = f"echo -n {number} | nc -w 2 {own[number // 2 % 2]} 80"
            words = calm.run_words(f"c{number}", "/bin/sh", "-c", send, labels=[f"role={role}"])
            return calm.try_ctr(*words).returncode == 0

        with ThreadPoolExecutor(10) as pool:
            allowed = list(pool.map(run, range(10)))
        assert allowed == [number % 2 == 1 for number in range(10)]
        assert [servers.saw(str(number).encode()) for number in range(10)] == allowed
        assert [item["name"] for item in calm.json("endpoint", "list")] == ["default-web"]


def test_a_container_that_nobody_deletes_is_gone_with_its_end(calm: ContainerdNode) -> None:
    """``ctr run --detach`` calls the plugin once and never again."""
    calm.container("short", "app=web").close()
    assert labels(calm, "short") == {"container:app=web"}
    calm.kill("short")
    wait_until(lambda: calm.json("endpoint", "list") == [], SOON, "the endpoint is gone with its namespace")


def test_what_happens_while_the_agent_is_dead_is_followed_when_it_is_back(node: ContainerdNode) -> None:
    with node.container("web", "app=web") as web, node.container("someone", "role=client") as someone:
        own = addresses(node, "web")
        assert all(open_to(someone, web, address, 80) for address in own)
        node.end(signal.SIGKILL)
        node.ctr("containers", "label", "someone", "role=admin")
        assert all(open_to(someone, web, address, 80) for address in own), "the last policy is in force"
        failed = node.try_ctr(*node.run_words("late", "/bin/true"))
        assert failed.returncode != 0
        assert "the agent is away" in failed.stderr
        start(node)
        wait_labelled(node, "someone", "role=admin")
        assert not any(open_to(someone, web, address, 80) for address in own)
        assert {item["name"] for item in node.json("endpoint", "list")} == {"default-web", "default-someone"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_containers_live_on_without_containerd(node: ContainerdNode, number: signal.Signals) -> None:
    with node.container("web", "app=web") as web, node.container("someone", "role=client") as someone:
        own = addresses(node, "web")
        with ExitStack() as stack:
            for address in own:
                stack.enter_context(TcpStream(someone, web, address, 81))
            node.end_containerd(number)
            wait_until(lambda: "containerd: " in node.kinety("status"), SOON, "the status says so")
            assert all(open_to(someone, web, address, 80) for address in own)
            node.start_containerd()
            wait_until(lambda: re.search(r"Runtimes +containerd$", node.kinety("status"), re.M), SOON)
        relabel(node, "someone", "role=admin")
        assert not any(open_to(someone, web, address, 80) for address in own)


def test_a_container_is_not_attached_while_nobody_says_what_labels_it_has(node: ContainerdNode) -> None:
    node.end()
    node.start("--runtime", f"containerd={node.directory / 'nobody'}")
    failed = node.try_ctr(*node.run_words("web", "/bin/true"))
    assert failed.returncode != 0
    assert "does not say what labels container default-web has" in failed.stderr
    assert node.json("endpoint", "list") == []
    assert node.json("status")["pools"][0]["used"] == 0
    assert "nobody" in node.json("status")["runtimes"][0]["problem"]


@pytest.mark.parametrize("victim", ["agent", "containerd", "ctr"])
def test_a_kill_amid_ten_starts_leaves_nothing(node: ContainerdNode, victim: str) -> None:
    links = node.on_node("ip", "-brief", "link")
    with ExitStack() as stack:
        runs = [
            stack.enter_context(node.begun_ctr(*node.run_words(f"c{number}", "/bin/sleep", "1")))
            for number in range(10)
        ]
        with node.client() as client:
            wait_until(client.endpoints, SOON, "the first is attached")
        if victim == "agent":
            node.end(signal.SIGKILL)
            start(node)
        elif victim == "containerd":
            node.end_containerd(signal.SIGKILL)
            node.start_containerd()
        else:
            for run in runs:
                run.kill()
    node.end_containers()
    wait_until(lambda: node.json("endpoint", "list") == [], SOON, "no endpoint is left")
    wait_until(lambda: node.on_node("ip", "-brief", "link") == links, SOON, "no interface is left")
    assert [pool["used"] for pool in node.json("status")["pools"]] == [0, 0]
    assert not list(node.state.glob("departures/*"))
    with node.container("next", "app=web"):
        assert labels(node, "next") == {"container:app=web"}


def test_a_containerd_that_hangs_holds_up_its_containers_and_nobody_else(node: ContainerdNode) -> None:
    assert node.daemon is not None
    plain = Runtime(node)
    network = json.dumps(plain.configuration).encode()
    with subprocess.Popen(["unshare", "--net", "sleep", "600"]) as sandbox, ThreadPoolExecutor(1) as pool:
        wait_until(lambda: "sleep" in Path(f"/proc/{sandbox.pid}/cmdline").read_text(), SOON)
        environment = {
            "CNI_COMMAND": "ADD",
            "CNI_CONTAINERID": "default-c",
            "CNI_IFNAME": "eth0",
            "CNI_NETNS": f"/proc/{sandbox.pid}/ns/net",
        }
        node.daemon.send_signal(signal.SIGSTOP)
        try:
            asked = pool.submit(call, environment, network, plain.plugin)
            answers = 0
            with node.client() as client:
                while not asked.done():
                    answers += client.endpoints() == ()
            assert answers > 1
            answer = asked.result()
        finally:
            node.daemon.send_signal(signal.SIGCONT)
            sandbox.kill()
    assert answer.error == 11
    assert "did not answer within 2 s" in answer.said["msg"]
    assert node.json("endpoint", "list") == []


def test_containers_with_one_name_are_not_confused(calm: ContainerdNode) -> None:
    """Namespace a-b with container c, and namespace a with container b-c, are both ``a-b-c`` to CNI."""
    for namespace, name in (("a-b", "c"), ("a", "b-c")):
        calm.ctr("namespaces", "create", namespace)
        calm.ctr("--namespace", namespace, "containers", "create", "--rootfs", str(calm.root), name)
    calm.ctr("--namespace", "a", "containers", "delete", "b-c")
    failed = calm.try_ctr("--namespace", "a", *calm.run_words("b-c", "/bin/true"))
    assert failed.returncode != 0
    assert "a-b-c is the name of two containers" in failed.stderr
    calm.ctr("--namespace", "a-b", "containers", "delete", "c")
    calm.ctr("--namespace", "a", "tasks", "delete", "--force", "b-c")  # which ctr leaves where an ADD failed
    calm.ctr("--namespace", "a", "containers", "delete", "b-c")
    calm.ctr("--namespace", "a", *calm.run_words("b-c", "/bin/true"))
    for namespace in ("a-b", "a"):
        calm.ctr("namespaces", "remove", namespace)
