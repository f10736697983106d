"""Containers in a crowd: policy is in force at the first packet of each, whatever else happens.

Each container has a process that was there before its interface and tries from the moment that it comes up,
and one that starts when ADD returns. Never may a packet come through that policy forbids; and from the moment
that ADD returned none may be lost that policy allows. Both families, datagrams and connections; to endpoints
(judged where they enter) and beyond the node's uplink (judged where they leave, masqueraded). Meanwhile an
endpoint that may not sends to every address that a container is going to have. Tried: a policy that comes
three milliseconds after the interface fails here.
"""

import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from ipaddress import ip_address
from itertools import count
from pathlib import Path

import pytest

from kinety.api.types import Document
from tests.e2e.crowd import Crowd, Receiver, crowd
from tests.e2e.leftover import kept
from tests.e2e.outside import FAR, NEAR, outside
from tests.e2e.real_node import Node

pytestmark = pytest.mark.needs("root", "bpf", "netns", "bpffs", "nft", "objects", "ip", "ipv6")

#: ``make soak`` has this many everywhere.
SIZE = int(os.environ.get("KINETY_CROWD", "200"))
FEWER = int(os.environ.get("KINETY_CROWD", "60"))
SIDES = ("empire", "alliance")
#: Each has four addresses of eight that it may reach, by connections of two processes.
EXPECTED = 4
#: A packet that was sent shortly before a change of policy may be judged by either.
_MARGIN = 250_000_000

POLICIES = """
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {{name: servers}}
specs:
- endpointSelector: {{matchLabels: {{server: one}}}}
  ingress: [{{fromEndpoints: [{{matchLabels: {{org: {one}}}}}]}}]
- endpointSelector: {{matchLabels: {{server: two}}}}
  ingress: [{{fromEndpoints: [{{matchLabels: {{org: {two}}}}}]}}]
---
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {{name: crowd}}
spec:
  endpointSelector: {{matchExpressions: [{{key: org, operator: Exists}}]}}
  ingress: [{{fromEndpoints: [{{matchExpressions: [{{key: server, operator: Exists}}]}}]}}]
  egress:
  - toEndpoints: [{{matchExpressions: [{{key: server, operator: Exists}}]}}]
  - toCIDR: [{near[4]}/32, '{near[6]}/128']
"""


@dataclass(slots=True)
class Scene:
    """A node with two servers, a router, somebody who floods, and a crowd to come."""

    node: Node
    crowd: Crowd
    receivers: dict[str, Receiver]
    #: When the policies changed sides: before, after. In nanoseconds since 1970.
    changed: tuple[int, int] | None = None

    def apply(self, one: str, two: str) -> None:
        text = POLICIES.format(one=one, two=two, near=NEAR)
        with self.node.client() as client:
            client.apply([Document("crowd.yaml", text)])

    def swap(self) -> None:
        """From now on the servers let in whom they kept out, and keep out whom they let in."""
        began = time.time_ns()
        self.apply(*reversed(SIDES))
        self.changed = began, time.time_ns()

    def allowed(self, who: str, to: str, when: int) -> bool | None:
        """Whether policy allows what was sent; None, when it changed just then."""
        if to in (*NEAR.values(), *FAR.values()):
            return to in NEAR.values()
        first = (to in self.receivers["one"].addresses) == (side(who) == SIDES[0])
        if self.changed is None or when < self.changed[0] - _MARGIN:
            return first
        return None if when < self.changed[1] else not first


def side(who: str) -> str:
    return SIDES[int(who[1:]) % 2]


@pytest.fixture
def scene(node: Node, tmp_path: Path) -> Iterator[Scene]:
    with ExitStack() as stack:
        router = stack.enter_context(outside(node))
        node.start()
        receivers = {}
        for name in ("one", "two"):
            namespace = node.workload(name, f"server={name}")
            addresses = node.address(name), node.address(name, "ipv6")
            receivers[name] = Receiver(namespace, addresses)
        receivers["router"] = Receiver(router, (*NEAR.values(), *FAR.values()))
        for each in receivers.values():
            stack.callback(each.close)
        targets = [address for each in receivers.values() for address in each.addresses]
        directory = tmp_path / "crowd"
        directory.mkdir()
        made = Scene(node, stack.enter_context(crowd(node, directory, targets)), receivers)
        made.apply(*SIDES)
        intruder = node.workload("intruder", "role=intruder")
        first = [ip_address(each) + 2 for each in receivers["two"].addresses]
        made.crowd.flood(intruder, [str(each + number) for number in range(SIZE) for each in first])
        yield made


