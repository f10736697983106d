"""Debian's Podman, unpacked in ``build/runtimes``, never installed: what it must be told to find its parts.

Besides, it is told what a machine that is a container itself needs: a plain file system instead of overlays,
locks in files of its own, and a runc that does not raise limits, for want of CAP_SYS_RESOURCE.
"""

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.feature import RUNTIMES

BUSYBOX = RUNTIMES / "bin/busybox"
PODMAN = RUNTIMES / "usr/bin/podman"
CONMON = RUNTIMES / "usr/bin/conmon"
LIBRARIES = {"LD_LIBRARY_PATH": str(RUNTIMES / "usr/lib/x86_64-linux-gnu")}

_RUNC = f"""#!{sys.executable} -IS
import json, os, sys

words = sys.argv[1:]
for option, process in (("--bundle", "config.json"), ("--process", "")):
    if option in words:
        path = os.path.join(words[words.index(option) + 1], process).rstrip("/")
        with open(path) as file:
            said = json.load(file)
        said.get("process", said).pop("rlimits", None)
        with open(path, "w") as file:
            json.dump(said, file)
os.execv({str(RUNTIMES / "usr/sbin/runc")!r}, ["runc", *words])
"""
_ENGINE = """
[engine]
runtime = "without-limits"
cgroup_manager = "cgroupfs"
events_logger = "file"
lock_type = "file"
conmon_path = ["{conmon}"]
# What conmon calls when a container has ended is Podman again.
conmon_env_vars = [{environment}]
helper_binaries_dir = ["{unpacked}/usr/libexec/podman"]
[engine.runtimes]
without-limits = ["{runc}"]
"""
_STORAGE = """
[storage]
driver = "vfs"
graphroot = "{root}"
runroot = "{run}"
"""
_ANYTHING = {"default": [{"type": "insecureAcceptAnything"}]}


def write(path: Path, text: str, mode: int = 0o644) -> Path:
    """Write a file, and the folders it is in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


def engine(directory: Path, environment: Mapping[str, str]) -> str:
    """A part of containers.conf. ``directory`` gets a wrapper of runc."""
    known = {"PATH": os.environ["PATH"], **LIBRARIES, **environment}
    return _ENGINE.format(
        conmon=CONMON,
        environment=", ".join(f'"{key}={value}"' for key, value in known.items()),
        unpacked=RUNTIMES,
        runc=write(directory / "runc", _RUNC, 0o755),
    )


def storage(root: Path, run: Path) -> str:
    """storage.conf. Podman takes no ``run`` of more than 50 characters."""
    return _STORAGE.format(root=root, run=run)


def signatures() -> str:
    """policy.json: images are made here, and signed by nobody."""
    return json.dumps(_ANYTHING)
