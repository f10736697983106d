"""The programs for the node's own packets, to be asked without a network.

The kernel says of every test run that the packet goes out by ``lo``, which would be nobody's business. So the
programs are told to find a device's number where its MTU is: the interface is then 65536, whatever comes in.
"""

from __future__ import annotations

from kinety.datapath.host_programs import OBJECT, host_constants, host_object
from kinety.datapath.template import packaged_object
from kinety.kernel.collection import Collection
from kinety.kernel.kernel_types import KernelTypes
from tests.netns.datapath_node import Node


def host_programs(node: Node, number: str = "mtu") -> Collection:
    """The programs over the maps of a node whose datapath is open; the caller's to close.

    ``number`` is the field that they take for a device's number.
    """
    assert node.datapath is not None
    elsewhere = KernelTypes.running().field_offset("net_device", number)
    constants = {**host_constants(node.settings), "context_ifindex_offset": elsewhere}
    spec = host_object(packaged_object(OBJECT), constants)
    maps = {name: each for name, each in node.datapath._template.maps.items() if name in spec.maps}
    sizes = {name: each.info.max_entries for name, each in maps.items()}
    return Collection.load(spec, max_entries=sizes, maps=maps)
