"""What shadow rule sets would have done: rows of ``shadow_counters``, which the programs make.

A row outlives the agent. It goes when it means nothing any more: with its endpoint, with a rule or an
identity it names (their numbers are given again), and when its endpoint has no shadow rule set any more.
"""

from collections.abc import Collection, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from struct import Struct

from kinety import abi
from kinety.kernel.map import Map
from kinety.model.endpoint import HOST, EndpointId
from kinety.model.identity import Identity
from kinety.model.rule import Direction, RuleId
from kinety.plan.change import Change, EndpointPlan

_WORD = Struct("=I")
_COUNT = Struct("=Q")
#: An endpoint in one direction.
Side = tuple[EndpointId, Direction]


@dataclass(frozen=True, slots=True)
class Obsolete:
    """Things that rows may not name any longer."""

    sides: AbstractSet[Side] = frozenset()
    endpoints: AbstractSet[EndpointId] = frozenset()
    rules: AbstractSet[RuleId] = frozenset()
    identities: AbstractSet[Identity] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.sides or self.endpoints or self.rules or self.identities)

    def __contains__(self, row: abi.ShadowKey) -> bool:
        return (
            row.endpoint in self.endpoints
            or row.rule in self.rules
            or row.rule_in_force in self.rules
            or row.remote_identity in self.identities
            or (row.endpoint, row.direction) in self.sides
        )


class ShadowCounters:
    """Reads the rows, and removes those that are obsolete."""

    def __init__(self, shadow_counters: Map | None, lost_shadows: Map | None) -> None:
        """A node whose programs ask no shadow rule sets has no such maps, and no rows."""
        self._map = shadow_counters
        self._lost = lost_shadows
        #: Rows removed since this object was made.
        self.writes = 0

    def rows(self) -> Mapping[abi.ShadowKey, abi.ShadowCounter]:
        """Every row."""
        items = self._map.items() if self._map else ()
        return {abi.ShadowKey.unpack(key): abi.ShadowCounter.unpack(value) for key, value in items}

    def lost(self) -> int:
        """Packets that found no room for a row, since the maps were made."""
        values = self._lost.lookup_per_cpu(_WORD.pack(0)) if self._lost else None
        return sum(_COUNT.unpack(value)[0] for value in values or ())

    def forget(self, obsolete: Obsolete) -> None:
        """Remove rows that name something obsolete."""
        if obsolete:
            self._remove(row for row in self.rows() if row in obsolete)

    def keep(self, plans: Mapping[EndpointId, EndpointPlan], rules: Collection[RuleId]) -> None:
        """Remove rows but those of these endpoints' shadow rule sets that name no other rules than these."""
        shadowed = {side for endpoint, plan in plans.items() for side in shadowed_sides(endpoint, plan)}
        known = {0, *rules}
        self._remove(
            row
            for row in self.rows()
            if (row.endpoint, row.direction) not in shadowed or not known >= {row.rule, row.rule_in_force}
        )

    def _remove(self, rows: Iterable[abi.ShadowKey]) -> None:
        for row in rows:
            if self._map:
                self.writes += self._map.delete(row.pack())


def shadowed_sides(endpoint: EndpointId, plan: EndpointPlan | None) -> frozenset[Side]:
    """Directions in which an endpoint has a shadow rule set."""
    if plan is None:
        return frozenset()
    sets = {Direction.EGRESS: plan.shadow_egress, Direction.INGRESS: plan.shadow_ingress}
    return frozenset((endpoint, direction) for direction, name in sets.items() if name is not None)


def obsolete_after(change: Change, plans: Mapping[EndpointId, EndpointPlan]) -> Obsolete:
    """What rows may not name after a change; ``plans`` are those before it, the node's own included."""
    flipped = {**change.endpoints, **({} if change.host is None else {HOST: change.host})}
    ended: set[Side] = set()
    for endpoint, plan in flipped.items():
        ended |= shadowed_sides(endpoint, plans.get(endpoint)) - shadowed_sides(endpoint, plan)
    return Obsolete(
        ended,
        change.endpoints_removed,
        change.rules_removed | change.rules_turned,
        change.identities_freed,
    )
