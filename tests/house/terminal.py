"""A terminal in a machine of its own, as far as pages about a node can tell.

Network, `/run`, `/var/lib`, `/opt`, `/etc` and the BPF file system are private, so a page's commands can be
typed as they stand, with the places an agent takes when nobody says otherwise. `sudo` is a stand-in: we are
root. Everything ends with the terminal.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from kinety.testing.wait import wait_until
from tests.feature import ROOT, RUNTIMES
from tests.process import family
from tests.unpacked_podman import LIBRARIES, PODMAN, engine, signatures, storage, write

SOON = 60.0
_PRIVATE = """
mount -t tmpfs tmpfs /run && mount -t tmpfs tmpfs /var/lib && mount -t bpf bpf /sys/fs/bpf
for each in opt etc; do
  mkdir -p /run/.own/$each/upper /run/.own/$each/work
  mount -t overlay -o lowerdir=/$each,upperdir=/run/.own/$each/upper,workdir=/run/.own/$each/work own /$each
done
ip link set lo up
echo ready
exec sleep infinity
"""
#: What tells that a command in another terminal has begun its work.
_BEGUN = {
    "kinety agent": "kinety status",
    "sudo containerd": "ctr version",
    "kinety monitor": "kinety status --output json | grep '\"subscribers\": [1-9]'",
    "kinety run --name deathstar": "place=$(kinety endpoint get deathstar | sed -n 's/^Namespace *//p')"
    " && nsenter --net=$place ss -Hltn | grep :80",
    "http.server 80": "ip netns exec deathstar ss -Hltn | grep :80",
}


@dataclass(frozen=True, slots=True)
class Running:
    """A command in a terminal of its own, and the file with what it prints."""

    command: str
    process: subprocess.Popen[bytes]
    output: Path


class Terminal:
    """Runs commands one by one. Make one with `terminal`."""

    def __init__(self, machine: int, directory: Path) -> None:
        self._enter = [
            "nsenter",
            f"--target={machine}",
            "--mount",
            "--net",
            f"--wd={ROOT}",
            "--",
            "bash",
            "-c",
        ]
        self._directory = directory
        self._running: list[Running] = []
        write(directory / "sudo", '#!/bin/sh\nexec "$@"\n', 0o755)
        # What is unpacked for tests is there as if it were installed.
        unpacked = [RUNTIMES / "usr/bin", RUNTIMES / "usr/sbin", RUNTIMES / "bin"]
        folders = [directory, Path(sys.executable).parent, *unpacked]
        path = ":".join([*map(str, folders), os.environ["PATH"]])
        self._environment = dict(os.environ, PATH=path, COLUMNS="200")
        self._install_podman()

    def _install_podman(self) -> None:
        exported = " ".join(f"{key}={value}" for key, value in LIBRARIES.items())
        write(self._directory / "podman", f'#!/bin/sh\nexport {exported}\nexec {PODMAN} "$@"\n', 0o755)
        settings = self._directory / "containers"
        write(settings / "containers.conf.d/unpacked.conf", engine(self._directory, {}))
        places = Path("/var/lib/containers/storage"), Path("/run/containers/storage")
        write(settings / "storage.conf", storage(*places))
        write(settings / "policy.json", signatures())
        said = self.run(f"mkdir -p /etc/containers && mount --bind {settings} /etc/containers")
        assert not said, said

    def run(self, command: str) -> str:
        """What a command prints, whatever its status."""
        return subprocess.run(
            [*self._enter, command],
            env=self._environment,
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=SOON,
            check=False,
        ).stdout

    def start(self, command: str) -> Running:
        """Run a command in a terminal of its own and return when it has begun its work."""
        output = self._directory / f"terminal-{len(self._running)}"
        with output.open("wb") as stream:
            process = subprocess.Popen(
                [*self._enter, f"exec {command}"],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
            )
        running = Running(command, process, output)
        self._running.append(running)
        question = next(question for words, question in _BEGUN.items() if words in command)
        wait_until(lambda: self._succeeds(question), SOON, command)
        return running

    def stop(self) -> None:
        """Ctrl-C in every other terminal."""
        while self._running:
            running = self._running.pop()
            running.process.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                running.process.wait(10)
            running.process.kill()
            running.process.wait()

    def _succeeds(self, question: str) -> bool:
        done = subprocess.run(
            [*self._enter, question], env=self._environment, capture_output=True, timeout=SOON, check=False
        )
        return done.returncode == 0


@contextmanager
def terminal(directory: Path) -> Iterator[Terminal]:
    """A terminal while the block runs."""
    before = _groups()
    unshare = ["unshare", "--mount", "--net", "bash", "-ec", _PRIVATE]
    with subprocess.Popen(unshare, stdout=subprocess.PIPE) as machine:
        try:
            assert machine.stdout is not None
            assert machine.stdout.readline() == b"ready\n", "the machine could not be set up"
            opened = Terminal(machine.pid, directory)
            try:
                yield opened
            finally:
                opened.stop()
        finally:
            groups = _groups()
            for pid in _tenants(machine.pid):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            machine.wait()
            wait_until(lambda: not any(_tenants_of(group) for group in groups - before), SOON)
            for group in sorted(groups - before, reverse=True):
                group.rmdir()


def _tenants(machine: int) -> set[int]:
    """The processes of a machine: those that see its files, and what they have started."""
    files = os.readlink(f"/proc/{machine}/ns/mnt")
    found: set[int] = set()
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdecimal() and os.readlink(entry / "ns/mnt") == files:
                found |= family(int(entry.name))
    return found


def _groups() -> set[Path]:
    """The control groups that ctr makes for containers."""
    places = Path("/sys/fs/cgroup")
    return {path for top in (places, *places.iterdir()) for path in top.glob("default/**/") if path.is_dir()}


def _tenants_of(group: Path) -> str:
    return (group / "cgroup.procs").read_text()
