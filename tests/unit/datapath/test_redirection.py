"""The node's part of a redirect: nothing before it is needed, all of it or another try, nothing after it."""

import errno
import json
import os
import secrets
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from kinety.abi import Redirect
from kinety.datapath import nft, redirection
from kinety.datapath.interface import Interface
from kinety.datapath.proxy_cgroup import remove as remove_cgroup
from kinety.datapath.redirection import NFT_TABLE, Redirection, take_down
from kinety.datapath.settings import Settings
from kinety.datapath.template import packaged_object
from kinety.kernel import bpffs
from kinety.kernel.map import Map
from kinety.kernel.namespace import Namespace
from kinety.kernel.netlink import Netlink
from kinety.kernel.spec import CollectionSpec
from kinety.model.endpoint import EndpointId
from kinety.model.layer7 import Layer7Id

pytestmark = [
    pytest.mark.needs("root", "bpf", "netns", "bpffs", "nft", "ip", "cgroup2", "btf", "objects"),
    pytest.mark.parametrize("either_kernel", ["real"], indirect=True),
]
ALL = pytest.mark.parametrize("redirect", list(Redirect), ids=lambda each: each.name.lower())

PORTS = {Layer7Id("one"): 10001}
NET = Path("/proc/sys/net/ipv4")
CHANGED = ("tcp_fwmark_accept", "ip_early_demux", "tcp_tw_reuse", "ip_local_port_range", "conf/all/rp_filter")


@dataclass
class Place:
    """A namespace, a directory for pins, and maps as an endpoint's programs would bring them."""

    namespace: Namespace
    pins: Path
    maps: dict[str, Map]

    def redirection(self, redirect: Redirect) -> Redirection:
        """As an agent that has just started has it."""
        return Redirection(Settings(self.pins, redirect=redirect), self.pins / "proxy", self.maps)

    def held(self) -> dict[str, Any]:
        """Everything of the node's that it could change, but for settings of interfaces."""

        def look() -> dict[str, Any]:
            listed = [
                json.loads(subprocess.check_output(["ip", family, "-j", *words]) or "[]")
                for family in ("-4", "-6")
                for words in (["rule"], ["route", "show", "table", "all", "type", "local", "dev", "lo"])
            ]
            tables = subprocess.check_output(["nft", "list", "tables"], text=True).split("\n")
            return {
                "routing": listed,
                "tables": tables,
                "settings": [(NET / name).read_text().split() for name in CHANGED],
                "pins": sorted(path.name for path in self.pins.iterdir()),
            }

        return self.namespace.call(look)

    def read(self, setting: str) -> str:
        return self.namespace.call((NET / setting).read_text).strip()


@pytest.fixture
def place(tmp_path: Path, make: Callable[[str], Map], specs: dict[str, object]) -> Iterator[Place]:
    pins = tmp_path / "pins"
    bpffs.mount(pins)
    namespace = Namespace.create(f"kt-{os.getpid()}-{secrets.token_hex(4)}")
    with Netlink(namespace) as netlink, netlink.batch() as batch:
        batch.link_set("lo", up=True)
    objects = ("proxy.o", "nat.o", "sockmap.o")
    used = {
        name
        for each in objects
        for name, spec in CollectionSpec.parse(packaged_object(each)).maps.items()
        if spec.contents is None
    }
    try:
        yield Place(namespace, pins, {name: make(name) for name in used & specs.keys()})
    finally:
        namespace.remove()
        bpffs.unmount(pins)
        remove_cgroup(pins)


def endpoints(name: str) -> Interface:
    return Interface(EndpointId(1), 1, 65537, name, bytes(6), bytes(6), 1500)


def interface(place: Place, name: str) -> Interface:
    """One of the namespace's, as if it were an endpoint's."""

    words = ["ip", "link", "add", name, "type", "veth", "peer", "name", f"{name}-peer"]
    place.namespace.call(lambda: subprocess.run(words, check=True))
    return endpoints(name)


