"""A container runtime for tests: runs the plugin's executable, as it is installed, as they do."""

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import kinety
from kinety.cli.launcher import launcher
from kinety.kernel.namespace import Namespace
from tests.e2e.real_node import Node

PACKAGES = str(Path(kinety.__file__).parent.parent)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a call: exit status, and standard output as JSON, None when there was none."""

    code: int
    said: Any

    @property
    def error(self) -> int:
        """The error's code; the call must have failed, and say so as the specification demands."""
        assert self.code == 1, self
        assert self.said.keys() <= {"cniVersion", "code", "msg", "details"}, self
        assert self.said["msg"], self
        return int(self.said["code"])

    @property
    def nothing(self) -> bool:
        """Whether it succeeded without a word."""
        return (self.code, self.said) == (0, None)


def call(environment: Mapping[str, str], stdin: bytes, plugin: Path) -> Answer:
    """One call of the executable, in an environment of nothing else."""
    done = subprocess.run(
        [plugin], env=dict(environment), input=stdin, capture_output=True, timeout=90, check=False
    )
    assert not done.stderr, done.stderr.decode()
    return Answer(done.returncode, json.loads(done.stdout) if done.stdout else None)


def ended(process: "subprocess.Popen[bytes]") -> Answer:
    """What came of a command that had begun; nothing, when it was killed."""
    said, _ = process.communicate(timeout=90)
    return Answer(process.returncode, json.loads(said) if said else None)


class Runtime:
    """One network of a node, and the containers that were added to it."""

    def __init__(self, node: Node, version: str = "1.1.0", network: str = "kinety", **fields: Any) -> None:
        self.node = node
        own = {"socket": str(node.socket), "stateDir": str(node.state)}
        self.configuration = {"cniVersion": version, "name": network, "type": "kinety-cni"} | own | fields
        self.path = "/opt/cni/bin"
        self.plugin = node.directory / "kinety-cni"
        self.plugin.write_text(launcher(sys.executable, PACKAGES, node.socket))
        self.plugin.chmod(0o755)
        self.results: dict[tuple[str, str], Any] = {}

    def call(
        self, command: str, container: str = "", interface: str = "eth0", *, args: str = "", **more: Any
    ) -> Answer:
        """A command about a container; ``more`` goes into the configuration."""
        environment = self.environment(command, container, interface)
        if args:
            environment["CNI_ARGS"] = args
        return call(environment, json.dumps(self.configuration | more).encode(), self.plugin)

    def environment(self, command: str, container: str = "", interface: str = "eth0") -> dict[str, str]:
        """What the plugin is told beside the configuration."""
        found = {"CNI_COMMAND": command, "CNI_PATH": self.path, "PATH": "/usr/bin:/bin"}
        if container:
            found["CNI_CONTAINERID"], found["CNI_IFNAME"] = container, interface
            found["CNI_NETNS"] = self.netns(container)
        return found

    def begin(self, command: str, container: str, interface: str) -> "subprocess.Popen[bytes]":
        """A command that goes on, in a process group of its own: see `ended`."""
        process = subprocess.Popen(
            [self.plugin],
            env=self.environment(command, container, interface),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert process.stdin is not None
        process.stdin.write(json.dumps(self.configuration).encode())
        process.stdin.close()
        process.stdin = None
        return process

    def netns(self, container: str) -> str:
        """The path of a container's network namespace."""
        return f"/run/netns/{self.node.name}-{container}"

    def container(self, name: str) -> Namespace:
        """A network namespace for a container, known to the node under its name."""
        return self.node.workloads.get(name) or self.node.bare_workload(name)

    def add(self, container: str, interface: str = "eth0", *, args: str = "", **more: Any) -> Any:
        """The result of an ADD, which must succeed."""
        self.container(container)
        answer = self.call("ADD", container, interface, args=args, **more)
        assert answer.code == 0, (answer, self.node.log.read_text()[-2000:])
        self.results[container, interface] = answer.said
        return answer.said

    def check(self, container: str, interface: str = "eth0") -> Answer:
        """CHECK with the result of the last ADD."""
        return self.call("CHECK", container, interface, prevResult=self.results[container, interface])

    def delete(self, container: str, interface: str = "eth0") -> None:
        """DEL, which always succeeds."""
        assert self.call("DEL", container, interface).nothing
        self.results.pop((container, interface), None)

    def collect(self, *valid: tuple[str, str]) -> Answer:
        """GC, with the attachments that are still valid."""
        known = [{"containerID": container, "ifname": interface} for container, interface in valid]
        return self.call("GC", **{"cni.dev/valid-attachments": known})
