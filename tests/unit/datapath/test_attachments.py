"""Attach and detach against wiring that fails where it is told to: nothing half-made, nothing judged twice.

Rows and addresses are real maps; interfaces and links are a journal, so that every step can be the last.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from kinety import abi
from kinety.datapath.address_maps import LocalAddresses
from kinety.datapath.attachments import Attachments
from kinety.datapath.endpoint_table import EndpointTable
from kinety.datapath.interface import HostLink, Interface, Shape, Wiring
from kinety.datapath.node_state import NodeState
from kinety.datapath.promotion import Links
from kinety.datapath.rates import Rates
from kinety.datapath.replacement import Programs, PutBackError, Step
from kinety.datapath.settings import Settings
from kinety.kernel.map import Map
from kinety.kernel.namespace import Namespace
from kinety.model.address import pack_address
from kinety.model.bandwidth import Bandwidth, Rate
from kinety.model.endpoint import Endpoint, EndpointId
from kinety.plan.change import CapacityError
from tests.unit.datapath.conftest import SIZE

pytestmark = pytest.mark.needs("objects")

BASE = 65536
NOWHERE = cast(Namespace, SimpleNamespace(name="nowhere"))
SETTINGS = Settings(pins=Path("unused"), interface_base=BASE)


class Journal:
    """Interfaces, filters and links as sets, and every step in order. ``fails`` names the step that does."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.fails: dict[str, BaseException] = {}
        self.links: dict[int, HostLink] = {}
        self.filters: set[int] = set()
        self.promoted: set[int] = set()
        #: Which programs judge where, and which are used for what comes.
        self.judging: dict[str, Programs] = {}
        self.used: dict[str, Programs] = {}

    def change(self, what: str, slot: int, programs: Programs) -> Step:
        """Other programs at a hook, and back; the failure of the way back is called ``un`` and its name."""
        hook = f"{what} {slot}"
        former = self.judging.get(hook, {})

        def put(each: Programs, step: str) -> None:
            self.step(step, slot)
            self.judging[hook] = each

        return Step(lambda: put(programs, what), lambda: put(former, f"un{what}"))

    def step(self, what: str, number: int) -> None:
        self.steps.append(f"{what} {number}")
        if error := self.fails.pop(what, None):
            raise error


class FakeWiring:
    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    @staticmethod
    def new_macs() -> tuple[bytes, bytes]:
        return b"\2host1", b"\2cont1"

    def interfaces(self) -> dict[int, HostLink]:
        return dict(self._journal.links)

    def filtered(self) -> frozenset[int]:
        return frozenset(self._journal.filters)

    def add_filters(self, index: int) -> None:
        self._journal.step("filter", index - BASE)
        self._journal.filters.add(index)

    def refiltering(self, index: int, programs: Programs) -> Step:
        return self._journal.change("filter", index - BASE, programs)

    @property
    def programs(self) -> Programs:
        return self._journal.used.get("wiring", {})

    def use(self, programs: Programs) -> None:
        self._journal.used["wiring"] = programs

    def remove(self, index: int) -> None:
        self._journal.step("unwire", index - BASE)
        self._journal.links.pop(index, None)
        self._journal.filters.discard(index)

    def mtu(self) -> int:
        return 1500

    def create(self, slot: int, row: abi.Endpoint, *_: object) -> Interface:
        link = HostLink(row.interface, f"kinety{slot}", 1500)
        self._journal.links[link.index] = link
        self._journal.step("wire", slot)
        self._journal.filters.add(link.index)
        return Interface.of(slot, row, link)


class FakeLinks:
    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def has(self, slot: int) -> bool:
        return slot in self._journal.promoted

    def promote(self, slot: int, _: int) -> None:
        self._journal.step("promote", slot)
        self._journal.promoted.add(slot)

    def remove(self, slot: int) -> None:
        self._journal.step("unlink", slot)
        self._journal.promoted.discard(slot)

    def remove_others(self, slots: set[int]) -> None:
        for slot in sorted(self._journal.promoted - slots):
            self.remove(slot)

    def placed(self) -> frozenset[int]:
        return frozenset(self._journal.promoted)

    def moves(self, slot: int, programs: Programs) -> list[Step]:
        return [self._journal.change("move", slot, programs)]

    def use(self, programs: Programs) -> None:
        self._journal.used["links"] = programs


