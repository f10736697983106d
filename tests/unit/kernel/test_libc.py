"""System calls of our own wrapping: they do what they say, and a refusal says what failed."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kinety.kernel import libc

PROC, TMPFS = 0x9FA0, 0x01021994


def test_the_file_system_of_a_path() -> None:
    assert libc.file_system_type(Path("/proc/self")) == PROC
    with pytest.raises(FileNotFoundError, match="look at /nowhere: No such file"):
        libc.file_system_type(Path("/nowhere"))


@pytest.mark.parametrize(("name", "kind"), [("net", libc.CLONE_NEWNET), ("mnt", 0x20000), ("uts", 0x4000000)])
def test_the_kind_of_a_namespace(name: str, kind: int) -> None:
    fd = os.open(f"/proc/self/ns/{name}", os.O_RDONLY)
    try:
        assert libc.namespace_type(fd) == kind
    finally:
        os.close(fd)


def test_what_is_no_namespace_has_no_kind_and_is_not_entered(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    fd = os.open(tmp_path / "file", os.O_RDONLY)
    try:
        with pytest.raises(OSError, match="ask for the namespace's kind") as caught:
            libc.namespace_type(fd)
        assert caught.value.errno == errno.ENOTTY
        with pytest.raises(OSError, match=f"enter namespace {fd}: Invalid argument"):
            libc.setns(fd, libc.CLONE_NEWNET)
    finally:
        os.close(fd)
    with pytest.raises(OSError, match="enter namespace -1: Bad file descriptor"):
        libc.setns(-1, 0)


def test_nonsense_flags_make_no_namespace() -> None:
    with pytest.raises(OSError, match="make a namespace: Invalid argument"):
        libc.unshare(0x1)


@pytest.mark.needs("root")
def test_a_mount_is_there_until_it_is_taken_away(tmp_path: Path) -> None:
    outside = libc.file_system_type(tmp_path)
    libc.mount("none", tmp_path, "tmpfs", options="size=64k,mode=700")
    try:
        assert libc.file_system_type(tmp_path) == TMPFS
        assert os.statvfs(tmp_path).f_blocks * os.statvfs(tmp_path).f_frsize == 64 << 10
    finally:
        libc.unmount(tmp_path, libc.MNT_DETACH)
    assert libc.file_system_type(tmp_path) == outside
    with pytest.raises(OSError, match=f"unmount {tmp_path}: Invalid argument"):
        libc.unmount(tmp_path)


@pytest.mark.needs("root")
def test_a_mount_that_is_refused_says_what_and_where(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=f"mount nonsense on {tmp_path}: No such device"):
        libc.mount("none", tmp_path, "nonsense")
    with pytest.raises(FileNotFoundError, match=f"mount tmpfs on {tmp_path}/absent"):
        libc.mount("none", tmp_path / "absent", "tmpfs")


def test_a_child_may_ask_to_be_told_of_its_parents_death() -> None:
    """The parent ends while its child waits for the signal that says so."""
    reading, writing = os.pipe()
    program = f"""
import os, signal
from kinety.kernel import libc
if os.fork() == 0:
    signal.pthread_sigmask(signal.SIG_BLOCK, {{signal.SIGUSR1}})
    libc.set_parent_death_signal(signal.SIGUSR1)
    os.write({writing}, b"ready ")
    found = signal.sigtimedwait({{signal.SIGUSR1}}, 10)
    os.write({writing}, b"told" if found else b"not told")
else:
    os.read(0, 1)
"""
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, pass_fds=[writing]
    ) as parent:
        os.close(writing)
        assert os.read(reading, 100) == b"ready "
        parent.communicate(b".")
        assert os.read(reading, 100) == b"told"
        assert os.read(reading, 100) == b""
    os.close(reading)


def test_a_signal_that_there_is_not() -> None:
    with pytest.raises(OSError, match="ask for a signal when the parent dies: Invalid argument"):
        libc.set_parent_death_signal(1000)
