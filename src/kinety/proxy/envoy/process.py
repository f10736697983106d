"""Envoy's process: one that outlives whoever started it, and is found again.

It runs in a session of its own, with its working directory as the only one it has to reach: its sockets are
named relative to that, so it needs no right to the directories above. A shell writes down its own number and
becomes Envoy: there is no moment at which it runs and nobody has its number, whenever its starter is killed.
"""

import asyncio
import contextlib
import logging
import os
import shutil
import signal
import time
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Self

from kinety.proxy.cgroup import inside
from kinety.proxy.envoy.bootstrap import bootstrap_text
from kinety.proxy.envoy.settings import EnvoySettings

log = logging.getLogger(__name__)

_RECORDED = """
cd "$1" && echo "$$ $(cut -d ' ' -f 22 "/proc/$$/stat") $3" >"$2.new" && mv "$2.new" "$2" && shift 3 &&
ulimit -n "$(ulimit -H -n)" && exec "$@"
"""
_OPTIONS = (
    "--disable-hot-restart",
    *("--log-level", "warning"),
    # A listener that is removed has no connections any more; what is left does not keep their rules for long.
    *("--drain-time-s", "10"),
    *("--drain-strategy", "immediate"),
)
#: Transparent sockets, and marks. Source: socket(7); the ports of connections want Linux 6.3 anyway.
_CAPABILITIES = "-all,+net_raw"
#: Seconds. Who lived longer than the first is started again at once.
_SHORT_LIFE, _FIRST_PAUSE, _LONGEST_PAUSE, _GRACE = 5.0, 0.1, 5.0, 2.0


@dataclass(frozen=True, slots=True)
class _Running:
    """A process by its number and, since numbers are given again, its start; and what it was started with."""

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
    """The one Envoy of a directory."""

    def __init__(self, settings: EnvoySettings) -> None:
        self._settings = settings
        #: Why there is no Envoy; None when there is one.
        self.problem: str | None = "it has not been started yet"
        #: How often it was started here.
        self.starts = 0

    @property
    def pid(self) -> int | None:
        """The number of the process; None when there is none."""
        running = _Running.read(self._settings.record)
        return running.pid if running and _started(running.pid) == running.started else None

    async def supervise(self) -> None:
        """Adopt the Envoy that is there, or start one, and another whenever it ends. Cancelled, leave it."""
        pause = _FIRST_PAUSE
        while True:
            began = time.monotonic()
            try:
                descriptor = await self._adopt() or self._start()
                self.problem = None
                await _end_of(descriptor)
                self.problem = f"it ended, see {self._settings.log}"
            except OSError as error:
                self.problem = f"it cannot be started: {error}"
            log.error("Envoy: %s", self.problem)
            if time.monotonic() - began > _SHORT_LIFE:
                pause = _FIRST_PAUSE
                continue
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def end(self) -> None:
        """End the process, if there is one, and what it serves with it."""
        running = _Running.read(self._settings.record)
        descriptor = running.open() if running else None
        if descriptor is not None:
            await _ended(descriptor)
        self._settings.record.unlink(missing_ok=True)

    async def _adopt(self) -> int | None:
        """The Envoy that was started before, if it lives and was started as we would."""
        running = _Running.read(self._settings.record)
        if running is None:
            return None
        try:
            digest = self._digest()
        except OSError as error:
            # There is nothing that could take its place.
            log.warning("Envoy cannot be started again: %s", error)
            digest = running.digest
        if (descriptor := running.open()) is None:
            return None
        if digest == running.digest:
            log.info("Envoy runs already, as process %d", running.pid)
            return descriptor
        log.warning("Envoy is started anew: its binary or settings are others now")
        await _ended(descriptor)
        return None

    def _start(self) -> int:
        """Start it and return a descriptor. Raises OSError."""
        settings = self._settings
        arguments = [str(settings.directory), settings.record.name, self._digest(), *self._command()]
        pid = os.posix_spawn(
            "/bin/sh",
            ["sh", "-c", _RECORDED, "sh", *arguments],
            {"PATH": os.defpath},
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, str(settings.log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
            setsigdef=[signal.SIGPIPE],
        )
        self.starts += 1
        return os.pidfd_open(pid)

    def _command(self) -> list[str]:
        settings = self._settings
        user = str(settings.user)
        lowered = [
            "setpriv",
            *("--reuid", user, "--regid", user, "--clear-groups", "--no-new-privs"),
            *("--bounding-set", _CAPABILITIES, "--inh-caps", _CAPABILITIES, "--ambient-caps", _CAPABILITIES),
        ]
        envoy = [
            _found(settings.binary),
            # Given and not read from a file: Envoy wants to reach all directories above of those.
            *("--config-yaml", bootstrap_text(settings)),
            *("--concurrency", str(settings.concurrency)),
            *_OPTIONS,
        ]
        return inside(settings.cgroup, [*(lowered if settings.user else []), *envoy])

    def _digest(self) -> str:
        """Of all that a running Envoy would have to be started anew for."""
        binary = os.stat(_found(self._settings.binary))
        identity = (binary.st_dev, binary.st_ino, binary.st_size, binary.st_mtime_ns)
        text = f"{self._command()} {identity}"
        return blake2b(text.encode(), digest_size=12).hexdigest()


def prepare(settings: EnvoySettings) -> None:
    """Make the directories: ours, that Envoy may pass through, and one of its own."""
    settings.directory.mkdir(parents=True, exist_ok=True)
    settings.directory.chmod(0o711)
    own = settings.admin.parent
    own.mkdir(exist_ok=True)
    own.chmod(0o700)
    os.chown(own, settings.user, settings.user)


def shorten(path: Path, most: int) -> None:
    """Keep a log that somebody else appends to below ``most`` bytes, and the former ones in a second file."""
    with contextlib.suppress(FileNotFoundError):
        if path.stat().st_size > most:
            shutil.copyfile(path, path.with_suffix(path.suffix + ".1"))
            os.truncate(path, 0)


def _found(binary: str) -> str:
    found = shutil.which(binary)
    if found is None:
        raise FileNotFoundError(f"no program {binary}: install Envoy, or name it with --envoy")
    return str(Path(found).absolute())


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
    ended = loop.create_future()
    loop.add_reader(descriptor, ended.set_result, None)
    try:
        await ended
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
