"""Network namespaces, entered by a thread and never by a fork.

setns(2) moves one thread. So a call into a namespace runs on a thread made for it, which ends
afterwards, and the caller's own thread never leaves home. A socket keeps the namespace it was made
in, so most users need `socket` only. Source: setns(2), network_namespaces(7).
"""

import contextlib
import os
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import ParamSpec, Self, TypeVar

from kinety.kernel import libc

#: Where named namespaces live, as for ip-netns(8).
DIRECTORY = Path("/run/netns")

_SO_NETNS_COOKIE = 71
#: Inodes of namespaces begin there. Source: PROC_DYNAMIC_FIRST in linux/proc_fs.h of the kernel.
_LEAST_INODE = 0xF0000000

P = ParamSpec("P")
T = TypeVar("T")


class Namespace:
    """An open network namespace. It lives while this object, a process or a mount holds it."""

    def __init__(self, fd: int, name: str) -> None:
        self._fd = fd
        self.name = name
        self._mount: Path | None = None

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Self:
        """Open a namespace by path, such as ``/run/netns/NAME`` or ``/proc/PID/ns/net``.

        Raises OSError when there is none, ValueError when the file is no network namespace.
        """
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            kind = libc.namespace_type(fd)
        except OSError as error:
            os.close(fd)
            raise ValueError(f"{os.fspath(path)} is not a namespace") from error
        if kind != libc.CLONE_NEWNET:
            os.close(fd)
            raise ValueError(f"{os.fspath(path)} is a namespace of another kind than network")
        return cls(fd, os.fspath(path))

    @classmethod
    def of_pid(cls, pid: int) -> Self:
        """The namespace of a process. Raises OSError when there is no such process."""
        return cls.open(f"/proc/{pid}/ns/net")

    @classmethod
    def create(cls, name: str) -> Self:
        """Make a named namespace that stays until `remove`; its loopback is down.

        Raises FileExistsError when the name is taken.
        """
        DIRECTORY.mkdir(parents=True, exist_ok=True)
        path = DIRECTORY / name
        os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444))

        def make() -> None:
            libc.unshare(libc.CLONE_NEWNET)
            libc.mount("/proc/thread-self/ns/net", path, "none", libc.MS_BIND)

        try:
            _on_thread(make)
            made = cls.open(path)
        except BaseException:
            path.unlink()
            raise
        made._mount = path
        return made

    @property
    def fd(self) -> int:
        """File descriptor, for system calls and netlink attributes that take one."""
        return self._fd

    @property
    def inode(self) -> int:
        """Number that tells the namespace from every other one that is alive."""
        return os.fstat(self._fd).st_ino

    @property
    def number(self) -> int:
        """Number that tells the namespace from every other one since the machine started.

        The kernel gives an inode again as soon as it is free, and a name may be given again, too. Before
        Linux 5.14 it is the inode all the same. Source: SO_NETNS_COOKIE in asm-generic/socket.h.
        """
        with self.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as asking:
            try:
                cookie = asking.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8)
            except OSError:
                return self.inode
            return int.from_bytes(cookie, sys.byteorder)

    def is_known_as(self, number: int) -> bool:
        """Whether ``number`` is this namespace's, or its inode, which was taken for it formerly."""
        return number == (self.inode if number >= _LEAST_INODE else self.number)

    def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a function on a thread inside the namespace and return, or raise, what it does."""

        def enter() -> T:
            libc.setns(self._fd, libc.CLONE_NEWNET)
            return function(*args, **kwargs)

        return _on_thread(enter)

    def socket(self, family: int, kind: int, protocol: int = 0) -> socket.socket:
        """A socket that lives in the namespace, whoever uses it."""
        return self.call(socket.socket, family, kind | socket.SOCK_CLOEXEC, protocol)

    def remove(self) -> None:
        """Take the name away and close; the namespace ends when nothing else holds it."""
        path = self._mount or Path(self.name)
        with contextlib.suppress(FileNotFoundError, OSError):
            libc.unmount(path, libc.MNT_DETACH)
        path.unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        """Let go of the file descriptor."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Namespace({self.name!r})"


def _on_thread(function: Callable[[], T]) -> T:
    outcome: list[T] = []
    failure: list[BaseException] = []

    def run() -> None:
        try:
            outcome.append(function())
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=run, name="namespace")
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return outcome[0]
