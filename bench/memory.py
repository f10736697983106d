"""How much memory does an agent hold that knows 60 000 identities and 10 000 selectors?

Every identity is a CIDR of its own, so each is also an ipcache entry; the selectors are of endpoints by
labels. All of it arrives as policies over the API, a hundred at a time. Measured is the agent's
resident set (proc(5), VmRSS) once everything is in force and it was left alone for some seconds; the
baseline is the same agent before.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from ipaddress import IPv4Address
from pathlib import Path

from bench.figure import Figure, Goal
from bench.node import Node, node
from bench.wire import namespace

IDENTITIES, SELECTORS, QUICK_DIVISOR = 60_000, 10_000, 50
CIDRS_PER_POLICY, SELECTORS_PER_POLICY = 200, 50
POLICIES_PER_REQUEST = 50
REST = 3.0  # seconds


def run(quick: bool = False) -> list[Figure]:
    """One figure: MiB."""
    divisor = QUICK_DIVISOR if quick else 1
    identities, selectors = IDENTITIES // divisor, SELECTORS // divisor
    with ExitStack() as stack:
        machine = stack.enter_context(node())
        machine.attach("pod", stack.enter_context(namespace("pod")), ["app=bench"])
        before = resident(machine)
        texts = [*cidr_policies(identities), *selector_policies(selectors)]
        for start in range(0, len(texts), POLICIES_PER_REQUEST):
            machine.apply("---\n".join(texts[start : start + POLICIES_PER_REQUEST]))
        status = machine.client.status()
        if status.identities < identities or status.reconciliation.state != "in-sync":
            raise RuntimeError(f"{status.identities} identities in place, {status.reconciliation}")
        time.sleep(REST)
        name = f"agent's memory, {status.identities} identities, {selectors} selectors"
        goal = Goal("value", "<=", 150.0)
        return [Figure(name, resident(machine), "MiB", "the same agent, empty", before, goal=goal)]


def resident(machine: Node) -> float:
    """MiB of the agent's process."""
    lines = Path(f"/proc/{machine.client.status().pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024


def cidr_policies(count: int) -> Iterator[str]:
    for start in range(0, count, CIDRS_PER_POLICY):
        numbers = range(start, min(start + CIDRS_PER_POLICY, count))
        cidrs = ", ".join(f"{IPv4Address('11.0.0.0') + number}/32" for number in numbers)
        yield policy(f"cidr-{start}", f"  - fromCIDR: [{cidrs}]\n")


def selector_policies(count: int) -> Iterator[str]:
    for start in range(0, count, SELECTORS_PER_POLICY):
        numbers = range(start, min(start + SELECTORS_PER_POLICY, count))
        rules = (f"  - fromEndpoints: [{{matchLabels: {{app: app-{number}}}}}]\n" for number in numbers)
        yield policy(f"selector-{start}", "".join(rules))


def policy(name: str, rules: str) -> str:
    return (
        "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\n"
        f"metadata: {{name: {name}, namespace: default}}\n"
        f"spec:\n  endpointSelector: {{matchLabels: {{app: bench}}}}\n  ingress:\n{rules}"
    )
