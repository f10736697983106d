"""BPF objects compiled for the door's tests, and the namespace and file system they may use."""

from __future__ import annotations

import os
import platform
import secrets
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kinety.kernel import bpffs
from kinety.kernel.elf import ElfObject
from kinety.kernel.namespace import Namespace
from kinety.kernel.spec import CollectionSpec
from tests.feature import ROOT

OBJECTS = Path(__file__).parent / "objects"
FLAGS = ["-O2", "-g", "-Wall", "-Werror", "-target", "bpf", "-mcpu=v3"]

Compiler = Callable[[str], bytes]


def compiled(source: Path, target: Path, *flags: str) -> bytes:
    """What clang and strip make of a source, as the Makefile calls them."""
    include = f"-I/usr/include/{platform.machine()}-linux-gnu"
    command = ["clang-14", *FLAGS, *flags, include, "-c", str(source), "-o", str(target)]
    subprocess.run(command, check=True)
    subprocess.run(["llvm-strip-14", "--strip-debug", str(target)], check=True)
    return target.read_bytes()


@pytest.fixture(scope="session")
def door_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled door.bpf.c."""
    target = tmp_path_factory.mktemp("objects") / "door.o"
    compiled(OBJECTS / "door.bpf.c", target)
    return target


@pytest.fixture(scope="session")
def door_elf(door_path: Path) -> bytes:
    return door_path.read_bytes()


@pytest.fixture(scope="session")
def door(door_elf: bytes) -> CollectionSpec:
    return CollectionSpec.parse(door_elf)


@pytest.fixture
def compile_c(tmp_path: Path) -> Compiler:
    """Compile a few lines after the usual includes."""

    def compile_text(text: str) -> bytes:
        source = tmp_path / "text.bpf.c"
        headers = ("linux/bpf.h", "linux/pkt_cls.h", "bpf/bpf_helpers.h")
        includes = "".join(f"#include <{name}>\n" for name in headers)
        source.write_text(f'{includes}{text}\nchar _license[] SEC("license") = "GPL";\n')
        return compiled(source, tmp_path / "text.o")

    return compile_text


@pytest.fixture
def pins(tmp_path: Path) -> Iterator[Path]:
    """A BPF file system of the test's own."""
    directory = tmp_path / "pins"
    bpffs.mount(directory)
    try:
        yield directory
    finally:
        bpffs.unmount(directory)


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    made = Namespace.create(f"kt-{os.getpid()}-{secrets.token_hex(4)}")
    try:
        yield made
    finally:
        made.remove()


@pytest.fixture(scope="session")
def resident() -> ElfObject:
    """The object with the programs of a node."""
    return ElfObject.parse((ROOT / "src/kinety/bpf/endpoint.o").read_bytes())
