"""bpf(2): the system call, its arguments as C lays them out, and errors that say what failed.

Two ways in. ``call`` lets go of the interpreter's lock, as a system call that may wait should.
``call_quickly`` keeps it: an element's look-up takes less time than giving the lock away, and with a
busy second thread each of them would otherwise wait up to 5 ms to get it back.
"""

import ctypes
import errno
import os
import platform
from ctypes import c_char, c_char_p, c_int32, c_uint32, c_uint64, c_void_p

from .uapi import OBJECT_NAME_LENGTH, Command

_NUMBERS = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "loongarch64": 280, "s390x": 351, "ppc64le": 361}
_NUMBER = ctypes.c_long(_NUMBERS.get(platform.machine(), -1))
_COMMANDS = {command: ctypes.c_int(command) for command in Command}
_call = ctypes.CDLL(None, use_errno=True).syscall
_call_quickly = ctypes.PyDLL(None, use_errno=True).syscall

Attributes = ctypes.Structure


class CreateMap(Attributes):
    """BPF_MAP_CREATE."""

    _fields_ = (
        ("map_type", c_uint32),
        ("key_size", c_uint32),
        ("value_size", c_uint32),
        ("max_entries", c_uint32),
        ("map_flags", c_uint32),
        ("inner_map_fd", c_uint32),
        ("numa_node", c_uint32),
        ("map_name", c_char * (OBJECT_NAME_LENGTH + 1)),
        ("map_ifindex", c_uint32),
        ("btf_fd", c_uint32),
        ("btf_key_type_id", c_uint32),
        ("btf_value_type_id", c_uint32),
        ("btf_vmlinux_value_type_id", c_uint32),
        ("map_extra", c_uint64),
    )


class Element(Attributes):
    """BPF_MAP_*_ELEM, BPF_MAP_GET_NEXT_KEY, BPF_MAP_FREEZE. Keys and values are read where they lie."""

    _fields_ = (
        ("map_fd", c_uint32),
        ("reserved", c_uint32),
        ("key", c_char_p),
        ("value", c_char_p),
        ("flags", c_uint64),
    )


class ElementOut(Attributes):
    """The same with a buffer to write to."""

    _fields_ = (
        ("map_fd", c_uint32),
        ("reserved", c_uint32),
        ("key", c_char_p),
        ("value", c_void_p),
        ("flags", c_uint64),
    )


class Batch(Attributes):
    """BPF_MAP_UPDATE_BATCH and BPF_MAP_DELETE_BATCH."""

    _fields_ = (
        ("in_batch", c_void_p),
        ("out_batch", c_void_p),
        ("keys", c_char_p),
        ("values", c_char_p),
        ("count", c_uint32),
        ("map_fd", c_uint32),
        ("elem_flags", c_uint64),
        ("flags", c_uint64),
    )


class BatchOut(Attributes):
    """BPF_MAP_LOOKUP_BATCH: the same with buffers to write to."""

    _fields_ = (
        ("in_batch", c_void_p),
        ("out_batch", c_void_p),
        ("keys", c_void_p),
        ("values", c_void_p),
        ("count", c_uint32),
        ("map_fd", c_uint32),
        ("elem_flags", c_uint64),
        ("flags", c_uint64),
    )


class LoadProgram(Attributes):
    """BPF_PROG_LOAD."""

    _fields_ = (
        ("prog_type", c_uint32),
        ("insn_cnt", c_uint32),
        ("insns", c_char_p),
        ("license", c_char_p),
        ("log_level", c_uint32),
        ("log_size", c_uint32),
        ("log_buf", c_void_p),
        ("kern_version", c_uint32),
        ("prog_flags", c_uint32),
        ("prog_name", c_char * (OBJECT_NAME_LENGTH + 1)),
        ("prog_ifindex", c_uint32),
        ("expected_attach_type", c_uint32),
        ("prog_btf_fd", c_uint32),
        ("func_info_rec_size", c_uint32),
        ("func_info", c_char_p),
        ("func_info_cnt", c_uint32),
        ("line_info_rec_size", c_uint32),
        ("line_info", c_char_p),
        ("line_info_cnt", c_uint32),
        ("attach_btf_id", c_uint32),
        ("attach_prog_fd", c_uint32),
    )


class LoadBtf(Attributes):
    """BPF_BTF_LOAD."""

    _fields_ = (
        ("btf", c_char_p),
        ("btf_log_buf", c_void_p),
        ("btf_size", c_uint32),
        ("btf_log_size", c_uint32),
        ("btf_log_level", c_uint32),
    )


class Path(Attributes):
    """BPF_OBJ_PIN and BPF_OBJ_GET."""

    _fields_ = (("pathname", c_char_p), ("bpf_fd", c_uint32), ("file_flags", c_uint32))


class Identifier(Attributes):
    """BPF_*_GET_FD_BY_ID."""

    _fields_ = (("id", c_uint32), ("next_id", c_uint32), ("open_flags", c_uint32))


class Info(Attributes):
    """BPF_OBJ_GET_INFO_BY_FD."""

    _fields_ = (("bpf_fd", c_uint32), ("info_len", c_uint32), ("info", c_void_p))


class TestRun(Attributes):
    """BPF_PROG_TEST_RUN."""

    _fields_ = (
        ("prog_fd", c_uint32),
        ("retval", c_uint32),
        ("data_size_in", c_uint32),
        ("data_size_out", c_uint32),
        ("data_in", c_char_p),
        ("data_out", c_void_p),
        ("repeat", c_uint32),
        ("duration", c_uint32),
        ("ctx_size_in", c_uint32),
        ("ctx_size_out", c_uint32),
        ("ctx_in", c_char_p),
        ("ctx_out", c_void_p),
        ("flags", c_uint32),
        ("cpu", c_uint32),
        ("batch_size", c_uint32),
    )


