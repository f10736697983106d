"""Programs, which are taken as they are and never run, and their links to interfaces (tcx)."""

import ctypes
import errno
import os
from collections.abc import Callable, Collection
from dataclasses import dataclass
from hashlib import sha1
from struct import Struct
from typing import Any

from kinety.kernel import syscall
from kinety.kernel.uapi import AttachType, Command, LinkType, ProgramType
from kinety.testing.fake.held import Held, Kind, Objects

_INSTRUCTION_BYTES = 8
#: struct bpf_prog_info up to the name: type, id, tag, lengths and pointers nobody asks for, name.
_PROGRAM = Struct("=II8s8x16x24x16s")
#: struct bpf_link_info of a tcx link: type, id, program's number, interface, place.
_LINK = Struct("=IIIxxxxII")
_TCX = (AttachType.TCX_INGRESS, AttachType.TCX_EGRESS)


@dataclass(slots=True)
class _Program:
    type: ProgramType
    name: bytes
    tag: bytes


@dataclass(slots=True)
class _Link:
    program: Held
    interface: int
    place: AttachType


class Links:
    """The commands about programs and links. ``interfaces`` is looked at anew each time."""

    def __init__(self, objects: Objects, interfaces: Collection[int]) -> None:
        self._objects = objects
        self._interfaces = interfaces

    def answers(self) -> dict[int, Callable[[Any], int]]:
        """Commands with what answers them."""
        return {
            Command.PROG_LOAD: self._load,
            Command.PROG_GET_FD_BY_ID: self._open_number,
            Command.LINK_CREATE: self._attach,
            Command.LINK_UPDATE: self._update,
            Command.LINK_DETACH: self._detach,
        }

    def information(self, held: Held) -> bytes:
        """What the kernel says of a program or a link."""
        content = held.content
        if isinstance(content, _Program):
            return _PROGRAM.pack(content.type, held.number, content.tag, content.name)
        interface = content.interface if content.interface in self._interfaces else 0
        return _LINK.pack(LinkType.TCX, held.number, content.program.number, interface, content.place)

    def _load(self, asked: syscall.LoadProgram) -> int:
        place = ctypes.addressof(asked) + syscall.LoadProgram.insns.offset
        start = ctypes.c_void_p.from_address(place).value or 0
        instructions = ctypes.string_at(start, asked.insn_cnt * _INSTRUCTION_BYTES)
        if not instructions:
            raise OSError(errno.E2BIG, "no instructions")
        made = self._objects.add(Kind.PROGRAM)
        tag = sha1(instructions, usedforsecurity=False).digest()[:8]
        made.content = _Program(ProgramType(asked.prog_type), asked.prog_name, tag)
        return os.dup(made.fd)

    def _open_number(self, asked: syscall.Identifier) -> int:
        return os.dup(self._objects.numbered(Kind.PROGRAM, asked.id).fd)

    def _attach(self, asked: syscall.CreateLink) -> int:
        program = self._objects.at(asked.prog_fd, Kind.PROGRAM)
        if asked.attach_type not in _TCX or program.content.type is not ProgramType.SCHED_CLS:
            raise OSError(errno.EINVAL, "not there")
        if asked.target not in self._interfaces:
            raise OSError(errno.ENODEV, "no such interface")
        place = AttachType(asked.attach_type)
        for other in self._objects.all_of(Kind.LINK):
            link: _Link = other.content
            if (link.program, link.interface, link.place) == (program, asked.target, place):
                raise OSError(errno.EEXIST, "this program is there already")
        made = self._objects.add(Kind.LINK)
        content = made.content = _Link(program, asked.target, place)
        made.holds = lambda: (content.program,)
        return os.dup(made.fd)

    def _update(self, asked: syscall.UpdateLink) -> int:
        link: _Link = self._objects.at(asked.link_fd, Kind.LINK).content
        program = self._objects.at(asked.new_prog_fd, Kind.PROGRAM)
        if link.interface not in self._interfaces:
            raise OSError(errno.ENOLINK, "detached")
        if program.content.type is not ProgramType.SCHED_CLS:
            raise OSError(errno.EINVAL, "not there")
        link.program = program
        return 0

    def _detach(self, asked: syscall.UpdateLink) -> int:
        self._objects.at(asked.link_fd, Kind.LINK).content.interface = 0
        return 0
