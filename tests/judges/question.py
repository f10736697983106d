"""Questions: a first packet between two ends of a world, and whose say it is."""

import random
from collections.abc import Iterator
from dataclasses import dataclass

from kinety.model.address import unpack_address
from kinety.model.rule import Direction
from tests.judges.worlds import End, World, ends

TCP, UDP, SCTP, ICMP, ICMPV6, GRE = 6, 17, 132, 1, 58, 47
_PORTS = (1, 53, 79, 80, 81, 82, 443, 1023, 1024, 1025, 8000, 8001, 8080, 8081, 65535)
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

    def __str__(self) -> str:
        ways = (f"{end.name} ({unpack_address(end.address)})" for end in (self.source, self.target))
        around = ", through the stack" if self.around else ""
        return f"{' -> '.join(ways)}, protocol {self.protocol}, port {self.port}{around}"


def questions(rng: random.Random, scene: World, count: int) -> list[Question]:
    """Some questions about a world, none of them twice."""
    everybody = list(ends(scene))
    here = [end for end in everybody if end.endpoint is not None]
    asked: dict[Question, None] = {}
    while len(asked) < count:
        one, other = rng.choice(here), rng.choice(everybody)
        if rng.random() < 0.4:
            other = rng.choice(here)
        version = unpack_address(one.address).version
        if one.endpoint == other.endpoint or unpack_address(other.address).version != version:
            continue
        source, target = rng.sample((one, other), 2)
        protocol, port = _traffic(rng, version)
        around = source.endpoint is not None and target.endpoint is not None and rng.random() < 0.2
        asked[Question(source, target, protocol, port, around)] = None
    return list(asked)


def _traffic(rng: random.Random, version: int) -> tuple[int, int]:
    protocol = rng.choice((TCP, TCP, TCP, UDP, UDP, SCTP, ICMP, ICMP, GRE))
    if protocol == GRE:
        return GRE, 0
    if protocol != ICMP:
        return protocol, rng.choice(_PORTS)
    protocol, types = _ICMP_TYPES[version]
    return protocol, rng.choice(types)