class CreateLink(Attributes):
    """BPF_LINK_CREATE, up to the part that all kinds share."""

    _fields_ = (
        ("prog_fd", c_uint32),
        ("target", c_uint32),
        ("attach_type", c_uint32),
        ("flags", c_uint32),
        ("relative_fd", c_uint32),
        ("reserved", c_uint32),
        ("expected_revision", c_uint64),
    )


class CreateNetfilterLink(Attributes):
    """BPF_LINK_CREATE with the part of netfilter's links."""

    _fields_ = (
        ("prog_fd", c_uint32),
        ("target", c_uint32),
        ("attach_type", c_uint32),
        ("flags", c_uint32),
        ("family", c_uint32),
        ("hook", c_uint32),
        ("priority", c_int32),
        ("netfilter_flags", c_uint32),
    )


class EnableStatistics(Attributes):
    """BPF_ENABLE_STATS; type 0 counts the run time of programs."""

    _fields_ = (("type", c_uint32),)


class UpdateLink(Attributes):
    """BPF_LINK_UPDATE and, by its first field, BPF_LINK_DETACH."""

    _fields_ = (
        ("link_fd", c_uint32),
        ("new_prog_fd", c_uint32),
        ("flags", c_uint32),
        ("old_prog_fd", c_uint32),
    )


def call(command: Command, attributes: Attributes) -> int:
    """The answer of bpf(2); -1 when it failed, see ``failure``."""
    size = ctypes.c_uint(ctypes.sizeof(attributes))
    return int(_call(_NUMBER, _COMMANDS[command], ctypes.byref(attributes), size))


_ELEMENT_SIZE = ctypes.c_uint(ctypes.sizeof(Element))


def call_quickly(command: ctypes.c_int, element: Element | ElementOut) -> int:
    """The same for one element of a map, with the interpreter's lock held."""
    return int(_call_quickly(_NUMBER, command, ctypes.byref(element), _ELEMENT_SIZE))


def failure(action: str) -> OSError:
    """The error of the last call of this thread."""
    number = ctypes.get_errno()
    error = OSError(number, f"{action}: {os.strerror(number)}")
    if number in _HINTS:
        error.add_note(_HINTS[number])
    return error


_HINTS = {
    errno.EMFILE: "this process may open no more files (ulimit -n); each map, program and link is one",
    1: "bpf(2) needs CAP_BPF and CAP_NET_ADMIN (run as root), outside a user namespace",
    524: "the kernel has no support for this operation on this kind of object",
}


def checked(command: Command, attributes: Attributes, action: str) -> int:
    """The answer of bpf(2). Raises OSError that names the action."""
    answer = call(command, attributes)
    if answer < 0:
        raise failure(action)
    return answer


def info(fd: int, structure: ctypes.Structure, what: str) -> None:
    """Let the kernel fill in what it knows of an object."""
    attributes = Info(fd, ctypes.sizeof(structure), ctypes.addressof(structure))
    checked(Command.OBJ_GET_INFO_BY_FD, attributes, f"ask about {what}")


def pin(fd: int, path: str | os.PathLike[str], what: str) -> None:
    """Give an object a name in the BPF file system. Raises FileExistsError when it is taken."""
    attributes = Path(os.fsencode(path), fd)
    checked(Command.OBJ_PIN, attributes, f"pin {what} as {os.fspath(path)}")


def open_pinned(path: str | os.PathLike[str], wanted: str) -> int:
    """A descriptor of a pinned ``map``, ``program`` or ``link``.

    Raises FileNotFoundError; OSError with EINVAL when another kind of object is pinned there. The kernel
    would answer questions about it all the same, in another structure.
    """
    action = f"open pinned {os.fspath(path)}"
    fd = checked(Command.OBJ_GET, Path(os.fsencode(path)), action)
    target = os.readlink(f"/proc/self/fd/{fd}")
    found = next((kind for word, kind in _KINDS.items() if word in target), target)
    if found != wanted:
        os.close(fd)
        raise OSError(errno.EINVAL, f"{action}: it is a {found}, not a {wanted}")
    return fd


_KINDS = {"bpf-map": "map", "bpf-prog": "program", "bpf_link": "link", "bpf-link": "link"}


#: Failures that have nothing to do with what was to be loaded: no log says more.
NO_LOG = (errno.EPERM, errno.EMFILE, errno.ENFILE, errno.ENOMEM)


def object_name(name: str) -> bytes:
    """A name as the kernel takes them: 15 characters of letters, digits, underscore and dot."""
    return "".join(c if c.isascii() and (c.isalnum() or c in "_.") else "_" for c in name)[
        :OBJECT_NAME_LENGTH
    ].encode()


def load_btf(blob: bytes) -> int:
    """A descriptor of BTF in the kernel. Raises OSError with the kernel's complaint as a note."""
    attributes = LoadBtf(blob, None, len(blob))
    answer = call(Command.BTF_LOAD, attributes)
    if answer >= 0:
        return answer
    error = failure("load BTF")
    if error.errno in NO_LOG:
        raise error
    log = ctypes.create_string_buffer(1 << 16)
    attributes.btf_log_buf = ctypes.addressof(log)
    attributes.btf_log_size, attributes.btf_log_level = len(log), 1
    answer = call(Command.BTF_LOAD, attributes)
    if answer >= 0:
        return answer
    error.add_note(log.value.decode(errors="replace").rstrip().rpartition("\n")[2])
    raise error


def locked_memory(fd: int) -> int:
    """Bytes of kernel memory that a map or program takes, as the kernel estimates it."""
    with open(f"/proc/self/fdinfo/{fd}") as facts:
        return next((int(line.split()[1]) for line in facts if line.startswith("memlock:")), 0)
