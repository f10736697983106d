"""What does policy about the node cost the node's own traffic?

A node and a machine outside, connected by a bare veth pair, five times side by side: without Kinety; with an
agent, no policy about the node and no masquerade, when nothing at all looks at its packets; with masquerade,
for which the kernel tracks every connection of the node; and then with a policy of one rule, and of 1000.
The server is a process of the node. Loads and generators: ``bench/load.py``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from ipaddress import IPv4Address

from bench.figure import Figure, Goal, compare
from bench.load import LOADS, measure
from bench.wire import PORTS, Wire
from kinety.api.types import Document
from kinety.testing.lab import lab
from kinety.testing.scenario import HOST_ADDRESSES, WORLD_ADDRESSES

NOTHING, BARE, IDLE = "no Kinety", "no policy about the node, no masquerade", "no policy about the node"
RULES = (1, 1000)
ROUNDS, QUICK_ROUNDS = 300, 8
#: While no policy selects the node, nothing is there that could cost; and what a policy may cost.
FREE, DEAR = Goal("ratio", ">=", 0.99), Goal("ratio", ">=", 0.9)


def run(quick: bool = False) -> list[Figure]:
    """Seven figures for each load: the nodes against none, rules against no policy, many against one."""
    figures: list[Figure] = []
    with ExitStack() as stack:
        wires = [
            stack.enter_context(node(NOTHING)),
            stack.enter_context(node(BARE, "--no-masquerade", rules=0)),
            stack.enter_context(node(IDLE, rules=0)),
        ]
        wires += [stack.enter_context(node(named(rules), rules=rules)) for rules in RULES]
        for load in LOADS:
            rates = measure(load, wires, QUICK_ROUNDS if quick else ROUNDS)
            one, many = map(named, RULES)
            pairs = (
                (BARE, NOTHING, FREE),
                *((name, NOTHING, None) for name in (IDLE, one, many)),
                *((name, IDLE, DEAR) for name in (one, many)),
                (many, one, None),
            )
            for name, baseline, goal in pairs:
                figures.append(
                    compare(f"{load.name}: {name}", load.unit, rates[name], baseline, rates[baseline], goal)
                )
    return figures


def named(rules: int) -> str:
    return f"{rules} rule{'' if rules == 1 else 's'} about the node"


@contextmanager
def node(name: str, *options: str, rules: int | None = None) -> Iterator[Wire]:
    """From outside to a process of a node; without rules there is no agent either."""
    with lab() as built:
        if rules is not None:
            built.start_agent(*options)
        if rules:
            with built.client() as client:
                client.apply([Document("node.yaml", policy(rules))])
        yield Wire(name, built.world, built.node, str(HOST_ADDRESSES[4]))


def policy(rules: int) -> str:
    """A rule per source, the client's in the middle; strangers are addresses, each a class of its own."""
    strangers = [str(IPv4Address("10.97.0.1") + number) for number in range(rules - 1)]
    sources = [*strangers[: rules // 2], str(WORLD_ADDRESSES[4]), *strangers[rules // 2 :]]
    ports = "".join(
        f"\n      - {{port: '{PORTS.start}', endPort: {PORTS.stop - 1}, protocol: {protocol}}}"
        for protocol in ("TCP", "UDP")
    )
    allowed = [f"  - fromCIDR: [{source}/32]\n    toPorts:\n    - ports:{ports}" for source in sources]
    return (
        "apiVersion: cilium.io/v2\nkind: CiliumClusterwideNetworkPolicy\nmetadata: {name: bench}\n"
        "spec:\n  nodeSelector: {}\n  ingress:\n" + "\n".join(allowed) + "\n"
    )
