"""Any sequence of commands, with agents killed and containers gone between them, leaves nothing behind."""

import os
import random
import signal
from typing import Any

import pytest

from kinety.testing.wait import wait_until
from tests.e2e.leftover import kept
from tests.e2e.real_node import EMPIRE_ONLY, SOON, Node
from tests.e2e.runtime import Answer, Runtime

pytestmark = pytest.mark.needs("root", "bpf", "netns", "bpffs", "nft", "objects", "ip", "ipv6")

CONTAINERS = ("c1", "c2", "c3", "c4")
INTERFACES = ("eth0", "net1")
STEPS = 60
SEED = int(os.environ.get("KINETY_SEED", "20"))


class Sequence:
    """A runtime, an agent that may be dead, and what should be there."""

    def __init__(self, node: Node, seed: int) -> None:
        self.node = node
        self.chance = random.Random(seed)
        self.runtimes = {
            name: Runtime(node, network=f"net-{name}", labels={"org": "empire", "class": star})
            for name, star in zip(INTERFACES, ("deathstar", "tiefighter"), strict=True)
        }
        self.there: set[tuple[str, str]] = set()
        self.told: list[str] = []

    @property
    def alive(self) -> bool:
        return self.node.process is not None

    def step(self) -> None:
        """One thing that may happen, and whether it ended as it must."""
        happens = self.chance.choice(
            [self.add] * 4 + [self.delete] * 3 + [self.check] * 2 + [self.collect, self.vanish, self.turn]
        )
        key = self.chance.choice(CONTAINERS), self.chance.choice(INTERFACES)
        self.told.append(f"{happens.__name__} {' '.join(key)}")
        happens(*key)

    def add(self, container: str, interface: str) -> None:
        runtime = self.runtimes[interface]
        runtime.container(container)
        answer = runtime.call("ADD", container, interface)
        if not self.alive:
            assert answer.error == 11
        elif (container, interface) in self.there:
            assert answer.error == 101
        else:
            assert answer.code == 0, answer
            runtime.results[container, interface] = answer.said
            self.there.add((container, interface))

    def delete(self, container: str, interface: str) -> None:
        self.runtimes[interface].delete(container, interface)
        self.there.discard((container, interface))

    def check(self, container: str, interface: str) -> None:
        runtime = self.runtimes[interface]
        known: Any = runtime.results.get((container, interface), {"interfaces": []})
        answer: Answer = runtime.call("CHECK", container, interface, prevResult=known)
        if not self.alive:
            assert answer.error == 11
        elif (container, interface) in self.there:
            assert answer.nothing, answer
        else:
            assert answer.error == 3, answer

    def collect(self, container: str, interface: str) -> None:
        """The runtime has forgotten one container of a network."""
        valid = {key for key in self.there if key[1] == interface and key[0] != container}
        answer = self.runtimes[interface].collect(*sorted(valid))
        if self.alive:
            assert answer.nothing, answer
            self.there -= {key for key in self.there if key[1] == interface} - valid
        else:
            assert answer.error == 11

    def vanish(self, container: str, interface: str) -> None:
        """A container's network namespace is gone, and nobody told."""
        namespace = self.node.workloads.pop(container, None)
        if namespace is not None:
            namespace.remove()
        self.there -= {(container, each) for each in INTERFACES}
        self.settle()

    def turn(self, container: str, interface: str) -> None:
        """The agent is killed, or another one starts."""
        if self.alive:
            self.node.end(signal.SIGKILL)
        else:
            self.node.start()
        self.settle()

    def settle(self) -> None:
        """Until the agent, if there is one, has noticed what vanished."""
        if self.alive:
            wait_until(lambda: self.listed() == self.there, SOON, "the agent knows what is there")

    def listed(self) -> set[tuple[str, str]]:
        with self.node.client() as client:
            found = client.attachments()
        return {(each.attachment.container, each.interface) for each in found if each.attachment}


@pytest.mark.parametrize("seed", range(SEED, SEED + 2))
def test_nothing_is_left_after_any_sequence(running: Node, seed: int) -> None:
    running.apply(EMPIRE_ONLY)
    before = kept(running)
    sequence = Sequence(running, seed)
    try:
        for _ in range(STEPS):
            sequence.step()
            if sequence.alive:
                assert sequence.listed() == sequence.there
        if not sequence.alive:
            sequence.turn("", "")
        for runtime in sequence.runtimes.values():
            assert runtime.collect().nothing
        for container in CONTAINERS:
            for interface in INTERFACES:
                sequence.delete(container, interface)
        assert kept(running) == before
    except BaseException as error:
        error.add_note(f"seed {seed}: {'; '.join(sequence.told)}")
        raise
