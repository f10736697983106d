"""Which redirect a node gets: the one that is asked for, or what there is instead of it.

``sk_assign`` needs a program of a kind that the kernel asks for sockets (``sk_lookup``, in Linux 5.9, after
the function that gives packets their socket). Where there is none, nftables does the same work. Where that
is missing, too, flows cannot be led to proxies. ``nat`` needs one of a kind that answers in the kernel's
place (Linux 5.3), and ``sockmap`` a kernel that counts what a socket has not read (`sockmap`), as some do
that are older than links to maps of sockets (6.10); both need cgroups of version 2. Elsewhere they are
``sk_assign``.
"""

import os
import shutil
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from kinety.abi import Redirect
from kinety.kernel.link import Link
from kinety.kernel.map import Map
from kinety.kernel.program import Program
from kinety.kernel.spec import MapSpec, ProgramSpec
from kinety.kernel.uapi import AttachType, MapType, ProgramType

from .proxy_cgroup import cgroup_root
from .sockmap import require_counts

#: ``r0 = 1; exit``: let the kernel look, or answer, for itself.
_PASS = struct.pack("<BBhi", 0xB7, 0, 0, 1) + struct.pack("<BBhi", 0x95, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class RedirectChoice:
    """A redirect, and why it is not the one that was asked for; empty when it is."""

    redirect: Redirect
    why: str = ""


def choose_redirect(wanted: Redirect) -> RedirectChoice:
    """What this node can do of what is asked for. Loads programs of two instructions; nobody meets one."""
    chosen = RedirectChoice(wanted)
    name = wanted.name.lower()
    if wanted in _NEEDS and (problem := _problem(_NEEDS[wanted])):
        chosen = RedirectChoice(Redirect.SK_ASSIGN, f"not {name}: {problem}")
    if wanted not in (Redirect.NONE, Redirect.TPROXY) and (problem := _problem(_choose_sockets)):
        chosen = RedirectChoice(Redirect.TPROXY, f"not {name}: {problem}")
    if chosen.redirect is Redirect.TPROXY and shutil.which("nft") is None:
        why = "tproxy needs the program nft: install the package nftables"
        return RedirectChoice(Redirect.NONE, f"{chosen.why}; {why}" if chosen.why else why)
    return chosen


def _problem(attempt: Callable[[], object]) -> str:
    """What the kernel, or somebody in its name, complains of; empty when it can."""
    try:
        attempt()
    except OSError as error:
        return error.strerror or str(error)
    return ""


@contextmanager
def _needing(what: str) -> Iterator[None]:
    """Names what the kernel does not have, where it says only that something is not right."""
    try:
        yield
    except OSError as error:
        raise OSError(f"this kernel has no {what} ({error.strerror or error})") from error


def _choose_sockets() -> None:
    with _needing("sk_lookup programs"):
        _load(ProgramType.SK_LOOKUP, AttachType.SK_LOOKUP).close()


def _answer_for_the_kernel() -> None:
    if not os.access(root := cgroup_root(), os.W_OK):
        raise OSError(f"no cgroup can be made in {root}")
    with _needing("programs that answer getsockopt"):
        _load(ProgramType.CGROUP_SOCKOPT, AttachType.CGROUP_GETSOCKOPT).close()


def _carry_messages() -> None:
    require_counts()
    cgroup_root()
    with (
        _needing("links to maps of sockets"),
        Map.create(MapSpec("probe", MapType.SOCKHASH, 4, 4, 1)) as sockets,
        _load(ProgramType.SK_MSG, AttachType.SK_MSG_VERDICT) as program,
    ):
        Link.attach_map(program, sockets, AttachType.SK_MSG_VERDICT).close()


#: Of redirects that have ``sk_assign`` to fall back to.
_NEEDS: dict[Redirect, Callable[[], object]] = {
    Redirect.NAT: _answer_for_the_kernel,
    Redirect.SOCKMAP: _carry_messages,
}


def _load(type: ProgramType, attach_type: AttachType) -> Program:
    probe = ProgramSpec("probe", "probe", type, attach_type, _PASS, (), b"", b"", "GPL")
    return Program.load(probe, {})
