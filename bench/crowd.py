"""What does a whole cluster's policy cost a node that runs little of it: 30 000 policies, 30 endpoints?

In place are 30 000 policies of 600 applications, 30 of which have an endpoint here: nineteen policies of
twenty select nobody on this node. The others also name 6000 addresses, each of them an identity, a selector
and an ipcache entry. All of it arrives over the API, a hundred policies at a time. Measured is the agent's
resident set (proc(5), VmRSS) once everything is in force and it was left alone for some seconds; the
baseline is the same agent before.

Then one policy is changed, each time to another port, once for one that selects a single endpoint and once
for one that selects all. Measured is the client's time from the request to the answer, which the agent gives
when the datapath has the change. A policy that selects all is a rule more in each of 30 different rule sets
of 200 classes, and a rule set is what its rules are: all 30 are made anew, which is most of that time. The
baseline is nftables: one rule of a chain of 30 000 replaced in one transaction.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from ipaddress import IPv4Address

from bench.figure import Figure, Goal, percentile, spread
from bench.memory import resident
from bench.node import Node, node
from bench.policy_apply import chain, changed, document, replaced, timed
from bench.wire import namespace

POLICIES, IDENTITIES, APPLICATIONS, ENDPOINTS, QUICK_DIVISOR = 30_000, 6000, 600, 30, 50
POLICIES_PER_REQUEST = 100
CHANGES, QUICK_CHANGES = 60, 3
APART = 10  # of so many changes, nftables makes one: each takes it a second
REST = 3.0  # seconds


def run(quick: bool = False) -> list[Figure]:
    """MiB; and milliseconds, median and 99th percentile."""
    divisor = QUICK_DIVISOR if quick else 1
    policies, identities = POLICIES // divisor, IDENTITIES // divisor
    with ExitStack() as stack:
        machine = stack.enter_context(node())
        for number in range(ENDPOINTS):
            labels = [f"app=app-{number}", f"replica=r{number}", "fleet=bench"]
            machine.attach(f"pod-{number}", stack.enter_context(namespace("pod")), labels)
        empty = resident(machine)
        for request in requests(policies, identities):
            machine.apply(request)
        time.sleep(REST)
        sizes = f"{policies} policies × {identities} identities × {ENDPOINTS} endpoints"
        full = resident(machine)
        goal = Goal("value", "<=", 300.0)
        figures = [Figure(f"agent's memory, {sizes}", full, "MiB", "the same agent, empty", empty, goal=goal)]
        firewall = stack.enter_context(namespace("nftables"))
        handle = chain(firewall, policies)
        for what, selected in (("one endpoint", "app: app-0"), ("every endpoint", "fleet: bench")):
            ours, theirs = [], []
            for number in range(QUICK_CHANGES if quick else CHANGES):
                ours.append(timed(machine.apply, changed(selected, 1000 + number)))
                if number % APART == 0:
                    theirs.append(timed(replaced, firewall, handle, number))
            figures += summary(f"{sizes}, change a policy of {what}", ours, theirs, policies)
        require_all(machine, policies, identities)
    return figures


def summary(title: str, ours: list[float], theirs: list[float], rules: int) -> Iterator[Figure]:
    """Median and 99th percentile."""
    baseline, goal = f"nftables, a rule of {rules} replaced", Goal("value", "<=", 20.0)
    for name, percent in (("P50", 50), ("P99", 99)):
        slow, theirs_too = percentile(ours, percent), percentile(theirs, percent)
        yield Figure(f"{title}, {name}", slow, "ms", baseline, theirs_too, spread=spread(ours), goal=goal)


def requests(policies: int, identities: int) -> Iterator[str]:
    """Every policy, some in each text."""
    addresses = identities * APPLICATIONS // (policies * ENDPOINTS)
    for start in range(0, policies, POLICIES_PER_REQUEST):
        numbers = range(start, min(start + POLICIES_PER_REQUEST, policies))
        yield "---\n".join(policy(number, addresses) for number in numbers)


def policy(number: int, addresses: int) -> str:
    """Lets one application in from another at one port; those that select an endpoint here, addresses too."""
    application, peer = number % APPLICATIONS, (number * 7 + 1) % APPLICATIONS
    own = number // APPLICATIONS * ENDPOINTS + application  # of those that select an endpoint
    first = IPv4Address("11.0.0.0") + own * addresses
    cidrs = ", ".join(f"{first + each}/32" for each in range(addresses))
    cidr = f"\n  - fromCIDR: [{cidrs}]" if application < ENDPOINTS else ""
    return document(f"policy-{number}", f"app: app-{application}", peer, 8000 + number % 50, cidr)


def require_all(machine: Node, policies: int, identities: int) -> None:
    """A figure for something that did not happen is worth nothing."""
    status = machine.client.status()
    there = status.policies == policies + 1 and status.identities >= identities
    if not there or status.reconciliation.state != "in-sync":
        raise RuntimeError(
            f"{status.policies} policies, {status.identities} identities, {status.reconciliation}"
        )
