"""What a kernel holds: objects that live while a descriptor, a pin or another object holds them.

A descriptor is a real one, of a file in memory, so it is closed, counted and mapped like any other; its
inode says which object it is of. Each object has one descriptor of this kernel's own, and one more when
its memory is shared. A pin is an ordinary file, wherever a test wants it.
"""

import errno
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

Inode = tuple[int, int]
_PIN = b"pin of a fake kernel: "


class Kind(StrEnum):
    """Kinds of object, as the target of a descriptor in /proc names them."""

    MAP = "bpf-map"
    PROGRAM = "bpf-prog"
    LINK = "bpf_link"


@dataclass(slots=True, eq=False)
class Held:
    """A live object. ``holds`` tells the others that live because of it."""

    kind: Kind
    number: int
    fd: int
    inode: Inode
    content: Any = None
    holds: Callable[[], Iterable["Held"]] = tuple
    own_descriptors: int = 1
    pins: set[Path] = field(default_factory=set)


class Objects:
    """Every live object by descriptor, number and pin. Methods raise OSError as the kernel would."""

    def __init__(self) -> None:
        self._held: dict[tuple[Kind, int], Held] = {}
        self._by_inode: dict[Inode, Held] = {}
        self._last = dict.fromkeys(Kind, 0)

    def add(self, kind: Kind) -> Held:
        """A new object without content. Numbers are never used again."""
        fd = os.memfd_create(kind, os.MFD_CLOEXEC)
        self._last[kind] += 1
        made = Held(kind, self._last[kind], fd, _inode(fd))
        self._held[kind, made.number] = self._by_inode[made.inode] = made
        return made

    def at(self, fd: int, kind: Kind) -> Held:
        """The object behind a descriptor; EBADF for none, EINVAL for one of another kind."""
        held = self.any_at(fd)
        if held.kind is not kind:
            raise OSError(errno.EINVAL, f"no {kind}")
        return held

    def any_at(self, fd: int) -> Held:
        """The object behind a descriptor, of whatever kind."""
        try:
            return self._by_inode[_inode(fd)]
        except (OSError, KeyError):
            raise OSError(errno.EBADF, "no object of this kernel") from None

    def numbered(self, kind: Kind, number: int) -> Held:
        """An object by its number; ENOENT when nobody holds it any more."""
        found = self._held.get((kind, number))
        if found is not None and not self.is_held(found):
            self.end(found)
            found = None
        if found is None:
            raise OSError(errno.ENOENT, f"no such {kind}")
        return found

    def find(self, kind: Kind, number: int) -> Held | None:
        """An object by its number, held or about to end."""
        return self._held.get((kind, number))

    def all_of(self, kind: Kind) -> list[Held]:
        """Those that are held, ascending."""
        return [held for held in list(self._held.values()) if held.kind is kind and self.is_held(held)]

    def pin(self, held: Held, path: Path) -> None:
        """Keep an object by a file; EEXIST when there is one."""
        with open(path, "xb") as pin:
            pin.write(_PIN + f"{held.kind} {held.number}".encode())
        held.pins.add(path)

    def pinned(self, path: Path) -> Held:
        """The object that a file keeps."""
        content = path.read_bytes()
        if not content.startswith(_PIN):
            raise OSError(errno.EACCES, "no pin")
        kind, number = content.removeprefix(_PIN).decode().split()
        return self.numbered(Kind(kind), int(number))

    def is_held(self, held: Held) -> bool:
        """Whether anything still holds an object."""
        if any(pin.exists() for pin in held.pins) or _descriptors(held.inode) > held.own_descriptors:
            return True
        return any(held in other.holds() and self.is_held(other) for other in list(self._held.values()))

    def end(self, held: Held) -> None:
        """Free an object."""
        del self._held[held.kind, held.number], self._by_inode[held.inode]
        held.content, held.holds = None, tuple
        os.close(held.fd)

    def end_all(self) -> None:
        """Free everything."""
        for held in list(self._held.values()):
            self.end(held)


def _inode(fd: int) -> Inode:
    """What tells the file behind a descriptor from all others."""
    status = os.fstat(fd)
    return status.st_dev, status.st_ino


def _descriptors(inode: Inode) -> int:
    """How many descriptors of this process are of a file."""
    count = 0
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):  # the one that lists the directory is gone
            count += _inode(int(name)) == inode
    return count
