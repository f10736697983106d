"""What the programs report: events, counters, flows. Read only."""

from collections.abc import Iterable, Mapping
from struct import Struct

from kinety import abi
from kinety.kernel.map import Map
from kinety.kernel.ring import RingBuffer
from kinety.model.rule import Direction, RuleId

_WORD = Struct("=I")
_COUNT = Struct("=Q")


class EventReader:
    """Typed events from the ring buffer."""

    def __init__(self, events: Map, lost_events: Map) -> None:
        self._ring = RingBuffer(events)
        self._lost = lost_events

    def fileno(self) -> int:
        """For the event loop: readable when there are events."""
        return self._ring.fileno()

    def read(self, limit: int = 4096) -> list[abi.Event]:
        """Events that are there, at most ``limit``; never waits."""
        return [abi.Event.unpack(record) for record in self._ring.read(limit)]

    def lost(self) -> int:
        """Events that found the ring full, since the maps were made."""
        return sum(_COUNT.unpack(value)[0] for value in self._lost.lookup_per_cpu(_WORD.pack(0)) or ())

    def close(self) -> None:
        """Unmap the ring."""
        self._ring.close()


class Counters:
    """``counters`` and ``rule_counters``, summed over processors."""

    def __init__(self, counters: Map, rule_counters: Map) -> None:
        self._counters = counters
        self._rules = rule_counters
        #: Rows set to zero since this object was made.
        self.writes = 0

    def by_reason(self) -> Mapping[tuple[abi.Reason, Direction], abi.Counter]:
        """Packets and bytes by reason and direction, those that are not zero."""
        totals: dict[tuple[abi.Reason, Direction], abi.Counter] = {}
        reasons = {int(reason): reason for reason in abi.Reason}
        for key, values in self._counters.items_per_cpu():
            reason, direction = divmod(_WORD.unpack(key)[0], len(Direction))
            total = _sum(values)
            if total.packets and reason in reasons:
                totals[reasons[reason], Direction(direction)] = total
        return totals

    def by_rule(self, rules: Iterable[RuleId]) -> Mapping[RuleId, abi.Counter]:
        """Packets and bytes each rule decided; rule 0 is the default verdict."""
        return {rule: sum_row(self._rules, _WORD.pack(rule)) for rule in rules}

    def reset(self, rules: Iterable[RuleId]) -> None:
        """Zero the rows of rules that are gone, for the next rules with these numbers."""
        self.writes += sum(clear_row(self._rules, _WORD.pack(rule)) for rule in rules)


def sum_row(counters: Map, key: bytes) -> abi.Counter:
    """One row of a map of counters, summed over processors."""
    return _sum(counters.lookup_per_cpu(key) or ())


def clear_row(counters: Map, key: bytes) -> bool:
    """Zero one row of a map of counters; False when it is zero or not there."""
    row = counters.lookup(key)
    if not row or not any(row):
        return False
    counters.update(key, bytes(len(row)))
    return True


def _sum(values: Iterable[bytes]) -> abi.Counter:
    packets = total = 0
    for value in values:
        counter = abi.Counter.unpack(value)
        packets += counter.packets
        total += counter.bytes
    return abi.Counter(packets=packets, bytes=total)
