"""Take a proxy's place: ``python -m bench.layer7_place PORT CGROUP COMMAND…``.

Makes the sockets of a listener as a proxy does, in the proxy's control group, and becomes a command that
finds them as nginx hands its own to its successor. Source: ngx_add_inherited_sockets in nginx.c.
"""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

__all__ = ["LOOPBACK", "cgroup_of"]

LOOPBACK = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}
#: IP_TRANSPARENT and IPV6_TRANSPARENT. Source: linux/in.h, linux/in6.h.
_TRANSPARENT = {socket.AF_INET: (socket.IPPROTO_IP, 19), socket.AF_INET6: (socket.IPPROTO_IPV6, 75)}
_BACKLOG = 4096
#: Where control groups of the second version are, alone or beside those of the first. Source: cgroups(7).
_MOUNTS = (Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup"))


def cgroup_of(pid: int) -> Path:
    """The control group that a process is in."""
    path = Path(f"/proc/{pid}/cgroup").read_text().rpartition("0::/")[2].splitlines()[0]
    return next(each for each in _MOUNTS if (each / "cgroup.procs").exists()) / path


def listener(family: socket.AddressFamily, port: int) -> socket.socket:
    """A socket as a proxy listens on."""
    made = socket.socket(family, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.setsockopt(*_TRANSPARENT[family], 1)
    made.bind((LOOPBACK[family], port))
    made.listen(_BACKLOG)
    made.set_inheritable(True)
    return made


def main(port: int, cgroup: Path, command: list[str]) -> None:
    """Does not return."""
    (cgroup / "cgroup.procs").write_text(str(os.getpid()))
    numbers = [listener(family, port).detach() for family in LOOPBACK]
    os.execvpe(command[0], command, os.environ | {"NGINX": "".join(f"{number};" for number in numbers)})


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
