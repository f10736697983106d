"""BPF links: a program attached to a place, as an object that can be pinned and updated atomically."""

import ctypes
import errno
import os
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Self

from . import syscall
from .map import Map
from .program import Program
from .uapi import AttachType, Command, LinkType, NetfilterFamily, NetfilterHook

__all__ = ["Link", "LinkInfo", "NetfilterPlace"]

_TCX = {"ingress": AttachType.TCX_INGRESS, "egress": AttachType.TCX_EGRESS}
#: BPF_F_BEFORE; before all others when none is named.
_BEFORE = 1 << 3
#: BPF_F_NETFILTER_IP_DEFRAG: fragments are put together before.
_DEFRAGMENTED = 1 << 0
#: What kernels say to that flag which do not know it, or were built without putting together a family's.
_NO_DEFRAGMENTATION = (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOENT, errno.EAFNOSUPPORT)


@dataclass(frozen=True, slots=True)
class NetfilterPlace:
    """Where in netfilter a program is called. ``defragmented``: it sees whole packets only."""

    family: NetfilterFamily
    hook: NetfilterHook
    priority: int
    defragmented: bool


@dataclass(frozen=True, slots=True)
class LinkInfo:
    """What the kernel says a link is.

    ``ifindex`` is 0 for other links than tcx, and once the interface is gone; ``cgroup_id`` and
    ``namespace``, the inode of a network namespace, likewise. ``netfilter`` is the place of a link to
    netfilter.
    """

    type: LinkType
    id: int
    program_id: int
    ifindex: int
    cgroup_id: int
    attach_type: AttachType | None
    netfilter: NetfilterPlace | None = None
    namespace: int = 0


class _Place(ctypes.Structure):
    _fields_ = (("ifindex", ctypes.c_uint32), ("attach_type", ctypes.c_uint32))


class _Namespace(ctypes.Structure):
    _fields_ = (("inode", ctypes.c_uint32), ("attach_type", ctypes.c_uint32))


class _Cgroup(ctypes.Structure):
    _fields_ = (("cgroup_id", ctypes.c_uint64), ("attach_type", ctypes.c_uint32))


class _Netfilter(ctypes.Structure):
    _fields_ = (
        ("family", ctypes.c_uint32),
        ("hook", ctypes.c_uint32),
        ("priority", ctypes.c_int32),
        ("flags", ctypes.c_uint32),
    )


class _Where(ctypes.Union):
    _fields_ = (
        ("tcx", _Place),
        ("cgroup", _Cgroup),
        ("namespace", _Namespace),
        ("netfilter", _Netfilter),
        ("rest", ctypes.c_uint64 * 8),
    )


class _Info(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_uint32),
        ("id", ctypes.c_uint32),
        ("prog_id", ctypes.c_uint32),
        ("reserved", ctypes.c_uint32),
        ("where", _Where),
    )