@pytest.mark.parametrize(("size", "at_once"), [(FEWER, 20), (SIZE, SIZE)])
def test_policy_is_in_force_at_the_first_packet_of_each(scene: Scene, size: int, at_once: int) -> None:
    before = kept(scene.node)
    names = [f"c{number}" for number in range(size)]
    scene.crowd.gather(names, EXPECTED)
    with ThreadPoolExecutor(at_once) as pool:
        list(pool.map(lambda name: scene.crowd.add(name, f"org={side(name)}", EXPECTED), names))
    verify(scene, names)
    scene.crowd.leave(at_once)
    assert kept(scene.node) == before


def test_a_policy_that_changes_in_the_middle_holds_for_whom_it_finds_and_for_whom_comes(scene: Scene) -> None:
    names = [f"c{number}" for number in range(FEWER)]
    scene.crowd.gather(names, EXPECTED)
    done, swapped = count(1), threading.Event()

    def add(name: str) -> None:
        if name in names[-FEWER // 4 :]:
            assert swapped.wait(60)
        scene.crowd.add(name, f"org={side(name)}", EXPECTED)
        if next(done) == FEWER // 2:
            scene.swap()
            swapped.set()

    with ThreadPoolExecutor(10) as pool:
        list(pool.map(add, names))
    assert scene.changed is not None
    began, ended = scene.changed
    assert sum(returned < began for _, returned in scene.crowd.times.values()) >= FEWER // 4
    assert sum(asked > ended for asked, _ in scene.crowd.times.values()) >= FEWER // 4
    verify(scene, names)


#: By container and kind of process: what it told.
Reports = dict[tuple[str, str], dict[str, list[tuple[int, int, int]]]]


def verify(scene: Scene, names: list[str]) -> None:
    """Nothing forbidden came through, nothing allowed is missing, and something of both was tried."""
    crowd = scene.crowd
    for name in names:
        for address in crowd.addresses[name]:
            scene.receivers["one"].send(b"hello", address)
            scene.receivers["one"].send(b"end", address)
    reports = {(name, kind): crowd.report(name, kind) for name in names for kind in ("early", "late")}
    for receiver in scene.receivers.values():
        receiver.drain()
    assert not list(forbidden(scene))
    assert not list(lost(scene, reports))
    for (name, kind), report in reports.items():
        if kind == "early":
            assert set(report["received"]) <= {*scene.receivers["one"].addresses, *mapped(scene)}, name
            assert report["received"], name
    tried = sum(report["tried"] for (_, kind), report in reports.items() if kind == "early")
    assert tried > 0, "nobody tried before ADD returned"


def mapped(scene: Scene) -> list[str]:
    return [f"::ffff:{each}" for each in scene.receivers["one"].addresses if "." in each]


def forbidden(scene: Scene) -> Iterator[str]:
    """What came through that must not: datagrams, connections, and bare packets."""
    who = {address: name for name, own in scene.crowd.addresses.items() for address in own}
    for name, receiver in scene.receivers.items():
        for each in (*receiver.datagrams, *receiver.connections):
            if scene.allowed(each.who, each.to, each.sent) is False:
                yield f"{name} got {each}"
        for source, to, when in receiver.packets:
            sender = who.get(source, "c0") if to in receiver.addresses else None
            if name != "router" and source not in who:
                continue
            if sender and scene.allowed(sender, to, when) is False:
                yield f"{name} got a packet from {source} to {to} at {when}"


def lost(
    scene: Scene, reports: dict[tuple[str, str], dict[str, list[tuple[int, int, int]]]]
) -> Iterator[str]:
    """What did not come through that should have."""
    arrived = {
        (each.who, each.sent, each.to)
        for receiver in scene.receivers.values()
        for each in receiver.datagrams
        if each.counts
    }
    for (name, kind), report in reports.items():
        for index, number, sent in report["datagrams"]:
            to = scene.crowd.targets[index]
            if scene.allowed(name, to, sent) and (name, sent, to) not in arrived:
                yield f"datagram {number} of the {kind} process of {name} to {to}"
        for index, began, came in report["connected"]:
            to = scene.crowd.targets[index]
            if scene.allowed(name, to, began) and not came:
                yield f"connection of the {kind} process of {name} to {to}"
        assert len(report["datagrams"]) >= len(scene.crowd.targets)
        assert len(report["connected"]) == len(scene.crowd.targets)
