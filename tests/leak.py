"""What a test can leave behind on the machine, as comparable sets.

Only what belongs to this run is counted, so that two runs on one machine do not accuse each other:

* descriptors of this process;
* processes: its children, those that carry its mark in their environment (what a command left running), and
  those that work in a directory of its own (what has an environment of its own);
* BPF file systems below its temporary directory, which is made everybody's: a command's lab is there, too.
  A pinned link lives in such a file system and goes with it; any other link needs a descriptor;
* directories that a lab makes there;
* network namespaces whose names carry this process's number.
"""

from __future__ import annotations

import gc
import os
import re
import tempfile
import time
from collections import Counter
from pathlib import Path

NAMESPACES = Path("/run/netns")
MARK = "KINETY_TEST_RUN"
TELLING = re.compile(r"anon_inode:\[?bpf|^net:\[|^mnt:\[")


def _descriptors() -> Counter[str]:
    """Open descriptors by what they are: BPF objects and namespaces, which nobody opens by chance."""
    found: Counter[str] = Counter()
    for entry in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{entry}")
        except OSError:  # the descriptor that listed the directory
            continue
        if TELLING.search(target):
            found[f"descriptor {target}"] += 1
    return found


def _processes() -> Counter[str]:
    found: Counter[str] = Counter()
    for pid in _children() | _marked():
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
        except OSError:
            continue
        found[f"process {pid} {command or '(ended, not waited for)'}"] += 1
    return found


def _children() -> set[str]:
    found: set[str] = set()
    for task in Path("/proc/self/task").iterdir():
        try:
            found.update((task / "children").read_text().split())
        except OSError:  # a thread that ended meanwhile
            continue
    return found


def _marked() -> set[str]:
    mark = f"\0{MARK}={os.getpid()}\0".encode()
    found = set()
    for entry in os.listdir("/proc"):
        if not entry.isdecimal():
            continue
        try:
            environment = Path(f"/proc/{entry}/environ").read_bytes()
            place = os.readlink(f"/proc/{entry}/cwd")
        except OSError:  # ended meanwhile, or not ours to read
            continue
        if mark in b"\0" + environment or place.startswith(f"{tempfile.gettempdir()}/"):
            found.add(entry)
    return found


def _mounts() -> Counter[str]:
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    below = f"{tempfile.gettempdir()}/"
    return Counter(
        f"bpf file system at {place}"
        for _, place, kind, *_ in mounts
        if kind == "bpf" and place.startswith(below)
    )


def _labs() -> Counter[str]:
    return Counter(f"directory {path}" for path in Path(tempfile.gettempdir()).glob("kinety-*"))


def _namespaces() -> Counter[str]:
    names = os.listdir(NAMESPACES) if NAMESPACES.is_dir() else []
    return Counter(f"network namespace {name}" for name in names if str(os.getpid()) in name.split("-"))


def claim(directory: Path) -> None:
    """Make a directory of this run the temporary one, also for the processes it starts, and mark those."""
    os.environ["TMPDIR"] = tempfile.tempdir = str(directory)
    os.environ[MARK] = str(os.getpid())


def inventory() -> Counter[str]:
    return _descriptors() + _processes() + _mounts() + _labs() + _namespaces()


def difference(before: Counter[str], after: Counter[str]) -> list[str]:
    """One line for each thing there is more of after than before."""
    return [f"{what} ×{count}" if count > 1 else what for what, count in sorted((after - before).items())]


def settled(before: Counter[str], patience: float = 3.0) -> Counter[str]:
    """The inventory once it equals ``before``, or after ``patience`` seconds: the kernel frees some late."""
    deadline = time.monotonic() + patience
    after = inventory()
    while after - before and time.monotonic() < deadline:
        gc.collect()
        time.sleep(0.02)
        after = inventory()
    return after
