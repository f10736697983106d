"""Flows that are open, as far as somebody asks for them: read from ``conntrack``, all in one go.

A row is 200 bytes and there may be a hundred thousand, so each is looked at as little as can be.
"""

from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass
from struct import Struct

from kinety import abi
from kinety.kernel.map import Map

_ENDS = Struct("!16s16sHHB")
_FLAGS = abi.ConntrackFlag
_CLOSED = (_FLAGS.FIN_FORWARD | _FLAGS.FIN_REPLY, _FLAGS.RESET)


@dataclass(frozen=True, slots=True)
class LiveFlow:
    """An open flow: packed addresses, IP protocol number, and the port at the opened end, in host order.

    ``redirected``: it goes through a proxy.
    """

    source: bytes
    destination: bytes
    protocol: int
    port: int
    redirected: bool


class LiveFlows:
    """The open flows of a node."""

    def __init__(self, conntrack: Map) -> None:
        self._conntrack = conntrack

    def of(self, addresses: Set[bytes]) -> Iterator[LiveFlow]:
        """Those with an end at one of these packed addresses."""
        return live_flows(self._conntrack.items(), addresses)


def live_flows(rows: Iterable[tuple[bytes, bytes]], of: Set[bytes]) -> Iterator[LiveFlow]:
    """Flows with an end at one of these addresses, from the rows of ``conntrack``.

    One that is over but not closed, because nobody speaks any more, counts as open.
    """
    for key, value in rows:
        low, high, low_port, high_port, protocol = _ENDS.unpack_from(key)
        if low not in of and high not in of:
            continue
        entry = abi.ConntrackEntry.unpack(value)
        if any(entry.flags & each == each for each in _CLOSED):
            continue
        ends = (low, high, high_port) if not entry.flags & _FLAGS.INITIATOR_HIGH else (high, low, low_port)
        redirected = any(each.verdict == abi.Verdict.REDIRECT for each in entry.decision)
        yield LiveFlow(ends[0], ends[1], protocol, ends[2], redirected)
