"""A throw-away Kinety node for measurements: an agent in a network namespace of its own, as a process."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

from bench.wire import PORTS, Wire, inside, namespace
from kinety.api import types
from kinety.api.client import Client
from kinety.api.errors import AgentUnreachable
from kinety.kernel.namespace import Namespace

__all__ = ["Node", "NodeError", "kinety_wires", "node"]

PATIENCE = 30  # seconds until an agent that does not answer is given up


class NodeError(Exception):
    """The agent did not come up; the message carries the end of its log."""


@dataclass(frozen=True, slots=True)
class Node:
    """A running agent: its process, its client, its namespace, and the files it was given."""

    process: subprocess.Popen[bytes]
    client: Client
    space: Namespace
    folder: Path

    def attach(self, name: str, space: Namespace, labels: Sequence[str]) -> types.Endpoint:
        return self.client.attach(types.EndpointRequest(name, netns=space.name, labels=tuple(labels)))

    def apply(self, *texts: str) -> types.PolicyResult:
        return self.client.apply(
            types.Document(f"policy-{count}.yaml", text) for count, text in enumerate(texts)
        )


@contextlib.contextmanager
def node(*options: str) -> Iterator[Node]:
    """An agent with its state, socket and BPF file system in a folder that is removed afterwards."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-node-")))
        space = stack.enter_context(namespace("node"))
        command = agent(folder, *options)
        log = stack.enter_context((folder / "agent.log").open("wb"))
        stack.callback(subprocess.run, inside(space, *command, "--cleanup"), stderr=log, check=False)
        process = subprocess.Popen(inside(space, *command), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        stack.callback(end, process)
        client = stack.enter_context(Client(folder / "agent.sock"))
        wait_answer(client, process, folder / "agent.log")
        yield Node(process, client, space, folder)


def agent(folder: Path, *options: str) -> list[str]:
    """The agent's command line, with everything it keeps below ``folder``."""
    return [
        *(sys.executable, "-m", "kinety.agent", "--state-dir", str(folder / "state")),
        *("--socket", str(folder / "agent.sock"), "--bpffs", str(folder / "bpf"), *options),
    ]


def end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def wait_answer(client: Client, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            client.status()
        except AgentUnreachable as error:
            if process.poll() is not None or time.monotonic() > deadline:
                raise NodeError(f"the agent does not answer:\n{log.read_text()[-2000:]}") from error
            time.sleep(0.02)
        else:
            return


@contextlib.contextmanager
def kinety_wires(rules: Mapping[str, int]) -> Iterator[list[Wire]]:
    """For each name a pair of endpoints on one node, the server's ingress under that many rules."""
    with ExitStack() as stack:
        machine = stack.enter_context(node())
        wires = []
        for count, name in enumerate(rules):
            client, server = (stack.enter_context(namespace(role)) for role in ("client", "server"))
            machine.attach(f"client-{count}", client, [f"app=client-{count}"])
            served = machine.attach(f"server-{count}", server, [f"app=server-{count}"])
            assert served.ipv4 is not None
            wires.append(Wire(name, client, server, served.ipv4))
        texts = [policy(count, number) for count, number in enumerate(rules.values()) if number]
        machine.apply(*texts)
        yield wires


def policy(pair: int, rules: int) -> str:
    """A policy for one pair's server: a rule per source, the client's in the middle, as in nftables' chain.

    The strangers are addresses, so that each is a class of its own and has rows of its own.
    """
    strangers = [f"  - fromCIDR: [{IPv4Address('10.97.0.1') + number}/32]" for number in range(rules - 1)]
    client = f"  - fromEndpoints: [{{matchLabels: {{app: client-{pair}}}}}]"
    ports = "".join(
        f"\n      - {{port: '{PORTS.start}', endPort: {PORTS.stop - 1}, protocol: {protocol}}}"
        for protocol in ("TCP", "UDP")
    )
    to_ports = f"\n    toPorts:\n    - ports:{ports}"
    allowed = [*strangers[: rules // 2], client, *strangers[rules // 2 :]]
    return (
        "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\n"
        f"metadata: {{name: bench-{pair}, namespace: default}}\n"
        f"spec:\n  endpointSelector: {{matchLabels: {{app: server-{pair}}}}}\n  ingress:\n"
        + "\n".join(rule + to_ports for rule in allowed)
        + "\n"
    )
