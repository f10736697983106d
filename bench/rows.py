"""A node without an agent: its maps, and endpoints that have rows and interfaces, and no programs yet."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from bench.wire import namespace
from kinety import abi
from kinety.datapath.cleanup import cleanup
from kinety.datapath.datapath import Datapath
from kinety.datapath.generations.values import Values
from kinety.datapath.settings import Settings
from kinety.datapath.template import contract_directory, node_constants
from kinety.kernel.map import Map
from kinety.kernel.namespace import Namespace
from kinety.kernel.netlink import Netlink
from kinety.model.address import pack_address
from kinety.plan.change import Capacity, Snapshot

__all__ = ["Node", "node"]

INTERFACES_AT_ONCE = 50


@dataclass(frozen=True, slots=True)
class Node:
    """A namespace with interfaces that wait for their programs."""

    space: Namespace
    constants: dict[str, int]
    maps: dict[str, Map]
    endpoints: Sequence[Values]


@contextmanager
def node(count: int) -> Iterator[Node]:
    """So many endpoints on a node, all of it removed again."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        space, pods = stack.enter_context(namespace("node")), stack.enter_context(namespace("pods"))
        settings = Settings(
            pins=folder / "bpf", capacity=replace(Capacity(), endpoints=count), spare_rule_sets=0
        )
        stack.callback(space.call, cleanup, settings)
        datapath = space.call(Datapath.open, settings)
        stack.callback(datapath.close)
        space.call(datapath.restore, Snapshot({}, {}, {}, {}, {}), ())
        pinned = contract_directory(settings.pins) / "maps"
        maps = {path.name: stack.enter_context(Map.open(path)) for path in pinned.iterdir()}
        rows = [row(settings, slot) for slot in range(count)]
        for slot, each in enumerate(rows):
            maps["endpoints"].update(slot.to_bytes(4, "little"), each.pack())
        space.call(add_interfaces, rows, pods)
        yield Node(space, node_constants(settings), maps, [Values.of(each) for each in rows])


def row(settings: Settings, slot: int) -> abi.Endpoint:
    """A row that is ready and has no policy."""
    tail = slot.to_bytes(4, "big")
    empty = abi.Endpoint.unpack(bytes(abi.Endpoint.SIZE))
    return replace(
        empty,
        id=slot + 1,
        flags=int(abi.EndpointFlag.READY),
        interface=settings.interface_base + slot,
        host_mac=b"\x02\x01" + tail,
        container_mac=b"\x02\x02" + tail,
        ipv4=pack_address(f"10.240.{slot >> 8}.{slot & 255}"),
        ipv6=pack_address(f"fd00:240::{slot + 1:x}"),
    )


def add_interfaces(rows: Sequence[abi.Endpoint], pods: Namespace) -> None:
    """A veth pair for each row, down: nothing is sent."""
    with Netlink() as netlink:
        for start in range(0, len(rows), INTERFACES_AT_ONCE):
            with netlink.batch() as batch:
                for each in rows[start : start + INTERFACES_AT_ONCE]:
                    batch.veth(
                        each.interface,
                        f"kinety{each.id - 1}",
                        each.host_mac,
                        peer=f"pod{each.id}",
                        peer_mac=each.container_mac,
                        peer_namespace=pods,
                        mtu=1500,
                    )
