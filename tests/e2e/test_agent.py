"""The agent as a process: killed, stopped, started again, refused, cleaned up."""

import signal
import socket
import stat
import subprocess
import threading
from pathlib import Path

import pytest

from kinety.kernel import bpffs
from kinety.kernel.netlink import Netlink
from tests.e2e.real_node import Node, TcpServer, connect, refused, wait_until

pytestmark = pytest.mark.needs("root", "bpf", "netns", "bpffs", "nft", "objects", "ip")

EMPIRE_ONLY = """
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: rule1}
spec:
  endpointSelector: {matchLabels: {org: empire, class: deathstar}}
  ingress:
  - fromEndpoints: [{matchLabels: {org: empire}}]
"""
NOBODY = EMPIRE_ONLY.replace("org: empire}}]", "org: nobody}}]")


@pytest.fixture
def stars(running: Node) -> Node:
    """The deathstar, a tiefighter and an xwing, under the empire's policy."""
    running.workload("deathstar", "org=empire", "class=deathstar")
    running.workload("tiefighter", "org=empire", "class=tiefighter")
    running.workload("xwing", "org=alliance", "class=xwing")
    running.apply(EMPIRE_ONLY)
    return running


class Stream:
    """Numbered bytes over one connection, echoed and compared, from a thread."""

    def __init__(self, server: socket.socket, client: socket.socket) -> None:
        self._ends = (server, client)
        self.rounds = 0
        self.failure: BaseException | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        server, client = self._ends
        try:
            while not self._stop.is_set():
                message = self.rounds.to_bytes(8, "big") * 64
                client.sendall(message)
                got = b""
                while len(got) < len(message):
                    part = server.recv(65536)
                    assert part, "the stream ended"
                    got += part
                assert got == message
                self.rounds += 1
        except BaseException as error:
            self.failure = error

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(30)
        for end in self._ends:
            end.close()


def test_a_kill_loses_no_byte_and_lets_nothing_through(stars: Node) -> None:
    address = stars.address("deathstar")
    deathstar, xwing = stars.workloads["deathstar"], stars.workloads["xwing"]
    with TcpServer(deathstar, 80) as server:
        client = connect(stars.workloads["tiefighter"], address, 80)
        stream = Stream(server.accept(), client)
        received = deathstar.socket(socket.AF_INET, socket.SOCK_DGRAM)
        received.bind(("0.0.0.0", 9))
        received.setblocking(False)
        denied = xwing.socket(socket.AF_INET, socket.SOCK_DGRAM)
        ended = threading.Event()

        def flood() -> None:
            while not ended.wait(0.001):
                denied.sendto(b"x", (address, 9))

        flooding = threading.Thread(target=flood)
        flooding.start()
        try:
            for _ in range(2):
                stars.end(signal.SIGKILL)
                stars.start()
                before = stream.rounds
                wait_until(lambda before=before: stream.rounds > before + 10 or stream.failure)
        finally:
            ended.set()
            flooding.join()
            stream.stop()
        assert stream.failure is None
        with pytest.raises(BlockingIOError):
            received.recv(1)
        received.close()
        denied.close()
    assert {item["name"] for item in stars.json("endpoint", "list")} == {"deathstar", "tiefighter", "xwing"}
    assert "the kernel holds the plan after 0 writes" in stars.log.read_text().splitlines()[-2]


def test_a_change_of_policy_reaches_live_connections_and_no_other(stars: Node) -> None:
    address = stars.address("deathstar")
    other = stars.address("xwing")
    with (
        TcpServer(stars.workloads["deathstar"], 80) as server,
        TcpServer(stars.workloads["xwing"], 81) as far,
    ):
        unrelated = (
            Stream(far.accept(), client)
            if (client := connect(stars.workloads["tiefighter"], other, 81))
            else None
        )
        assert unrelated is not None
        live = connect(stars.workloads["tiefighter"], address, 80)
        with live, server.accept() as accepted:
            live.sendall(b"one")
            assert accepted.recv(10) == b"one"
            stars.apply(NOBODY)
            live.sendall(b"two")
            accepted.settimeout(0.5)
            with pytest.raises(TimeoutError):
                accepted.recv(10)
            assert stars.apply(EMPIRE_ONLY)["endpoints"] == 1
            accepted.settimeout(10)
            assert accepted.recv(10) == b"two"
        unrelated.stop()
        assert unrelated.failure is None


