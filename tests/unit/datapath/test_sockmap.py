"""The two programs of the redirect ``sockmap``: both are attached, or neither. tests/netns has packets."""

import errno
import os
import secrets
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from kinety.abi import Redirect
from kinety.datapath import sockmap
from kinety.datapath.settings import Settings
from kinety.datapath.sockmap import OBJECT, attach_sockmap, require_counts, retire_sockmap
from kinety.datapath.template import packaged_object
from kinety.kernel import bpffs, kernel_types
from kinety.kernel.link import Link
from kinety.kernel.map import Map
from kinety.kernel.namespace import Namespace
from kinety.kernel.spec import CollectionSpec
from kinety.kernel.uapi import LinkType

REAL = pytest.mark.parametrize("either_kernel", ["real"], indirect=True)
NEEDS = pytest.mark.needs("root", "bpf", "netns", "bpffs", "cgroup2", "btf", "objects")

SETTINGS = Settings(Path("/nowhere"), redirect=Redirect.SOCKMAP)
#: With another constant in the programs.
OTHERS = replace(SETTINGS, proxy_source_ports=(61000, 64000))


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A directory for pins, which is not there yet."""
    mount = tmp_path / "pins"
    bpffs.mount(mount)
    yield mount / "sockmap"
    bpffs.unmount(mount)


@pytest.fixture
def maps(make: Callable[[str], Map], specs: dict[str, object]) -> dict[str, Map]:
    """What an endpoint's programs would bring."""
    used = CollectionSpec.parse(packaged_object(OBJECT)).maps
    return {name: make(name) for name, spec in used.items() if spec.contents is None and name in specs}


def attached(home: Path) -> dict[str, tuple[LinkType, int]]:
    """Kind and program of every pinned link, by the pin's name."""
    found = {}
    for pin in home.rglob("*"):
        if pin.is_file() and pin.name in ("meet", "carry"):
            with Link.open(pin) as link:
                found[pin.name] = (link.info.type, link.info.program_id)
    return found


@NEEDS
@REAL
def test_both_are_attached_once(home: Path, maps: dict[str, Map]) -> None:
    assert attach_sockmap(SETTINGS, home, maps) == 2
    before = attached(home)
    assert {name: kind for name, (kind, _) in before.items()} == {
        "meet": LinkType.CGROUP,
        "carry": LinkType.SOCKMAP,
    }
    assert attach_sockmap(SETTINGS, home, maps) == 0
    assert attached(home) == before


@NEEDS
@REAL
def test_of_another_version_nothing_stays(home: Path, maps: dict[str, Map]) -> None:
    attach_sockmap(SETTINGS, home, maps)
    before = attached(home)
    assert attach_sockmap(OTHERS, home, maps) == 2
    after = attached(home)
    assert after.keys() == before.keys()
    assert not set(after.values()) & set(before.values())
    assert len(list(home.iterdir())) == 1


@NEEDS
@REAL
def test_in_another_namespace_proxies_are_others(home: Path, maps: dict[str, Map]) -> None:
    """The programs know the node's by its number, which the next node of the same pins does not have."""
    attach_sockmap(SETTINGS, home, maps)
    before = attached(home)
    namespace = Namespace.create(f"kt-{os.getpid()}-{secrets.token_hex(4)}")
    try:
        assert namespace.call(attach_sockmap, SETTINGS, home, maps) == 2
        assert namespace.call(attach_sockmap, SETTINGS, home, maps) == 0
    finally:
        namespace.remove()
    assert not set(attached(home).values()) & set(before.values())


@NEEDS
@REAL
def test_where_the_second_is_refused_the_first_meets_nobody_and_both_are_tried_again(
    home: Path, maps: dict[str, Map], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> Link:
        raise OSError(errno.EPERM, "not here")

    monkeypatch.setattr(sockmap.Link, "attach_cgroup", refuse)
    with pytest.raises(PermissionError, match="not here"):
        attach_sockmap(SETTINGS, home, maps)
    assert "meet" not in attached(home), "so that nobody's socket is in the map"
    monkeypatch.undo()
    assert attach_sockmap(SETTINGS, home, maps) == 2
    assert attached(home).keys() == {"meet", "carry"}


@NEEDS
@REAL
def test_when_it_is_retired_no_socket_has_another_end_and_without_sockets_no_pin_stays(
    home: Path, maps: dict[str, Map]
) -> None:
    attach_sockmap(SETTINGS, home, maps)
    [pin] = home.rglob("pairs")
    with Map.open(pin) as pairs:
        size = pairs.info
        for number in range(3):
            pairs.update(bytes([number]) * size.key_size, bytes(size.value_size))
        assert retire_sockmap(home) == 1
        assert list(pairs.keys()) == []
    assert not list(home.iterdir())
    assert retire_sockmap(home) == 0


@pytest.mark.needs("btf")
def test_a_kernel_without_the_field_is_told_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    fields = {**sockmap.FIELDS, "socket_unread_offset": ("sock_common", "nobody_has_this")}
    monkeypatch.setattr(sockmap, "FIELDS", fields)
    with pytest.raises(FileNotFoundError, match="no field nobody_has_this of a structure sock_common"):
        require_counts()


def test_so_is_one_without_types(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(kernel_types, "_KERNEL", tmp_path / "vmlinux")
    with pytest.raises(FileNotFoundError) as missing:
        require_counts()
    assert missing.value.__notes__ == ["the kernel was built without CONFIG_DEBUG_INFO_BTF"]
