"""What does a container runtime wait for, from the start of the plugin's process to its end?

Kinety's plugin, as ``kinety cni install`` writes it, gives an interface both families, and its policy is in
force at the end. The baseline gives one IPv4 without any policy: the ``bridge`` plugin with ``host-local``
addresses. In a row they take turns; all at once, each has its turn alone.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bench.attach import BASELINE, PLUGINS, POLICY
from bench.figure import Figure, Goal, percentile, spread
from bench.node import Node, node
from bench.wire import namespace
from kinety.kernel.namespace import Namespace

CONTAINERS, QUICK_CONTAINERS = 100, 4
GOALS = {50: 1.0, 99: 1.2}
SETTLED_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Plugin:
    """An executable, its network configuration, and the node it runs on."""

    executable: Path
    configuration: Mapping[str, object]
    machine: Namespace

    def run(self, command: str, pod: Namespace) -> float:
        """Milliseconds that one command took, from the start of the process to its end."""
        environment = {
            "PATH": os.environ["PATH"],
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": Path(pod.name).name,
            "CNI_NETNS": pod.name,
            "CNI_IFNAME": "eth0",
            "CNI_PATH": str(PLUGINS.absolute()),
        }
        stdin = json.dumps(self.configuration).encode()
        return self.machine.call(timed, [str(self.executable)], environment, stdin)


def timed(words: Sequence[str], environment: Mapping[str, str], stdin: bytes) -> float:
    started = time.perf_counter()
    done = subprocess.run(words, env=environment, input=stdin, capture_output=True, check=False)
    took = time.perf_counter() - started
    if done.returncode:
        raise RuntimeError(f"{words[0]} failed: {done.stdout.decode().strip()}{done.stderr.decode().strip()}")
    return took * 1e3


def run(quick: bool = False) -> list[Figure]:
    """Median and 99th percentile of ADD and DEL over a hundred containers, in a row and at once."""
    count = QUICK_CONTAINERS if quick else CONTAINERS
    with ExitStack() as stack:
        enter = stack.enter_context
        machine, bridge_node = enter(node()), enter(namespace("bridge"))
        folder = Path(enter(tempfile.TemporaryDirectory(prefix="bench-")))
        machine.apply(POLICY)
        common: dict[str, object] = {"cniVersion": "1.0.0", "name": "bench"}
        own = {"type": "kinety-cni", "socket": str(machine.lab.socket), "labels": {"app": "bench"}}
        ours = Plugin(installed(folder, machine.lab.socket), common | own, machine.lab.node)
        ipam = {"type": "host-local", "subnet": "10.98.0.0/16", "dataDir": str(folder / "addresses")}
        theirs = Plugin(
            PLUGINS.absolute() / "bridge",
            common | {"type": "bridge", "bridge": "cni0", "isGateway": True, "ipam": ipam},
            bridge_node,
        )
        pods = [(enter(namespace("pod")), enter(namespace("pod"))) for _ in range(count)]
        figures: list[Figure] = []
        for way, ask in (("in a row", in_a_row), ("at once", at_once)):
            figures += summary(f"CNI ADD, {count} {way}", *ask(ours, theirs, "ADD", pods))
            # As containers are that have run for a while.
            settle(machine)
            figures += summary(f"CNI DEL, {count} {way}", *ask(ours, theirs, "DEL", pods))
        return figures


def settle(machine: Node) -> None:
    """Until the agent has done in the background what it does to endpoints that stay."""
    for _ in range(SETTLED_SECONDS):
        time.sleep(1)  # it does that while nobody asks for anything
        datapath = machine.client.status().datapath
        if not datapath.tcx or datapath.endpoints_promoted == datapath.endpoints:
            return
    raise TimeoutError("endpoints are not on tcx links")


Pods = Sequence[tuple[Namespace, Namespace]]
Times = tuple[list[float], list[float]]


def in_a_row(ours: Plugin, theirs: Plugin, command: str, pods: Pods) -> Times:
    """Milliseconds of each, taking turns."""
    pairs = [(ours.run(command, first), theirs.run(command, second)) for first, second in pods]
    return [one for one, _ in pairs], [other for _, other in pairs]


def at_once(ours: Plugin, theirs: Plugin, command: str, pods: Pods) -> Times:
    """Milliseconds of each, all of one plugin's together."""
    with ThreadPoolExecutor(len(pods)) as pool:
        return (
            list(pool.map(lambda pair: ours.run(command, pair[0]), pods)),
            list(pool.map(lambda pair: theirs.run(command, pair[1]), pods)),
        )


def summary(title: str, ours: Sequence[float], theirs: Sequence[float]) -> Iterator[Figure]:
    for percent, bound in GOALS.items():
        yield Figure(
            f"{title}, P{percent}",
            percentile(ours, percent),
            "ms",
            BASELINE,
            percentile(theirs, percent),
            spread=spread(ours),
            goal=Goal("ratio", "<=", bound),
        )


def installed(folder: Path, socket: Path) -> Path:
    """The plugin as an operator has it, for the agent with this socket."""
    places = ["--bin-dir", str(folder), "--conf-dir", str(folder)]
    command = [sys.executable, "-m", "kinety.cli.main", "--socket", str(socket), "cni", "install", *places]
    subprocess.run(command, check=True, capture_output=True)
    return folder / "kinety-cni"
