"""The programs that benchmarks run in the kernel beside Kinety's own: compiled from bench/bpf."""

from __future__ import annotations

from pathlib import Path

from kinety.kernel.spec import CollectionSpec

__all__ = ["compiled"]

OBJECTS = Path(__file__).resolve().parent.parent / "build" / "bench"


def compiled(name: str) -> CollectionSpec:
    """What bench/bpf/NAME.bpf.c became. Raises FileNotFoundError with what to do."""
    path = OBJECTS / f"{name}.o"
    try:
        return CollectionSpec.parse(path.read_bytes())
    except FileNotFoundError as error:
        error.add_note(f"run `make {path.relative_to(OBJECTS.parent.parent)}`")
        raise
