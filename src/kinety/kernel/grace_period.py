"""Grace periods of RCU, hurried for a while.

Some requests wait for grace periods while they hold the kernel's network lock: each of an interface's tcx
hooks, when the interface goes, for 12 ms (synchronize_rcu in tcx_uninstall, kernel/bpf/tcx.c; measured on
v6.18). A hundred interfaces are 2.4 s, in which nobody on the node may change an interface. A hurried grace
period takes less than 0.1 ms, and an interrupt of each processor. The kernel has one switch for all of them.

Source: Documentation/RCU/checklist.rst and kernel-parameters.txt (rcupdate.rcu_expedited) of the kernel.
"""

import os
import threading
from contextlib import suppress
from pathlib import Path

_SWITCH = Path("/sys/kernel/rcu_expedited")
#: Is there while the switch is on because of us, also when whoever put it on was killed.
_MARK = Path("/run/kinety-grace-periods-hurried")
_ON, _OFF = b"1", b"0"


class Hurry:
    """Grace periods are hurried while somebody is in the ``with`` block; as they were set, afterwards.

    Nothing happens where the switch is not there or may not be changed, nor where the operator has it on.
    What one that was killed has left on is put off by the next.
    """

    def __init__(self, switch: Path = _SWITCH, mark: Path = _MARK) -> None:
        self._switch = switch
        self._mark = mark
        self._lock = threading.Lock()
        self._users = 0
        self._ours = False

    def __enter__(self) -> None:
        with self._lock:
            self._users += 1
            if self._users == 1:
                with suppress(OSError):
                    off = self._switch.read_bytes().strip() == _OFF
                    if off:
                        self._mark.touch(0o600)
                        self._set(_ON)
                    self._ours = off or self._mark.exists()

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._users -= 1
            if self._users == 0 and self._ours:
                self._ours = False
                with suppress(OSError):
                    self._set(_OFF)
                    self._mark.unlink(missing_ok=True)

    def _set(self, value: bytes) -> None:
        descriptor = os.open(self._switch, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(descriptor, value)
        finally:
            os.close(descriptor)
