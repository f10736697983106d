"""What policies about the node are about to cut: told to whoever applies them, who may be among it."""

from collections.abc import Iterable, Set
from itertools import islice

from kinety.kernel.tcp import Connection, TcpSockets
from kinety.model.address import unpack_address
from kinety.model.identity import Identity, ReservedIdentity
from kinety.model.rule import Direction
from kinety.model.verdict import VerdictKind
from kinety.plan.change import Change
from kinety.plan.engine import Engine

_TCP = 6
#: How many connections and ports are named.
_NAMED = 5
_WORLDS = (ReservedIdentity.WORLD_IPV4, ReservedIdentity.WORLD_IPV6)


def warnings(
    engine: Engine, change: Change, own: Set[bytes], sockets: TcpSockets | None = None
) -> tuple[str, ...]:
    """What of the node's open connections, and of the ports where it listens, a change denies.

    ``engine`` is as it will be; ``own`` are the node's addresses. Nothing is looked at when the node's
    policies stay. ``sockets`` are those of the node, by default of this network namespace.
    """
    if change.host is None or (change.host.egress is None and change.host.ingress is None):
        return ()
    sockets = sockets or TcpSockets.here()
    return (*_connections(engine, sockets.connections, own), *_ports(engine, sockets.listening))


def _connections(engine: Engine, connections: Iterable[Connection], own: Set[bytes]) -> Iterable[str]:
    outside = [each for each in connections if each.remote not in own]
    cut = [each for each in outside if _denied(engine, each)]
    if cut:
        yield (
            f"this cuts {len(cut)} of the {len(outside)} TCP connections that the node has open: "
            f"{_some(map(_text, cut), len(cut))}"
        )


def _ports(engine: Engine, listening: Iterable[int]) -> Iterable[str]:
    closed = [port for port in sorted(listening) if all(_refuses(engine, world, port) for world in _WORLDS)]
    if closed:
        yield f"nobody outside reaches the node's TCP ports {_some(map(str, closed), len(closed))}"


def _denied(engine: Engine, connection: Connection) -> bool:
    direction = Direction.INGRESS if connection.inbound else Direction.EGRESS
    port = connection.local_port if connection.inbound else connection.remote_port
    peer = engine.identity_of_address(connection.remote)
    return engine.verdict(ReservedIdentity.HOST, direction, peer, _TCP, port).kind is VerdictKind.DENY


def _refuses(engine: Engine, peer: ReservedIdentity, port: int) -> bool:
    verdict = engine.verdict(ReservedIdentity.HOST, Direction.INGRESS, Identity(peer), _TCP, port)
    return verdict.kind is VerdictKind.DENY


def _text(connection: Connection) -> str:
    remote = unpack_address(connection.remote)
    if connection.inbound:
        return f"{remote} to port {connection.local_port}"
    return f"to {remote} port {connection.remote_port}"


def _some(texts: Iterable[str], count: int) -> str:
    named = ", ".join(islice(texts, _NAMED))
    return named if count <= _NAMED else f"{named} and {count - _NAMED} more"
