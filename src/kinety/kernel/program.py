"""BPF programs: loading, asking, and running them on a packet without a network."""

import ctypes
import errno
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from struct import Struct
from types import TracebackType
from typing import Self

from . import syscall
from .btf_ext import FUNCTION_RECORD, LINE_RECORD
from .kernel_types import KernelTypes
from .linker import INSTRUCTION
from .spec import ProgramSpec
from .uapi import Command, NetfilterFamily, NetfilterHook, ProgramType

__all__ = ["Program", "ProgramInfo", "TestRun", "VerifierRefusal", "run_time_counted"]

_PSEUDO_MAP = 1
_PSEUDO_MAP_VALUE = 2
#: Places in the parts of ``bpf_prog_info`` that are of one type: functions, lines; sizes of records.
_LINES = 1
_LINE_RECORD_SIZE = 1
_COLUMN_BITS = 10
_LOG_BYTES = 1 << 20
_LOG_BYTES_LIMIT = 1 << 26
_LOAD_ATTEMPTS = 5
_HEADROOM = 256
_LINK_HEADER = 14
_CONTEXT_BYTES = 192
_MARK, _INGRESS_IFINDEX, _IFINDEX = 8, 36, 40
_WORD = Struct("=I")
#: struct nf_hook_state, of which a test run may give the hook and the family.
_HOOK_STATE = Struct("=BB46x")


@dataclass(frozen=True, slots=True)
class ProgramInfo:
    """What the kernel says a program is. ``load_time`` is in nanoseconds since boot, lengths in bytes.

    ``verified_instructions`` is how many the verifier walked through. ``run_time`` (nanoseconds) and
    ``runs`` only grow under `run_time_counted` or the machine's ``kernel.bpf_stats_enabled``.
    """

    type: ProgramType
    id: int
    tag: bytes
    name: str
    load_time: int
    jited_bytes: int
    translated_bytes: int
    verified_instructions: int
    run_time: int
    runs: int


@dataclass(frozen=True, slots=True)
class TestRun:
    """What a program made of a packet. ``retval`` is signed; ``duration_ns`` is the mean of one run."""

    __test__ = False  # not a test, whatever pytest thinks of the name

    retval: int
    data: bytes
    mark: int
    duration_ns: int


class VerifierRefusal(OSError):
    """A program that the kernel does not load. The notes are the telling lines of its ``log``."""

    def __init__(self, number: int, message: str, log: str) -> None:
        super().__init__(number, message)
        #: Everything the verifier said.
        self.log = log


@contextmanager
def run_time_counted() -> Iterator[None]:
    """Count runs and run time of every program of the machine meanwhile, at some 20 ns a run.

    Read them by `Program.statistics`. Since Linux 5.8.
    """
    fd = syscall.checked(Command.ENABLE_STATS, syscall.EnableStatistics(0), "count run time of programs")
    try:
        yield
    finally:
        os.close(fd)


class _Info(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_uint32),
        ("id", ctypes.c_uint32),
        ("tag", ctypes.c_uint8 * 8),
        ("jited_prog_len", ctypes.c_uint32),
        ("xlated_prog_len", ctypes.c_uint32),
        ("jited_prog_insns", ctypes.c_uint64),
        ("xlated_prog_insns", ctypes.c_void_p),
        ("load_time", ctypes.c_uint64),
        ("created_by_uid", ctypes.c_uint32),
        ("nr_map_ids", ctypes.c_uint32),
        ("map_ids", ctypes.c_void_p),
        ("name", ctypes.c_char * 16),
        ("ifindex", ctypes.c_uint32),
        ("gpl_compatible", ctypes.c_uint32),
        ("netns", ctypes.c_uint64 * 2),
        ("nr_jited", ctypes.c_uint32 * 2),
        ("jited", ctypes.c_uint64 * 2),
        ("btf_id", ctypes.c_uint32),
        ("func_info_rec_size", ctypes.c_uint32),
        ("func_info", ctypes.c_uint64),
        ("nr_info", ctypes.c_uint32 * 2),
        ("line_info", ctypes.c_uint64 * 2),
        ("jited_line_info", ctypes.c_uint32 * 4),
        ("prog_tags", ctypes.c_uint64),
        ("run_time_ns", ctypes.c_uint64),
        ("run_cnt", ctypes.c_uint64),
        ("recursion_misses", ctypes.c_uint64),
        ("verified_insns", ctypes.c_uint32),
        ("attach_btf", ctypes.c_uint32 * 2),
    )


