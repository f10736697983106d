"""Envoy's process: with which words it is run, and as whom."""

import os
import shutil
from pathlib import Path

from kinety.proxy.cgroup import inside
from kinety.proxy.envoy.bootstrap import bootstrap_text
from kinety.proxy.envoy.settings import NAME, EnvoySettings
from kinety.proxy.process import Process, confined

_OPTIONS = (
    "--disable-hot-restart",
    *("--log-level", "warning"),
    # Connections of a server name that may pass no more end at once. Removed listeners have none any more.
    *("--drain-time-s", "0"),
    *("--drain-strategy", "immediate"),
)


def process(settings: EnvoySettings) -> Process:
    """The one Envoy of a directory."""
    return Process(NAME, settings.directory, lambda: command(settings), lambda: _stamp(settings))


def command(settings: EnvoySettings) -> list[str]:
    """What is run. Raises OSError where there is no Envoy."""
    envoy = [
        _found(settings.binary),
        # Given and not read from a file: Envoy wants to reach all directories above of those.
        *("--config-yaml", bootstrap_text(settings)),
        *("--concurrency", str(settings.concurrency)),
        *_OPTIONS,
    ]
    return inside(settings.cgroup, confined(envoy, settings.user) if settings.user else envoy)


def _stamp(settings: EnvoySettings) -> str:
    """Which binary it is: one that was replaced has the same name."""
    binary = os.stat(_found(settings.binary))
    return str((binary.st_dev, binary.st_ino, binary.st_size, binary.st_mtime_ns))


def prepare(settings: EnvoySettings) -> None:
    """Make the directories: ours, that Envoy may pass through, and one of its own."""
    settings.directory.mkdir(parents=True, exist_ok=True)
    settings.directory.chmod(0o711)
    own = settings.admin.parent
    own.mkdir(exist_ok=True)
    own.chmod(0o700)
    os.chown(own, settings.user, settings.user)


def _found(binary: str) -> str:
    found = shutil.which(binary)
    if found is None:
        raise FileNotFoundError(f"no program {binary}: install Envoy, or name it with --envoy")
    return str(Path(found).absolute())
