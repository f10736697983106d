"""The fake kernel's front: the system call, and what happens behind it without one."""

import ctypes
import errno
import mmap
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from kinety.kernel import syscall
from kinety.kernel.uapi import Command, MapType
from kinety.testing.fake.held import Kind, Objects
from kinety.testing.fake.links import Links
from kinety.testing.fake.maps import Content, Maps

_RING_HEADER = 8
_LOOPBACK = 1


class FakeKernel:
    """Inside `installed`, every bpf(2) of this process is answered here.

    ``interfaces`` are those that links can be attached to; what a test takes out of it is gone.
    """

    def __init__(self) -> None:
        self._objects = Objects()
        self.interfaces: set[int] = {_LOOPBACK}
        self._maps = Maps(self._objects)
        self._links = Links(self._objects, self.interfaces)
        self._answers: dict[int, Callable[[Any], int]] = {
            **self._maps.answers(),
            **self._links.answers(),
            Command.OBJ_GET_INFO_BY_FD: self._inform,
            Command.OBJ_PIN: self._pin,
            Command.OBJ_GET: self._open_pin,
        }

    @contextmanager
    def installed(self) -> Iterator["FakeKernel"]:
        """Take the place of the kernel, and end with everything in it."""
        quickly = patch.object(syscall, "call_quickly", self._call_quickly)
        try:
            with patch.object(syscall, "call", self.call), quickly:
                yield self
        finally:
            self._objects.end_all()

    def call(self, command: int, attributes: ctypes.Structure) -> int:
        """What bpf(2) answers; -1 with the thread's errno set when it fails."""
        answer = self._answers.get(command)
        try:
            if answer is None:
                raise OSError(errno.EINVAL, "no such command here")
            return answer(attributes)
        except OSError as error:
            ctypes.set_errno(error.errno or errno.EINVAL)
            return -1

    def _call_quickly(self, command: ctypes.c_int, element: ctypes.Structure) -> int:
        return self.call(command.value, element)

    def tell(self, fd: int, record: bytes) -> None:
        """Put a record into a ring, as a program does. Raises OSError when it is full (ENOSPC)."""
        content: Content = self._objects.at(fd, Kind.MAP).content
        memory, page, size = content.memory, mmap.PAGESIZE, content.shape.max_entries
        assert content.shape.type is MapType.RINGBUF, "no ring"
        assert memory is not None
        consumed, produced = (int.from_bytes(memory[at : at + 8], sys.byteorder) for at in (0, page))
        block = len(record).to_bytes(4, sys.byteorder) + bytes(4) + record
        block += bytes(-len(block) % _RING_HEADER)
        if produced + len(block) - consumed > size:
            raise OSError(errno.ENOSPC, "the ring is full")
        for index, byte in enumerate(block):
            at = 2 * page + (produced + index) % size
            memory[at] = memory[at + size] = byte
        memory[page : page + 8] = (produced + len(block)).to_bytes(8, sys.byteorder)

    def _inform(self, asked: syscall.Info) -> int:
        held = self._objects.any_at(asked.bpf_fd)
        informed = self._maps if held.kind is Kind.MAP else self._links
        answer = informed.information(held)[: asked.info_len]
        ctypes.memmove(asked.info, answer, len(answer))
        return 0

    def _pin(self, asked: syscall.Path) -> int:
        self._objects.pin(self._objects.any_at(asked.bpf_fd), Path(os.fsdecode(asked.pathname)))
        return 0

    def _open_pin(self, asked: syscall.Path) -> int:
        return os.dup(self._objects.pinned(Path(os.fsdecode(asked.pathname))).fd)