def test_stopping_leaves_the_datapath_forwarding(stars: Node) -> None:
    address = stars.address("deathstar")
    assert stars.end(signal.SIGTERM) == 0
    assert not stars.socket.exists()
    assert stars.run("status").returncode == 3
    with TcpServer(stars.workloads["deathstar"], 80):
        connect(stars.workloads["tiefighter"], address, 80).close()
        assert refused(stars.workloads["xwing"], address, 80)


def test_cleaning_up_leaves_nothing(stars: Node) -> None:
    blocked = subprocess.run(stars.agent("--cleanup"), capture_output=True, text=True, check=False)
    assert blocked.returncode == 1
    assert "another agent" in blocked.stderr
    stars.end()
    done = subprocess.run(stars.agent("--cleanup"), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    with Netlink(stars.namespace) as netlink:
        assert [link.name for link in netlink.links()] == ["lo"]
    assert not bpffs.mounted(stars.pins)
    assert not stars.state.exists()


def test_one_agent_a_state_directory_and_only_root_may_ask(running: Node) -> None:
    assert stat.S_IMODE(running.socket.stat().st_mode) == 0o600
    assert stat.S_IMODE(running.state.stat().st_mode) == 0o700
    second = subprocess.run(running.agent(), capture_output=True, text=True, check=False, timeout=60)
    assert second.returncode == 1
    assert "another agent" in second.stderr
    assert second.stderr.count("\n") == 1


def test_events_say_who_and_which_rule(stars: Node) -> None:
    with stars.client() as client:
        events = client.events({"kind": "drop", "endpoint": "deathstar"})
        assert refused(stars.workloads["xwing"], stars.address("deathstar"), 80, 0.3)
        event = next(events)
        events.close()  # type: ignore[attr-defined]
    assert event.source is not None
    assert event.source.endpoint == "default/xwing"
    assert (event.verdict, event.reason, event.protocol) == ("deny", "policy-denied", "TCP")


def test_overflow_is_refused_before_anything_is_written(node: Node) -> None:
    node.start("--map-size", "rules=3")
    before = node.json("status")["datapath"]["writes"]
    many = "\n---".join(EMPIRE_ONLY.replace("rule1", f"rule{number}") for number in range(4))
    done = node.run("policy", "apply", "-", stdin=many.encode())
    assert done.returncode == 1
    assert "map rule" in done.stderr
    assert done.stderr.count("\n") == 1
    assert node.json("policy", "list") == []
    assert node.json("status")["datapath"]["writes"] == before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"kind: [", "not YAML"),
        (b"\x7fELF\0", "not a text file"),
        (b"x" * (10 * 1024 * 1024), "more than 4 MiB"),
        (EMPIRE_ONLY.replace("ingress:", "ingres:").encode(), "<stdin>"),
        (EMPIRE_ONLY.replace("cilium.io/v2", "cilium.io/v9").encode(), "apiVersion"),
    ],
)
def test_bad_policies_are_one_error_and_nothing_is_applied(running: Node, text: bytes, message: str) -> None:
    done = running.run("policy", "apply", "-", stdin=text)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    assert message in done.stderr
    assert running.json("policy", "list") == []


def test_bad_endpoints_are_refused(running: Node, tmp_path: Path) -> None:
    name = running.bare_workload("x").name
    words = ("endpoint", "attach", "--netns", name, "--name", "x")
    for more, message in (
        (("--label", "reserved:host"), "cannot set"),
        (("--address", "224.0.0.1"), "cannot be"),
        (("--address", "not-one"), "no IP address"),
    ):
        done = running.run(*words, *more)
        assert (done.returncode, done.stderr.count("\n")) == (1, 1)
        assert message in done.stderr
    running.kinety(*words)
    assert "already" in running.run(*words).stderr
    running.kinety("endpoint", "detach", "x")
    assert running.json("endpoint", "list") == []
