"""Processes that others started."""

from contextlib import suppress
from pathlib import Path


def family(pid: int) -> set[int]:
    """A process, and all that it and these have started and that still run."""
    found = {pid}
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found |= family(int(child))
    return found
