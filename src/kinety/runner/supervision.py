"""A child that stands for its parent: it gets the parent's signals, and the parent ends as it did.

Both are in one process group, so that the terminal stays what it was: the kernel sends Ctrl-C, Ctrl-Z
and changes of the window's size to both, and job control stops and continues both. A signal that the
kernel sent is therefore not passed on; one that a process sent to the parent alone is. They are told
apart by ``si_code`` (sigaction(2)), which only sigwaitinfo(2) shows: signals are blocked and waited for,
never handled, and there is no moment in which one could be lost or interrupt anything.

The parent does nothing else. Whatever may fail or take its time is done in the child, before it becomes
the command; there a signal ends it like any process.
"""

import os
import resource
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

from kinety.kernel import libc

#: What `supervise` has the child end with when it fails for a reason that nobody foresaw.
FAILED = 125
#: ``si_code`` of what the kernel sends: a terminal's signals. Source: asm-generic/siginfo.h, SI_KERNEL.
_BY_THE_KERNEL = 0x80
#: Python ignores these, and a command expects not to.
_IGNORED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)
#: Signals that are about the process that they are sent to, or that stop and continue a whole group.
_OWN = {
    signal.SIGKILL, signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU, signal.SIGCONT,
    signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGTRAP, signal.SIGABRT,
    signal.SIGSYS, signal.SIGPIPE, signal.SIGXFSZ, signal.SIGCHLD,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Ended:
    """The child that was: its process number, and its exit status or minus the signal that ended it."""

    pid: int
    code: int


def supervise(start: Callable[[], int]) -> Ended:
    """Run ``start`` in a child and return when it has ended.

    ``start`` becomes another program, or returns the status to end with. The child is killed when this
    process dies. Signals stay blocked afterwards: the caller is about to end, see `end_like`.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    watched = (signal.valid_signals() - _OWN) | {signal.SIGCHLD}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, watched)
    parent = os.getpid()
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        _be_the_child(start, parent, mask)
    while True:
        found = signal.sigwaitinfo(watched)
        if found.si_signo == signal.SIGCHLD:
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                return Ended(child, os.waitstatus_to_exitcode(status))
        elif found.si_code != _BY_THE_KERNEL:
            os.kill(child, found.si_signo)


def die_with(parent: int) -> None:
    """Be killed when the parent dies, whose process this is; at once if it is dead already.

    To be said again after a change of user, which the kernel lets cancel it.
    """
    libc.set_parent_death_signal(signal.SIGKILL)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def end_like(code: int) -> int:
    """The exit status to end with; does not return where a signal ended the child, and ends by it, too.

    To a shell that is 128 + its number. Shells and service managers look closer: Ctrl-C ends a loop of
    commands only where a command died of it, and a service that died of SIGTERM has not failed.
    """
    if code >= 0:
        return code
    number = signal.Signals(-code) if -code in {*signal.Signals} else -code
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # the core is the child's, if any
    if number not in (signal.SIGKILL, signal.SIGSTOP):
        signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    return 128 - code


def _be_the_child(start: Callable[[], int], parent: int, mask: set[int | signal.Signals]) -> NoReturn:
    status = FAILED
    try:
        die_with(parent)
        for number in _IGNORED_BY_PYTHON:
            signal.signal(number, signal.SIG_DFL)
        if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        status = start()
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stderr.flush()
        os._exit(status)
