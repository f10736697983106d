"""Questions: a first packet between two ends of a world, and whose say it is."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from kinety.model.address import unpack_address
from kinety.model.rule import Direction
from tests.judges.worlds import End, World, ends

TCP, UDP, SCTP, ICMP, ICMPV6, GRE = 6, 17, 132, 1, 58, 47
_PORTS = (1, 53, 79, 80, 81, 82, 443, 1023, 1024, 1025, 8000, 8001, 8080, 8081, 65535)
_NUMBERS = {"TCP": TCP, "UDP": UDP, "SCTP": SCTP}
#: Message types of each family: those that policies name, with and without a flow of their own.
_ICMP_TYPES = {4: (ICMP, (0, 3, 8, 11, 13)), 6: (ICMPV6, (1, 3, 128, 129, 130))}


@dataclass(frozen=True, slots=True)
class Question:
    """May ``source`` send this to ``target``? ``port`` is the message type for ICMP.

    ``around``: the packet of an endpoint reaches another one through the node's stack, not straight.
    """

    source: End
    target: End
    protocol: int
    port: int
    around: bool = False

    def sides(self) -> Iterator[tuple[Direction, End, End]]:
        """Who judges it, in this order: direction, the endpoint that judges, and its peer."""
        if self.source.endpoint is not None and not self.around:
            yield Direction.EGRESS, self.source, self.target
        if self.target.endpoint is not None:
            yield Direction.INGRESS, self.target, self.source

    def host_sides(self) -> Iterator[tuple[Direction, End, End]]:
        """What the node's own policies judge."""
        if self.source.party.kind == "host":
            yield Direction.EGRESS, self.source, self.target
        if self.target.party.kind == "host":
            yield Direction.INGRESS, self.target, self.source

    def __str__(self) -> str:
        ways = (f"{end.name} ({unpack_address(end.address)})" for end in (self.source, self.target))
        around = ", through the stack" if self.around else ""
        return f"{' -> '.join(ways)}, protocol {self.protocol}, port {self.port}{around}"


def questions(rng: random.Random, scene: World, count: int) -> list[Question]:
    """Some questions about a world, none of them twice."""
    everybody = list(ends(scene))
    here = [end for end in everybody if end.endpoint is not None]
    named = list(_named_traffic(scene))
    asked: dict[Question, None] = {}
    while len(asked) < count:
        one, other = rng.choice(here), rng.choice(everybody)
        if rng.random() < 0.6:
            other = rng.choice(here)
        version = unpack_address(one.address).version
        if one.endpoint == other.endpoint or unpack_address(other.address).version != version:
            continue
        source, target = rng.sample((one, other), 2)
        protocol, port = rng.choice(named) if named and rng.random() < 0.6 else _traffic(rng, version)
        around = source.endpoint is not None and target.endpoint is not None and rng.random() < 0.2
        asked[Question(source, target, protocol, port, around)] = None
    return list(asked)


def host_questions(rng: random.Random, scene: World, count: int) -> Iterator[Question]:
    """Some questions between the node itself and anybody else, the world included."""
    everybody = list(ends(scene))
    hosts = [end for end in everybody if end.party.kind == "host"]
    named = list(_named_traffic(scene))
    for _ in range(count):
        host = rng.choice(hosts)
        version = unpack_address(host.address).version
        others = [
            end
            for end in everybody
            if end.party.kind != "host" and unpack_address(end.address).version == version
        ]
        source, target = rng.sample((host, rng.choice(others)), 2)
        protocol, port = rng.choice(named) if named and rng.random() < 0.6 else _traffic(rng, version)
        yield Question(source, target, protocol, port)


def _named_traffic(scene: World) -> Iterator[tuple[int, int]]:
    """Traffic that policies name by protocol and port, and what is next to it."""
    for document in scene.documents:
        yield from _named(document, "TCP")
    for endpoint in scene.endpoints:
        yield from ((each.protocol, each.port) for each in sorted(endpoint.listens))


def _named(value: Any, protocol: str) -> Iterator[tuple[int, int]]:
    """Ports within a part of a document; ``protocol`` is what stands nearest above them."""
    if isinstance(value, dict):
        protocol = value.get("protocol", protocol)
        for key, inner in value.items():
            if key in ("port", "endPort", "number", "start", "end") and str(inner).isdecimal():
                for port in {int(inner), min(int(inner) + 1, 65535)}:
                    yield _NUMBERS.get(protocol, TCP), port
            yield from _named(inner, key.upper() if key in ("tcp", "udp", "sctp") else protocol)
    elif isinstance(value, list):
        for inner in value:
            yield from _named(inner, protocol)


def _traffic(rng: random.Random, version: int) -> tuple[int, int]:
    protocol = rng.choice((TCP, TCP, TCP, UDP, UDP, SCTP, ICMP, ICMP, GRE))
    if protocol == GRE:
        return GRE, 0
    if protocol != ICMP:
        return protocol, rng.choice(_PORTS)
    protocol, types = _ICMP_TYPES[version]
    return protocol, rng.choice(types)
