"""A datapath that cannot be opened, or an endpoint that cannot be attached: nothing is half there."""

from __future__ import annotations

import errno
import gc
import os
from collections.abc import Callable

import pytest

from kinety.datapath.datapath import Datapath
from kinety.model.endpoint import EndpointId
from kinety.model.identity import Identity
from tests.descriptors import crowded
from tests.netns.datapath_node import Node, address, connect, endpoint, listening, node, plan

pytestmark = pytest.mark.needs("root", "bpf", "tcx", "netns", "bpffs", "nft", "objects")

SERVER = EndpointId(11)
PORT = 9000


def descriptors() -> int:
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


def refused(attempt: Callable[..., object], *arguments: object) -> bool:
    """Whether there were too few descriptors."""
    number = 0
    try:
        attempt(*arguments)
    except OSError as error:
        number = error.errno or -1
    assert number in (0, errno.EMFILE), os.strerror(number)
    return number == errno.EMFILE


def test_a_datapath_without_descriptors_keeps_none() -> None:
    """With room for one more each time, until it opens; what was pinned until then is adopted."""
    with node() as lab:
        lab.open()
        lab.forget()
        before, room = descriptors(), 0
        opened: list[Datapath] = []
        enter = lab.namespace.call
        while True:
            with crowded(room + 2):  # two are for entering the namespace
                few = refused(enter, lambda: opened.append(Datapath.open(lab.settings)))
            if not few:
                break
            room += 1
            assert descriptors() == before, room
        assert room > 10
        opened[0].close()
        assert descriptors() == before


def test_an_endpoint_without_descriptors_is_not_there() -> None:
    with node() as lab:
        datapath = lab.open()
        lab.namespace_for("server")
        before, room = lab.command("ip", "-br", "link"), 0
        held = descriptors()
        while True:
            with crowded(room):
                few = refused(attach, lab, datapath)
            if not few:
                break
            room += 1
            assert datapath.interface(SERVER) is None
            assert descriptors() == held
            assert lab.command("ip", "-br", "link") == before
        assert room
        lab.put({SERVER: plan(Identity(256))})
        with listening(lab.endpoints["server"], address(SERVER, 4), PORT):
            assert connect(lab.namespace, address(SERVER, 4), PORT)


def attach(lab: Node, datapath: Datapath) -> None:
    lab.run(datapath.attach, endpoint("server", SERVER), lab.endpoints["server"])
