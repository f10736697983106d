"""Interfaces taken away, without waiting for what nobody has to wait for.

The kernel takes an interface off every list within 0.3 ms, lets go of its lock, and answers some 20 ms
later, when nobody can be looking at the interface any more (measured on v6.18; netdev_run_todo in
net/core/dev.c). What comes by name, by index or by packet meets nothing from the first moment on, and both
names and the index may be used again. So a thread sends the request and gets the answer; whoever asked goes
on when the interface is off the lists. Requests of several threads wait for the same grace periods, those of
one thread for one after another. What it waits for with its lock held is hurried (`grace_period`).
"""

import errno
import socket
import struct
import time
from concurrent.futures import Future, ThreadPoolExecutor
from fcntl import ioctl
from pathlib import Path

from kinety.kernel import libc
from kinety.kernel.grace_period import Hurry
from kinety.kernel.netlink import Netlink

#: How the kernel says that an interface is not there (any more).
_GONE = (errno.ENODEV, errno.ENXIO, errno.EINVAL)
#: When a thread cannot have a socket of its own.
_NO_DESCRIPTOR = (errno.EMFILE, errno.ENFILE)
_THREADS = 32
_POLL_SECONDS = 0.0001
#: struct ifreq of netdevice(7) with an index, and the request that gives its name.
_REQUEST, _NAME_OF_INDEX = struct.Struct("=16xi20x"), 0x8910


class LinkRemoval:
    """Removes interfaces of the network namespace that it was made in, whoever uses it."""

    def __init__(self) -> None:
        # A file and no bare descriptor: it ends with this object, also where what holds that is never made.
        self._home = Path("/proc/thread-self/ns/net").open("rb", buffering=0)  # noqa: SIM115
        self._spare = Netlink()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._hurry = Hurry()
        with self._hurry:  # put off what one that was killed has left on
            pass
        self._executor = ThreadPoolExecutor(_THREADS, "kinety-removal", self._enter)

    def remove(self, index: int) -> None:
        """Returns when an interface is gone, a veth's other end with it; no error when it was.

        Raises OSError.
        """
        asked: Future[None] = self._executor.submit(self._delete_alone, index)
        while not asked.done() and self._is_there(index):
            time.sleep(_POLL_SECONDS)
        if not asked.done():
            return
        try:
            asked.result()
        except OSError as error:
            if error.errno not in _NO_DESCRIPTOR:
                raise
            _delete(index, self._spare)

    def close(self) -> None:
        """Wait for the kernel's answers."""
        self._executor.shutdown()
        self._spare.close()
        self._socket.close()
        self._home.close()

    def _delete_alone(self, index: int) -> None:
        with Netlink() as netlink, self._hurry:
            _delete(index, netlink)

    def _enter(self) -> None:
        libc.setns(self._home.fileno(), libc.CLONE_NEWNET)

    def _is_there(self, index: int) -> bool:
        """Asked without the kernel's network lock, which the request may be waiting for."""
        try:
            ioctl(self._socket, _NAME_OF_INDEX, _REQUEST.pack(index))
        except OSError as error:
            if error.errno in _GONE:
                return False
            raise
        return True


def _delete(index: int, netlink: Netlink) -> None:
    try:
        with netlink.batch() as batch:
            batch.link_delete(index)
    except OSError as error:
        if error.errno not in _GONE:
            raise
