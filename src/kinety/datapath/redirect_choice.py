"""Which redirect a node gets: the one that is asked for, or what there is instead of it.

``sk_assign`` needs a program of a kind that the kernel asks for sockets (``sk_lookup``, in Linux 5.9, after
the function that gives packets their socket). Where there is none, nftables does the same work. Where that
is missing, too, flows cannot be led to proxies. ``sockmap`` needs a kernel that counts what a socket has not
read (`sockmap`); on others it is ``sk_assign``.
"""

import shutil
import struct
from dataclasses import dataclass

from kinety.abi import Redirect
from kinety.kernel.program import Program
from kinety.kernel.spec import ProgramSpec
from kinety.kernel.uapi import AttachType, ProgramType

from .proxy_cgroup import cgroup_root
from .sockmap import require_counts

#: ``r0 = 1; exit``: let the kernel look for itself.
_PASS = struct.pack("<BBhi", 0xB7, 0, 0, 1) + struct.pack("<BBhi", 0x95, 0, 0, 0)
_PROBE = ProgramSpec(
    "probe", "sk_lookup", ProgramType.SK_LOOKUP, AttachType.SK_LOOKUP, _PASS, (), b"", b"", "GPL"
)


@dataclass(frozen=True, slots=True)
class RedirectChoice:
    """A redirect, and why it is not the one that was asked for; empty when it is."""

    redirect: Redirect
    why: str = ""


def choose_redirect(wanted: Redirect) -> RedirectChoice:
    """What this node can do of what is asked for. Loads a program of two instructions; attaches nothing."""
    chosen = RedirectChoice(wanted)
    if wanted is Redirect.SOCKMAP and (problem := _cannot_count()):
        chosen = RedirectChoice(Redirect.SK_ASSIGN, f"not sockmap: {problem}")
    if wanted not in (Redirect.NONE, Redirect.TPROXY) and (problem := _cannot_choose_sockets()):
        why = f"not {wanted.name.lower()}: this kernel has no sk_lookup programs ({problem})"
        chosen = RedirectChoice(Redirect.TPROXY, why)
    if chosen.redirect is Redirect.TPROXY and shutil.which("nft") is None:
        why = "tproxy needs the program nft: install the package nftables"
        return RedirectChoice(Redirect.NONE, f"{chosen.why}; {why}" if chosen.why else why)
    return chosen


def _cannot_count() -> str:
    """What is missing to bound what sockets have to read; empty when nothing is."""
    try:
        require_counts()
        cgroup_root()
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _cannot_choose_sockets() -> str:
    """What the kernel complains of; empty when it can."""
    try:
        Program.load(_PROBE, {}).close()
    except OSError as error:
        return error.strerror or str(error)
    return ""
