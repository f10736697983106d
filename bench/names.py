"""How long does an answer of DNS wait until the kernel knows its address?

A policy lets an endpoint reach ``*.example.com``. Each round says one address of a name that nobody knew,
and one that is known, which costs the kernel nothing: that is the baseline, the way to the agent and back.
Once with nothing known, once with ten thousand addresses known; and a thousand addresses of one answer.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from ipaddress import IPv4Address

from bench.figure import Figure, Goal, median, percentile, spread
from bench.node import Node, node
from bench.wire import namespace
from kinety.api.naming import NameAnswer

POLICY = """apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: names}
spec:
  endpointSelector: {matchLabels: {app: client}}
  egress:
  - toFQDNs: [{matchPattern: "*.example.com"}]
    toPorts: [{ports: [{port: "443", protocol: TCP}]}]
"""
KNOWN, ROUNDS, AT_ONCE = 10_000, 300, 1000
BASELINE = "an address that is known"
_FIRST = IPv4Address("198.18.0.0")


def run(quick: bool = False) -> list[Figure]:
    """Median and 99th percentile of one address; and of a thousand at once, for each of them."""
    rounds = 20 if quick else ROUNDS
    known = KNOWN // 10 if quick else KNOWN
    with ExitStack() as stack:
        machine = stack.enter_context(node())
        machine.attach("client", stack.enter_context(namespace("client")), ["app=client"])
        machine.apply(POLICY)
        say(machine, "known", _FIRST)
        figures = [*one(machine, "nothing known", rounds, 1)]
        for start in range(0, known, AT_ONCE):
            say(machine, f"many-{start}", *(_FIRST + 65536 + start + each for each in range(AT_ONCE)))
        figures += one(machine, f"{known} addresses known", rounds, 1 + rounds)
        figures.append(many(machine))
        check(machine, known + 2 * rounds + 1 + 3 * AT_ONCE)
        return figures


def one(machine: Node, where: str, rounds: int, first: int) -> list[Figure]:
    """One address that nobody knew, with that much known."""
    new, old = [], []
    for number in range(first, first + rounds):
        new.append(say(machine, f"new-{number}", _FIRST + number))
        old.append(say(machine, "known", _FIRST))
    goal = Goal("value", "<=", 2.0)
    return [
        Figure(
            f"{where}, an address more, P50", median(new), "ms", BASELINE, median(old),
            spread=spread(new), goal=goal,
        ),
        Figure(
            f"{where}, an address more, P99", percentile(new, 99), "ms", BASELINE, percentile(old, 99),
            spread=spread(new),
        ),
    ]  # fmt: skip


def many(machine: Node) -> Figure:
    """A thousand addresses in one answer."""
    taken = [
        say(machine, f"lot-{each}", *(_FIRST + 131072 + each * AT_ONCE + number for number in range(AT_ONCE)))
        for each in range(3)
    ]
    return Figure(f"{AT_ONCE} addresses in one answer, each", median(taken) * 1e3 / AT_ONCE, "µs")


def say(machine: Node, name: str, *addresses: IPv4Address) -> float:
    """Milliseconds until the kernel knows the addresses of a name."""
    told = NameAnswer(tuple(map(str, addresses)), 3600)
    started = time.perf_counter()
    machine.client.learn_name(f"{name}.example.com", told)
    return (time.perf_counter() - started) * 1e3


def check(machine: Node, wanted: int) -> None:
    """A figure for something that did not happen is worth nothing: see that it all is one identity."""
    found = machine.client.names()
    identities = {each.identity for each in found.mappings}
    if found.known != wanted or len(identities) != 1 or found.evicted or found.refused:
        raise RuntimeError(f"{found.known} mappings, not {wanted}, as identities {identities}")