class Node:
    """The maps of a node; ``start`` is an agent's look at them."""

    def __init__(self, make: Callable[[str], Map]) -> None:
        self.journal = Journal()
        self.endpoints, self.addresses, self._state = (
            make(name) for name in ("endpoints", "local_addresses", "node_state")
        )
        self._opened: list[EndpointTable | NodeState] = []

    def start(self, settings: Settings = SETTINGS) -> Attachments:
        state = NodeState(self._state)
        self.table = EndpointTable(self.endpoints, state, SIZE)
        self._opened += [state, self.table]
        wiring, links = cast(Wiring, FakeWiring(self.journal)), cast(Links, FakeLinks(self.journal))
        return Attachments(settings, self.table, LocalAddresses(self.addresses), wiring, links, Rates(None))

    def attach(self, attachments: Attachments, number: int) -> Interface:
        return attachments.attach(endpoint(number), NOWHERE, "eth0")

    def content(self) -> dict[str, Any]:
        """What the kernel holds of endpoints."""
        return {
            "rows": {key: value for key, value in self.endpoints.items() if any(value)},
            "addresses": dict(self.addresses.items()),
            "interfaces": set(self.journal.links),
            "links": set(self.journal.promoted),
        }

    def close(self) -> None:
        for each in self._opened:
            each.close()


def endpoint(number: int) -> Endpoint:
    addresses = pack_address(f"10.0.0.{number}"), pack_address(f"fd00::{number:x}")
    return Endpoint(EndpointId(number), "default", f"e{number}", frozenset(), *addresses)


@pytest.fixture
def node(make: Callable[[str], Map]) -> Iterator[Node]:
    made = Node(make)
    yield made
    made.close()


EMPTY: dict[str, Any] = {"rows": {}, "addresses": {}, "interfaces": set(), "links": set()}


def test_an_attached_endpoint_has_a_row_that_drops_and_both_addresses(node: Node) -> None:
    attachments = node.start()
    interface = node.attach(attachments, 7)
    row = node.table.row(interface.slot)
    assert (row.id, row.interface, row.flags) == (7, BASE + interface.slot, 0)
    slots = {abi.LocalAddress.unpack(value).slot for value in node.content()["addresses"].values()}
    assert (set(node.content()["addresses"]), slots) == (
        {pack_address("10.0.0.7"), pack_address("fd00::7")},
        {interface.slot},
    )
    assert attachments.get(EndpointId(7)) == interface
    assert [each.endpoint for each in attachments] == [7]


@pytest.mark.parametrize("error", [OSError(errno.ENOMEM, "no"), KeyboardInterrupt()], ids=type)
def test_an_attach_that_fails_leaves_nothing(node: Node, error: BaseException) -> None:
    attachments = node.start()
    node.journal.fails["wire"] = error
    with pytest.raises(type(error)):
        node.attach(attachments, 7)
    assert node.content() == EMPTY
    assert (len(attachments), attachments.get(EndpointId(7))) == (0, None)
    assert node.attach(attachments, 7).endpoint == 7, "and may be tried again"


def test_an_endpoint_or_an_address_is_attached_once(node: Node) -> None:
    attachments = node.start()
    node.attach(attachments, 7)
    before = node.content()
    with pytest.raises(ValueError, match="attached already"):
        node.attach(attachments, 7)
    thief = Endpoint(EndpointId(8), "default", "thief", frozenset(), None, pack_address("fd00::7"))
    with pytest.raises(ValueError, match="address fd00::7 is another endpoint's"):
        attachments.attach(thief, NOWHERE, "eth0")
    assert node.content() == before


def test_a_full_node_refuses_before_anything_is_written(node: Node) -> None:
    attachments = node.start()
    for number in range(1, SIZE):
        attachments.attach(replace(endpoint(number), ipv6=None), NOWHERE, "eth0")
    before, steps = node.content(), list(node.journal.steps)
    with pytest.raises(
        CapacityError, match=f"endpoints would need {SIZE} entries and has room for {SIZE - 1}"
    ):
        node.attach(attachments, 99)
    assert (node.content(), node.journal.steps) == (before, steps)