class Program:
    """A live program: a file descriptor. It lives on while a link, a filter or a pin holds it."""

    __slots__ = ("_fd", "_name", "info")

    def __init__(self, fd: int, name: str = "") -> None:
        """Take over a descriptor of a program; it is closed when this fails."""
        self._fd = fd
        self._name = name
        try:
            answer = self._ask()
        except OSError:
            os.close(fd)
            raise
        self._name = name or answer.name.decode()
        #: Facts at the time this object was made; ``statistics`` asks again.
        self.info = _program_info(answer)

    @classmethod
    def load(cls, spec: ProgramSpec, maps: Mapping[str, int], btf_fd: int = 0) -> Self:
        """Hand a program to the verifier; ``maps`` are descriptors by name.

        Raises VerifierRefusal with the verifier's telling line and the source line as notes, and OSError
        for reasons that are not the program's, such as a kernel without a function that it calls.
        """
        instructions = _with_kernel_functions(spec, _with_maps(spec, maps))
        attributes = syscall.LoadProgram(
            spec.type, len(instructions) // INSTRUCTION.size, instructions, spec.license.encode()
        )
        attributes.prog_name = syscall.object_name(spec.name)
        attributes.expected_attach_type = 0 if spec.attach_type is None else int(spec.attach_type)
        if btf_fd and spec.functions:
            attributes.prog_btf_fd = btf_fd
            attributes.func_info, attributes.line_info = spec.functions, spec.lines
            attributes.func_info_rec_size = FUNCTION_RECORD.size
            attributes.func_info_cnt = len(spec.functions) // FUNCTION_RECORD.size
            attributes.line_info_rec_size = LINE_RECORD.size
            attributes.line_info_cnt = len(spec.lines) // LINE_RECORD.size
        return cls(_load(attributes, spec.name), spec.name)

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Self:
        """Open a pinned program. Raises FileNotFoundError, or OSError when it is no program."""
        return cls(syscall.open_pinned(path, "program"), os.path.basename(path))

    @classmethod
    def from_id(cls, program_id: int) -> Self:
        """Open a program by the number the kernel gave it. Raises OSError when it is gone."""
        attributes = syscall.Identifier(program_id)
        return cls(syscall.checked(Command.PROG_GET_FD_BY_ID, attributes, f"open program {program_id}"))

    @property
    def fd(self) -> int:
        """File descriptor; -1 after ``close``."""
        return self._fd

    @property
    def id(self) -> int:
        """The kernel's number."""
        return self.info.id

    @property
    def name(self) -> str:
        """Name in the object it came from, or the last part of its path."""
        return self._name

    def statistics(self) -> ProgramInfo:
        """Facts as they are now."""
        return _program_info(self._ask())

    def memory(self) -> int:
        """Bytes of kernel memory: the instructions as the kernel keeps them, and the machine's own."""
        return syscall.locked_memory(self._fd) + self.info.jited_bytes

    def map_ids(self) -> tuple[int, ...]:
        """Numbers of the maps the program uses."""
        count = self._ask().nr_map_ids
        ids = (ctypes.c_uint32 * count)()
        question = _Info(nr_map_ids=count, map_ids=ctypes.addressof(ids))
        self._ask(question)
        return tuple(ids)

    def translated(self) -> bytes:
        """The instructions after the verifier was through with them, 8 bytes each."""
        length = self._ask().xlated_prog_len
        buffer = ctypes.create_string_buffer(length)
        self._ask(_Info(xlated_prog_len=length, xlated_prog_insns=ctypes.addressof(buffer)))
        return buffer.raw

    def lines(self) -> tuple[tuple[int, int], ...]:
        """Source lines whose code is left after the verifier was through with it, in order.

        Each is the offset of the file's name in the strings of the BTF it was loaded with, and the number.
        Empty for a program that was loaded without BTF.
        """
        count = self._ask().nr_info[_LINES]
        records = ctypes.create_string_buffer(count * LINE_RECORD.size)
        question = _Info()
        question.nr_info[_LINES] = count
        question.line_info[0] = ctypes.addressof(records)
        question.jited_line_info[_LINE_RECORD_SIZE] = LINE_RECORD.size
        self._ask(question)
        return tuple(
            (file, line_and_column >> _COLUMN_BITS)
            for _, file, _, line_and_column in LINE_RECORD.iter_unpack(records.raw)
        )

    def pin(self, path: str | os.PathLike[str]) -> None:
        """Give the program a name in the BPF file system. Raises FileExistsError when it is taken."""
        syscall.pin(self._fd, path, f"program {self._name}")

    def test_run(
        self,
        data: bytes,
        *,
        ifindex: int = 0,
        ingress_ifindex: int = 0,
        mark: int = 0,
        repeat: int = 1,
    ) -> TestRun:
        """Run on a packet, which starts with its link header (14 bytes and more).

        Interfaces must exist in this thread's namespace. A redirect or drop is only reported, not done.
        Raises OSError.
        """
        context = bytearray(_CONTEXT_BYTES)
        for offset, value in ((_MARK, mark), (_INGRESS_IFINDEX, ingress_ifindex), (_IFINDEX, ifindex)):
            _WORD.pack_into(context, offset, value)
        out = (ctypes.c_char * (len(data) + _HEADROOM))()
        context_out = (ctypes.c_char * _CONTEXT_BYTES)()
        attributes = syscall.TestRun(
            prog_fd=self._fd,
            data_size_in=len(data),
            data_size_out=len(out),
            data_in=data,
            data_out=ctypes.addressof(out),
            repeat=repeat,
            ctx_size_in=_CONTEXT_BYTES,
            ctx_size_out=_CONTEXT_BYTES,
            ctx_in=bytes(context),
            ctx_out=ctypes.addressof(context_out),
        )
        syscall.checked(Command.PROG_TEST_RUN, attributes, f"run program {self._name} on {len(data)} bytes")
        return TestRun(
            ctypes.c_int32(attributes.retval).value,
            out.raw[: attributes.data_size_out],
            _WORD.unpack_from(context_out, _MARK)[0],
            attributes.duration,
        )

    def test_run_netfilter(
        self, data: bytes, hook: NetfilterHook, family: NetfilterFamily, *, repeat: int = 1
    ) -> TestRun:
        """The same for a program of netfilter's, the link header included.

        The packet is said to go out by ``lo``, and to have come in by no interface. Raises OSError.
        """
        state = _HOOK_STATE.pack(hook, family)
        if hook is NetfilterHook.LOCAL_OUT:  # it has none yet
            data = data[_LINK_HEADER:]
        attributes = syscall.TestRun(
            self._fd,
            data_size_in=len(data),
            data_in=data,
            repeat=repeat,
            ctx_size_in=len(state),
            ctx_in=state,
        )
        syscall.checked(Command.PROG_TEST_RUN, attributes, f"run program {self._name} on {len(data)} bytes")
        return TestRun(ctypes.c_int32(attributes.retval).value, data, 0, attributes.duration)

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

    def __repr__(self) -> str:
        return f"Program({self._name!r}, id {self.info.id}, fd {self._fd})"

    def _ask(self, question: _Info | None = None) -> _Info:
        question = question or _Info()
        syscall.info(self._fd, question, f"program {self._name}".rstrip())
        return question


