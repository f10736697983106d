"""The agent's socket and its lock: one agent, root only."""

import errno
import os
import socket
from pathlib import Path
from typing import Self

_BACKLOG = 128


class StateLock:
    """Holds a state directory for one process; the kernel lets go when the process ends."""

    def __init__(self, directory: Path) -> None:
        """Make the directory, root only, and take it. Raises OSError when another agent has it."""
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = directory / "agent.lock"
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.lockf(self._fd, os.F_TLOCK, 0)
        except OSError as error:
            holder = os.pread(self._fd, 32, 0).decode(errors="replace").strip() or "unknown"
            os.close(self._fd)
            message = f"another agent (pid {holder}) uses the state directory {directory}"
            raise OSError(errno.EBUSY, message) from error
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)
        self.path = path

    def close(self) -> None:
        """Let another agent have it."""
        os.close(self._fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def listen(path: Path) -> socket.socket:
    """A listening unix socket that only root may open, where a dead agent's may be lying.

    The directory is made, root only, when it is missing. Raises OSError when something listens
    there, or when the path is something else than a socket.
    """
    if not path.parent.exists():
        path.parent.mkdir(mode=0o700, parents=True)
    _remove_stale(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # Between bind and chmod nobody else may open it either. The mask is the whole process's, so
    # this must run before there are other threads that make files.
    mask = os.umask(0o177)
    try:
        listener.bind(str(path))
    except OSError as error:
        listener.close()
        raise OSError(error.errno, f"socket {path}: {error.strerror or error}") from error
    finally:
        os.umask(mask)
    path.chmod(0o600)
    listener.listen(_BACKLOG)
    return listener


def _remove_stale(path: Path) -> None:
    try:
        path.lstat()
    except FileNotFoundError:
        return
    if not path.is_socket():
        raise FileExistsError(errno.EEXIST, f"{path} is there and not a socket; use another --socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
    raise OSError(errno.EADDRINUSE, f"another agent answers on {path}; stop it or use --socket")


def notify(message: str) -> None:
    """Tell the service manager, where there is one. Source: sd_notify(3)."""
    address = os.environ.get("NOTIFY_SOCKET")
    if address:
        target = "\0" + address[1:] if address.startswith("@") else address
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.sendto(message.encode(), target)