def test_detaching_disarms_first_and_takes_the_link_after_the_interface(node: Node) -> None:
    attachments = node.start()
    slot = node.attach(attachments, 7).slot
    node.table.publish(slot, 1, 2)
    attachments.promote_one()
    node.journal.steps.clear()
    ready: list[bool] = []
    wiring_remove = FakeWiring.remove

    def remove(self: FakeWiring, index: int) -> None:
        ready.append(node.table.ready(index - BASE))
        wiring_remove(self, index)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FakeWiring, "remove", remove)
        assert attachments.detach(EndpointId(7))
    assert ready == [False]
    assert node.journal.steps == [f"unwire {slot}", f"unlink {slot}"]
    assert node.content() == EMPTY
    assert not attachments.detach(EndpointId(7))


def test_a_detach_that_fails_leaves_a_row_that_drops_and_a_restart_ends_it(node: Node) -> None:
    attachments = node.start()
    slot = node.attach(attachments, 7).slot
    node.table.publish(slot, 1, 2)
    node.journal.fails["unwire"] = OSError(errno.EBUSY, "busy")
    with pytest.raises(OSError, match="busy"):
        attachments.detach(EndpointId(7))
    assert not node.table.ready(slot)
    assert node.start().restore([EndpointId(7)]) == (f"kinety{slot}",)
    assert node.content() == EMPTY


def test_a_restart_keeps_whole_endpoints_and_removes_every_kind_of_half(node: Node) -> None:
    attachments = node.start()
    slots = {number: node.attach(attachments, number).slot for number in range(1, 6)}
    for number, slot in slots.items():
        if number != 2:  # 2: was never published
            node.table.publish(slot, 0, 0)
    node.journal.promoted = {slots[1], slots[3], 30}  # 30: a link nobody knows
    del node.journal.links[BASE + slots[3]]  # 3: its namespace is gone
    node.journal.links[BASE + 31] = HostLink(BASE + 31, "kinety31", 1500)  # no row at all
    restarted = node.start()
    removed = restarted.restore(map(EndpointId, (1, 2, 3, 4)))  # type: ignore[arg-type]
    assert {each.endpoint for each in restarted} == {1, 4}
    assert set(removed) == {f"kinety{slots[2]}", f"kinety{slots[5]}", "kinety31"}
    kept = {slots[1], slots[4]}
    assert node.content()["interfaces"] == {BASE + slot for slot in kept}
    assert {key for key, _ in node.table.rows()} == kept
    assert node.content()["links"] == {slots[1]}
    assert {abi.LocalAddress.unpack(value).slot for value in node.content()["addresses"].values()} == kept


def test_a_restart_with_nothing_to_do_does_nothing(node: Node) -> None:
    attachments = node.start()
    for number in (1, 2):
        node.table.publish(node.attach(attachments, number).slot, 0, 0)
    attachments.promote_one()
    before = node.content()
    node.journal.steps.clear()
    assert node.start().restore([EndpointId(1), EndpointId(2)]) == ()
    assert node.content() == before
    assert node.journal.steps == []


def test_filters_that_somebody_removed_are_put_back(node: Node) -> None:
    attachments = node.start()
    slot = node.attach(attachments, 1).slot
    node.table.publish(slot, 0, 0)
    node.journal.filters.clear()
    node.start().restore([EndpointId(1)])
    assert node.journal.filters == {BASE + slot}


def test_endpoints_are_promoted_one_at_a_time_until_none_is_left(node: Node) -> None:
    attachments = node.start()
    slots = sorted(node.attach(attachments, number).slot for number in (1, 2))
    assert [attachments.promote_one() for _ in range(3)] == [True, True, False]
    assert [step for step in node.journal.steps if "promote" in step] == [f"promote {slot}" for slot in slots]


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EOPNOTSUPP])
def test_a_kernel_without_tcx_is_asked_once(node: Node, number: int) -> None:
    attachments = node.start()
    node.attach(attachments, 1)
    node.journal.fails["promote"] = OSError(number, "no tcx")
    assert [attachments.promote_one(), attachments.promote_one()] == [False, False]
    assert not attachments.tcx
    assert node.journal.steps.count("promote 1") == 1


def test_an_interface_that_went_away_does_not_stop_the_others(node: Node) -> None:
    attachments = node.start()
    for number in (1, 2):
        node.attach(attachments, number)
    node.journal.fails["promote"] = OSError(errno.ENODEV, "gone")
    assert [attachments.promote_one() for _ in range(3)] == [True, True, False]
    assert attachments.tcx
    assert node.journal.promoted == {2}


