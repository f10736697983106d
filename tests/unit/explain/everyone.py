"""Random worlds for questions about everybody: an engine and the naive judge of the same facts."""

from collections.abc import Iterator, Sequence

from kinety.explain.difference import Difference
from kinety.model.address import Prefix
from kinety.model.endpoint import Endpoint
from kinety.model.identity import Identity, ReservedIdentity
from kinety.model.rule import Direction
from kinety.plan.engine import Engine
from kinety.plan.fact import Fact
from tests.unit.plan.generation import ADDRESSES, PORTS
from tests.unit.plan.naive import World

Pair = tuple[Endpoint, Direction, bytes]


def told(facts: Sequence[Fact]) -> tuple[Engine, World]:
    """Both judges after the same facts."""
    engine, world = Engine(), World()
    engine.change(facts)
    world.learn(facts)
    return engine, world


def pairs(world: World) -> Iterator[Pair]:
    """Every endpoint with every address, both ways."""
    for endpoint in world.endpoints.values():
        for direction in Direction:
            for address in ADDRESSES:
                yield endpoint, direction, address


def questions(world: World) -> Iterator[tuple[Pair, int, int]]:
    """Every pair with every protocol and port that rules of these worlds tell apart."""
    for pair in pairs(world):
        for protocol, port in PORTS:
            yield pair, protocol, port


def identity_at(engine: Engine, found: Difference, address: bytes) -> Identity:
    """Who an address was to others in the middle of a change that has been made now.

    Managed addresses keep what they got until the next change; prefixes of policies that went are gone.
    """
    now = engine.identity_of_address(address)
    is_world = now in (ReservedIdentity.WORLD_IPV4, ReservedIdentity.WORLD_IPV6)
    if not is_world and not isinstance(found.outside.get(now), Prefix):
        return now
    own = Prefix(address, 128)
    around = [
        (each.length, identity)
        for identity, each in found.outside.items()
        if isinstance(each, Prefix) and each.covers(own)
    ]
    return max(around)[1] if around else now
