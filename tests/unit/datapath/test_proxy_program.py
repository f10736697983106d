"""Programs for proxies on what they are attached to: once, replaced in one step, anew when it has gone."""

import os
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from kinety.abi import Redirect
from kinety.datapath.proxy_cgroup import cgroup_root
from kinety.datapath.proxy_program import attach_once, is_attached
from kinety.datapath.redirection import DESTINATIONS, LISTENERS
from kinety.datapath.settings import Settings
from kinety.datapath.template import packaged_object
from kinety.kernel import bpffs
from kinety.kernel.link import Link
from kinety.kernel.map import Map
from kinety.kernel.namespace import Namespace
from kinety.kernel.program import Program
from kinety.kernel.spec import CollectionSpec
from kinety.kernel.uapi import AttachType
from kinety.testing.wait import wait_until

pytestmark = [
    pytest.mark.needs("root", "bpf", "netns", "bpffs", "cgroup2", "objects"),
    pytest.mark.parametrize("either_kernel", ["real"], indirect=True),
]


@dataclass
class Place:
    """Something that a program is attached to, and that can go and come again."""

    source: tuple[str, str]
    attach: Callable[[Program], Link]
    leave: Callable[[], None]
    come: Callable[[], None]


def cgroup() -> Iterator[Place]:
    directory = cgroup_root() / f"kt-{os.getpid()}-{secrets.token_hex(4)}"
    directory.mkdir()

    def attach(program: Program) -> Link:
        return Link.attach_cgroup(program, directory, AttachType.CGROUP_GETSOCKOPT)

    yield Place(DESTINATIONS, attach, directory.rmdir, directory.mkdir)
    directory.rmdir()


def namespace() -> Iterator[Place]:
    made: list[Namespace] = []

    def come() -> None:
        made.append(Namespace.create(f"kt-{os.getpid()}-{secrets.token_hex(4)}"))

    def attach(program: Program) -> Link:
        return Link.attach_namespace(program, made[-1].fd, AttachType.SK_LOOKUP)

    come()
    yield Place(LISTENERS, attach, lambda: made.pop().remove(), come)
    made.pop().remove()


@pytest.fixture(params=[cgroup, namespace])
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    yield from request.param()


@pytest.fixture
def pins(tmp_path: Path) -> Iterator[Path]:
    directory = tmp_path / "pins"
    bpffs.mount(directory)
    yield directory
    bpffs.unmount(directory)


@pytest.fixture
def maps(place: Place, make: Callable[[str], Map]) -> dict[str, Map]:
    """What an endpoint's programs would bring."""
    used = CollectionSpec.parse(packaged_object(place.source[0])).maps
    return {name: make(name) for name, spec in used.items() if spec.contents is None}


SOON = 5.0
SETTINGS = Settings(Path("/nowhere"), redirect=Redirect.NAT)
#: With another constant in the programs.
OTHERS = replace(SETTINGS, proxy_source_ports=(61000, 64000))


def programs(pins: Path) -> set[int]:
    """Numbers of the programs that are attached by pinned links."""
    found = set()
    for pin in (pins / "home").iterdir():
        with Link.open(pin) as link:
            found.add(link.info.program_id)
    return found


def test_it_is_attached_once(place: Place, pins: Path, maps: dict[str, Map]) -> None:
    assert attach_once(SETTINGS, pins / "home", maps, place.source, place.attach)
    before = programs(pins)
    assert not attach_once(SETTINGS, pins / "home", maps, place.source, place.attach)
    assert programs(pins) == before


def test_another_version_takes_the_place_of_the_former_one(
    place: Place, pins: Path, maps: dict[str, Map]
) -> None:
    """By the same link, so that there is no moment without."""
    attach_once(SETTINGS, pins / "home", maps, place.source, place.attach)
    before = programs(pins)

    def never(program: Program) -> Link:
        raise AssertionError("the link is there")

    assert attach_once(OTHERS, pins / "home", maps, place.source, never)
    after = programs(pins)
    assert len(after) == 1
    assert after != before
    assert not attach_once(OTHERS, pins / "home", maps, place.source, never)


@pytest.mark.parametrize("settings", [SETTINGS, OTHERS], ids=["same", "other"])
def test_where_the_place_has_gone_it_is_attached_to_the_next_one(
    place: Place, pins: Path, maps: dict[str, Map], settings: Settings
) -> None:
    """Whatever its version: a link outlives what it was attached to, and says nothing of it."""
    attach_once(SETTINGS, pins / "home", maps, place.source, place.attach)
    (pin,) = (pins / "home").iterdir()
    assert is_attached(pin)
    place.leave()
    wait_until(lambda: not is_attached(pin), SOON, "the link says so")
    place.come()
    assert attach_once(settings, pins / "home", maps, place.source, place.attach)
    (pin,) = (pins / "home").iterdir()
    assert is_attached(pin)
    assert not attach_once(settings, pins / "home", maps, place.source, place.attach)


def test_what_is_refused_leaves_nothing_and_may_be_tried_again(
    place: Place, pins: Path, maps: dict[str, Map]
) -> None:
    def refuse(program: Program) -> Link:
        raise PermissionError("not here")

    with pytest.raises(PermissionError, match="not here"):
        attach_once(SETTINGS, pins / "home", maps, place.source, refuse)
    assert list((pins / "home").iterdir()) == []
    assert attach_once(SETTINGS, pins / "home", maps, place.source, place.attach)
