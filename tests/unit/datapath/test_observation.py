"""What the programs report: counters of every processor added up, and events as they came."""

from collections.abc import Callable, Iterator

import pytest

from kinety import abi
from kinety.datapath.observation import Counters, EventReader
from kinety.datapath.template import FROM_ENDPOINT, TO_ENDPOINT, packaged_object
from kinety.kernel.collection import Collection
from kinety.kernel.map import Map, possible_cpus
from kinety.kernel.spec import CollectionSpec
from kinety.model.rule import Direction, RuleId

pytestmark = pytest.mark.needs("root", "bpf", "objects")

LOOPBACK = 1
PACKET = bytes(12) + b"\x08\x00" + b"\x45" + bytes(63)
RING = 1 << 12


def per_cpu(*counters: tuple[int, int]) -> bytes:
    """A row: packets and bytes of some processors, zeros of the rest."""
    zeros = [(0, 0)] * (possible_cpus() - len(counters))
    return b"".join(abi.Counter(packets=p, bytes=b).pack() for p, b in [*counters, *zeros])


def reason_key(reason: int, direction: Direction) -> bytes:
    return (reason * len(Direction) + direction).to_bytes(4, "little")


def rule_key(rule: int) -> bytes:
    return rule.to_bytes(4, "little")


class Rows:
    def __init__(self, make: Callable[[str], Map]) -> None:
        self.reasons, self.rules = make("counters"), make("rule_counters")
        self.counters = Counters(self.reasons, self.rules)


@pytest.fixture
def rows(make: Callable[[str], Map]) -> Rows:
    return Rows(make)


def test_reasons_are_added_up_over_processors_and_kept_apart_by_direction(rows: Rows) -> None:
    denied, forwarded = abi.Reason.POLICY_DENIED, abi.Reason.FORWARDED_LOCAL
    rows.reasons.update(reason_key(denied, Direction.EGRESS), per_cpu((3, 180), (4, 241)))
    rows.reasons.update(reason_key(denied, Direction.INGRESS), per_cpu((1, 60)))
    rows.reasons.update(reason_key(forwarded, Direction.EGRESS), per_cpu((0, 0)))
    assert rows.counters.by_reason() == {
        (denied, Direction.EGRESS): abi.Counter(packets=7, bytes=421),
        (denied, Direction.INGRESS): abi.Counter(packets=1, bytes=60),
    }


def test_rules_are_told_for_the_asking_and_those_beyond_the_map_are_zero(rows: Rows) -> None:
    rows.rules.update(rule_key(7), per_cpu((1, 2), (10, 20)))
    found = rows.counters.by_rule([RuleId(0), RuleId(7), RuleId(1 << 30)])
    assert found == {
        RuleId(0): abi.Counter(packets=0, bytes=0),
        RuleId(7): abi.Counter(packets=11, bytes=22),
        RuleId(1 << 30): abi.Counter(packets=0, bytes=0),
    }


def test_a_number_begins_at_zero_for_its_next_rule(rows: Rows) -> None:
    for rule in (3, 4):
        rows.rules.update(rule_key(rule), per_cpu((5, 300)))
    rows.counters.reset([RuleId(3), RuleId(9)])
    assert rows.counters.by_rule([RuleId(3)])[RuleId(3)].packets == 0
    assert rows.counters.by_rule([RuleId(4)])[RuleId(4)].packets == 5
    assert rows.counters.writes == 1, "what is zero already is not written"


@pytest.fixture
def programs() -> Iterator[Collection]:
    """The resident programs over maps without an endpoint: they drop everything, and say so."""
    spec = CollectionSpec.parse(packaged_object())
    with Collection.load(spec, max_entries={"events": RING, "endpoints": 4}) as loaded:
        yield loaded


@pytest.fixture
def reader(programs: Collection) -> Iterator[EventReader]:
    opened = EventReader(programs.maps["events"], programs.maps["lost_events"])
    yield opened
    opened.close()


def test_events_come_in_order_and_once(programs: Collection, reader: EventReader) -> None:
    assert reader.read() == []
    for name in (FROM_ENDPOINT, TO_ENDPOINT, FROM_ENDPOINT):
        programs.programs[name].test_run(PACKET, ifindex=LOOPBACK)
    first = reader.read(limit=2)
    assert [event.direction for event in first] == [Direction.EGRESS, Direction.INGRESS]
    last = reader.read()
    assert [event.direction for event in last] == [Direction.EGRESS]
    for event in first + last:
        assert (event.kind, event.reason) == (abi.EventKind.DROP, abi.Reason.ENDPOINT_NOT_READY)
    assert reader.read() == []
    assert [event.time for event in first + last] == sorted(event.time for event in first + last)
    assert reader.lost() == 0


def test_events_that_found_the_ring_full_are_counted_and_the_ring_goes_on(
    programs: Collection, reader: EventReader
) -> None:
    count = 2 * RING // abi.Event.SIZE
    for _ in range(count):
        programs.programs[FROM_ENDPOINT].test_run(PACKET, ifindex=LOOPBACK)
    kept = len(reader.read(limit=count))
    assert 0 < kept < count
    assert reader.lost() == count - kept
    programs.programs[FROM_ENDPOINT].test_run(PACKET, ifindex=LOOPBACK)
    assert len(reader.read()) == 1
    assert reader.lost() == count - kept
    counters = Counters(programs.maps["counters"], programs.maps["rule_counters"]).by_reason()
    dropped = counters[abi.Reason.ENDPOINT_NOT_READY, Direction.EGRESS]
    assert dropped.packets == count + 1, "counting does not depend on the ring"
