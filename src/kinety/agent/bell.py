"""Answers who rings at the door: does the plugin's work for a process that could not start as fast.

The work is the plugin's own code, with the agent's socket between it and the agent as if it were elsewhere.
Each ring has a thread, because that code waits; there are so many that a crowd of containers waits for the
worker and not for them. A thread of its own hears: whoever rang knows nothing of the agent's end until then.
"""

import contextlib
import logging
import os
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from threading import Thread

from kinety.api.bell import ANSWER, BELL, CONFIGURATION, HEARD, NOT_HERE, bell, holder
from kinety.cni.main import needs_own_process, run
from kinety.cni.notation import write

log = logging.getLogger(__name__)

_THREADS = 32
_RINGS_BYTES = 65536
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

    def open(self) -> None:
        """Answer, and let others know. The agent's socket must answer by now."""
        self._listener.start()
        path = holder(self._socket)
        fresh = path.with_suffix(".new")
        fresh.write_text(f"/proc/{os.getpid()}/fd/{self._fd}\n", encoding="ascii")
        fresh.replace(path)

    def close(self) -> None:
        """Answer who rang before, while the agent's socket still answers.

        The FIFO stays for the next agent, and for whoever rings at this moment.
        """
        holder(self._socket).unlink(missing_ok=True)
        os.write(self._fd, _ENOUGH + b"\n")
        self._listener.join()
        self._executor.shutdown()
        os.close(self._fd)

    def _listen(self) -> None:
        rest = b""
        while True:
            *rings, rest = (rest + os.read(self._fd, _RINGS_BYTES)).split(b"\n")
            for ring in rings:
                if ring.isdigit():
                    self._executor.submit(self._answer, int(ring))
            if _ENOUGH in rings:
                return

    def _answer(self, process: int) -> None:
        try:
            with self._visitor(process) as answer:
                os.write(answer, HEARD)
                os.write(answer, self._done(process))
        except (OSError, ValueError) as error:
            log.warning("process %d rang and cannot be answered: %s", process, error)
        except Exception:
            log.exception("could not do what process %d rang for", process)

    @contextlib.contextmanager
    def _visitor(self, process: int) -> Iterator[int]:
        """The pipe for the answer of the one who rings. Raises OSError or ValueError for anybody else."""
        held = os.stat(f"/proc/{process}/fd/{BELL}")
        if not os.path.samestat(held, self._identity):
            raise ValueError("it does not hold the bell")
        answer = os.open(f"/proc/{process}/fd/{ANSWER}", os.O_WRONLY | os.O_CLOEXEC)
        try:
            if not stat.S_ISFIFO(os.fstat(answer).st_mode):
                raise ValueError("it has no pipe for an answer")
            yield answer
        finally:
            os.close(answer)

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
