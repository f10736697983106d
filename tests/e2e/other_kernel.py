"""An agent where something is not as on this machine: ``python -m tests.e2e.other_kernel WHAT OPTIONS…``.

``without-tcx``        the kernel knows no tcx links, as before Linux 6.6
``without-netfilter``  it has no programs of netfilter's, as before Linux 6.4
``without-sk-lookup``  it cannot ask programs for sockets, as before Linux 5.9
``without-nft``        likewise, and the program nft is not there
``without-counts``     it does not count what sockets have not read, as before Linux 7.0
``without-cgroups``    no cgroups of version 2 are mounted
``that-refuses``       its verifier refuses one of the programs
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

from kinety.agent.__main__ import main
from kinety.datapath import proxy_cgroup, redirect_choice, template
from kinety.kernel import syscall
from kinety.kernel.kernel_types import KernelTypes
from kinety.kernel.uapi import AttachType, Command, ProgramType
from tests.broken_object import refused_by_the_verifier

TCX = (AttachType.TCX_INGRESS, AttachType.TCX_EGRESS)
_call = syscall.call
_which = shutil.which
_place = KernelTypes.field_offset


def without_tcx(command: Command, attributes: syscall.Attributes) -> int:
    """Refuse what an old kernel has never heard of, as it does."""
    if isinstance(attributes, syscall.CreateLink) and attributes.attach_type in TCX:
        ctypes.set_errno(errno.EINVAL)
        return -1
    return _call(command, attributes)


def without_netfilter(command: Command, attributes: syscall.Attributes) -> int:
    """Likewise."""
    if isinstance(attributes, syscall.LoadProgram) and attributes.prog_type == ProgramType.NETFILTER:
        ctypes.set_errno(errno.EINVAL)
        return -1
    return _call(command, attributes)


def without_sk_lookup(command: Command, attributes: syscall.Attributes) -> int:
    """Likewise."""
    if isinstance(attributes, syscall.LoadProgram) and attributes.prog_type == ProgramType.SK_LOOKUP:
        ctypes.set_errno(errno.EINVAL)
        return -1
    return _call(command, attributes)


def without_counts(types: KernelTypes, structure: str, field: str) -> int:
    """Likewise."""
    if field == "msg_tot_len":
        raise FileNotFoundError(errno.ENOENT, f"the kernel has no field {field} of a structure {structure}")
    return _place(types, structure, field)


@contextlib.contextmanager
def without_nft() -> Iterator[None]:
    """Both."""
    with (
        patch.object(syscall, "call", without_sk_lookup),
        patch.object(redirect_choice.shutil, "which", lambda name: None if name == "nft" else _which(name)),
    ):
        yield


OTHERS = {
    "without-netfilter": lambda: patch.object(syscall, "call", without_netfilter),
    "without-tcx": lambda: patch.object(syscall, "call", without_tcx),
    "without-sk-lookup": lambda: patch.object(syscall, "call", without_sk_lookup),
    "without-nft": without_nft,
    "without-counts": lambda: patch.object(KernelTypes, "field_offset", without_counts),
    "without-cgroups": lambda: patch.object(proxy_cgroup, "_MOUNTS", Path("/dev/null")),
    "that-refuses": lambda: patch.object(
        template, "packaged_object", lambda: refused_by_the_verifier(packaged)
    ),
}

if __name__ == "__main__":
    packaged = template.packaged_object()
    with OTHERS[sys.argv.pop(1)]():
        sys.exit(main())