def test_any_other_refusal_is_told_and_tried_again(node: Node) -> None:
    attachments = node.start()
    node.attach(attachments, 1)
    node.journal.fails["promote"] = OSError(errno.ENOMEM, "no memory")
    with pytest.raises(OSError, match="no memory"):
        attachments.promote_one()
    assert attachments.promote_one()
    assert node.journal.promoted == {1}


def test_where_links_are_forbidden_nobody_is_promoted(node: Node) -> None:
    attachments = node.start(Settings(pins=Path("unused"), interface_base=BASE, clsact_only=True))
    node.attach(attachments, 1)
    assert (attachments.tcx, attachments.promote_one(), node.journal.promoted) == (False, False, set())


def test_endpoints_without_their_interface_have_vanished(node: Node) -> None:
    attachments = node.start()
    slots = {number: node.attach(attachments, number).slot for number in (1, 2)}
    assert attachments.vanished() == frozenset()
    del node.journal.links[BASE + slots[2]]
    assert attachments.vanished() == {2}


NEW = cast(Programs, {"from_endpoint": "new"})


@pytest.fixture
def two(node: Node) -> Attachments:
    """Slot 0 on a link, slot 1 on filters alone."""
    attachments = node.start()
    for number in (1, 2):
        node.attach(attachments, number)
    assert attachments.promote_one()
    node.journal.steps.clear()
    return attachments


def test_new_programs_take_over_interface_by_interface(node: Node, two: Attachments) -> None:
    assert two.replace_programs(NEW) == 2
    assert node.journal.steps == ["move 1", "filter 1", "filter 2"]
    assert node.journal.used == {"links": NEW, "wiring": NEW}


@pytest.mark.parametrize(
    ("failing", "steps"),
    [
        ("move", ["move 1"]),
        ("filter", ["move 1", "filter 1", "unmove 1"]),
    ],
)
def test_when_one_cannot_be_replaced_all_go_back(
    node: Node, two: Attachments, failing: str, steps: list[str]
) -> None:
    node.journal.fails[failing] = OSError(errno.ENOMEM, "no memory")
    with pytest.raises(OSError, match="no memory"):
        two.replace_programs(NEW)
    assert node.journal.steps == steps
    assert NEW not in node.journal.judging.values()
    assert node.journal.used == {}, "who comes next is judged as before"


@pytest.mark.parametrize("number", [errno.ENODEV, errno.ENOLINK])
def test_an_interface_that_vanishes_meanwhile_is_no_failure(
    node: Node, two: Attachments, number: int
) -> None:
    node.journal.fails["move"] = OSError(number, "gone")
    node.journal.fails["filter"] = OSError(number, "gone")
    assert two.replace_programs(NEW) == 1
    assert node.journal.judging == {"filter 2": NEW}


def test_what_could_not_be_put_back_is_put_back_by_the_next_look(node: Node, two: Attachments) -> None:
    journal = node.journal
    journal.fails |= {name: OSError(errno.ENOMEM, "no memory") for name in ("filter", "unmove")}
    with pytest.raises(PutBackError, match="1 of 1 places") as left:
        two.replace_programs(NEW)
    assert "no memory" in "".join(left.value.__notes__)
    assert journal.judging == {"move 1": NEW}
    journal.steps.clear()
    for number in (1, 2):
        node.table.publish(number, 0, 0)
    two.restore({EndpointId(1), EndpointId(2)})
    assert journal.steps == ["move 1", "filter 1", "filter 2"]
    assert set(map(str, journal.judging.values())) == {"{}"}, "those from before"
    journal.steps.clear()
    two.restore({EndpointId(1), EndpointId(2)})
    assert journal.steps == []


def test_a_bandwidth_on_a_node_without_is_refused_and_leaves_nothing(node: Node) -> None:
    attachments = node.start()
    limited = Shape(bandwidth=Bandwidth(egress=Rate.of(1000)))
    with pytest.raises(ValueError, match="runs with --no-bandwidth"):
        attachments.attach(endpoint(7), NOWHERE, "eth0", limited)
    assert node.attach(attachments, 7).endpoint == 7
