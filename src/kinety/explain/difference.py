"""Which verdicts a change of policies changes: exactly these, for every identity, protocol and port.

The engine makes the change half-way: every subject that would get other tables has both, and classes
are the common refinement of what either policy tells apart. Peers of one class have one pattern before
and one after, so comparing the two patterns of each class compares everything there is. Subjects that
share both tables are compared once. Nothing is sampled, and no port is asked about.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from pyroaring import BitMap, FrozenBitMap

from kinety.explain.naming import everybody_outside, holders
from kinety.explain.pattern import Pattern, outcome, pattern_of, together
from kinety.explain.traffic import Stretch, Traffic, union
from kinety.identity.members import union_of
from kinety.identity.named_prefix import Outside
from kinety.model.identity import UNNAMED_CLASS, ClassId, Identity, ReservedIdentity
from kinety.model.layer7 import Layer7, Layer7Id
from kinety.model.rule import Direction, Origin, RuleId
from kinety.model.verdict import Verdict
from kinety.plan.engine import Engine
from kinety.plan.fact import Fact, PolicyRemoved, PolicyUpserted
from kinety.plan.resolve import Template, resolve
from kinety.plan.subject import Flip
from kinety.plan.table import DEFAULT_ALLOW, SAYS_NOTHING, Table


@dataclass(frozen=True, slots=True)
class VerdictChange:
    """Verdicts that change alike: of all these subjects, about all these peers, for all this traffic.

    ``before`` and ``after`` name no rule; the origins do, and are None for a default.
    """

    direction: Direction
    subjects: FrozenBitMap
    peers: FrozenBitMap
    traffic: Traffic
    before: Verdict
    after: Verdict
    before_rule: Origin | None
    after_rule: Origin | None


@dataclass(frozen=True, slots=True)
class Difference:
    """All that changes. ``everybody`` are the identities that were asked about."""

    changes: tuple[VerdictChange, ...]
    everybody: FrozenBitMap
    #: Of local identities, some of which exist only during the change; and content, likewise.
    outside: Mapping[Identity, Outside]
    contents: Mapping[Layer7Id, Layer7] = field(default_factory=dict)


_OPEN: Mapping[ClassId, Template] = {UNNAMED_CLASS: resolve((), DEFAULT_ALLOW)}
_RESERVED = BitMap(ReservedIdentity)
_REACHED = BitMap((ReservedIdentity.HOST, ReservedIdentity.WORLD_IPV4, ReservedIdentity.WORLD_IPV6))
#: What sets changes apart that one table makes: both verdicts and both rules.
_Kind = tuple[Verdict, Verdict, Origin | None, Origin | None]


def difference(engine: Engine, facts: Iterable[Fact]) -> Difference:
    """What facts about policies would change. The engine is left as it is.

    Raises what the engine raises.
    """
    return engine.rehearse(facts, lambda flips: _compare(engine, flips))


def replacing(engine: Engine, wanted: Iterable[PolicyUpserted]) -> tuple[Fact, ...]:
    """The facts that make these policies the only ones."""
    upserts = tuple(wanted)
    kept = {each.policy.key for each in upserts}
    return (*upserts, *(PolicyRemoved(key) for key in engine.policies if key not in kept))


def _compare(engine: Engine, flips: Sequence[Flip]) -> Difference:
    everybody = peers_of_anybody(engine)
    sharing: dict[tuple[Direction, Table | None, Table | None], BitMap] = defaultdict(BitMap)
    for subject, before, after in flips:
        for direction in Direction:
            if before[direction] is not after[direction]:
                sharing[direction, before[direction], after[direction]].add(subject.identity)
    alike: dict[tuple[Direction, FrozenBitMap, Traffic, _Kind], BitMap] = defaultdict(BitMap)
    for (direction, one, other), subjects in sharing.items():
        for peers, traffic, kind in _between(engine, everybody, one, other):
            alike[direction, peers, traffic, kind] |= subjects
    changes = (
        VerdictChange(direction, FrozenBitMap(subjects), peers, traffic, *kind)
        for (direction, peers, traffic, kind), subjects in alike.items()
    )
    return Difference(
        tuple(sorted(changes, key=_order)),
        FrozenBitMap(everybody),
        everybody_outside(engine),
        dict(engine.layer7_sets),
    )


def peers_of_anybody(engine: Engine) -> BitMap:
    """Identities that somebody can be to others.

    An endpoint all of whose addresses are in blocks of rules is another than its labels alone make it. Of
    the reserved identities, only the host and the worlds are those of addresses here.
    """
    nobody = BitMap(engine.subjects) - BitMap(holders(engine)) | _RESERVED
    return BitMap(engine.registry) - (nobody - _REACHED)


def _between(
    engine: Engine, everybody: BitMap, before: Table | None, after: Table | None
) -> Iterator[tuple[FrozenBitMap, Traffic, _Kind]]:
    """Changes from one table to another: peers, traffic, and what kind of change."""
    origins = origins_of(before), origins_of(after)
    found: dict[tuple[Traffic, _Kind], BitMap] = defaultdict(BitMap)
    for peers, one, other in patterns(engine, everybody, before, after):
        changed: dict[_Kind, list[Stretch]] = defaultdict(list)
        for stretch, former, latter in together(one, other):
            if outcome(former) != outcome(latter):
                rules = origins[0].get(former.rule), origins[1].get(latter.rule)
                changed[outcome(former), outcome(latter), *rules].append(stretch)
        for kind, stretched in changed.items():
            found[union(stretched), kind] |= peers
    for (traffic, kind), group in found.items():
        if group:
            yield FrozenBitMap(group), traffic, kind


def patterns(
    engine: Engine, everybody: BitMap, before: Table | None, after: Table | None
) -> Iterator[tuple[BitMap, Pattern, Pattern]]:
    """All peers, grouped by what both tables say of them.

    Equal rows are one object most of the time, so what they are is asked once for many classes.
    """
    members = engine.registry.classes.members()
    one, other = _templates(before), _templates(after)
    rest_one, rest_other = one.get(UNNAMED_CLASS, SAYS_NOTHING), other.get(UNNAMED_CLASS, SAYS_NOTHING)
    named = (one.keys() | other.keys()) - {UNNAMED_CLASS}
    groups: dict[tuple[int, int], list[ClassId]] = defaultdict(list)
    for class_id in named:
        groups[id(one.get(class_id, rest_one)), id(other.get(class_id, rest_other))].append(class_id)
    for classes in groups.values():
        peers = everybody & union_of(members[each] for each in classes)
        said = one.get(classes[0], rest_one), other.get(classes[0], rest_other)
        yield peers, pattern_of(said[0].rows), pattern_of(said[1].rows)
    others = everybody - union_of(members[each] for each in named)
    yield others, pattern_of(rest_one.rows), pattern_of(rest_other.rows)


def _templates(table: Table | None) -> Mapping[ClassId, Template]:
    """What a table says of each class it names; where there is none, everybody is let through."""
    return _OPEN if table is None else table.templates


def origins_of(table: Table | None) -> dict[RuleId, Origin]:
    return {} if table is None else {each.number: each.rule.origin for each in table.rules}


def _order(change: VerdictChange) -> tuple[object, ...]:
    return (
        change.direction,
        change.subjects.min(),
        change.traffic,
        change.peers.min(),
        change.after,
        change.before,
    )
