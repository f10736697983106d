"""Any sequence of commands, with agents and plugins killed in the middle, leaves nothing behind.

``KINETY_OPERATIONS`` is how many there are (`make soak`: a thousand), ``KINETY_SEED`` which ones. A failure
prints its seed and what happened.
"""

import logging
import os
import random
import signal
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from kinety.testing.wait import wait_until
from tests.e2e.leftover import descriptors, kept, left
from tests.e2e.real_node import EMPIRE_ONLY, SOON, Node
from tests.e2e.runtime import Answer, Runtime, ended
from tests.feature import CNI_PLUGINS

pytestmark = pytest.mark.needs("root", "bpf", "netns", "bpffs", "nft", "objects", "ip", "ipv6", "runtimes")

CONTAINERS = ("c1", "c2", "c3", "c4")
#: Interfaces by name, each of a network of its own; addresses of the last are from `host-local`.
INTERFACES = ("eth0", "net1", "lease0")
RANGES = [[{"subnet": "10.99.0.0/24"}], [{"subnet": "fd99::/64"}]]
OPERATIONS = int(os.environ.get("KINETY_OPERATIONS", "120"))
SEED = int(os.environ.get("KINETY_SEED", "20"))
#: In the middle of a command, in seconds.
_MIDDLE = 0.06
#: Soon, so that a long sequence sees addresses again. In seconds.
_QUARANTINE = 0.5

log = logging.getLogger(__name__)


