"""Verdict tables: inner maps in the slots of ``rule_sets``.

An update of an array-of-maps element waits for an RCU grace period (measured: 8 ms, for one element
as for a batch of a hundred). So no publication does it: a pool of empty inner maps is put into
slots in advance, publishing fills one in place and a row in shared memory is pointed at its slot.
A slot that nobody points at any more gets a fresh empty map in the background (``refill``); that update's
own grace period is what makes the slot safe to fill again.
"""

import hashlib
import sys
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from struct import Struct
from types import MappingProxyType

from kinety import abi
from kinety.kernel.map import Map
from kinety.kernel.spec import MapSpec
from kinety.model.layer7 import Layer7Id
from kinety.model.verdict import RuleSet, RuleSetKey, Verdict
from kinety.plan.change import CapacityError, EndpointPlan, RuleSetId

from .refill import Refill
from .row_map import RowMap

NO_PORTS: Mapping[Layer7Id, int] = MappingProxyType({})
NO_RULE_SET = int(abi.RuleSetSlot.NONE)

# struct rule_set_key, written out because a table of thousands of rows is packed on every publication;
# a test holds it against the contract. The prefix length is in host order, the rest in network order.
_KEY = Struct(">4sIBHx")
_CLASS_BITS = 32
_PREFIX_LENGTHS = tuple((_CLASS_BITS + bits).to_bytes(4, sys.byteorder) for bits in range(25))
_WORD = Struct("=I")
#: Tables made at a time; each is an open file until it is in its slot.
_BATCH = 64

Rows = dict[bytes, bytes]


def pack_key(key: RuleSetKey) -> bytes:
    """The bytes of ``struct rule_set_key``."""
    return _KEY.pack(_PREFIX_LENGTHS[key.bits], key.class_id, key.protocol, key.port)


def pack_rows(rows: Mapping[RuleSetKey, Verdict], ports: Mapping[Layer7Id, int] = NO_PORTS) -> Rows:
    """A verdict table as the kernel holds it; ``ports`` are those of listeners, by what they let pass.

    A redirection to a listener that is not there has port 0, and is dropped.
    """
    # Few verdicts stand in many rows; by identity, because hashing one costs more than packing a row.
    values: dict[int, bytes] = {}
    packed: Rows = {}
    pack, prefix_lengths = _KEY.pack, _PREFIX_LENGTHS
    for key, verdict in rows.items():
        value = values.get(id(verdict))
        if value is None:
            value = values[id(verdict)] = abi.RuleSetEntry(
                rule=verdict.rule,
                proxy_port=ports.get(verdict.layer7, 0),
                verdict=int(verdict.kind),
                flags=0,
            ).pack()
        packed[pack(prefix_lengths[key.bits], key.class_id, key.protocol, key.port)] = value
    return packed


def content(rows: Rows) -> bytes:
    """An address of a table's content, by which a restart recognises it."""
    return hashlib.sha256(b"".join(key + rows[key] for key in sorted(rows))).digest()


