"""A throw-away Kinety node for measurements: the lab's, with an agent as a process."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from ipaddress import IPv4Address

from bench.wire import PORTS, Wire, namespace
from kinety.api import types
from kinety.api.client import Client
from kinety.kernel.namespace import Namespace
from kinety.testing.lab import Lab, lab

__all__ = ["Node", "kinety_wires", "node"]


@dataclass(frozen=True, slots=True)
class Node:
    """A running agent and a client that stays connected."""

    lab: Lab
    client: Client

    def attach(self, name: str, space: Namespace, labels: Sequence[str]) -> types.Endpoint:
        return self.client.attach(types.EndpointRequest(name, netns=space.name, labels=tuple(labels)))

    def apply(self, *texts: str) -> types.PolicyResult:
        return self.client.apply(
            types.Document(f"policy-{count}.yaml", text) for count, text in enumerate(texts)
        )


@contextlib.contextmanager
def node(*options: str) -> Iterator[Node]:
    """An agent that answers, taken down with everything it made."""
    with lab() as built:
        built.start_agent(*options)
        with built.client() as client:
            yield Node(built, client)


@contextlib.contextmanager
def kinety_wires(rules: Mapping[str, int]) -> Iterator[tuple[Node, list[Wire]]]:
    """A node, and on it a pair of endpoints for each name, the server's ingress under that many rules."""
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
        yield machine, wires


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
