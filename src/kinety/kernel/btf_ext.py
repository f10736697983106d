"""The ``.BTF.ext`` section: which instruction starts which function, and comes from which source line.

Source: Documentation/bpf/btf.rst of the kernel.
"""

from dataclasses import dataclass
from struct import Struct
from struct import error as StructError
from typing import Self

from .btf import Btf

_HEADER = Struct("=HBBIIIII")
_CORE = Struct("=II")
_SECTION = Struct("=II")
_WORD = Struct("=I")
_MAGIC = 0xEB9F
FUNCTION_RECORD = Struct("=II")
LINE_RECORD = Struct("=IIII")

#: Section name -> records; the first field of each is the offset of the instruction in bytes.
Records = dict[str, list[tuple[int, ...]]]


@dataclass(frozen=True, slots=True)
class BtfExt:
    """Function records (offset, type) and line records (offset, file, line text, line and column)."""

    functions: Records
    lines: Records

    @classmethod
    def parse(cls, blob: bytes, btf: Btf) -> Self:
        """Read the section. Raises ValueError when it is malformed or wants CO-RE relocations."""
        try:
            magic, version, _, size, function_at, function_size, line_at, line_size = _HEADER.unpack_from(
                blob
            )
            if magic != _MAGIC or version != 1:
                raise ValueError(f"magic {magic:#x}, version {version}")
            if size >= _HEADER.size + _CORE.size and _CORE.unpack_from(blob, _HEADER.size)[1]:
                raise ValueError("relocations against kernel types (CO-RE) are not supported")
            return cls(
                _records(blob, size + function_at, function_size, FUNCTION_RECORD, btf),
                _records(blob, size + line_at, line_size, LINE_RECORD, btf),
            )
        except (StructError, ValueError) as error:
            raise ValueError(f".BTF.ext is malformed: {error}") from error


def _records(blob: bytes, at: int, length: int, record: Struct, btf: Btf) -> Records:
    found: Records = {}
    if not length:
        return found
    (record_size,) = _WORD.unpack_from(blob, at)
    if record_size < record.size:
        raise ValueError(f"records of {record_size} bytes, wanted {record.size}")
    end = at + length
    at += _WORD.size
    while at < end:
        name, count = _SECTION.unpack_from(blob, at)
        at += _SECTION.size
        rows = found.setdefault(btf.string(name), [])
        for _ in range(count):
            rows.append(record.unpack_from(blob, at))
            at += record_size
    return found
