"""Answers who rings at the door: does the plugin's work for a process that could not start as fast.

The work is the plugin's own code, with the agent's socket between it and the agent as if it were elsewhere.
Each ring has a thread, because that code waits; there are so many that a crowd of containers waits for the
worker and not for them. A thread of its own hears.

Whoever rang and is not heard yet cannot see the agent end: nobody may wait for a dead one. A shell that
does nothing else sees it, and lets them all know; and an agent that starts looks for those that still wait.
"""

import logging
import os
import stat
import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from threading import Thread

from kinety.api.bell import ANSWER, BELL, CONFIGURATION, HEARD, NOT_HERE, bell, holder
from kinety.cni.main import needs_own_process, run
from kinety.cni.notation import write

log = logging.getLogger(__name__)

_THREADS = 32
_RINGS_BYTES = 65536
#: Waits for the agent's end, then has everybody who holds the bell ($1) find that nobody answers.
_GUARD = f"""
read -r _
for held in /proc/[0-9]*/fd/{BELL}; do
    [ "$held" -ef "$1" ] && echo {HEARD.decode().strip()} >"${{held%{BELL}}}{ANSWER}"
done 2>/dev/null
"""
#: No number of a process.
_ENOUGH = b"enough"


class Bell:
    """The FIFO beside the agent's socket; answers as long as it is open."""

    def __init__(self, socket: Path) -> None:
        """Take up the FIFO that a former agent left, or make one, root only. Raises OSError."""
        self._socket = socket
        path = bell(socket)
        if not _is_fifo(path):
            path.unlink(missing_ok=True)
            os.mkfifo(path, 0o600)
        # Open for writing too, so that it never ends when nobody else has it open.
        self._fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        self._identity = os.fstat(self._fd)
        self._executor = ThreadPoolExecutor(_THREADS, thread_name_prefix="kinety-bell")
        self._listener = Thread(target=self._listen, name="kinety-bell", daemon=True)
        #: Processes that were heard and have no answer yet.
        self._visitors: set[int] = set()
        self._guard: subprocess.Popen[bytes] | None = None

    def open(self) -> None:
        """Answer, and let others know. The agent's socket must answer by now. Raises OSError."""
        self._guard = subprocess.Popen(
            ["/bin/sh", "-c", _GUARD, "kinety-bell", str(bell(self._socket).absolute())],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        self._listener.start()
        path = holder(self._socket)
        fresh = path.with_suffix(".new")
        fresh.write_text(f"/proc/{os.getpid()}/fd/{self._fd}\n", encoding="ascii")
        fresh.replace(path)

    def close(self) -> None:
        """Answer who rang before, while the agent's socket still answers.

        The FIFO stays for the next agent.
        """
        holder(self._socket).unlink(missing_ok=True)
        os.write(self._fd, _ENOUGH + b"\n")
        self._listener.join()
        self._executor.shutdown()
        os.close(self._fd)
        if self._guard is not None:
            self._guard.communicate()

    def _listen(self) -> None:
        for held in Path("/proc").glob(f"[0-9]*/fd/{BELL}"):
            process = int(held.parts[2])
            if self._holds_the_bell(process):
                self._hear(process)
        rest = b""
        while True:
            *rings, rest = (rest + os.read(self._fd, _RINGS_BYTES)).split(b"\n")
            for ring in rings:
                if ring.isdigit():
                    self._hear(int(ring))
            if _ENOUGH in rings:
                return

    def _hear(self, process: int) -> None:
        """Let the one who rings know, and answer it in time."""
        if process in self._visitors:
            return
        try:
            if not self._holds_the_bell(process):
                raise ValueError("it does not hold the bell")
            answer = os.open(f"/proc/{process}/fd/{ANSWER}", os.O_WRONLY | os.O_CLOEXEC)
        except (OSError, ValueError) as error:
            log.warning("process %d rang and cannot be answered: %s", process, error)
            return
        with suppress(BrokenPipeError):  # it went away, but what it asked for is done
            os.write(answer, HEARD)
        self._visitors.add(process)
        self._executor.submit(self._answer, process, answer)

    def _holds_the_bell(self, process: int) -> bool:
        try:
            return os.path.samestat(os.stat(f"/proc/{process}/fd/{BELL}"), self._identity)
        except OSError:
            return False

    def _answer(self, process: int, answer: int) -> None:
        try:
            os.write(answer, self._done(process))
        except OSError as error:
            log.warning("process %d rang and went away: %s", process, error)
        except Exception:
            log.exception("could not do what process %d rang for", process)
        finally:
            os.close(answer)
            self._visitors.discard(process)

    def _done(self, process: int) -> bytes:
        environment = _environment(Path(f"/proc/{process}/environ").read_bytes())
        data = Path(f"/proc/{process}/fd/{CONFIGURATION}").read_bytes()
        if needs_own_process(data, str(self._socket)):
            return NOT_HERE
        status, answer = run(environment, BytesIO(data))
        return f"{status}\n{'' if answer is None else write(answer)}\n".encode()


def remove(socket: Path) -> None:
    """Remove what a bell leaves. Raises OSError."""
    for path in (bell(socket), holder(socket)):
        path.unlink(missing_ok=True)


def _is_fifo(path: Path) -> bool:
    try:
        return stat.S_ISFIFO(path.lstat().st_mode)
    except FileNotFoundError:
        return False


def _environment(block: bytes) -> dict[str, str]:
    """What proc(5) shows of a process's environment."""
    pairs = (os.fsdecode(each).partition("=") for each in block.split(b"\0") if each)
    return {key: value for key, _, value in pairs}
