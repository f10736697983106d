"""A node with containerd on it: Debian's packages, real containers, and the plugin as it is installed.

The programs are unpacked in ``build/runtimes`` (``make build/.runtimes``) and installed nowhere. `/run`,
`/opt` and `/etc` of the node are its own, because ``ctr`` looks for plugins and networks at places that
cannot be chosen and shims meet in `/run`. Everything ends with the node.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from kinety.kernel.namespace import Namespace
from kinety.testing.wait import wait_until
from tests.e2e.real_node import SOON, Node
from tests.feature import RUNTIMES
from tests.process import family

_PRIVATE = """
mount -t tmpfs tmpfs /run
for each in opt etc; do
  mkdir -p /run/own/$each/upper /run/own/$each/work
  mount -t overlay -o lowerdir=/$each,upperdir=/run/own/$each/upper,workdir=/run/own/$each/work own /$each
done
echo ready
exec sleep infinity
"""
_CONFIGURATION = """
version = 2
root = "{0}/root"
state = "{0}/state"
[grpc]
  address = "{0}/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  # Not everybody who tests may lower it: that takes CAP_SYS_RESOURCE.
  restrict_oom_score_adj = true
  disable_cgroup = true
  sandbox_image = "kinety.test/pause:1"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/opt/cni/bin"
    conf_dir = "/etc/cni/net.d"
