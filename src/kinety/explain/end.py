"""Ends of a flow, as people name them: an endpoint, its labels, an address, the host, the world."""

from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from ipaddress import ip_address

from kinety.explain.judge import is_workload
from kinety.model.address import Prefix, pack_address
from kinety.model.endpoint import Endpoint, EndpointId
from kinety.model.identity import Identity, ReservedIdentity
from kinety.model.label import NAMESPACE_LABELS_PREFIX, Label, labels_of_endpoint
from kinety.model.rule import Direction
from kinety.plan.engine import Engine
from kinety.plan.fact import EndpointUpserted

DEFAULT_NAMESPACE = "default"
HOST, WORLD = "host", "world"


@dataclass(frozen=True, slots=True)
class End:
    """One end: an endpoint, real or imagined; an address; or what has a reserved identity.

    Exactly one of the three is there.
    """

    name: str
    endpoint: Endpoint | None = None
    address: bytes | None = None
    reserved: ReservedIdentity | None = None

    def facts(self, engine: Engine) -> tuple[EndpointUpserted, ...]:
        """What has to be supposed before this end can be asked about."""
        imagined = self.endpoint is not None and self.endpoint.id not in engine.endpoints
        return (EndpointUpserted(self.endpoint),) if imagined and self.endpoint else ()

    def subject(self, engine: Engine) -> Identity | None:
        """Whose rules judge at this end, once its facts hold; None where nobody has a say."""
        if self.endpoint is not None:
            return engine.endpoint_plan(self.endpoint.id).identity
        identity = self.peer(engine, 4)
        return identity if identity in engine.subjects or is_workload(identity) else None

    def peer(self, engine: Engine, family: int) -> Identity:
        """Who this end is to the other one in a family, 4 or 6, once its facts hold."""
        if self.endpoint is not None:
            plan = engine.endpoint_plan(self.endpoint.id)
            return plan.ipv4 if family == 4 else plan.ipv6
        if self.address is not None:
            return engine.identity_of_address(self.address)
        assert self.reserved is not None
        if self.reserved is ReservedIdentity.WORLD_IPV4 and family == 6:
            return Identity(ReservedIdentity.WORLD_IPV6)
        return Identity(self.reserved)

    @property
    def family(self) -> int | None:
        """The only family in which this end can be asked about; None when both will do."""
        if self.address is not None:
            return 4 if Prefix(self.address, 128).is_ipv4 else 6
        if self.endpoint is not None and (self.endpoint.ipv4 is None) != (self.endpoint.ipv6 is None):
            return 6 if self.endpoint.ipv4 is None else 4
        return None


@dataclass(frozen=True, slots=True)
class Judgement:
    """What one end is asked: its rules in a direction about the other end."""

    direction: Direction
    end: End
    subject: Identity
    other: End
    peer: Identity


def judgements(engine: Engine, source: End, destination: End) -> Iterator[Judgement]:
    """Who has a say about a flow: the source's egress, and the destination's ingress."""
    family = source.family or destination.family or 4
    for direction, end, other in (
        (Direction.EGRESS, source, destination),
        (Direction.INGRESS, destination, source),
    ):
        subject = end.subject(engine)
        if subject is not None:
            yield Judgement(direction, end, subject, other, other.peer(engine, family))


def find_end(engine: Engine, text: str, imagined: int = 0) -> End:
    """The end that a text means: ``[namespace/]name``, labels, an address, ``host`` or ``world``.

    Labels are ``[namespace/]key=value[,key=value...]`` and mean an endpoint that has exactly these; it need
    not exist, and is given a number that no endpoint of a node has, ``imagined`` apart from others.
    Raises ValueError when nothing is meant.
    """
    if text == HOST:
        return End(text, reserved=ReservedIdentity.HOST)
    if text == WORLD:
        return End(text, reserved=ReservedIdentity.WORLD_IPV4)
    if "=" in text:
        return _imagine(engine, text, imagined)
    wanted = text if "/" in text else f"{DEFAULT_NAMESPACE}/{text}"
    named = {str(each): each for each in engine.endpoints.values()}
    if wanted in named:
        return End(wanted, endpoint=named[wanted])
    try:
        address = pack_address(ip_address(text))
    except ValueError:
        names = [*named, HOST, WORLD]
        short = {name.rpartition("/")[2]: name for name in names} | {name: name for name in names}
        close = get_close_matches(text, short, n=1)
        hint = (
            f"did you mean {short[close[0]]}?" if close else "write namespace/name, key=value or an address"
        )
        raise ValueError(f"there is no endpoint {text!r}; {hint}") from None
    for each in named.values():
        if address in (each.ipv4, each.ipv6):
            return End(str(each), endpoint=each)
    return End(text, address=address)


def _imagine(engine: Engine, text: str, imagined: int) -> End:
    head, slash, tail = text.partition("/")
    namespace, pairs = (head, tail) if slash and "=" not in head else (DEFAULT_NAMESPACE, text)
    known = (
        {
            label.key.removeprefix(NAMESPACE_LABELS_PREFIX): label.value
            for label in each.labels
            if label.key.startswith(NAMESPACE_LABELS_PREFIX)
        }
        for each in engine.endpoints.values()
        if each.namespace == namespace
    )
    own = [Label.parse(each) for each in pairs.split(",")]
    labels = labels_of_endpoint(namespace, own, next(known, {}))
    number = EndpointId(max(engine.endpoints, default=0) + 1 + imagined)
    return End(text, endpoint=Endpoint(number, namespace, pairs, labels, None, None))
