import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from kinety.agent.address_book import AddressBook
from kinety.agent.control import Control
from kinety.agent.declaration import ParsedFile
from kinety.agent.directory import Directory
from kinety.agent.lease import Moment
from kinety.agent.names.cache import NameCache
from kinety.agent.names.names import facts
from kinety.agent.node import parse_files, stored_files
from kinety.agent.pool import AddressPool
from kinety.agent.proxies.proxies import Proxies
from kinety.agent.store import EndpointRecord, Store
from kinety.api.types import Document
from kinety.model.address import pack_address
from kinety.model.endpoint import Endpoint, EndpointId
from kinety.model.label import Label, labels_of_endpoint
from kinety.plan.engine import Engine
from tests.unit.agent.fake_datapath import FakeDatapath
from tests.unit.agent.fake_proxy import FakeProxy

POLICY = """apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: NAME}
spec:
  endpointSelector: {matchLabels: {app: server}}
  ingress:
  - fromEndpoints: [{matchLabels: {app: client}}]
  - fromCIDR: [192.0.2.0/24]
"""


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0
        self.asked = 0

    def __call__(self) -> float:
        self.asked += 1
        return self.now


def record(number: int, app: str, *, netns: int = 1) -> EndpointRecord:
    """An endpoint called like its app, with an address of each family."""
    own = Endpoint(
        EndpointId(number),
        "default",
        app,
        labels_of_endpoint("default", [Label.parse(f"app={app}")]),
        pack_address(f"10.0.0.{number}"),
        pack_address(f"fd00::{number}"),
    )
    return EndpointRecord(own, f"/run/netns/{app}", netns, "eth0")


def files(*names: str, text: str = POLICY) -> tuple[ParsedFile, ...]:
    """A file for each policy's name."""
    return parse_files(Document(f"{name}.yaml", text.replace("NAME", name)) for name in names)


class Agent:
    """Engine, store, and a datapath of values, under one control; starts again on the same store."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.clock = Clock()
        self.datapath = FakeDatapath()
        self.proxy = FakeProxy()
        #: The machine's start, and when it was by people's clocks.
        self.boot, self.wall = "first", 1000.0
        self.prefixes = ["10.1.0.0/29", "fd01::/64"]
        self.quarantine = 30.0
        #: Ports that somebody else on the node has.
        self.occupied: set[int] = set()
        self.start()

    def vacant(self, port: int) -> bool:
        return port not in self.occupied

    def start(self) -> None:
        self.store = Store(self.path)
        engine = Engine(
            self.datapath.capacity,
            identities=self.store.identities(),
            outside=self.store.outside(),
            rules=self.store.rules(),
        )
        book = AddressBook(
            self.store,
            [AddressPool.parse(prefix) for prefix in self.prefixes],
            self.quarantine,
            lambda: Moment(self.boot, self.clock()),
            lambda: self.wall,
        )
        directory = Directory(engine.identities.get, engine.identity_of_address)
        served = dict.fromkeys(("http", "dns"), self.proxy)
        proxies = Proxies(
            self.store.proxy_ports, range(10000, 10003), served, asyncio.run, vacant=self.vacant
        )
        self.control = Control(engine, self.store, self.datapath, directory, book, proxies)
        self.control.repair._clock = self.clock
        self.names = NameCache(least=30.0, most=3)
        self.names.restore(self.store.names.all())
        self.control.start(stored_files(self.store), frozenset(), names=facts(self.names.names()))

    def stop(self) -> None:
        self.store.close()

    def attach(self, number: int, app: str) -> None:
        self.control.attach(record(number, app), None)

    def held(self) -> tuple[object, ...]:
        """Everything that a refused change must leave as it is: plan, kernel, store, names."""
        control, store = self.control, self.store
        return (
            control.engine.snapshot(),
            self.datapath.held(),
            dict(control.endpoints),
            dict(control.policies),
            store.endpoints(),
            store.documents(),
            store.identities(),
            store.outside(),
            store.rules(),
            store.leases.all(),
            store.proxy_ports.all(),
            dict(self.proxy.held),
            store.names.all(),
            control.addresses.entries(),
        )

    def agrees(self) -> bool:
        """Whether the kernel holds the plan."""
        plan, held = self.control.engine.snapshot(), self.datapath.held()
        return (plan.rule_sets, plan.identity_classes, plan.ipcache, plan.endpoints) == (
            held.rule_sets,
            held.identity_classes,
            held.ipcache,
            held.endpoints,
        )


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    made = Agent(tmp_path / "kinety.db")
    yield made
    made.stop()


@pytest.fixture
def busy(agent: Agent) -> Agent:
    """A server and a client, under one policy."""
    agent.attach(1, "server")
    agent.attach(2, "client")
    agent.control.apply(files("rule1"))
    return agent
