"""What files of the run directory have in common: they are root's alone, whole, of one boot and version."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

_BOOT = Path("/proc/sys/kernel/random/boot_id")


def stamp(version: int) -> dict[str, Any]:
    """Says that something was written by this version in this boot."""
    return {"format": version, "boot": _BOOT.read_text().strip()}


def is_current(document: Mapping[str, Any], version: int) -> bool:
    """Whether something stamped is of this version and boot. Raises KeyError or TypeError without a stamp."""
    return {key: document[key] for key in ("format", "boot")} == stamp(version)


def fresh(path: Path) -> Path:
    """Where a file is written before it takes the place of what there was."""
    return path.with_name(f"{path.name}.new")


def opened(path: Path) -> IO[str]:
    """A new file to write, for nobody else to read. Raises OSError."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w")


def damaged(path: Path, error: Exception) -> ValueError:
    """The complaint about a file that is none of ours."""
    return ValueError(f"{path} is damaged ({error!r}); remove it, the agent writes it anew")
