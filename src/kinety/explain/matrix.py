"""Every verdict: each subject, about each peer, for all traffic."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from pyroaring import BitMap, FrozenBitMap

from kinety.explain.difference import origins_of, patterns, peers_of_anybody
from kinety.explain.pattern import outcome, stretches
from kinety.explain.traffic import Stretch, Traffic, union
from kinety.model.rule import Direction, Origin
from kinety.model.verdict import Verdict
from kinety.plan.engine import Engine
from kinety.plan.table import Table


@dataclass(frozen=True, slots=True)
class VerdictRow:
    """One verdict of all these subjects about all these peers. ``rule`` is None for a default.

    ``verdict`` names no rule.
    """

    direction: Direction
    subjects: FrozenBitMap
    peers: FrozenBitMap
    traffic: Traffic
    verdict: Verdict
    rule: Origin | None


def matrix(engine: Engine) -> tuple[VerdictRow, ...]:
    """Rows that are apart from each other and hold every subject, peer, protocol and port together."""
    everybody = peers_of_anybody(engine)
    sharing: dict[tuple[Direction, Table | None], BitMap] = defaultdict(BitMap)
    for subject in engine.subjects.values():
        for direction in Direction:
            sharing[direction, subject.tables[direction]].add(subject.identity)
    rows = (
        VerdictRow(direction, FrozenBitMap(subjects), *said)
        for (direction, table), subjects in sharing.items()
        for said in _said(engine, everybody, table)
    )
    return tuple(sorted(rows, key=_order))


def _said(
    engine: Engine, everybody: BitMap, table: Table | None
) -> Iterator[tuple[FrozenBitMap, Traffic, Verdict, Origin | None]]:
    origins = origins_of(table)
    found: dict[tuple[Traffic, Verdict, Origin | None], BitMap] = defaultdict(BitMap)
    for peers, pattern, _ in patterns(engine, everybody, table, table):
        traffic: dict[tuple[Verdict, Origin | None], list[Stretch]] = defaultdict(list)
        for stretch, verdict in stretches(pattern):
            traffic[outcome(verdict), origins.get(verdict.rule)].append(stretch)
        for (verdict, origin), parts in traffic.items():
            found[union(parts), verdict, origin] |= peers
    for (whole, verdict, origin), group in found.items():
        if group:
            yield FrozenBitMap(group), whole, verdict, origin


def _order(row: VerdictRow) -> tuple[object, ...]:
    return row.subjects.min(), row.direction, row.peers.min(), row.traffic, row.verdict
