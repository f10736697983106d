"""How long does it take to give a prepared network namespace its interface, with its policy in force?

Measured is the agent's share: from the request to the realised policy, as its answer says. The baseline
is what container runtimes call for the same job without any policy: the ``bridge`` plugin of the CNI
project with its ``host-local`` addresses, as the process they start. They take turns.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from bench.figure import Figure, Goal, median, percentile, spread
from bench.node import node
from bench.wire import namespace
from kinety.kernel.namespace import Namespace

ENDPOINTS, QUICK_ENDPOINTS = 100, 5
PLUGINS = Path("build/bench/usr/lib/cni")
BASELINE = "CNI bridge plugin, no policy"

POLICY = """\
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: bench, namespace: default}
spec:
  endpointSelector: {matchLabels: {app: bench}}
  ingress:
  - fromEndpoints: [{matchLabels: {app: bench}}]
    toPorts: [{ports: [{port: '80', protocol: TCP}]}]
"""


def run(quick: bool = False) -> list[Figure]:
    """Median and 99th percentile over a hundred endpoints in a row."""
    ours, theirs = [], []
    with ExitStack() as stack:
        machine = stack.enter_context(node())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        bridge_node = stack.enter_context(namespace("bridge"))
        machine.apply(POLICY)
        count = QUICK_ENDPOINTS if quick else ENDPOINTS
        pairs = [[stack.enter_context(namespace("pod")) for _ in range(2)] for _ in range(count)]
        for number, (first, second) in enumerate(pairs):
            attached = machine.attach(f"pod-{number}", first, ["app=bench", f"replica={number % 10}"])
            assert attached.attach_seconds is not None
            ours.append(attached.attach_seconds * 1e3)
            theirs.append(plugin_add(bridge_node, second, number, folder) * 1e3)
    return [
        Figure(
            f"attach an endpoint, {name}",
            of(ours),
            "ms",
            BASELINE,
            of(theirs),
            spread=spread(ours),
            goal=Goal("value", "<=", bound),
        )
        for name, of, bound in (("P50", median, 5.0), ("P99", lambda values: percentile(values, 99), 20.0))
    ]


def plugin_add(machine: Namespace, pod: Namespace, number: int, folder: Path) -> float:
    """Seconds the plugin's process took to add an interface."""
    ipam = {"type": "host-local", "subnet": "10.98.0.0/16", "dataDir": str(folder / "cni")}
    config = {"cniVersion": "1.0.0", "name": "bench", "type": "bridge", "bridge": "cni0", "ipam": ipam}
    environment = {
        **os.environ,
        "CNI_COMMAND": "ADD",
        "CNI_CONTAINERID": f"bench-{number}",
        "CNI_NETNS": pod.name,
        "CNI_IFNAME": "eth0",
        "CNI_PATH": str(PLUGINS.absolute()),
    }
    started = time.perf_counter()
    done = machine.call(
        subprocess.run,
        [str(PLUGINS.absolute() / "bridge")],
        input=json.dumps(config | {"isGateway": True}),
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    took = time.perf_counter() - started
    if done.returncode:
        raise RuntimeError(f"the CNI bridge plugin failed: {done.stdout.strip()}{done.stderr.strip()}")
    return took
