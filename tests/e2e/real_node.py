"""A node of its own for a test: an agent as a process in a network namespace, and the command line.

Namespaces have random names and are removed even when the test fails. ``Node`` talks to the agent
through ``kinety`` as a user would; packets are sent and received on sockets of the namespaces.
"""

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from kinety.api.client import Client
from kinety.api.errors import AgentUnreachable
from kinety.kernel import bpffs
from kinety.kernel.namespace import Namespace
from kinety.kernel.netlink import Netlink
from kinety.testing.wait import wait_until
from tests.feature import ROOT

EMPIRE_ONLY = """
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: rule1}
spec:
  endpointSelector: {matchLabels: {org: empire, class: deathstar}}
  ingress:
  - fromEndpoints: [{matchLabels: {org: empire}}]
"""
START = 60.0
SOON = 10.0
#: Maps that packets do not change.
AGENTS_MAPS = (
    "endpoints",
    "local_addresses",
    "ipcache_hosts",
    "ipcache_prefixes",
    "identity_classes",
    "node_state",
    "rule_sets",
)


class Node:
    """A network namespace, a directory, and an agent that may be running."""

    #: What is run as the agent, and its first arguments.
    module: tuple[str, ...] = ("kinety.cli.main", "agent")

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.name = f"kinety-{os.getpid()}-{secrets.token_hex(4)}"
        self.namespace = Namespace.create(self.name)
        with Netlink(self.namespace) as netlink, netlink.batch() as batch:
            batch.link_set("lo", up=True)
        self.socket = directory / "agent.sock"
        self.state = directory / "state"
        self.pins = directory / "bpf"
        self.log = directory / "agent.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.workloads: dict[str, Namespace] = {}

    # The agent

    def options(self, *more: str) -> list[str]:
        own = {"--socket": self.socket, "--state-dir": self.state, "--bpffs": self.pins}
        return [str(word) for pair in own.items() for word in pair] + list(more)

    def agent(self, *more: str) -> list[str]:
        """The command that runs an agent in the node's namespace."""
        enter = ["nsenter", f"--net=/run/netns/{self.name}"]
        return [*enter, sys.executable, "-m", *self.module, *self.options(*more)]

    def start(self, *more: str) -> None:
        """Start the agent and wait until it answers."""
        assert self.process is None
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self.agent(*more), cwd=ROOT, stderr=log, stdout=log)
        wait_until(self._answers, START, "the agent answers")

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log.read_text()
        with suppress(AgentUnreachable), Client(self.socket) as client:
            return client.status().pid == self.process.pid
        return False

    def end(self, number: int = signal.SIGTERM) -> int:
        """End the agent with a signal, and return its exit status."""
        assert self.process is not None
        self.process.send_signal(number)
        status = self.process.wait(30)
        self.process = None
        return status

    def client(self) -> Client:
        return Client(self.socket)

    # The command line

    def run(self, *words: str, stdin: bytes | None = None) -> "subprocess.CompletedProcess[str]":
        """``kinety WORDS…``, whatever comes of it."""
        command = [sys.executable, "-m", "kinety.cli.main", "--socket", str(self.socket), *words]
        done = subprocess.run(command, input=stdin, capture_output=True, check=False, timeout=60)
        return subprocess.CompletedProcess(
            done.args, done.returncode, done.stdout.decode(), done.stderr.decode()
        )

    def kinety(self, *words: str, stdin: bytes | None = None) -> str:
        """What ``kinety WORDS…`` prints; it must succeed."""
        done = self.run(*words, stdin=stdin)
        assert done.returncode == 0, f"{words}: {done.stderr}\n{self.log.read_text()[-4000:]}"
        return done.stdout

    def json(self, *words: str) -> Any:
        """What ``kinety WORDS… -o json`` prints."""
        return json.loads(self.kinety(*words, "-o", "json"))

    def apply(self, text: str) -> Any:
        """Apply policies given as text."""
        return json.loads(self.kinety("policy", "apply", "-", "-o", "json", stdin=text.encode()))

    # Workloads

    def workload(self, name: str, *labels: str, more: tuple[str, ...] = ()) -> Namespace:
        """A new network namespace that is attached as an endpoint with these labels."""
        namespace = self.bare_workload(name)
        words = [word for label in labels for word in ("--label", label)]
        self.kinety("endpoint", "attach", "--netns", namespace.name, "--name", name, *words, *more)
        return namespace

    def bare_workload(self, name: str) -> Namespace:
        """A new network namespace that is not attached."""
        namespace = Namespace.create(f"{self.name}-{name}")
        self.workloads[name] = namespace
        return namespace

    def address(self, name: str, family: str = "ipv4") -> str:
        """An endpoint's address."""
        address = self.json("endpoint", "get", name)[family]
        assert isinstance(address, str)
        return address

    def held(self) -> dict[str, Any]:
        """What is in force: policies, endpoints, identities, and every map that only the agent writes."""
        with self.client() as client:
            maps: dict[str, Any] = {name: client.map_rows(name).rows for name in AGENTS_MAPS}
            return maps | {
                "policies": client.policies(),
                "endpoints listed": client.endpoints(),
                "identities": client.identities(),
                "writes": client.status().datapath.writes,
            }

    def settled(self) -> dict[str, Any]:
        """What is in force once the agent's background work is done, which it does while nobody asks."""
        seen, due = -1, 0.0

        def still() -> bool:
            nonlocal seen, due
            if time.monotonic() < due:
                return False
            with self.client() as client:
                before, seen = seen, client.status().datapath.writes
            due = time.monotonic() + 1.0
            return seen == before

        wait_until(still, START, "the agent is done")
        return self.held()

    def ruleset(self) -> str:
        """What nftables holds on the node."""
        command = ["nsenter", f"--net=/run/netns/{self.name}", "nft", "list", "ruleset"]
        return subprocess.check_output(command, text=True)

    def dropped(self, reason: str = "policy-denied") -> int:
        """Packets that were dropped for a reason since the datapath was loaded."""
        counters = self.json("status")["counters"]
        return sum(counter["packets"] for counter in counters if counter["reason"] == reason)

    def remove(self) -> None:
        """End the agent and remove everything."""
        if self.process is not None:
            with suppress(ProcessLookupError):
                self.end(signal.SIGKILL)
        self.module = Node.module
        subprocess.run(self.agent("--cleanup"), check=False, capture_output=True, timeout=60)
        for namespace in self.workloads.values():
            namespace.remove()
        if bpffs.mounted(self.pins):
            bpffs.unmount(self.pins)
        self.namespace.remove()