"""
_APPLETS = ("sh", "nc", "sleep", "echo", "cat", "true", "false", "ip", "date")


#: Seconds after which a shim that has nothing to do does not end by itself.
ORPHANED = 3.0


class ContainerdNode(Node):
    """A node, its containerd, and the containers that ``ctr`` runs. Make one with `containerd_node`."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._machine = subprocess.Popen(
            ["nsenter", f"--net=/run/netns/{self.name}", "unshare", "--mount", "sh", "-ec", _PRIVATE],
            stdout=subprocess.PIPE,
        )
        assert self._machine.stdout is not None
        assert self._machine.stdout.readline() == b"ready\n", "the machine could not be set up"
        self.home = directory / "containerd"
        self.home.mkdir()
        self.containerd_socket = self.home / "containerd.sock"
        self._ctr = ("ctr", "--address", str(self.containerd_socket))
        self.daemon: subprocess.Popen[bytes] | None = None
        self.root = root_file_system(directory / "rootfs")

    def inside(self, *command: str) -> list[str]:
        """A command as it is run on this node."""
        enter = ["nsenter", f"--mount=/proc/{self._machine.pid}/ns/mnt", f"--net=/run/netns/{self.name}"]
        return [*enter, *command]

    def agent(self, *more: str) -> list[str]:
        command = super().agent(*more)
        return self.inside(*command[2:])

    def install(self) -> None:
        """``kinety cni install``, to the places where runtimes look."""
        words = ("--socket", str(self.socket), "cni", "install", "--state-dir", str(self.state))
        self.on_node("kinety", *words)
        # Of pods, containerd sees to the loopback interface itself, by a plugin of its own choice.
        self.on_node("cp", str(RUNTIMES / "usr/lib/cni/loopback"), "/opt/cni/bin")

    def on_node(self, *command: str) -> str:
        """What a command prints on this node; it must succeed."""
        done = self.tried(*command)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def tried(self, *command: str) -> subprocess.CompletedProcess[str]:
        """A command on this node, whatever comes of it."""
        return subprocess.run(
            self.inside(*command),
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    @property
    def environment(self) -> dict[str, str]:
        folders = (RUNTIMES / "usr/bin", RUNTIMES / "usr/sbin", Path(sys.executable).parent)
        return dict(os.environ, PATH=":".join([*map(str, folders), os.environ["PATH"]]))

    # The daemon

    def start_containerd(self) -> None:
        """Start containerd and wait until it answers."""
        assert self.daemon is None
        configuration = self.home / "config.toml"
        configuration.write_text(_CONFIGURATION.format(self.home))
        with (self.home / "log").open("ab") as log:
            self.daemon = subprocess.Popen(
                self.inside("containerd", "--config", str(configuration)),
                env=self.environment,
                stdout=log,
                stderr=log,
            )
        wait_until(lambda: self.try_ctr("version").returncode == 0, SOON, "containerd answers")

    def end_containerd(self, number: int = signal.SIGTERM) -> None:
        """End containerd; its containers live on."""
        assert self.daemon is not None
        self.daemon.send_signal(number)
        self.daemon.wait(30)
        self.daemon = None

    def try_ctr(self, *words: str) -> subprocess.CompletedProcess[str]:
        """``ctr WORDS…``, whatever comes of it."""
        return self.tried(*self._ctr, *words)

    def ctr(self, *words: str) -> str:
        """What ``ctr WORDS…`` prints; it must succeed."""
        return self.on_node(*self._ctr, *words)

    def begun_ctr(self, *words: str) -> subprocess.Popen[bytes]:
        """``ctr WORDS…``, begun."""
        quiet = subprocess.DEVNULL
        command = self.inside(*self._ctr, *words)
        return subprocess.Popen(command, env=self.environment, stdin=quiet, stdout=quiet, stderr=quiet)

    # Containers

    def run_words(
        self, name: str, *command: str, labels: Iterable[str] = (), detach: bool = False
    ) -> list[str]:
        """The words of ``ctr`` that run a container on the network.

        Detached, the plugin is never told of its end; else ``ctr`` sees to that, also when containerd ends.
        """
        how = "--detach" if detach else "--rm"
        given = [word for label in labels for word in ("--label", label)]
        return ["run", how, "--cni", "--cgroup", "", *given, "--rootfs", str(self.root), name, *command]

    def container(self, name: str, *labels: str) -> Namespace:
        """A container that does nothing until it is ended, and its network namespace."""
        self.ctr(*self.run_words(name, "/bin/sleep", "600", labels=labels, detach=True))
        return Namespace.open(f"/proc/{self.pid(name)}/ns/net")

    def tasks(self, namespace: str = "default") -> dict[str, str]:
        """Containers that have processes: ``PID STATUS`` by name."""
        lines = self.ctr("--namespace", namespace, "tasks", "list").splitlines()[1:]
        return dict(line.split(maxsplit=1) for line in lines)

    def pid(self, name: str) -> int:
        """A container's first process."""
        return int(self.tasks()[name].split()[0])

    def kill(self, name: str) -> None:
        """End a container's processes."""
        self.ctr("tasks", "kill", "--signal", "SIGKILL", name)

    # The end

    def end_containers(self) -> None:
        """End every container and remove it."""
        for namespace in self.ctr("namespaces", "list", "--quiet").split():
            ctr = ("--namespace", namespace)
            for name in self.tasks(namespace):
                self.try_ctr(*ctr, "tasks", "delete", "--force", name)
            for name in self.ctr(*ctr, "containers", "list", "--quiet").split():
                self.try_ctr(*ctr, "containers", "delete", name)

    def _alone(self) -> bool:
        self.end_containers()
        return not self.shims()

    def shims(self) -> list[int]:
        """Processes that containerd left with its containers."""
        found = []
        for entry in Path("/proc").iterdir():
            with suppress(OSError):
                words = (entry / "cmdline").read_bytes() if entry.name.isdecimal() else b""
                if (
                    b"containerd-shim" in words.split(b"\0")[0]
                    and os.fsencode(self.containerd_socket) in words
                ):
                    found.append(int(entry.name))
        return found

    def remove(self) -> None:
        try:
            if self.daemon is None:
                self.start_containerd()
            with suppress(TimeoutError):  # some are nobody's, where containerd was killed
                wait_until(self._alone, ORPHANED, "no shim is left")
            self.end_containerd()
        finally:
            for pid in {each for shim in self.shims() for each in family(shim)}:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            super().remove()
            self._machine.kill()
            self._machine.wait()


def root_file_system(directory: Path) -> Path:
    """A root file system of busybox alone."""
    programs = directory / "bin"
    programs.mkdir(parents=True)
    (programs / "busybox").write_bytes((RUNTIMES / "bin/busybox").read_bytes())
    (programs / "busybox").chmod(0o755)
    for applet in _APPLETS:
        (programs / applet).symlink_to("busybox")
    return directory


@contextmanager
def containerd_node(directory: Path) -> Iterator[ContainerdNode]:
    """A node with containerd and the plugin, without an agent yet."""
    made = ContainerdNode(directory)
    try:
        made.start_containerd()
        made.install()
        yield made
    finally:
        made.remove()
