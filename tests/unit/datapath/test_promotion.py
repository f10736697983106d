"""Tcx links of slots: made once, finished after an interruption, moved in place, and gone with their pins."""

from __future__ import annotations

import contextlib
import errno
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from kinety.datapath.promotion import PLACES, Links
from kinety.datapath.replacement import all_or_none
from kinety.datapath.template import FROM_ENDPOINT, TO_ENDPOINT
from kinety.kernel import bpffs
from kinety.kernel.link import Link
from kinety.kernel.namespace import Namespace
from kinety.kernel.netlink import Netlink
from kinety.kernel.program import Program
from kinety.kernel.spec import ProgramSpec
from kinety.kernel.uapi import AttachType, ProgramType
from kinety.testing.fake.kernel import FakeKernel
from tests.unit.conftest import REAL_TCX
from tests.unit.patience import wait_free

pytestmark = pytest.mark.parametrize("either_kernel", [REAL_TCX, "fake"], indirect=True)

#: ``return 0``.
RETURN = bytes((0xB7, 0, 0, 0, 0, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0))
BASE = 4000
SLOT, SLOTS, NOWHERE = 3, (1, 2, 3, 12), 30


def program(name: str) -> Program:
    spec = ProgramSpec(name, "tc", ProgramType.SCHED_CLS, None, RETURN, (), b"", b"", "GPL")
    return Program.load(spec, {})


@dataclass
class Place:
    """Interfaces, and where their links are pinned. ``run`` calls a function where the interfaces are."""

    run: Callable[..., None]
    pins: Path
    programs: dict[str, Program]

    def links(self) -> Links:
        """As an agent that has just started has them."""
        return Links(self.pins, self.programs)

    def promote(self, links: Links, slot: int = SLOT) -> None:
        self.run(links.promote, slot, BASE + slot)

    def held(self) -> dict[str, tuple[int, int, AttachType | None]]:
        """Program, interface and hook of every pinned link, as the kernel has them."""
        found = {}
        for path in self.pins.iterdir():
            with Link.open(path) as link:
                found[path.name] = (link.info.program_id, link.info.ifindex, link.info.attach_type)
        return found

    def expected(self, slot: int = SLOT) -> dict[str, tuple[int, int, AttachType | None]]:
        """Both links of a slot with these programs."""
        return {
            f"{slot}-ingress": (self.programs[FROM_ENDPOINT].id, BASE + slot, AttachType.TCX_INGRESS),
            f"{slot}-egress": (self.programs[TO_ENDPOINT].id, BASE + slot, AttachType.TCX_EGRESS),
        }


@pytest.fixture
def place(either_kernel: FakeKernel | None, tmp_path: Path) -> Iterator[Place]:
    with real_place(tmp_path) if either_kernel is None else fake_place(either_kernel, tmp_path) as made:
        yield made


@contextlib.contextmanager
def fake_place(kernel: FakeKernel, directory: Path) -> Iterator[Place]:
    kernel.interfaces.update(BASE + slot for slot in SLOTS)
    programs = {name: program(name) for name in PLACES.values()}
    try:
        yield Place(lambda function, *arguments: function(*arguments), directory, programs)
    finally:
        for each in programs.values():
            each.close()


@contextlib.contextmanager
def real_place(tmp_path: Path) -> Iterator[Place]:
    space = Namespace.create(f"kt-{secrets.token_hex(4)}")
    mounted = tmp_path / "pins"
    bpffs.mount(mounted)
    pins = mounted / "links"
    pins.mkdir()
    programs = {name: program(name) for name in PLACES.values()}
    try:
        with Netlink(space) as netlink, netlink.batch() as batch:
            for slot in SLOTS:
                macs = bytes((2, 0, 0, 0, 0, slot)), bytes((2, 0, 0, 0, 1, slot))
                batch.veth(
                    BASE + slot,
                    f"host{slot}",
                    macs[0],
                    peer=f"end{slot}",
                    peer_mac=macs[1],
                    peer_namespace=space,
                    mtu=1500,
                )
        yield Place(space.call, pins, programs)
    finally:
        for each in programs.values():
            each.close()
        bpffs.unmount(mounted)
        space.remove()


def test_a_slot_is_judged_in_both_directions_by_the_right_program(place: Place) -> None:
    links = place.links()
    assert (len(links), links.has(SLOT)) == (0, False)
    place.promote(links)
    assert place.held() == place.expected()
    assert (links.slots(), links.has(SLOT), links.has(NOWHERE), links.writes) == ({SLOT}, True, False, 2)


def test_a_promotion_is_repeated_without_a_second_link(place: Place) -> None:
    links = place.links()
    place.promote(links)
    place.promote(links)
    place.promote(place.links())
    assert place.held() == place.expected()
    assert links.writes == 2


@pytest.mark.parametrize("half", PLACES)
def test_half_a_promotion_is_none_until_it_is_finished(place: Place, half: str) -> None:
    place.promote(place.links())
    (place.pins / f"{SLOT}-{half}").unlink()
    links = place.links()
    assert (len(links), links.has(SLOT)) == (0, False)
    wait_free(lambda: place.promote(links))
    assert place.held() == place.expected()
    assert links.writes == 1, "the other half was there"


def test_links_without_pins_end(place: Place) -> None:
    links = place.links()
    place.promote(links)
    with Link.open(place.pins / f"{SLOT}-ingress") as link:
        number = link.info.id
        links.remove(SLOT)
        assert link.info.id == number, "held by this descriptor only"
    assert (place.held(), len(links), links.writes) == ({}, 0, 4)
    links.remove(SLOT)
    assert links.writes == 4, "what is gone is not removed again"


def test_a_pin_that_somebody_took_is_no_error(place: Place) -> None:
    links = place.links()
    place.promote(links)
    (place.pins / f"{SLOT}-egress").unlink()
    links.remove(SLOT)
    assert place.held() == {}


def test_links_of_other_slots_go_and_halves_with_them(place: Place) -> None:
    links = place.links()
    for slot in (1, 2, 12):
        place.promote(links, slot)
    (place.pins / "12-egress").unlink()
    links = place.links()
    links.remove_others([1])
    assert place.held() == place.expected(1)
    assert links.slots() == {1}


def test_links_move_to_new_programs_in_place(place: Place) -> None:
    place.promote(place.links())
    with Link.open(place.pins / f"{SLOT}-ingress") as link:
        number = link.info.id
    place.programs = {name: program(name) for name in place.programs}
    try:
        links = place.links()
        all_or_none(links.moves(SLOT, place.programs))
        assert place.held() == place.expected()
        assert (links.writes, links.placed(), list(links.moves(SLOT + 1, place.programs))) == (2, {SLOT}, [])
        with Link.open(place.pins / f"{SLOT}-ingress") as link:
            assert link.info.id == number, "the same link: no packet went unjudged"
    finally:
        for each in place.programs.values():
            each.close()


def test_an_interface_that_is_gone_is_told_and_leaves_no_pin(place: Place) -> None:
    links = place.links()
    with pytest.raises(OSError, match=f"to ingress of interface {BASE + NOWHERE}: No such dev") as caught:
        place.promote(links, NOWHERE)
    assert caught.value.errno == errno.ENODEV
    assert (place.held(), len(links), links.writes) == ({}, 0, 0)