class Link:
    """A live link: a file descriptor. Closing the last one that is not pinned detaches the program."""

    __slots__ = ("_fd",)

    def __init__(self, fd: int) -> None:
        """Take over a descriptor of a link."""
        self._fd = fd

    @classmethod
    def attach_tcx(
        cls,
        program: Program,
        ifindex: int,
        direction: Literal["ingress", "egress"],
        *,
        first: bool = False,
    ) -> Self:
        """Attach behind all others, or before them, to an interface of this thread's namespace.

        It costs a grace period of the kernel, about 10 ms. Raises OSError; EINVAL before Linux 6.6.
        """
        attributes = syscall.CreateLink(program.fd, ifindex, _TCX[direction], _BEFORE if first else 0)
        action = f"attach {program.name} to {direction} of interface {ifindex}"
        return cls(syscall.checked(Command.LINK_CREATE, attributes, action))

    @classmethod
    def attach_cgroup(cls, program: Program, cgroup: str | os.PathLike[str], attach_type: AttachType) -> Self:
        """Attach to a cgroup by its directory. Raises OSError."""
        directory = os.open(cgroup, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            attributes = syscall.CreateLink(program.fd, directory, attach_type)
            action = f"attach {program.name} to cgroup {os.fspath(cgroup)} ({attach_type.name.lower()})"
            return cls(syscall.checked(Command.LINK_CREATE, attributes, action))
        finally:
            os.close(directory)

    @classmethod
    def attach_namespace(cls, program: Program, namespace: int, attach_type: AttachType) -> Self:
        """Attach to a network namespace, by its descriptor. Raises OSError; EINVAL before Linux 5.9."""
        attributes = syscall.CreateLink(program.fd, namespace, attach_type)
        action = f"attach {program.name} to a network namespace ({attach_type.name.lower()})"
        return cls(syscall.checked(Command.LINK_CREATE, attributes, action))

    @classmethod
    def attach_map(cls, program: Program, sockets: Map, attach_type: AttachType) -> Self:
        """Attach to a map of sockets. Raises OSError; EINVAL before Linux 6.10."""
        attributes = syscall.CreateLink(program.fd, sockets.fd, attach_type)
        action = f"attach {program.name} to map {sockets.name} ({attach_type.name.lower()})"
        return cls(syscall.checked(Command.LINK_CREATE, attributes, action))

    @classmethod
    def attach_netfilter(
        cls, program: Program, family: NetfilterFamily, hook: NetfilterHook, priority: int
    ) -> Self:
        """Attach to a hook of netfilter, for one family, in this thread's network namespace.

        Programs of a hook are called by ascending priority, which no two may share. Where the kernel can,
        fragments are put together before. Raises OSError: EBUSY for a priority that is taken, EINVAL
        before Linux 6.4, EOPNOTSUPP without CONFIG_NETFILTER_BPF_LINK.
        """
        attributes = syscall.CreateNetfilterLink(
            program.fd, 0, AttachType.NETFILTER, 0, family, hook, priority, _DEFRAGMENTED
        )
        action = f"attach {program.name} to {hook.name.lower()} of {family.name}"
        try:
            return cls(syscall.checked(Command.LINK_CREATE, attributes, action))
        except OSError as error:
            if error.errno not in _NO_DEFRAGMENTATION:
                raise
        attributes.netfilter_flags = 0
        return cls(syscall.checked(Command.LINK_CREATE, attributes, action))

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Self:
        """Open a pinned link. Raises FileNotFoundError, or OSError when it is no link."""
        return cls(syscall.open_pinned(path, "link"))

    @property
    def fd(self) -> int:
        """File descriptor; -1 after ``close``."""
        return self._fd

    @property
    def info(self) -> LinkInfo:
        """Facts as they are now; a link outlives its interface, then ``ifindex`` is 0."""
        answer = _Info()
        syscall.info(self._fd, answer, "link")
        kind = LinkType(answer.type)
        ifindex = cgroup = namespace = 0
        attach_type: AttachType | None = None
        netfilter: NetfilterPlace | None = None
        if kind is LinkType.TCX:
            ifindex, attach_type = answer.where.tcx.ifindex, AttachType(answer.where.tcx.attach_type)
        elif kind is LinkType.CGROUP:
            cgroup = answer.where.cgroup.cgroup_id
            attach_type = AttachType(answer.where.cgroup.attach_type)
        elif kind is LinkType.NETNS:
            namespace = answer.where.namespace.inode
            attach_type = AttachType(answer.where.namespace.attach_type)
        elif kind is LinkType.NETFILTER:
            attach_type, place = AttachType.NETFILTER, answer.where.netfilter
            netfilter = NetfilterPlace(
                NetfilterFamily(place.family),
                NetfilterHook(place.hook),
                place.priority,
                bool(place.flags & _DEFRAGMENTED),
            )
        return LinkInfo(kind, answer.id, answer.prog_id, ifindex, cgroup, attach_type, netfilter, namespace)

    def pin(self, path: str | os.PathLike[str]) -> None:
        """Keep the link when this process ends. Raises FileExistsError when the path is taken."""
        syscall.pin(self._fd, path, "link")

    def update(self, program: Program) -> None:
        """Put another program in the old one's place; every packet meets one of the two."""
        attributes = syscall.UpdateLink(self._fd, program.fd)
        syscall.checked(Command.LINK_UPDATE, attributes, f"update link to {program.name}")

    def detach(self) -> None:
        """Take the program off now, whoever else holds the link."""
        syscall.checked(Command.LINK_DETACH, syscall.UpdateLink(self._fd), "detach link")

    def close(self) -> None:
        """Let go of the descriptor; idempotent."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
