"""Programs at an interface's places: one contract, kept by the kernel and by the fake one."""

from __future__ import annotations

import contextlib
import errno
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from kinety.kernel import bpffs
from kinety.kernel.link import Link
from kinety.kernel.map import Map, MapSpec
from kinety.kernel.namespace import Namespace
from kinety.kernel.netlink import Netlink
from kinety.kernel.program import Program
from kinety.kernel.spec import ProgramSpec
from kinety.kernel.uapi import AttachType, LinkType, MapType, ProgramType
from kinety.testing.fake.kernel import FakeKernel
from tests.unit.conftest import REAL_TCX
from tests.unit.patience import wait_free, wait_gone

pytestmark = pytest.mark.parametrize("either_kernel", [REAL_TCX, "fake"], indirect=True)

#: ``return 0``.
RETURN = bytes((0xB7, 0, 0, 0, 0, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0))
INTERFACE, NOWHERE = 4000, 4001
PLACES: tuple[tuple[Literal["ingress", "egress"], AttachType], ...] = (
    ("ingress", AttachType.TCX_INGRESS),
    ("egress", AttachType.TCX_EGRESS),
)


def load(name: str, kind: ProgramType = ProgramType.SCHED_CLS) -> Program:
    return Program.load(ProgramSpec(name, "tc", kind, None, RETURN, (), b"", b"", "GPL"), {})


@dataclass
class Place:
    """Where interface 4000 is, and a directory for pins."""

    run: Callable[..., Any]
    remove_interface: Callable[[], None]
    pins: Path

    def attach(self, program: Program, direction: str = "ingress", interface: int = INTERFACE) -> Link:
        link: Link = self.run(Link.attach_tcx, program, interface, direction)
        return link


@contextlib.contextmanager
def real_place(directory: Path) -> Iterator[Place]:
    space = Namespace.create(f"kt-{secrets.token_hex(4)}")
    pins = directory / "pins"
    bpffs.mount(pins)
    try:
        with Netlink(space) as netlink:
            with netlink.batch() as batch:
                macs = bytes((2, 0, 0, 0, 0, 1)), bytes((2, 0, 0, 0, 0, 2))
                batch.veth(
                    INTERFACE, "host", macs[0], peer="end", peer_mac=macs[1], peer_namespace=space, mtu=1500
                )

            def remove() -> None:
                with netlink.batch() as batch:
                    batch.link_delete(INTERFACE)

            yield Place(space.call, remove, pins)
    finally:
        bpffs.unmount(pins)
        space.remove()


@pytest.fixture
def place(either_kernel: FakeKernel | None, tmp_path: Path) -> Iterator[Place]:
    if either_kernel is None:
        with real_place(tmp_path) as made:
            yield made
        return
    either_kernel.interfaces.add(INTERFACE)
    yield Place(
        lambda function, *arguments: function(*arguments),
        lambda: either_kernel.interfaces.remove(INTERFACE),
        tmp_path,
    )


def test_a_program_is_what_it_was_loaded_as(place: Place) -> None:
    with load("judge") as program, load("other") as other:
        assert (program.info.name, program.info.type) == ("judge", ProgramType.SCHED_CLS)
        assert program.id < other.id
        program.pin(place.pins / "judge")
        with Program.open(place.pins / "judge") as again, Program.from_id(program.id) as by_number:
            assert again.id == by_number.id == program.id
        number = program.id
    (place.pins / "judge").unlink()
    wait_gone(lambda: Program.from_id(number))


@pytest.mark.parametrize(("direction", "hook"), PLACES)
def test_a_link_tells_where_it_is(place: Place, direction: str, hook: AttachType) -> None:
    with load("judge") as judge, place.attach(judge, direction) as link:
        found = link.info
        assert (found.type, found.program_id) == (LinkType.TCX, judge.id)
        assert (found.ifindex, found.attach_type) == (INTERFACE, hook)


def test_a_program_is_once_in_a_place(place: Place) -> None:
    with load("judge") as judge, load("other") as other, place.attach(judge, "ingress"):
        with pytest.raises(FileExistsError, match="attach judge to ingress"):
            place.attach(judge, "ingress")
        with place.attach(judge, "egress"), place.attach(other, "ingress"):
            pass
    with load("judge") as judge, place.attach(judge, "ingress"):
        pass
    with load("judge") as judge, place.attach(judge, "ingress"):
        pass


def test_a_link_ends_with_whatever_holds_it(place: Place) -> None:
    with load("judge") as judge:
        with place.attach(judge) as link:
            link.pin(place.pins / "link")
            number = link.info.id
        with pytest.raises(FileExistsError):
            place.attach(judge)
        with Link.open(place.pins / "link") as again:
            assert (again.info.id, again.info.ifindex) == (number, INTERFACE)
        (place.pins / "link").unlink()
        wait_free(lambda: place.attach(judge).close())


def test_a_link_keeps_its_program(place: Place) -> None:
    judge = load("judge")
    with place.attach(judge) as link:
        number = judge.id
        judge.close()
        with Program.from_id(number) as again:
            assert again.info.name == "judge"
        with load("other") as other:
            link.update(other)
            assert link.info.program_id == other.id
        wait_gone(lambda: Program.from_id(number))


def test_a_detached_link_has_no_place_and_takes_no_program(place: Place) -> None:
    with load("judge") as judge, load("other") as other, place.attach(judge) as link:
        link.detach()
        assert link.info.ifindex == 0
        with pytest.raises(OSError, match="update link to other") as caught:
            link.update(other)
        assert caught.value.errno == errno.ENOLINK
        place.attach(judge).close()


def test_an_interface_that_goes_leaves_its_links_nowhere(place: Place) -> None:
    with load("judge") as judge, place.attach(judge) as link:
        place.remove_interface()
        assert link.info.ifindex == 0
        with pytest.raises(OSError, match="No such device") as caught:
            place.attach(judge)
        assert caught.value.errno == errno.ENODEV


def test_what_cannot_be_attached_or_opened(place: Place) -> None:
    with load("judge") as judge, load("sockets", ProgramType.SOCKET_FILTER) as filters:
        with pytest.raises(OSError, match=f"interface {NOWHERE}: No such device"):
            place.attach(judge, interface=NOWHERE)
        with pytest.raises(OSError, match="attach sockets to ingress") as caught:
            place.attach(filters)
        assert caught.value.errno == errno.EINVAL
        with Map.create(MapSpec("rows", MapType.HASH, 4, 4, 1)) as rows:
            rows.pin(place.pins / "rows")
        with pytest.raises(OSError, match="it is a map, not a link"):
            Link.open(place.pins / "rows")
        with pytest.raises(OSError, match="it is a map, not a program"):
            Program.open(place.pins / "rows")
