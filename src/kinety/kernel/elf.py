"""What a loader needs of an ELF file of the compiler: sections, symbols and relocations."""

import sys
from dataclasses import dataclass
from io import BytesIO
from typing import Self

from elftools.common.exceptions import ELFError
from elftools.construct import ConstructError
from elftools.elf.elffile import ELFFile
from elftools.elf.relocation import RelocationSection
from elftools.elf.sections import SymbolTableSection

_MACHINE = "EM_BPF"
_EXECUTABLE = 4
_ZEROS_LIMIT = 1 << 26
#: What the ELF library raises for bytes that make no sense, besides errors of its own.
_NONSENSE = (ArithmeticError, AttributeError, IndexError, KeyError, TypeError, UnicodeDecodeError)


@dataclass(frozen=True, slots=True)
class Section:
    """One section. ``data`` is all zero for those the file holds no bytes of; ``size`` is in bytes."""

    index: int
    name: str
    data: bytes
    executable: bool

    @property
    def size(self) -> int:
        """Bytes."""
        return len(self.data)


@dataclass(frozen=True, slots=True)
class Symbol:
    """One symbol. ``section`` is an index, None when another file should have defined it."""

    name: str
    section: int | None
    offset: int
    size: int
    kind: str
    local: bool


@dataclass(frozen=True, slots=True)
class Relocation:
    """A place in a section, in bytes, that refers to a symbol. ``type`` is R_BPF_*."""

    offset: int
    type: int
    symbol: Symbol


@dataclass(frozen=True, slots=True)
class ElfObject:
    """A relocatable BPF object, read and checked."""

    sections: tuple[Section, ...]
    symbols: tuple[Symbol, ...]
    relocations: dict[int, tuple[Relocation, ...]]

    @classmethod
    def parse(cls, elf: bytes) -> Self:
        """Read an object. Raises ValueError when it is no BPF object, of the other byte order, or cut off."""
        try:
            file = ELFFile(BytesIO(elf))
            _check(file)
            return cls(*_read(file, len(elf)))
        except (ELFError, ConstructError, *_NONSENSE) as error:
            raise ValueError(f"not a readable ELF object ({len(elf)} bytes): {error}") from error

    def section(self, name: str) -> Section | None:
        """The section of that name."""
        return next((section for section in self.sections if section.name == name), None)


def _check(file: ELFFile) -> None:
    header = file.header
    if header.e_machine != _MACHINE or header.e_type != "ET_REL" or file.elfclass != 64:
        raise ValueError(
            f"not a BPF object: machine {header.e_machine}, type {header.e_type}, {file.elfclass} bits; "
            f"wanted {_MACHINE}, ET_REL, 64"
        )
    if file.little_endian != (sys.byteorder == "little"):
        raise ValueError(f"BPF object of the other byte order than this machine's ({sys.byteorder})")


def _read(
    file: ELFFile, length: int
) -> tuple[tuple[Section, ...], tuple[Symbol, ...], dict[int, tuple[Relocation, ...]]]:
    sections = []
    table: SymbolTableSection | None = None
    links: list[RelocationSection] = []
    for index, part in enumerate(file.iter_sections()):
        sections.append(_section(index, part, length))
        if isinstance(part, SymbolTableSection):
            table = part
        elif isinstance(part, RelocationSection) and not part.name.startswith((".rel.debug", ".rel.BTF")):
            links.append(part)
    if table is None:
        raise ValueError("BPF object without a symbol table; it was stripped too far")
    symbols = tuple(_symbol(symbol, sections) for symbol in table.iter_symbols())
    relocations = {
        link.header.sh_info: tuple(_relocation(link, entry, symbols) for entry in link.iter_relocations())
        for link in links
    }
    return tuple(sections), symbols, relocations


# The type checker cannot see into the ELF library, so what comes from it is typed as object here.
def _section(index: int, part: object, length: int) -> Section:
    header = part.header  # type: ignore[attr-defined]
    name: str = part.name  # type: ignore[attr-defined]
    size: int = header.sh_size
    if header.sh_type == "SHT_NOBITS":
        if size > _ZEROS_LIMIT:
            raise ValueError(f"section {name!r} wants {size} bytes of zeros, at most {_ZEROS_LIMIT} are sane")
        data = bytes(size)
    else:
        if index and header.sh_offset + size > length:
            raise ValueError(f"ELF object cut off at {length} bytes, inside section {name!r}")
        data = part.data() if index else b""  # type: ignore[attr-defined]
    return Section(index, name, data, bool(header.sh_flags & _EXECUTABLE))


def _relocation(link: RelocationSection, entry: object, symbols: tuple[Symbol, ...]) -> Relocation:
    offset, number = entry["r_offset"], entry["r_info_sym"]  # type: ignore[index]
    if number >= len(symbols):
        section = link.name.removeprefix(".rel")
        raise ValueError(
            f"section {section!r}: relocation at byte {offset} against symbol {number}, of {len(symbols)}"
        )
    return Relocation(offset, entry["r_info_type"], symbols[number])  # type: ignore[index]


def _symbol(symbol: object, sections: list[Section]) -> Symbol:
    entry = symbol.entry  # type: ignore[attr-defined]
    name: str = symbol.name  # type: ignore[attr-defined]
    section = entry.st_shndx if isinstance(entry.st_shndx, int) else None
    kind: str = entry.st_info.type
    if section is not None and (
        section >= len(sections) or entry.st_value + entry.st_size > sections[section].size
    ):
        raise ValueError(f"symbol {name!r} lies outside its section {section}")
    if not name and kind == "STT_SECTION" and section is not None:
        name = sections[section].name
    return Symbol(name, section, entry.st_value, entry.st_size, kind, entry.st_info.bind == "STB_LOCAL")
