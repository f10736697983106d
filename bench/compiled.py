"""The programs that benchmarks run in the kernel beside Kinety's own: compiled from bench/bpf."""

from __future__ import annotations

import subprocess
from pathlib import Path

from kinety.datapath.generations.compile import COMPILER, FLAGS
from kinety.kernel.spec import CollectionSpec

__all__ = ["compiled", "compiled_with"]

ROOT = Path(__file__).resolve().parent.parent
OBJECTS = ROOT / "build" / "bench"
STRIP = "llvm-strip-14"


def compiled(name: str) -> CollectionSpec:
    """What bench/bpf/NAME.bpf.c became. Raises FileNotFoundError with what to do."""
    path = OBJECTS / f"{name}.o"
    try:
        return CollectionSpec.parse(path.read_bytes())
    except FileNotFoundError as error:
        error.add_note(f"run `make {path.relative_to(ROOT)}`")
        raise


def compiled_with(name: str, target: Path, **definitions: int) -> None:
    """Compile bench/bpf/NAME.bpf.c anew, with numbers of its own, as the Makefile would."""
    numbers = [f"-D{name}={value}" for name, value in definitions.items()]
    source = ROOT / "bench/bpf" / f"{name}.bpf.c"
    subprocess.run([COMPILER, *FLAGS, f"-I{ROOT / 'bpf'}", *numbers, "-c", source, "-o", target], check=True)
    subprocess.run([STRIP, "--strip-debug", target], check=True)
