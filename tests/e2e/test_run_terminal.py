"""``kinety run`` at a terminal: Ctrl-C, Ctrl-Z and a shell's job control, as without it."""

import os
import pty
import select
import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from kinety.testing.wait import wait_until
from tests.e2e.real_node import SOON, START, Node
from tests.e2e.test_run import STARS, names, words

pytestmark = pytest.mark.needs("root", "bpf", "netns", "bpffs", "nft", "objects", "ip")

SHELL = ("bash", "--norc", "--noediting", "-i")


#: A command that says that it has begun, which the line it is typed in does not, and then does something.
BEGUN = ("sh", "-c", 'echo be$0; eval "$1"', "gun")


class Terminal:
    """A terminal with a command in it, whose session it is. Make one with `terminal`."""

    def __init__(self, *command: str) -> None:
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            os.environ["PS1"] = "> "
            os.execvp(command[0], command)
        self._printed = ""
        self._ended = False

    def type(self, text: str) -> None:
        """Press keys."""
        os.write(self._fd, text.encode())

    def shows(self, text: str) -> str:
        """Wait until a text appears, and return all that did up to it; what follows is for the next call."""
        wait_until(lambda: self._more() or text in self._printed, START, f"{text!r} in {self._printed!r}")
        shown, _, self._printed = self._printed.partition(text)
        return shown

    def _more(self) -> bool:
        """Take what has been printed; never true, so that it can be asked on the way."""
        while select.select([self._fd], [], [], 0)[0]:
            try:
                self._printed += os.read(self._fd, 4096).decode()
            except OSError:  # nobody is at the other side any more
                break
        return False

    def end(self) -> int:
        """Wait for the command and return its exit code."""
        _, status = wait_until(self._waited_for, SOON, "the command ends")
        self._ended = True
        return os.waitstatus_to_exitcode(status)

    def _waited_for(self) -> tuple[int, int] | None:
        ended = os.waitpid(self.pid, os.WNOHANG)
        return ended if ended[0] else None

    def close(self) -> None:
        """Hang up; a command that has not ended is killed."""
        if not self._ended:
            os.kill(self.pid, signal.SIGKILL)
            self.end()
        os.close(self._fd)


@contextmanager
def terminal(*command: str) -> Iterator[Terminal]:
    """A terminal while the block runs."""
    opened = Terminal(*command)
    try:
        yield opened
    finally:
        opened.close()


@contextmanager
def shell() -> Iterator[Terminal]:
    """A shell at a terminal, which is left in the end."""
    with terminal(*SHELL) as opened:
        opened.shows("> ")
        yield opened
        opened.type("exit 0\n")
        assert opened.end() == 0


def line(node: Node, *rest: str) -> str:
    """``kinety run REST…`` as one types it."""
    return shlex.join(words(node, *rest))


def test_an_interrupt_comes_once(shared: Node) -> None:
    """Both processes get it from the terminal; a second would come from the first of them."""
    count = "import signal, sys, time; seen = []; signal.signal(2, lambda n, f: seen.append(n));"
    count += "print('begun', sys.stdin.isatty(), flush=True); time.sleep(0.5); time.sleep(0.5);"
    count += "print('there were', len(seen), 'interrupts')"
    with terminal(*words(shared, "--", sys.executable, "-c", count)) as opened:
        opened.shows("begun True")
        opened.type("\x03")
        assert opened.shows(" interrupts").endswith("there were 1")
        assert opened.end() == 0


def test_an_interrupt_ends_the_shells_loop(shared: Node) -> None:
    """A shell goes on with its loop unless the command died of the signal."""
    with shell() as opened:
        opened.type(f"while true; do {line(shared, '--', *BEGUN, 'exec sleep 60')}; done\n")
        opened.shows("begun")
        opened.type("\x03")
        opened.shows("> ")
        opened.type("echo status $?\n")
        opened.shows("status 130")
    assert names(shared) == STARS


def test_it_is_stopped_and_continued(shared: Node) -> None:
    with shell() as opened:
        opened.type(line(shared, "--", *BEGUN, "read -r said; echo got $said") + "\n")
        opened.shows("begun")
        opened.type("\x1a")
        opened.shows("Stopped")
        opened.shows("> ")
        opened.type("fg\n")
        opened.shows("read -r said")
        opened.type("this\n")
        opened.shows("got this")
        opened.shows("> ")
    assert names(shared) == STARS


def test_a_shell_in_it_has_job_control(shared: Node) -> None:
    with terminal(*words(shared, "--", *SHELL)) as opened:
        opened.shows("> ")
        opened.type(shlex.join([*BEGUN, "exec sleep 60"]) + "\n")
        opened.shows("begun")
        opened.type("\x1a")
        opened.shows("Stopped")
        opened.shows("> ")
        opened.type("fg\n")
        opened.shows("exec sleep")
        opened.type("\x03")
        opened.shows("> ")
        opened.type("exit 5\n")
        assert opened.end() == 5
    assert names(shared) == STARS
