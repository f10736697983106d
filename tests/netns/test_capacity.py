"""A change that would overflow a map: refused by name and numbers, and the kernel holds not a byte of it.

Each map is tried with exactly one row less than the change needs, and with exactly as many. How many
that is, is counted in the kernel's own maps on a node with plenty of room.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace

import pytest

from kinety.agent.address_book import AddressBook
from kinety.agent.control import Control, ParsedFile
from kinety.agent.directory import Directory
from kinety.agent.node import parse_files
from kinety.agent.proxies.proxies import Proxies
from kinety.agent.store import EndpointRecord, Store
from kinety.api import types
from kinety.datapath.template import contract_directory
from kinety.kernel.map import Map
from kinety.model.address import pack_address
from kinety.model.endpoint import Endpoint, EndpointId
from kinety.model.label import Label
from kinety.plan.change import Capacity, CapacityError
from kinety.plan.engine import Engine

from .datapath_node import SMALL, Node, address, node

pytestmark = pytest.mark.needs("root", "bpf", "netns", "bpffs", "nft", "objects", "ip")

#: Maps that the agent writes; the others are the programs'.
WRITTEN = (
    "endpoints",
    "local_addresses",
    "rule_sets",
    "identity_classes",
    "ipcache_hosts",
    "ipcache_prefixes",
    "rule_counters",
    "node_state",
)

BEFORE = """
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: before, namespace: default}
spec:
  endpointSelector: {matchLabels: {app: one}}
  ingress:
  - fromEndpoints: [{matchLabels: {app: two}}]
    toPorts: [{ports: [{port: '80', protocol: TCP}]}]
"""
#: Needs more of everything that policies need.
MORE = """
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: more, namespace: default}
spec:
  endpointSelector: {matchLabels: {app: two}}
  egress:
  - toCIDR: [198.51.100.7/32, 198.51.100.9/32, '2001:db8::7/128']
  - toCIDR: [203.0.113.0/24, '2001:db8:1::/48']
    toPorts: [{ports: [{port: '53', protocol: UDP}, {port: '1000', endPort: 1999, protocol: TCP}]}]
  ingress:
  - fromEndpoints: [{matchLabels: {app: one}}]
"""
AFTERWARDS = BEFORE.replace("'80'", "'81'")


@dataclass
class Agent:
    """The parts of an agent, in this process, over a real kernel."""

    node: Node
    control: Control

    def attach(self, name: str, number: int) -> None:
        labels = frozenset(map(Label.parse, (f"k8s:app={name}", "k8s:io.kubernetes.pod.namespace=default")))
        addresses = (pack_address(address(number, family)) for family in (4, 6))
        endpoint = Endpoint(EndpointId(number), "default", name, labels, *addresses)
        space = self.node.namespace_for(name)
        record = EndpointRecord(endpoint, space.name, space.inode, "eth0")
        self.node.run(self.control.attach, record, space)

    def apply(self, text: str) -> None:
        self.node.run(self.control.apply, parsed(text))

    def kernel(self) -> dict[str, dict[bytes, bytes]]:
        """Every byte the agent has written: the rows of each map, and those of each inner map by slot."""
        home = contract_directory(self.node.settings.pins) / "maps"
        held = {}
        for name in WRITTEN:
            with Map.open(home / name) as found:
                held[name] = dict(found.items())
        for slot, number in held["rule_sets"].items():
            with Map.from_id(int.from_bytes(number, "little")) as inner:
                held[f"rule set in {slot.hex()}"] = dict(inner.items())
        return held

    def store(self) -> list[object]:
        """Every row the agent has stored."""
        store = self.control.store
        return [list(store.endpoints()), list(store.documents()), store.identities(), store.rules()]

    def needs(self) -> Capacity:
        """What the maps must have room for to hold what they hold now."""
        kernel = self.kernel()
        statistics = self.node.run(self.control.datapath.statistics)
        inner = [len(rows) for name, rows in kernel.items() if name.startswith("rule set in")]
        return Capacity(
            endpoints=statistics.endpoints,
            rule_sets=statistics.rule_sets,
            rows=max(inner),
            identity_classes=len(kernel["identity_classes"]),
            ipcache_hosts=len(kernel["ipcache_hosts"]),
            ipcache_prefixes=len(kernel["ipcache_prefixes"]),
            rules=len(self.control.engine.rules),
        )


def parsed(text: str) -> tuple[ParsedFile, ...]:
    return parse_files([types.Document("policy.yaml", text)])


@contextlib.contextmanager
def agent(capacity: Capacity) -> Iterator[Agent]:
    """Two endpoints under a policy, on a node with room for so many rows."""
    with node(capacity=capacity) as built, contextlib.ExitStack() as stack:
        datapath = built.open()
        store = Store(built.directory / "kinety.db")
        stack.callback(store.close)
        engine = Engine(datapath.capacity)
        proxies = Proxies(store.proxy_ports, range(0), {}, asyncio.run)
        book = AddressBook(store)
        control = Control(engine, store, datapath, Directory(engine.identities.get), book, proxies)
        built.run(control.start, (), frozenset())
        made = Agent(built, control)
        made.attach("one", 2)
        made.attach("two", 3)
        made.apply(BEFORE)
        yield made


def grow(made: Agent, name: str) -> None:
    """The change that needs more of a map."""
    if name == "endpoints":
        made.attach("three", 4)
    else:
        made.apply(MORE)


@pytest.fixture(scope="module")
def needed() -> Capacity:
    """What everything needs at last, as the kernel counts it."""
    with agent(SMALL) as made:
        before = made.needs()
        made.apply(MORE)
        made.attach("three", 4)
        after = made.needs()
    for each in fields(Capacity):
        assert getattr(before, each.name) < getattr(after, each.name), f"nothing needs more {each.name}"
    return after


#: How many rows a map has besides those there is room for: rule set 0 and rule 0 are nobody's.
RESERVED = {"rule_sets": 1, "rules": 1}


@pytest.mark.parametrize("name", [each.name for each in fields(Capacity)])
def test_a_change_that_fits_to_the_row_is_made_and_one_row_less_is_refused(
    needed: Capacity, name: str
) -> None:
    count = getattr(needed, name)
    exact = replace(SMALL, **{name: count + RESERVED.get(name, 0)})
    with agent(exact) as made:
        grow(made, name)
    with agent(replace(exact, **{name: getattr(exact, name) - 1})) as made:
        interfaces = made.node.command("ip", "-o", "link")
        kernel, store, plan = made.kernel(), made.store(), made.control.engine.snapshot()
        said = f"map {NAMES.get(name, name)} would need {count} entries and has room for {count - 1}"
        with pytest.raises(CapacityError, match=re.escape(said)):
            grow(made, name)
        assert made.kernel() == kernel
        assert made.node.command("ip", "-o", "link") == interfaces
        assert made.store() == store
        assert made.control.engine.snapshot() == plan
        made.apply(AFTERWARDS)
        assert made.kernel() != kernel, "what fits is still accepted"
        assert (
            made.node.run(made.control.datapath.restore, made.control.engine.snapshot(), (2, 3)).writes == 0
        )


#: What a map is called that is not called as its size.
NAMES = {"rows": "rule_set", "rules": "rule_counters"}
