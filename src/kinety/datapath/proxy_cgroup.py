"""The cgroup of a node's proxies, where the redirect ``nat`` tells them whom a client had asked.

Who is in it is the caller's business: a process that enters it before it makes its sockets. Source:
cgroups(7).
"""

import contextlib
import hashlib
from pathlib import Path

from kinety.abi import Redirect

from .settings import Settings

_MOUNTS = Path("/proc/self/mountinfo")
_TYPE = "cgroup2"
_PROCESSES = "cgroup.procs"


def proxy_cgroup(pins: Path) -> Path:
    """The directory that is, or is to be, the cgroup; one for each directory of pins.

    Raises OSError where no cgroup of version 2 is mounted.
    """
    return cgroup_root() / f"kinety-{hashlib.blake2b(str(pins).encode(), digest_size=6).hexdigest()}"


def cgroup_root() -> Path:
    """The topmost cgroup, in which everybody is. Raises OSError where no cgroup of version 2 is mounted."""
    for line in _MOUNTS.read_text().splitlines():
        fields, _, rest = line.partition(" - ")
        if rest.split()[0] == _TYPE:
            return Path(fields.split()[4])
    raise OSError("this redirect needs cgroups of version 2, and none are mounted: use another --l7-redirect")


def make_proxy_cgroup(pins: Path) -> Path:
    """The same, made when it is not there. Raises OSError."""
    found = proxy_cgroup(pins)
    found.mkdir(exist_ok=True)
    return found


def cgroup_of_proxies(settings: Settings) -> Path | None:
    """The cgroup that proxies have to be in, made when it is not there; None: any. Raises OSError."""
    if settings.redirect is not Redirect.NAT:
        return None
    return make_proxy_cgroup(settings.pins)


def enter(cgroup: Path, pid: int) -> None:
    """Have a process in a cgroup: sockets that it makes from now on are of it. Raises OSError."""
    (cgroup / _PROCESSES).write_text(str(pid))


def remove(pins: Path) -> None:
    """Remove the cgroup; one that still has processes stays."""
    with contextlib.suppress(OSError):
        proxy_cgroup(pins).rmdir()
