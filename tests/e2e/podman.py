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
from tests.feature import RUNTIMES

LIBRARIES = RUNTIMES / "usr/lib/x86_64-linux-gnu"
#: What there is to run in a container.
APPLETS = ("sh", "cat", "echo", "head", "hostname", "httpd", "ip", "nc", "sleep", "timeout", "true", "wget")
#: Stands between Podman and runc where the machine grants no CAP_SYS_RESOURCE: limits stay what they are.
_RUNC = """#!/usr/bin/python3 -IS
import json, os, sys

words = sys.argv[1:]
for option, process in (("--bundle", "config.json"), ("--process", "")):
    if option in words:
        path = os.path.join(words[words.index(option) + 1], process).rstrip("/")
        with open(path) as file:
            said = json.load(file)
        said.get("process", said).pop("rlimits", None)
        with open(path, "w") as file:
            json.dump(said, file)
os.execv({runc!r}, ["runc", *words])
"""
_CONTAINERS = """
[network]
network_backend = "cni"
cni_plugin_dirs = ["{plugins}"]
network_config_dir = "{networks}"
[engine]
runtime = "without-limits"
cgroup_manager = "cgroupfs"
events_logger = "{events}"
lock_type = "file"
conmon_path = ["{unpacked}/usr/bin/conmon"]
# What conmon calls when a container has ended is Podman again.
conmon_env_vars = [{environment}]
helper_binaries_dir = ["{unpacked}/usr/libexec/podman"]
[engine.runtimes]
without-limits = ["{runc}"]
"""
_STORAGE = """
[storage]
driver = "vfs"
graphroot = "{directory}/root"
runroot = "{run}"
"""
_WRAPPER = """#!/bin/sh
export {environment}
exec nsenter --net={namespace} {unpacked}/usr/bin/podman --root {directory}/root --runroot {run} \\
    --tmpdir {directory}/tmp "$@"
"""


class Podman:
    """Podman on a node, with Kinety's network. Make one with `podman`."""

    def __init__(self, node: Node, events: str = "file") -> None:
        self.node = node
        self.directory = node.directory / "podman"
        self.networks = self.directory / "net.d"
        self.program = self.directory / "podman"
        self.rootfs = self.directory / "rootfs"
        #: Podman takes no path of more than 50 characters for it.
        self.run_directory = Path("/run", node.name)
        _make_rootfs(self.rootfs)
        runc = self._write("runc", _RUNC.format(runc=str(RUNTIMES / "usr/sbin/runc")), 0o755)
        environment = [
            f"CONTAINERS_CONF={self.directory}/containers.conf",
            f"CONTAINERS_STORAGE_CONF={self.directory}/storage.conf",
            f"HOME={self.directory}",
            f"LD_LIBRARY_PATH={LIBRARIES}",
        ]
        self._write(
            "containers.conf",
            _CONTAINERS.format(
                plugins=self.directory / "plugins",
                networks=self.networks,
                unpacked=RUNTIMES,
                environment=", ".join(f'"{each}"' for each in [f"PATH={os.environ['PATH']}", *environment]),
                events=events,
                runc=runc,
            ),
        )
        self._write("storage.conf", _STORAGE.format(directory=self.directory, run=self.run_directory))
        self._write(
            "podman",
            _WRAPPER.format(
                directory=self.directory,
                run=self.run_directory,
                environment=" ".join(environment),
                namespace=DIRECTORY / node.name,
                unpacked=RUNTIMES,
            ),
            0o755,
        )
        anything = {"default": [{"type": "insecureAcceptAnything"}]}
        self._write(".config/containers/policy.json", json.dumps(anything))
        self.install()

    @property
    def runtime(self) -> tuple[str, str]:
        """The agent's option for labels of these containers."""
        return "--runtime", f"podman={self.program}"

    def _write(self, name: str, text: str, mode: int = 0o644) -> Path:
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)
        return path

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
        mounted = [
            line.split()[1]
            for line in Path("/proc/self/mounts").read_text().splitlines()
            if str(self.directory) in line or str(self.run_directory) in line
        ]
        return [*listed, *own, *mounted]

    def remove(self) -> None:
        """End and remove all containers, and wait until the last of their helpers is gone."""
        self.run("pod", "rm", "--all", "--force", "--time", "0")
        self.run("rm", "--all", "--force", "--time", "0")
        wait_until(lambda: not self._helpers(), SOON, "Podman's helpers end")

    def _helpers(self) -> list[str]:
        conmon, own = str(RUNTIMES / "usr/bin/conmon").encode(), str(self.directory).encode()
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
    shutil.copy2(RUNTIMES / "bin/busybox", directory / "bin/busybox")
    for name in APPLETS:
        (directory / "bin" / name).symlink_to("busybox")


@contextmanager
def podman(node: Node, events: str = "file") -> Iterator[Podman]:
    """Podman on a node while the block runs."""
    made = Podman(node, events)
    try:
        yield made
    finally:
        made.remove()
        shutil.rmtree(made.run_directory, ignore_errors=True)