def _program_info(answer: _Info) -> ProgramInfo:
    return ProgramInfo(
        ProgramType(answer.type),
        answer.id,
        bytes(answer.tag),
        answer.name.decode(),
        answer.load_time,
        answer.jited_prog_len,
        answer.xlated_prog_len,
        answer.verified_insns,
        answer.run_time_ns,
        answer.run_cnt,
    )


def _with_maps(spec: ProgramSpec, maps: Mapping[str, int]) -> bytes:
    instructions = bytearray(spec.instructions)
    for reference in spec.references:
        at = reference.instruction * INSTRUCTION.size
        code, registers, offset, _ = INSTRUCTION.unpack_from(instructions, at)
        source = _PSEUDO_MAP if reference.offset is None else _PSEUDO_MAP_VALUE
        registers = registers & 0x0F | source << 4
        INSTRUCTION.pack_into(instructions, at, code, registers, offset, maps[reference.map])
        INSTRUCTION.pack_into(instructions, at + INSTRUCTION.size, 0, 0, 0, reference.offset or 0)
    return bytes(instructions)


def _with_kernel_functions(spec: ProgramSpec, linked: bytes) -> bytes:
    if not spec.kernel_calls:
        return linked
    instructions = bytearray(linked)
    numbers = KernelTypes.running().functions({call.function for call in spec.kernel_calls})
    for call in spec.kernel_calls:
        call.write(instructions, numbers[call.function])
    return bytes(instructions)


def _load(attributes: syscall.LoadProgram, name: str) -> int:
    for _ in range(_LOAD_ATTEMPTS):
        fd = syscall.call(Command.PROG_LOAD, attributes)
        if fd >= 0:
            return fd
        error = syscall.failure(f"load program {name}")
        if error.errno != errno.EAGAIN:
            break
    if error.errno in syscall.NO_LOG:
        raise error
    refusal = VerifierRefusal(error.errno or errno.EINVAL, error.strerror or "", _verifier_log(attributes))
    for note in telling_lines(refusal.log) or ["it was accepted when tried again with a log"]:
        refusal.add_note(note)
    raise refusal


def _verifier_log(attributes: syscall.LoadProgram) -> str:
    """Load once more, to hear why it is refused; empty when it is not."""
    size = _LOG_BYTES
    while True:
        log = ctypes.create_string_buffer(size)
        attributes.log_buf, attributes.log_size, attributes.log_level = ctypes.addressof(log), size, 1
        fd = syscall.call(Command.PROG_LOAD, attributes)
        if fd >= 0:
            os.close(fd)
            return ""
        if ctypes.get_errno() != errno.ENOSPC or size >= _LOG_BYTES_LIMIT:
            return log.value.decode(errors="replace")
        size *= 4


def telling_lines(log: str) -> list[str]:
    """What a person wants of a verifier's log: its verdict and the source line it was at."""
    lines = [line for line in log.splitlines() if line and not line.startswith("processed ")]
    if not lines:
        return []
    sources = [line for line in lines if line.startswith(";")]
    return [f"verifier: {lines[-1]}", *(f"at: {source.lstrip('; ')}" for source in sources[-1:])]
