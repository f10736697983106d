"""The cgroup of a node's proxies, where the redirect ``nat`` tells them whom a client had asked.

Who is in it is the caller's business: a process that enters it before it makes its sockets. Source:
cgroups(7), proc(5).
"""

import contextlib
import hashlib
import re
from pathlib import Path

from kinety.abi import Redirect

from .settings import Settings

_MOUNTS = Path("/proc/self/mountinfo")
_TYPE, _TOPMOST = "cgroup2", "/"
#: How spaces and the like are written there.
_ESCAPED = re.compile(r"\\([0-7]{3})")
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
        *_, top, place = fields.split()[:5]
        if rest.split()[0] == _TYPE and top == _TOPMOST:
            return Path(_ESCAPED.sub(lambda found: chr(int(found[1], 8)), place))
    raise OSError("no cgroups of version 2 are mounted")


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
