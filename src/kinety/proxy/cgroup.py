"""A command that enters a cgroup before it is what it is: its sockets are of the one they are made in.

Source: cgroups(7). The process that is started keeps its number.
"""

from collections.abc import Sequence
from pathlib import Path

_ENTER = 'echo $$ >"$1" && shift && exec "$@"'


def inside(cgroup: Path | None, command: Sequence[str]) -> list[str]:
    """The command, in a cgroup by its directory; as it is without one."""
    if cgroup is None:
        return list(command)
    return ["sh", "-c", _ENTER, "sh", str(cgroup / "cgroup.procs"), *command]
