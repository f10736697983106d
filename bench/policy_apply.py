"""How long from the request that changes a policy until every endpoint obeys, with much policy in place?

In place are 3000 policies, 600 identities (100 endpoints with labels of their own, 500 CIDRs) and 100
endpoints of 20 applications. One policy is then changed a hundred times, each time to another port,
once for a policy that selects one application (5 endpoints) and once for one that selects all 100.
Measured is the client's time from the request to the answer, which the agent gives when the datapath
has the change.

The baseline is nftables: one rule of a chain of 3000 replaced in one transaction, as the process that
does it.
"""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack
from ipaddress import IPv4Address
from typing import ParamSpec

from bench.figure import Figure, Goal, median, percentile, spread
from bench.node import Node, node
from bench.wire import do, namespace
from kinety.kernel.namespace import Namespace

P = ParamSpec("P")

POLICIES, ENDPOINTS, CIDRS, APPLICATIONS, LIVE = 3000, 100, 500, 600, 20
CHANGES = 100
BASELINE = f"nftables, a rule of {POLICIES} replaced"


def run(quick: bool = False) -> list[Figure]:
    """Median and 99th percentile, for a change to one application and to every endpoint."""
    changes = 5 if quick else CHANGES
    policies, endpoints = (POLICIES // 10, ENDPOINTS // 10) if quick else (POLICIES, ENDPOINTS)
    figures = []
    with ExitStack() as stack:
        machine = stack.enter_context(node())
        firewall = stack.enter_context(namespace("nftables"))
        for number in range(endpoints):
            labels = [f"app=app-{number % LIVE}", f"replica=r{number}", "fleet=bench"]
            machine.attach(f"pod-{number}", stack.enter_context(namespace("pod")), labels)
        machine.apply(*(policy(number) for number in range(policies)))
        handle = chain(firewall, policies)
        for what, selected in (("one application", "app: app-0"), ("every endpoint", "fleet: bench")):
            ours, theirs = [], []
            for number in range(changes):
                ours.append(timed(machine.apply, changed(selected, 1000 + number)))
                theirs.append(timed(replaced, firewall, handle, number))
            figures += summary(what, ours, theirs)
        check_in_force(machine, policies)
    return figures


def summary(what: str, ours: list[float], theirs: list[float]) -> list[Figure]:
    def figure(name: str, of: Callable[[list[float]], float], bound: float) -> Figure:
        title = f"change a policy of {what}, {name}"
        goal = Goal("value", "<=", bound)
        return Figure(title, of(ours), "ms", BASELINE, of(theirs), spread=spread(ours), goal=goal)

    return [figure("P50", median, 5.0), figure("P99", lambda values: percentile(values, 99), 20.0)]


def timed(action: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> float:
    """Milliseconds."""
    started = time.perf_counter()
    action(*args, **kwargs)
    return (time.perf_counter() - started) * 1e3


def policy(number: int) -> str:
    """One of the policies in place; one in six also names a CIDR that no other names."""
    application, peer = number % APPLICATIONS, (number * 7 + 1) % APPLICATIONS
    cidr = IPv4Address("10.100.0.0") + number // 6
    from_cidr = f"\n  - fromCIDR: [{cidr}/32]" if number % 6 == 0 and number // 6 < CIDRS else ""
    return document(f"policy-{number}", f"app: app-{application}", peer, 8000 + number % 50, from_cidr)


def changed(selected: str, port: int) -> str:
    return document("changing", selected, 1, port)


def document(name: str, selected: str, peer: int, port: int, more: str = "") -> str:
    """A policy that lets application ``peer`` in at a port; ``more`` are further rules."""
    return f"""apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {{name: {name}, namespace: default}}
spec:
  endpointSelector: {{matchLabels: {{{selected}}}}}
  ingress:
  - fromEndpoints: [{{matchLabels: {{app: app-{peer}}}}}]
    toPorts: [{{ports: [{{port: '{port}', protocol: TCP}}]}}]{more}
"""


def check_in_force(machine: Node, policies: int) -> None:
    """A figure for something that did not happen is worth nothing: see that all of it is there."""
    status = machine.client.status()
    if status.policies != policies + 1 or status.reconciliation.state != "in-sync":
        raise RuntimeError(f"{status.policies} policies in place, {status.reconciliation}")


def chain(space: Namespace, rules: int) -> int:
    """Set up a chain of as many rules; the handle of the one in the middle."""
    lines = [
        f"ip saddr {IPv4Address('10.101.0.0') + number} tcp dport {8000 + number % 50} accept"
        for number in range(rules)
    ]
    body = "\n    ".join(lines)
    head = "type filter hook forward priority filter; policy drop;"
    text = f"table ip filter {{\n  chain forward {{\n    {head}\n    {body}\n  }}\n}}\n"
    do(space, "nft", "--file", "-", text=text)
    listed = space.call(
        subprocess.run,
        ["nft", "--handle", "list", "chain", "ip", "filter", "forward"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    handles = re.findall(r"# handle (\d+)", listed)
    return int(handles[len(handles) // 2])


def replaced(space: Namespace, handle: int, number: int) -> None:
    rule = f"ip saddr 10.101.0.7 tcp dport {1000 + number} accept"
    do(space, "nft", f"replace rule ip filter forward handle {handle} {rule}")
