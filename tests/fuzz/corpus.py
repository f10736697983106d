"""Inputs that are kept: what each is for is its name, and ``read-`` or ``refused-`` what becomes of it."""

from __future__ import annotations

from pathlib import Path

from kinety.kernel.elf import ElfObject
from tests.feature import ROOT

CORPUS = ROOT / "tests/corpus"
OBJECTS = ROOT / "src/kinety/bpf"
#: The section of an object that a target reads; the others read the whole.
SECTIONS = {"btf": ".BTF", "definitions": ".BTF", "btf_ext": ".BTF.ext"}
OF_OBJECTS = ("elf", "collection", *SECTIONS)


def kept(target: str, become: str = "") -> list[Path]:
    """A target's inputs, all or those that are ``read`` or ``refused``."""
    return sorted((CORPUS / target).glob(f"{become}*.bin"))


def of_our_objects(target: str) -> list[bytes]:
    """What a target reads of the datapath's objects, as far as they are compiled."""
    if target not in OF_OBJECTS:
        return []
    whole = [path.read_bytes() for path in sorted(OBJECTS.glob("*.o"))]
    if target not in SECTIONS:
        return whole
    sections = [ElfObject.parse(each).section(SECTIONS[target]) for each in whole]
    return [section.data for section in sections if section]