class Sequence:
    """A runtime, an agent that may be dead, and what should be there."""

    def __init__(self, node: Node, leases: Path, seed: int) -> None:
        self.node = node
        self.chance = random.Random(seed)
        ipam = {"type": "host-local", "dataDir": str(leases), "ranges": RANGES}
        #: That `host-local` knows nothing newer.
        further = {"lease0": {"ipam": ipam, "version": "1.0.0"}}
        self.leases = leases / "net-lease0"
        self.runtimes = {
            name: Runtime(
                node,
                network=f"net-{name}",
                labels={"org": "empire", "class": star},
                **further.get(name, {}),
            )
            for name, star in zip(INTERFACES, ("deathstar", "tiefighter", "probe"), strict=True)
        }
        for runtime in self.runtimes.values():
            runtime.path = str(CNI_PLUGINS)
        self.there: set[tuple[str, str]] = set()
        self.told: list[str] = []

    @property
    def alive(self) -> bool:
        return self.node.process is not None

    def step(self) -> None:
        """One thing that may happen, and whether it ended as it must."""
        often: dict[Callable[[str, str], None], int] = {
            self.add: 10,
            self.delete: 6,
            self.check: 4,
            self.collect: 2,
            self.status: 1,
            self.vanish: 2,
            self.turn: 2,
            self.restart: 1,
            self.interrupt: 2,
            self.die: 2,
        }
        (happens,) = self.chance.choices([*often], [*often.values()])
        key = self.chance.choice(CONTAINERS), self.chance.choice(INTERFACES)
        self.told.append(f"{happens.__name__} {' '.join(key)}")
        happens(*key)

    def add(self, container: str, interface: str) -> None:
        runtime = self.runtimes[interface]
        runtime.container(container)
        self.added(runtime.call("ADD", container, interface), container, interface)

    def added(self, answer: Answer, container: str, interface: str) -> None:
        if not self.alive:
            assert answer.error == 11
        elif (container, interface) in self.there:
            assert answer.error == 101
        else:
            assert answer.code == 0, answer
            self.note(answer, container, interface)

    def note(self, answer: Answer, container: str, interface: str) -> None:
        self.runtimes[interface].results[container, interface] = answer.said
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
        if interface == "lease0":
            assert answer.error == 1, "there was no GC in 1.0.0"
        elif self.alive:
            assert answer.nothing, answer
            self.there -= {key for key in self.there if key[1] == interface} - valid
        else:
            assert answer.error == 11

    def status(self, container: str, interface: str) -> None:
        answer = self.runtimes["eth0"].call("STATUS")
        assert answer.nothing if self.alive else answer.error == 50

    def vanish(self, container: str, interface: str) -> None:
        """A container's network namespace is gone, and nobody told until later."""
        namespace = self.node.workloads.pop(container, None)
        if namespace is not None:
            namespace.remove()
        self.there -= {(container, each) for each in INTERFACES}
        self.settle()
        # Of its addresses, only the runtime can tell the plugin that gave them.
        self.delete(container, "lease0")

    def turn(self, container: str, interface: str) -> None:
        """The agent is killed, or another one starts."""
        if self.alive:
            self.node.end(signal.SIGKILL)
        else:
            self.start()

    def restart(self, container: str, interface: str) -> None:
        """The agent stops as it is told to, and another one starts."""
        if self.alive:
            assert self.node.end() == 0
        self.start()

    def start(self) -> None:
        self.node.start("--address-quarantine", str(_QUARANTINE))
        self.settle()

    def interrupt(self, container: str, interface: str) -> None:
        """A plugin is killed in the middle, and whom it ran with it; the runtime ends what may have begun."""
        self.runtimes[interface].container(container)
        process = self.begin(container, interface)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        ended(process)
        self.delete(container, interface)

    def die(self, container: str, interface: str) -> None:
        """The agent is killed in the middle of a command, and another one starts."""
        if not self.alive:
            self.start()
        self.runtimes[interface].container(container)
        before = (container, interface) in self.there
        process = self.begin(container, interface)
        self.node.end(signal.SIGKILL)
        answer = ended(process)
        if "ADD" not in self.told[-1]:
            assert answer.nothing, answer
            self.there.discard((container, interface))
        elif answer.code == 0:
            assert not before
            self.note(answer, container, interface)
        else:
            assert answer.error in ((11, 101) if before else (11,)), answer
            if before and answer.error == 11:
                # Nobody knows which ADD made it; a runtime that is told to try again ends it first, too.
                self.runtimes[interface].delete(container, interface)
                self.there.discard((container, interface))
        self.start()

    def begin(self, container: str, interface: str) -> "subprocess.Popen[bytes]":
        """A command that has been going on for a moment."""
        command = self.chance.choice(("ADD", "DEL"))
        moment = self.chance.random() * _MIDDLE
        self.told[-1] += f" {command} {moment:.3f}"
        process = self.runtimes[interface].begin(command, container, interface)
        with suppress(subprocess.TimeoutExpired):
            process.wait(moment)
        return process

    def settle(self) -> None:
        """Until the agent, if there is one, has noticed what vanished."""
        if self.alive:
            wait_until(lambda: self.listed() == self.there, SOON, "the agent knows what is there")

    def listed(self) -> set[tuple[str, str]]:
        with self.node.client() as client:
            found = client.attachments()
        return {(each.attachment.container, each.interface) for each in found if each.attachment}

    def leased(self) -> int:
        """Addresses that `host-local` thinks are in use."""
        if not self.leases.exists():
            return 0
        return sum(path.name[0].isdigit() or ":" in path.name for path in self.leases.iterdir())

    def verify(self) -> None:
        """What is there is what should be."""
        if self.alive:
            assert self.listed() == self.there
        assert self.leased() == 2 * sum(interface == "lease0" for _, interface in self.there)

    def end(self) -> None:
        """Everything is given up."""
        if not self.alive:
            self.start()
        for interface in ("eth0", "net1"):
            assert self.runtimes[interface].collect().nothing
        for container in CONTAINERS:
            for interface in INTERFACES:
                self.delete(container, interface)
        assert self.leased() == 0
        self.restart("", "")


def test_nothing_is_left_after_any_sequence(node: Node, tmp_path: Path) -> None:
    sequence = Sequence(node, tmp_path / "leases", SEED)
    sequence.start()
    node.apply(EMPIRE_ONLY)
    sequence.restart("", "")
    before, open_before = kept(node), descriptors(node)
    try:
        for _ in range(OPERATIONS):
            sequence.step()
            sequence.verify()
        sequence.end()
        with node.client() as client:
            wait_until(
                lambda: not any(each.quarantined for each in client.status().pools), SOON, "quarantine"
            )
        assert left(before, node) == {}
        assert descriptors(node) == open_before
    except BaseException as error:
        error.add_note(f"seed {SEED}: {'; '.join(sequence.told)}")
        raise
    log.info("seed %d: %s", SEED, "; ".join(sequence.told))
    assert "Traceback" not in node.log.read_text()
