"""A proxy's process: one that outlives whoever started it, and is found again.

It runs in a session of its own, with its working directory as the only one it has to reach: what is in there
it names relative to that. A shell writes down its own number and becomes the proxy, so there is no moment at
which the proxy runs and nobody has its number, whenever its starter is killed.
"""

import asyncio
import contextlib
import logging
import os
import shutil
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Self

log = logging.getLogger(__name__)

_RECORDED = """
cd "$1" && echo "$$ $(cut -d ' ' -f 22 "/proc/$$/stat") $3" >"$2.new" && mv "$2.new" "$2" && shift 3 &&
ulimit -n "$(ulimit -H -n)" && exec "$@"
"""
_CAPABILITIES = "-all,+net_raw"
#: Seconds. Who lived longer than the first is started again at once.
_SHORT_LIFE, _FIRST_PAUSE, _LONGEST_PAUSE, _GRACE = 5.0, 0.1, 5.0, 2.0


@dataclass(frozen=True, slots=True)
class _Running:
    """A process by its number and, since numbers are given again, its start; and a digest of its command."""

    pid: int
    started: str
    digest: str

    @classmethod
    def read(cls, record: Path) -> Self | None:
        """Who was written down, alive or not."""
        try:
            pid, started, digest = record.read_text().split()
            return cls(int(pid), started, digest)
        except (FileNotFoundError, ValueError):
            return None

    def open(self) -> int | None:
        """A descriptor of the process; None when it is gone."""
        try:
            descriptor = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return None
        # Read after opening: the number cannot have changed hands in between and be alive in the descriptor.
        if _started(self.pid) == self.started:
            return descriptor
        os.close(descriptor)
        return None


class Process:
    """The one process of its kind in a directory."""

    def __init__(
        self,
        name: str,
        directory: Path,
        command: Callable[[], Sequence[str]],
        stamp: Callable[[], str] = str,
    ) -> None:
        """``name`` is what people call it, and files are called after.

        ``stamp`` is what a running one has to be started anew for, besides other words of the command. Both
        may raise OSError.
        """
        self._name, self._directory, self._command, self._stamp = name, directory, command, stamp
        self._record = directory / f"{name}.process"
        self.log = directory / f"{name}.log"
        #: Why there is none; None when there is one.
        self.problem: str | None = "it has not been started yet"
        #: How often it was started here.
        self.starts = 0

    @property
    def pid(self) -> int | None:
        """The number of the process; None when there is none."""
        running = _Running.read(self._record)
        return running.pid if running and _started(running.pid) == running.started else None

    async def supervise(self) -> None:
        """Adopt the one that is there, or start one, and another whenever it ends. Cancelled, leave it."""
        pause = _FIRST_PAUSE
        while True:
            began = time.monotonic()
            try:
                descriptor = await self._adopt() or self._start()
                self.problem = None
                await _end_of(descriptor)
                self.problem = f"it ended, see {self.log}"
            except OSError as error:
                self.problem = f"it cannot be started: {error}"
            log.error("%s: %s", self._name, self.problem)
            if time.monotonic() - began > _SHORT_LIFE:
                pause = _FIRST_PAUSE
                continue
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def end(self) -> None:
        """End the process, if there is one, and what it serves with it."""
        running = _Running.read(self._record)
        descriptor = running.open() if running else None
        if descriptor is not None:
            await _ended(descriptor)
        self._record.unlink(missing_ok=True)

    async def _adopt(self) -> int | None:
        """The one that was started before, if it lives and was started as we would."""
        running = _Running.read(self._record)
        descriptor = running.open() if running else None
        if running is None or descriptor is None:
            return None
        try:
            digest = self._digest()
        except OSError as error:
            # There is nothing that could take its place.
            log.warning("%s cannot be started again: %s", self._name, error)
            digest = running.digest
        if digest == running.digest:
            log.info("%s runs already, as process %d", self._name, running.pid)
            return descriptor
        log.warning(
            "%s is started anew, since its program or settings are others now; its flows end, and come back",
            self._name,
        )
        await _ended(descriptor)
        return None

    def _start(self) -> int:
        """Start it and return a descriptor. Raises OSError."""
        arguments = [str(self._directory), self._record.name, self._digest(), *self._command()]
        pid = os.posix_spawn(
            "/bin/sh",
            ["sh", "-c", _RECORDED, "sh", *arguments],
            {"PATH": os.defpath},
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, str(self.log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
            setsigdef=[signal.SIGPIPE],
        )
        self.starts += 1
        return os.pidfd_open(pid)

    def _digest(self) -> str:
        """Of all that a running one would have to be started anew for."""
        text = "\0".join((*self._command(), self._stamp()))
        return blake2b(text.encode(), digest_size=12).hexdigest()


def confined(command: Sequence[str], user: int = 0) -> list[str]:
    """The command with nothing but the right to transparent sockets, raw ones, and marks.

    ``user`` is who it runs as, group included; 0 keeps root. Source: capabilities(7), socket(7).
    """
    as_user = ["--reuid", str(user), "--regid", str(user), "--clear-groups", "--ambient-caps", _CAPABILITIES]
    return [
        "setpriv",
        *(as_user if user else []),
        "--no-new-privs",
        *("--bounding-set", _CAPABILITIES, "--inh-caps", _CAPABILITIES),
        *command,
    ]


def shorten(path: Path, most: int) -> None:
    """Keep a log that somebody else appends to below ``most`` bytes; what was in it goes to another."""
    with contextlib.suppress(FileNotFoundError):
        if path.stat().st_size > most:
            shutil.copyfile(path, path.with_suffix(path.suffix + ".1"))
            os.truncate(path, 0)


def _started(pid: int) -> str | None:
    """When a process started, in the kernel's ticks; None when it is gone or a zombie. Source: proc(5)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else fields[19]


async def _end_of(descriptor: int) -> None:
    """Wait until a process ends; the descriptor is closed."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(descriptor, ended.set)
    try:
        await ended.wait()
        _bury(descriptor)
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


def _bury(descriptor: int) -> None:
    """Take notice of an ended process, as whoever has started it has to, and nobody else can."""
    with contextlib.suppress(ChildProcessError):
        os.waitid(os.P_PIDFD, descriptor, os.WEXITED)


async def _ended(descriptor: int) -> None:
    """End a process, asking first."""
    signal.pidfd_send_signal(descriptor, signal.SIGTERM)
    second = os.dup(descriptor)
    try:
        async with asyncio.timeout(_GRACE):
            await _end_of(descriptor)
    except TimeoutError:
        signal.pidfd_send_signal(second, signal.SIGKILL)
        await _end_of(os.dup(second))
    finally:
        os.close(second)
