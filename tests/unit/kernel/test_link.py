"""Links: attach, replace, pin, find again, detach."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from kinety.kernel.collection import Collection
from kinety.kernel.link import Link, NetfilterPlace
from kinety.kernel.namespace import Namespace
from kinety.kernel.netlink import Netlink
from kinety.kernel.program import Program
from kinety.kernel.spec import CollectionSpec
from kinety.kernel.uapi import AttachType, LinkType, NetfilterFamily, NetfilterHook

from .conftest import Compiler

pytestmark = pytest.mark.needs("clang", "bpf", "netns", "bpffs")

LOOPBACK = 1
MOUNTS = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
CGROUPS = next((Path(words[1]) for words in MOUNTS if words[2] == "cgroup2"), None)


@pytest.fixture
def loaded(door: CollectionSpec) -> Iterator[Collection]:
    with Collection.load(door) as collection:
        yield collection


def attach(program: Program, direction: str) -> Link:
    return Link.attach_tcx(program, LOOPBACK, "ingress" if direction == "ingress" else "egress")


@pytest.mark.needs("tcx")
def test_a_link_is_attached_replaced_and_detached(loaded: Collection, namespace: Namespace) -> None:
    judge, tell = loaded.programs["judge"], loaded.programs["tell"]
    for direction, kind in (("ingress", AttachType.TCX_INGRESS), ("egress", AttachType.TCX_EGRESS)):
        with namespace.call(attach, judge, direction) as link:
            found = link.info
            assert (found.type, found.program_id, found.ifindex) == (LinkType.TCX, judge.id, LOOPBACK)
            assert found.attach_type is kind
            link.update(tell)
            assert link.info.program_id == tell.id
            link.detach()
            assert link.info.ifindex == 0


@pytest.mark.needs("tcx")
def test_a_pinned_link_outlives_its_descriptor(loaded: Collection, namespace: Namespace, pins: Path) -> None:
    with namespace.call(attach, loaded.programs["judge"], "ingress") as link:
        link.pin(pins / "link")
        number = link.info.id
    with Link.open(pins / "link") as again:
        assert again.info.id == number
        assert again.info.ifindex == LOOPBACK
    (pins / "link").unlink()
    loaded.maps["rows"].pin(pins / "rows")
    with pytest.raises(OSError, match="it is a map, not a link"):
        Link.open(pins / "rows")


@pytest.mark.needs("tcx")
def test_an_interface_that_is_not_there(loaded: Collection, namespace: Namespace) -> None:
    with pytest.raises(OSError, match="attach judge to ingress of interface 4711"):
        namespace.call(Link.attach_tcx, loaded.programs["judge"], 4711, "ingress")


@pytest.mark.needs("cgroup2")
def test_a_program_on_a_cgroup_judges_its_sockets(loaded: Collection) -> None:
    assert CGROUPS is not None
    group = CGROUPS / f"kt-{secrets.token_hex(4)}"
    group.mkdir()
    try:
        with Link.attach_cgroup(loaded.programs["connect"], group, AttachType.CGROUP_INET4_CONNECT) as link:
            found = link.info
            assert (found.type, found.cgroup_id) == (LinkType.CGROUP, group.stat().st_ino)
            assert found.attach_type is AttachType.CGROUP_INET4_CONNECT
            with pytest.raises(OSError, match=r"attach judge to cgroup .*inet4_connect"):
                Link.attach_cgroup(loaded.programs["judge"], group, AttachType.CGROUP_INET4_CONNECT)
    finally:
        group.rmdir()


def test_closing_twice_is_no_error(loaded: Collection) -> None:
    left, right = socket.socketpair()
    with left, right:
        assert loaded.programs["judge"].fd >= 0
    loaded.close()
    loaded.close()
    assert loaded.programs["judge"].fd == -1


NETFILTER = """
#include <linux/netfilter.h>
SEC("netfilter") int refuse(void *ctx) { return NF_DROP; }
"""


@pytest.mark.needs("netfilter")
def test_a_link_to_netfilter_has_its_place_alone(compile_c: Compiler, namespace: Namespace) -> None:
    place = (NetfilterFamily.IPV6, NetfilterHook.LOCAL_OUT, 10)
    with Collection.load(CollectionSpec.parse(compile_c(NETFILTER))) as collection:
        refuse = collection.programs["refuse"]
        with namespace.call(Link.attach_netfilter, refuse, *place) as link:
            assert (link.info.type, link.info.program_id) == (LinkType.NETFILTER, refuse.id)
            assert link.info.netfilter == NetfilterPlace(*place, defragmented=True)
            with pytest.raises(OSError, match="attach refuse to local_out of IPV6: Device or resource busy"):
                namespace.call(Link.attach_netfilter, refuse, *place)
            namespace.call(bring_up)
            with pytest.raises(PermissionError):
                namespace.call(send)
        namespace.call(send)


LOOKUP = """
SEC("sk_lookup") int nobody(struct bpf_sk_lookup *ctx) { return SK_DROP; }
SEC("sk_lookup") int whoever(struct bpf_sk_lookup *ctx) { return SK_PASS; }
"""


def test_a_link_to_a_namespace_chooses_its_sockets(compile_c: Compiler, namespace: Namespace) -> None:
    namespace.call(bring_up)
    with (
        Collection.load(CollectionSpec.parse(compile_c(LOOKUP))) as collection,
        namespace.socket(socket.AF_INET6, socket.SOCK_STREAM, 0) as listener,
    ):
        listener.bind(("::1", 9))
        listener.listen()
        nobody, whoever = collection.programs["nobody"], collection.programs["whoever"]
        with Link.attach_namespace(nobody, namespace.fd, AttachType.SK_LOOKUP) as link:
            assert (link.info.type, link.info.attach_type) == (LinkType.NETNS, AttachType.SK_LOOKUP)
            assert (link.info.program_id, link.info.namespace) == (nobody.id, os.fstat(namespace.fd).st_ino)
            assert not namespace.call(connects)
            link.update(whoever)
            assert link.info.program_id == whoever.id
            assert namespace.call(connects)


def connects() -> bool:
    with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as client:
        return client.connect_ex(("::1", 9)) == 0


def bring_up() -> None:
    with Netlink() as netlink, netlink.batch() as batch:
        batch.link_set(LOOPBACK, up=True)


def send() -> None:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"x", ("::1", 9))
