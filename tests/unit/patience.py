"""What the kernel does a moment later: an object whose last pin is removed ends after a grace period."""

from __future__ import annotations

from collections.abc import Callable

from kinety.testing.wait import wait_until

SECONDS = 5.0


def wait_gone(opened: Callable[[], object]) -> None:
    """Until there is no such object any more; ``opened`` opens it, and is closed again."""

    def gone() -> bool:
        try:
            found = opened()
        except FileNotFoundError:
            return True
        found.close()  # type: ignore[attr-defined]
        return False

    wait_until(gone, SECONDS, "the object is gone")


def wait_free(taken: Callable[[], None]) -> None:
    """Until a place that was somebody's can be taken."""

    def free() -> bool:
        try:
            taken()
        except FileExistsError:
            return False
        return True

    wait_until(free, SECONDS, "the place is free")
