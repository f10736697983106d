"""Endpoints of a test's node, deployed by generations."""

import contextlib
from collections.abc import Callable, Iterator, Mapping

from kinety import abi
from kinety.datapath.generations.compile import Compile
from kinety.datapath.generations.deployment import Deployment
from kinety.datapath.generations.generation import Generation
from kinety.datapath.generations.resident import Resident
from kinety.datapath.generations.rodata import Rodata
from kinety.datapath.generations.symbols import Symbols
from kinety.datapath.generations.values import Values
from kinety.datapath.template import node_constants
from kinety.model.endpoint import EndpointId
from tests.netns.datapath_node import Node

GENERATIONS: Mapping[str, Callable[[], Generation]] = {
    "compile": Compile,
    "symbols": Symbols,
    "rodata": Rodata,
    "resident": Resident,
}
#: What a test with all four needs of the machine.
NEEDS = ("root", "bpf", "tcx", "netns", "bpffs", "nft", "objects", "clang")


def values_of(node: Node, number: int) -> Values:
    """What the row of an attached endpoint says."""
    assert node.datapath is not None
    interface = node.datapath.interface(EndpointId(number))
    assert interface is not None
    row = node.datapath._template.maps["endpoints"].lookup(interface.slot.to_bytes(4, "little"))
    assert row is not None
    return Values.of(abi.Endpoint.unpack(row))


@contextlib.contextmanager
def deployment(node: Node, *, clsact_only: bool = False) -> Iterator[Deployment]:
    """A deployment over the maps of a node's datapath, whose programs judge what it does not."""
    assert node.datapath is not None
    template = node.datapath._template
    made = node.run(
        Deployment,
        template.maps,
        node_constants(node.settings),
        fallback=template.programs,
        clsact_only=clsact_only,
    )
    try:
        yield made
    finally:
        node.run(made.close)
