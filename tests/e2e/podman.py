"""Podman for tests: Debian's own, unpacked and never installed, and a root file system for containers.

Everything it keeps is in the test's directory, and its containers' interfaces are on a node's namespace. The
wrapper is what a user calls ``podman``; an agent is given it as the runtime's address.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kinety.kernel.namespace import DIRECTORY, Namespace
from kinety.testing.wait import wait_until
from tests.e2e.real_node import SOON, Node
from tests.unpacked_podman import BUSYBOX, CONMON, LIBRARIES, PODMAN, engine, signatures, storage, write

#: What there is to run in a container.
APPLETS = ("sh", "cat", "echo", "head", "hostname", "httpd", "ip", "nc", "sleep", "timeout", "true", "wget")
_NETWORK = """
[network]
network_backend = "cni"
cni_plugin_dirs = ["{plugins}"]
network_config_dir = "{networks}"
"""
_WRAPPER = """#!/bin/sh
export {exported}
exec nsenter --net={namespace} {podman} --root {directory}/root --runroot {run} --tmpdir {directory}/tmp "$@"
"""

_HOLDING = """#!/bin/sh
configuration=$(cat)
if [ "$CNI_COMMAND" = ADD ]; then
    echo "$CNI_CONTAINERID" >{reached}
    while [ -e {hold} ]; do sleep 0.02; done
fi
exec {plugin} <<.
$configuration
.
"""


class Podman:
    """Podman on a node, with Kinety's network. Make one with `podman`."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.directory = node.directory / "podman"
        self.networks = self.directory / "net.d"
        self.program = self.directory / "podman"
        self.rootfs = self.directory / "rootfs"
        #: Podman takes no path of more than 50 characters for it.
        self.run_directory = Path("/run", node.name)
        _make_rootfs(self.rootfs)
        environment = {
            "CONTAINERS_CONF": f"{self.directory}/containers.conf",
            "CONTAINERS_STORAGE_CONF": f"{self.directory}/storage.conf",
            "HOME": str(self.directory),
        }
        network = _NETWORK.format(plugins=self.directory / "plugins", networks=self.networks)
        write(self.directory / "containers.conf", network + engine(self.directory, environment))
        write(self.directory / "storage.conf", storage(self.directory / "root", self.run_directory))
        write(self.directory / ".config/containers/policy.json", signatures())
        exported = " ".join(f"{key}={value}" for key, value in {**LIBRARIES, **environment}.items())
        wrapper = _WRAPPER.format(
            exported=exported,
            namespace=DIRECTORY / node.name,
            podman=PODMAN,
            directory=self.directory,
            run=self.run_directory,
        )
        write(self.program, wrapper, 0o755)
        self.install()

    @property
    def runtime(self) -> tuple[str, str]:
        """The agent's option for labels of these containers."""
        return "--runtime", f"podman={self.program}"

    def install(self, name: str = "kinety") -> None:
        """Make Kinety a network of Podman's."""
        self.node.kinety(
            *("cni", "install", "--name", name, "--state-dir", str(self.node.state)),
            *("--bin-dir", str(self.directory / "plugins"), "--conf-dir", str(self.networks)),
        )

    # Commands

    def run(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """``podman WORDS…``, whatever comes of it. Warnings of Podman's own are on standard error."""
        return subprocess.run([self.program, *words], capture_output=True, text=True, timeout=60, check=False)

    def __call__(self, *words: str) -> str:
        """What ``podman WORDS…`` prints; it must succeed."""
        done = self.run(*words)
        assert done.returncode == 0, f"{words}: {done.stderr}"
        return done.stdout.strip()

    def container(self, *options: str, command: tuple[str, ...] = ("sleep", "600")) -> list[str]:
        """The words of ``run`` or ``create`` for a container of the root file system."""
        return ["--network", "kinety", *options, "--rootfs", str(self.rootfs), *command]

    def start(self, name: str, *labels: str, more: tuple[str, ...] = ()) -> str:
        """A container that runs and does nothing; its id."""
        options = [word for label in labels for word in ("--label", label)]
        return self("run", "--detach", *self.container("--name", name, *options, *more))

    @contextmanager
    def held(self) -> Iterator[Path]:
        """Have every ADD wait while the block runs. The file, once it is there, says of which container."""
        plugin = self.directory / "plugins/kinety-cni"
        real, hold, reached = (self.directory / each for each in ("real-plugin", "hold", "reached"))
        shutil.copy2(plugin, real)
        hold.touch()
        held = _HOLDING.format(hold=hold, reached=reached, plugin=real)
        write(self.directory / "held-plugin", held, 0o755).replace(plugin)
        try:
            yield reached
        finally:
            hold.unlink()
            Path(shutil.copy2(real, self.directory / "plugin")).replace(plugin)

    # Looking

    def namespace(self, name: str) -> Namespace:
        """A container's network namespace, to be closed by the caller."""
        path = self("inspect", "--format", "{{.NetworkSettings.SandboxKey}}", name)
        return Namespace.open(path)

    def network(self, name: str, network: str = "kinety") -> Any:
        """What Podman knows of a container's place in a network."""
        return json.loads(self("inspect", "--format", "{{json .NetworkSettings.Networks}}", name))[network]

    def left(self) -> list[str]:
        """What there is of Podman's containers and pods, and of its calls of plugins."""
        listed = self("ps", "--all", "--quiet").split() + self("pod", "ps", "--quiet").split()
        cached = Path("/var/lib/cni/results")
        own = [each for each in os.listdir(cached) if str(self.networks) in (cached / each).read_text()]
        return [*listed, *own, *self.mounts()]

    def mounts(self) -> list[str]:
        """Where something of Podman's is mounted."""
        own = str(self.directory), str(self.run_directory)
        places = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
        return [place for place in places if place.startswith(own)]

    def remove(self) -> None:
        """End and remove all containers, and wait until the last of their helpers is gone."""
        self.run("pod", "rm", "--all", "--force", "--time", "0")
        self.run("rm", "--all", "--force", "--time", "0")
        wait_until(lambda: not self._helpers(), SOON, "Podman's helpers end")

    def _helpers(self) -> list[str]:
        conmon, own = str(CONMON).encode(), str(self.directory).encode()
        commands = [_read(path) for path in Path("/proc").glob("[0-9]*/cmdline")]
        return [each.decode() for each in commands if each.startswith(conmon) and own in each]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # the process ended meanwhile
        return b""


def _make_rootfs(directory: Path) -> None:
    for name in ("bin", "dev", "etc", "proc", "run", "sys", "tmp"):
        (directory / name).mkdir(parents=True)
    shutil.copy2(BUSYBOX, directory / "bin/busybox")
    for name in APPLETS:
        (directory / "bin" / name).symlink_to("busybox")


@contextmanager
def podman(node: Node) -> Iterator[Podman]:
    """Podman on a node while the block runs."""
    made = Podman(node)
    try:
        yield made
    finally:
        made.remove()
        shutil.rmtree(made.run_directory, ignore_errors=True)
