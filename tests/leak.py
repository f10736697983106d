"""What a test can leave behind on the machine, as comparable sets.

Only things that belong to this process are counted: descriptors and children are its own, mounts are
those of its mount namespace, and of the named network namespaces only those whose name begins as the lab's do
and carries this process's number, so that two test runs on one machine do not accuse each other.
"""

from __future__ import annotations

import gc
import os
import re
import time
from collections import Counter
from pathlib import Path

NAMESPACES = Path("/run/netns")
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


def _children() -> Counter[str]:
    found: Counter[str] = Counter()
    for task in Path("/proc/self/task").iterdir():
        try:
            pids = (task / "children").read_text().split()
        except OSError:  # a thread that ended meanwhile
            continue
        for pid in pids:
            try:
                command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
            except OSError:
                continue
            found[f"process {pid} {command or '(ended, not waited for)'}"] += 1
    return found


def _mounts() -> Counter[str]:
    lines = Path("/proc/self/mounts").read_text().splitlines()
    return Counter(f"bpf file system at {line.split()[1]}" for line in lines if line.split()[2] == "bpf")


def _namespaces() -> Counter[str]:
    names = os.listdir(NAMESPACES) if NAMESPACES.is_dir() else []
    return Counter(f"network namespace {name}" for name in names if str(os.getpid()) in name.split("-"))


def inventory() -> Counter[str]:
    return _descriptors() + _children() + _mounts() + _namespaces()


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
