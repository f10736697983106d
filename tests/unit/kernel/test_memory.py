"""Free memory between used memory goes back to the kernel."""

from pathlib import Path

from kinety.kernel.memory import give_back

COUNT, SIZE = 4096, 8000  # bytes: larger than what the interpreter keeps itself, smaller than a mapping


def test_pages_that_are_free_go_back() -> None:
    kept = [bytes(SIZE) for _ in range(COUNT)]
    full = resident()
    kept = kept[::64]  # free memory is everywhere, and what is used lies between
    give_back()
    assert resident() < full - COUNT * SIZE // 2
    assert len(kept) == COUNT // 64


def resident() -> int:
    """Bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) * 1024
