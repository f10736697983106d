"""How fast endpoints may send and receive: rows of ``rates``, two for each slot."""

from struct import Struct

from kinety import abi
from kinety.kernel.map import Map
from kinety.model.bandwidth import Bandwidth, Rate
from kinety.model.rule import Direction

_WORD = Struct("=I")
_NANOSECONDS = 10**9
_BITS = 8
_FLAGS = {
    Direction.EGRESS: abi.EndpointFlag.LIMITED_EGRESS,
    Direction.INGRESS: abi.EndpointFlag.LIMITED_INGRESS,
}

_NO_LIMIT = abi.Rate.unpack(bytes(abi.Rate.SIZE))


class Rates:
    """The owner of the map; None where the node does without bandwidth."""

    def __init__(self, rates: Map | None) -> None:
        self._rates = rates
        #: Rows written since this object was made.
        self.writes = 0

    def limit(self, slot: int, bandwidth: Bandwidth) -> abi.EndpointFlag:
        """Write what an endpoint may do, nothing of it used; the flags its row is to have.

        Nobody reads it before the row has these flags. Raises ValueError on a node without bandwidth.
        """
        rates = {Direction.EGRESS: bandwidth.egress, Direction.INGRESS: bandwidth.ingress}
        flags = abi.EndpointFlag(0)
        if not any(rates.values()):
            return flags
        if self._rates is None:
            raise ValueError("the agent runs with --no-bandwidth, so an endpoint cannot have one")
        for direction, rate in rates.items():
            row = _NO_LIMIT if rate is None else _row(rate)
            self._rates.update(_key(slot, direction), row.pack())
            self.writes += 1
            flags |= abi.EndpointFlag(0) if rate is None else _FLAGS[direction]
        return flags

    def dropped(self, slot: int) -> int:
        """Packets of an endpoint with a limit that came too fast, in both directions."""
        if self._rates is None:
            return 0
        rows = (self._rates.lookup(_key(slot, each)) for each in Direction)
        return sum(abi.Rate.unpack(packed).dropped_packets for packed in rows if packed is not None)


def _row(rate: Rate) -> abi.Rate:
    cost = _BITS * _NANOSECONDS * abi.RateCost.NANOSECOND // rate.bits
    return abi.Rate(
        cost=max(cost, 1),
        burst=rate.burst * _NANOSECONDS // rate.bits,
        due=0,
        dropped_packets=0,
        dropped_bytes=0,
    )


def _key(slot: int, direction: Direction) -> bytes:
    return _WORD.pack(slot * len(Direction) + direction)
