"""The few system calls that Python 3.11's standard library does not wrap."""

import ctypes
import os
from pathlib import Path

CLONE_NEWNS = 0x0002_0000
CLONE_NEWUTS = 0x0400_0000
CLONE_NEWNET = 0x4000_0000
MS_BIND = 0x1000
MS_REC = 0x4000
MS_SLAVE = 0x8_0000
MNT_DETACH = 2
_PR_SET_PDEATHSIG = 1
_NS_GET_NSTYPE = 0xB703

_libc = ctypes.CDLL(None, use_errno=True)


class _StatFs(ctypes.Structure):
    """The head of struct statfs; only the type is read."""

    _fields_ = (("f_type", ctypes.c_long), ("rest", ctypes.c_byte * 248))


def setns(fd: int, kind: int) -> None:
    """Move the calling thread into a namespace. Source: setns(2)."""
    _check(_libc.setns(fd, kind), f"enter namespace {fd}")


def unshare(flags: int) -> None:
    """Give the calling thread namespaces of its own. Source: unshare(2)."""
    _check(_libc.unshare(flags), "make a namespace")


def namespace_type(fd: int) -> int:
    """The CLONE_NEW… number of an open namespace. Source: ioctl_ns(2)."""
    return _check(_libc.ioctl(fd, ctypes.c_ulong(_NS_GET_NSTYPE)), "ask for the namespace's kind")


def mount(source: str, target: Path, kind: str, flags: int = 0, options: str = "") -> None:
    """Mount a file system. Source: mount(2)."""
    arguments = (source.encode(), os.fsencode(target), kind.encode(), ctypes.c_ulong(flags), options.encode())
    _check(_libc.mount(*arguments), f"mount {kind} on {target}")


def unmount(target: Path, flags: int = 0) -> None:
    """Unmount a file system. Source: umount2(2)."""
    _check(_libc.umount2(os.fsencode(target), flags), f"unmount {target}")


def set_parent_death_signal(number: int) -> None:
    """Have the kernel send this process a signal when its parent dies. Source: PR_SET_PDEATHSIG(2const)."""
    _check(_libc.prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(number)), "ask for a signal when the parent dies")


def file_system_type(path: Path) -> int:
    """The magic number of the file system a path is on. Source: statfs(2)."""
    answer = _StatFs()
    _check(_libc.statfs(os.fsencode(path), ctypes.byref(answer)), f"look at {path}")
    return int(answer.f_type)


def _check(result: int, action: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{action}: {os.strerror(number)}")
    return result