@contextmanager
def node(directory: Path) -> Iterator[Node]:
    """A node while the block runs."""
    made = Node(directory)
    try:
        yield made
    finally:
        made.remove()


class TcpServer:
    """Listens in a namespace; sockets it accepts are the caller's."""

    def __init__(self, namespace: Namespace, port: int, family: int = socket.AF_INET) -> None:
        self._socket = namespace.socket(family, socket.SOCK_STREAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("::" if family == socket.AF_INET6 else "0.0.0.0", port))
        self._socket.listen()

    def accept(self, timeout: float = SOON) -> socket.socket:
        self._socket.settimeout(timeout)
        return self._socket.accept()[0]

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> "TcpServer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def family_of(address: str) -> int:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def connect(namespace: Namespace, address: str, port: int, timeout: float = SOON) -> socket.socket:
    """A connection from a namespace. Raises OSError, TimeoutError among them."""
    stream = namespace.socket(family_of(address), socket.SOCK_STREAM)
    stream.settimeout(timeout)
    try:
        stream.connect((address, port))
    except BaseException:
        stream.close()
        raise
    return stream


def refused(namespace: Namespace, address: str, port: int, timeout: float = 1.0) -> bool:
    """Whether a connection's first packets are dropped: no answer at all within the time."""
    try:
        connect(namespace, address, port, timeout).close()
    except TimeoutError:
        return True
    return False
