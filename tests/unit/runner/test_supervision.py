"""A process and its child: whatever ends the one ends the other, and nothing is told twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kinety.testing.wait import wait_until

SOON = 10.0


@contextmanager
def supervising(child: str) -> Iterator[subprocess.Popen[str]]:
    """A process whose child runs these lines of Python, once the child has printed a line."""
    indented = "\n".join(f"    {line}" for line in child.splitlines())
    program = f"""
import os, signal, sys, time
from kinety.runner.supervision import end_like, supervise
def start():
{indented}
    return 0
ended = supervise(start)
print("ended", ended.code, flush=True)
sys.exit(end_like(ended.code))
"""
    command = [sys.executable, "-c", program]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with process:
        try:
            yield process
        finally:
            process.kill()


def begun(process: subprocess.Popen[str]) -> str:
    """The line that the child prints when it has begun."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.mark.parametrize(("line", "code"), [("return 7", 7), ("os._exit(3)", 3), ("pass", 0)])
def test_a_status_is_the_childs(line: str, code: int) -> None:
    with supervising(line) as process:
        assert process.communicate(timeout=SOON) == (f"ended {code}\n", "")
        assert process.returncode == code


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGSEGV, signal.SIGINT, 40])
def test_a_signal_that_ends_the_child_ends_the_parent(number: int) -> None:
    with supervising(f"os.kill(os.getpid(), {int(number)})") as process:
        assert process.communicate(timeout=SOON) == (f"ended {-number}\n", "")
        assert process.returncode == -number


def test_an_error_nobody_foresaw_is_shown() -> None:
    with supervising("raise LookupError('lost')") as process:
        printed, errors = process.communicate(timeout=SOON)
        assert (printed, process.returncode) == ("ended 125\n", 125)
        assert "LookupError: lost" in errors


def test_the_child_begins_with_the_signals_that_a_command_expects() -> None:
    mask = (
        "print([each for each in open('/proc/self/status') if each[:6] in ('SigBlk', 'SigIgn')], flush=True)"
    )
    here = subprocess.run(
        ["grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status"], capture_output=True, text=True, check=True
    )
    with supervising(mask) as process:
        assert begun(process) == str(here.stdout.splitlines(keepends=True))


def test_signals_of_the_parent_are_the_childs_and_none_is_lost() -> None:
    seen = "seen = []\n"
    seen += "for n in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP, signal.SIGINT, signal.SIGTERM):\n"
    seen += "    signal.signal(n, lambda n, f: seen.append(n))\n"
    seen += "print('begun', flush=True)\n"
    seen += "while len(seen) < 5: time.sleep(0.01)\n"
    seen += "print(*sorted(map(int, seen)), flush=True)"
    with supervising(seen) as process:
        assert begun(process) == "begun"
        for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
            process.send_signal(number)
        assert process.communicate(timeout=SOON)[0] == "1 2 10 12 15\nended 0\n"


def test_the_child_is_killed_with_the_parent() -> None:
    with supervising("print(os.getpid(), flush=True); time.sleep(60)") as process:
        child = Path("/proc", begun(process))
        process.kill()
        process.wait(SOON)
        wait_until(lambda: not child.exists(), SOON)


def test_what_the_caller_ignores_stays_ignored() -> None:
    program = 'trap \'\' HUP INT; exec "$0" "$@"'
    child = "import signal; from kinety.runner.supervision import supervise;"
    child += " supervise(lambda: print(signal.getsignal(1), signal.getsignal(2), flush=True) or 0)"
    printed = subprocess.check_output(["sh", "-c", program, sys.executable, "-c", child], text=True)
    assert printed.split() == ["Handlers.SIG_IGN"] * 2 or printed.split() == ["1", "1"]


def test_a_child_that_stops_is_waited_for() -> None:
    with supervising("print(os.getpid(), flush=True); time.sleep(0.01); return 9") as process:
        child = int(begun(process))
        os.kill(child, signal.SIGSTOP)
        os.kill(child, signal.SIGCONT)
        assert process.wait(SOON) == 9
