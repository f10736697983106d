"""An agent where something is not as on this machine: ``python -m tests.e2e.other_kernel WHAT OPTIONS…``.

``without-tcx``        the kernel knows no tcx links, as before Linux 6.6
``without-netfilter``  it has no programs of netfilter's, as before Linux 6.4
``that-refuses``       its verifier refuses one of the programs
"""

from __future__ import annotations

import ctypes
import errno
import sys
from unittest.mock import patch

from kinety.agent.__main__ import main
from kinety.datapath import template
from kinety.kernel import syscall
from kinety.kernel.uapi import AttachType, Command, ProgramType
from tests.broken_object import refused_by_the_verifier

TCX = (AttachType.TCX_INGRESS, AttachType.TCX_EGRESS)
_call = syscall.call


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


OTHERS = {
    "without-netfilter": lambda: patch.object(syscall, "call", without_netfilter),
    "without-tcx": lambda: patch.object(syscall, "call", without_tcx),
    "that-refuses": lambda: patch.object(
        template, "packaged_object", lambda: refused_by_the_verifier(packaged)
    ),
}

if __name__ == "__main__":
    packaged = template.packaged_object()
    with OTHERS[sys.argv.pop(1)]():
        sys.exit(main())