class RuleSets:
    """Which rule set is in which slot; spare and retired slots."""

    def __init__(self, outer: Map, inner: MapSpec, max_entries: int, spare_target: int) -> None:
        self._outer = outer
        self._inner = inner
        self._slots: dict[RuleSetId, int] = {}
        self._map_ids = self._read_map_ids()
        self._vacant = [slot for slot in range(max_entries - 1, 0, -1) if slot not in self._map_ids]
        self._spare: list[int] = []
        #: Filled slots that no rule set owns; they are not spare before they were refilled.
        self._retired: set[int] = set(self._map_ids)
        #: Fresh tables on their way into slots that are neither spare nor retired until they are there.
        self._refill: Refill | None = None
        self._size = max_entries - 1
        self._spare_target = min(spare_target, self._size)
        #: Rows and slots written since this object was made.
        self.writes = 0

    def __len__(self) -> int:
        return len(self._slots)

    @property
    def spare(self) -> int:
        """Empty tables ready to be published."""
        return len(self._spare)

    @property
    def low(self) -> bool:
        """Whether fewer than half of the wanted spare tables are left, and there is room for more."""
        coming = len(self._refill.slots) if self._refill else 0
        return len(self._spare) + coming < self._spare_target // 2 and bool(self._retired or self._vacant)

    @property
    def retired(self) -> int:
        """Slots waiting for a fresh table that nobody is making yet."""
        return len(self._retired)

    def slot(self, rule_set: RuleSetId | None) -> int:
        """Slot of a published rule set; that of None means no policy."""
        return NO_RULE_SET if rule_set is None else self._slots[rule_set]

    def pointers(self, plan: EndpointPlan) -> tuple[tuple[int, int], tuple[int, int]]:
        """What a row points at by its plan: slots in force, and those judged beside; egress, then ingress."""
        egress, ingress, beside_egress, beside_ingress = map(self.slot, plan.rule_sets)
        return (egress, ingress), (beside_egress, beside_ingress)

    def check_room(self, count: int) -> None:
        """Raise CapacityError unless ``count`` more rule sets can be published."""
        room = self._size - len(self._slots)
        if count > room:
            raise CapacityError("rule_sets", len(self._slots) + count, self._size)

    def publish(
        self,
        rule_sets: Mapping[RuleSetId, RuleSet],
        in_use: Callable[[], Collection[int]],
        ports: Mapping[Layer7Id, int] = NO_PORTS,
    ) -> None:
        """Fill spare slots with tables nobody points at yet. ``ports`` are those of listeners.

        ``in_use`` tells the slots that rows point at; asked when there are fewer spares than tables.
        Raises CapacityError before anything is written, OSError when a table does not fit.
        """
        fresh = {name: rule_set for name, rule_set in rule_sets.items() if name not in self._slots}
        self.check_room(len(fresh))
        if len(fresh) > len(self._spare):
            self.refill(in_use(), len(fresh))
            if len(fresh) > len(self._spare):
                raise CapacityError("rule_sets", self._size - len(self._spare) + len(fresh), self._size)
        for name, rule_set in fresh.items():
            slot = self._spare.pop()
            try:
                self._write(slot, pack_rows(rule_set.rows, ports))
            except OSError as error:
                self._retired.add(slot)
                error.add_note(f"rule set {name} has {len(rule_set.rows)} rows")
                raise
            self._slots[name] = slot

    def add_rows(
        self,
        rows: Mapping[RuleSetId, Mapping[RuleSetKey, Verdict]],
        ports: Mapping[Layer7Id, int] = NO_PORTS,
    ) -> None:
        """Write rows into live tables. ``ports`` are those of listeners."""
        for name, table in rows.items():
            self._write(self._slots[name], pack_rows(table, ports))

    def remove_rows(self, rows: Mapping[RuleSetId, Iterable[RuleSetKey]]) -> None:
        """Erase rows from live tables."""
        for name, keys in rows.items():
            if name not in self._slots:
                continue
            with Map.from_id(self._map_ids[self._slots[name]]) as inner:
                table = RowMap(inner)
                table.erase(map(pack_key, keys))
                self.writes += table.writes

    def retire(self, rule_sets: Iterable[RuleSetId]) -> None:
        """Forget rule sets that no row points at any more; their slots are refilled later."""
        for name in rule_sets:
            slot = self._slots.pop(name, None)
            if slot is not None:
                self._retired.add(slot)

    def refill(self, in_use: Collection[int], at_least: int = 0) -> int:
        """Put fresh empty tables into retired slots and, up to the target, into vacant ones.

        As many as one grace period pays for, and more only where ``at_least`` spares are asked for. A
        retired slot in ``in_use`` stays as it is. Returns how many slots became spare. Raises OSError.
        """
        before = len(self._spare)
        self.end_refill()
        while self._begin_refill(in_use, at_least):
            self.end_refill()
            if len(self._spare) >= at_least:
                break
        return len(self._spare) - before

    def begin_refill(self, in_use: Collection[int]) -> bool:
        """Choose slots as ``refill`` does. Whether there were any: then ``wait_refill`` should follow.

        What was begun before is ended first. Raises OSError when that failed.
        """
        self.end_refill()
        return self._begin_refill(in_use, 0)

    def wait_refill(self) -> None:
        """Do the part of a refill that waits, if one was begun; the one method for any thread."""
        if refill := self._refill:
            refill.run()

    def end_refill(self) -> None:
        """Make the slots of a refill spare. Waits for it; raises OSError when it failed."""
        refill, self._refill = self._refill, None
        if refill is None:
            return
        try:
            self._map_ids.update(refill.map_ids())
        except OSError:
            self._map_ids = self._read_map_ids()
            self._retired.update(slot for slot in refill.slots if slot in self._map_ids)
            self._vacant += (slot for slot in refill.slots if slot not in self._map_ids)
            raise
        self._spare.extend(reversed(refill.slots))
        self.writes += len(refill.slots)

    def _begin_refill(self, in_use: Collection[int], at_least: int) -> bool:
        slots = sorted(self._retired.difference(in_use))[:_BATCH]
        wanted = max(self._spare_target, at_least) - len(self._spare) - len(slots)
        for _ in range(min(wanted, _BATCH - len(slots), len(self._vacant))):
            slots.append(self._vacant.pop())
        if slots:
            self._retired.difference_update(slots)
            self._refill = Refill(self._outer, self._inner, slots)
        return bool(slots)

    def adopt(
        self,
        wanted: Mapping[RuleSetId, RuleSet],
        pointers: Mapping[RuleSetId, Iterable[int]],
        ports: Mapping[Layer7Id, int] = NO_PORTS,
    ) -> None:
        """Recognise, by content, the tables that a former agent left. ``ports`` are those of listeners.

        ``pointers`` are the slots that rows point at where the plan wants a rule set; they are
        preferred, so that a row which is right stays untouched. Tables that are not wanted are
        retired, empty ones that nobody points at are spare.
        """
        self.end_refill()
        addresses = {name: content(pack_rows(rule_set.rows, ports)) for name, rule_set in wanted.items()}
        held = {slot: content(self._rows(slot)) for slot in self._map_ids}
        by_content: dict[bytes, list[int]] = defaultdict(list)
        for slot, address in sorted(held.items(), reverse=True):
            by_content[address].append(slot)
        pointed = {slot for slots in pointers.values() for slot in slots}
        self._slots = {}
        for name, slots in pointers.items():
            match = next((slot for slot in slots if held.get(slot) == addresses.get(name)), None)
            if match is not None and name not in self._slots and match not in self._slots.values():
                self._slots[name] = match
        taken = set(self._slots.values())
        for name, address in addresses.items():
            if name in self._slots or address == _EMPTY:
                continue
            match = next((slot for slot in by_content[address] if slot not in taken), None)
            if match is not None:
                self._slots[name] = match
                taken.add(match)
        empty = {slot for slot, address in held.items() if address == _EMPTY}
        self._spare = sorted(empty - taken - pointed, reverse=True)
        self._retired = held.keys() - taken - set(self._spare)

    def rows(self, slot: int) -> Rows:
        """What a slot's table holds; empty for a vacant slot."""
        return self._rows(slot) if slot in self._map_ids else {}

    def occupied(self) -> tuple[int, ...]:
        """Slots that hold a table, spare ones included. Waits for a refill."""
        self.end_refill()
        return tuple(sorted(self._map_ids))

    def _read_map_ids(self) -> dict[int, int]:
        return {_WORD.unpack(slot)[0]: _WORD.unpack(map_id)[0] for slot, map_id in self._outer.items()}

    def _rows(self, slot: int) -> Rows:
        with Map.from_id(self._map_ids[slot]) as inner:
            return dict(inner.items())

    def _write(self, slot: int, rows: Rows) -> None:
        if not rows:
            return
        with Map.from_id(self._map_ids[slot]) as inner:
            table = RowMap(inner)
            table.write(rows)
            self.writes += table.writes


_EMPTY = content({})