@ALL
def test_without_listeners_nothing_is_there(place: Place, redirect: Redirect) -> None:
    before = place.held()
    made = place.redirection(redirect)
    place.namespace.call(made.serve, {}, [])
    made.admit(endpoints("nowhere"))
    assert (place.held(), made.writes) == (before, 0)


def test_nor_is_it_with_listeners_to_which_nothing_leads(place: Place) -> None:
    before = place.held()
    made = place.redirection(Redirect.NONE)
    place.namespace.call(made.serve, PORTS, [])
    assert (place.held(), made.writes) == (before, 0)


@ALL
def test_the_next_agent_writes_nothing_again(place: Place, redirect: Redirect) -> None:
    first, second = place.redirection(redirect), place.redirection(redirect)
    place.namespace.call(first.serve, PORTS, [])
    before = place.held()
    place.namespace.call(second.serve, PORTS, [])
    assert place.held() == before
    assert (first.writes > 0, second.writes) == (redirect is not Redirect.NONE, 0)


@ALL
def test_endpoints_that_are_there_are_admitted_and_those_that_come(place: Place, redirect: Redirect) -> None:
    made = place.redirection(redirect)
    place.namespace.call(made.serve, PORTS, [interface(place, "kt1")])
    place.namespace.call(made.admit, interface(place, "kt2"))
    expected = ("0", "0") if redirect is Redirect.NONE else ("1", "1" if redirect is Redirect.NAT else "0")
    for name in ("kt1", "kt2"):
        found = place.read(f"conf/{name}/accept_local"), place.read(f"conf/{name}/route_localnet")
        assert found == expected
    place.namespace.call(made.admit, endpoints("gone"))


@pytest.mark.parametrize(
    ("redirect", "refusing"),
    [
        (Redirect.SK_ASSIGN, "attach_namespace"),
        (Redirect.NAT, "attach_cgroup"),
        (Redirect.SOCKMAP, "attach_map"),
        (Redirect.SOCKMAP, "attach_cgroup"),
    ],
)
def test_what_the_kernel_refuses_is_tried_again_until_all_of_it_is_there(
    place: Place, monkeypatch: pytest.MonkeyPatch, redirect: Redirect, refusing: str
) -> None:
    """Until then no endpoint is admitted, and nothing that was written is written again."""
    known = interface(place, "kt1")

    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "not here")

    made = place.redirection(redirect)
    monkeypatch.setattr(redirection.Link, refusing, refuse)
    for _ in range(2):
        with pytest.raises(PermissionError, match="not here"):
            place.namespace.call(made.serve, PORTS, [known])
    assert place.read("conf/kt1/accept_local") == "0"
    monkeypatch.undo()
    place.namespace.call(made.serve, PORTS, [known])
    assert place.read("conf/kt1/accept_local") == "1"
    again = place.redirection(redirect)
    place.namespace.call(again.serve, PORTS, [known])
    assert again.writes == 0


@pytest.mark.parametrize("redirect", [Redirect.SK_ASSIGN, Redirect.NAT, Redirect.SOCKMAP], ids=str)
def test_without_nft_there_is_no_table_and_everything_else(
    place: Place, monkeypatch: pytest.MonkeyPatch, redirect: Redirect
) -> None:
    monkeypatch.setattr(redirection.shutil, "which", lambda name: None)
    monkeypatch.setattr(nft, "_NFT", "/no/such/nft")
    made = place.redirection(redirect)
    place.namespace.call(made.serve, PORTS, [])
    found = place.held()
    assert not any(NFT_TABLE in each for each in found["tables"])
    assert "proxy" in found["pins"]
    monkeypatch.undo()
    place.namespace.call(place.redirection(redirect).serve, PORTS, [])
    assert any(NFT_TABLE in each for each in place.held()["tables"]), "it was installed since"


@ALL
def test_what_is_taken_down_is_gone_and_may_be_again(place: Place, redirect: Redirect) -> None:
    """But for settings, on which others may rely by now, and pins, which are the caller's."""
    before = place.held()
    place.namespace.call(place.redirection(redirect).serve, PORTS, [])
    for _ in range(2):
        place.namespace.call(take_down)
        after = place.held()
        assert (after["routing"], after["tables"]) == (before["routing"], before["tables"])
