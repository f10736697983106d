"""Attachments that ended while no agent answered: empty files, which the agent's next start reads.

A file's name is all that it says, ``CONTAINER:INTERFACE``; neither part may have a colon or a slash in it.
So one is made in a single step, and there is no half of one. They are not synced to the disk: what a
machine forgets without power it forgets together with its network namespaces, and the agent notices when
those are gone.

An agent listens before it reads them, and answers after. Whoever leaves one must therefore ask once more:
either nobody listens yet, and the file is read, or somebody does, and the request is answered.
"""

import os

_DIRECTORY = "departures"


def leave(state_dir: str | os.PathLike[str], container: str, interface: str) -> None:
    """Say that an attachment is to end. Raises OSError."""
    directory = os.path.join(state_dir, _DIRECTORY)
    os.makedirs(directory, mode=0o700, exist_ok=True)
    path = os.path.join(directory, f"{container}:{interface}")
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))


def forget(state_dir: str | os.PathLike[str], container: str, interface: str) -> None:
    """It has ended, or another has taken its place. No error when nobody said so. Raises OSError."""
    try:
        os.unlink(os.path.join(state_dir, _DIRECTORY, f"{container}:{interface}"))
    except FileNotFoundError:
        return


def waiting(state_dir: str | os.PathLike[str]) -> tuple[tuple[str, str], ...]:
    """Container and interface of every attachment that is to end. Raises OSError."""
    try:
        names = sorted(os.listdir(os.path.join(state_dir, _DIRECTORY)))
    except FileNotFoundError:
        return ()
    pairs = (name.partition(":") for name in names)
    return tuple((container, interface) for container, colon, interface in pairs if colon)


def remove(state_dir: str | os.PathLike[str]) -> None:
    """Forget them all, and that there was a place for them. Raises OSError."""
    for container, interface in waiting(state_dir):
        forget(state_dir, container, interface)
    try:
        os.rmdir(os.path.join(state_dir, _DIRECTORY))
    except FileNotFoundError:
        return
