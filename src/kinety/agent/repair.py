"""Making the kernel hold the plan again after it refused a step, with growing pauses between attempts."""

import errno
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from kinety.api.errors import refuse

log = logging.getLogger(__name__)

FIRST_PAUSE = 0.1
LAST_PAUSE = 30.0


class Repair:
    """Whether the kernel holds the plan, and if not, what was tried."""

    def __init__(self, restore: Callable[[], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._restore = restore
        self._clock = clock
        self.error: str | None = None
        self.attempts = 0
        self.due = 0.0

    @property
    def pending(self) -> bool:
        """Whether the kernel may hold something else than the plan."""
        return self.error is not None

    @property
    def wait(self) -> float:
        """Seconds until the next attempt is due."""
        return max(0.0, self.due - self._clock())

    def after(self, error: BaseException) -> None:
        """A step failed half way: mend at once, or plan to."""
        self.error = _reason(error)
        self.attempts = 0
        self.attempt()

    def attempt(self) -> bool:
        """Try to mend now. Whether the kernel holds the plan."""
        try:
            self._restore()
        except Exception as error:
            self.error = _reason(error)
            self.attempts += 1
            pause = min(LAST_PAUSE, FIRST_PAUSE * 2 ** (self.attempts - 1))
            self.due = self._clock() + pause
            log.error("the kernel does not hold the plan, next attempt in %.1f s: %s", pause, self.error)
            return False
        self.error = None
        self.attempts = 0
        return True

    def require(self) -> None:
        """Mend if need be. Raises ApiError when that fails: no change is made on top of an unknown state."""
        if self.pending and not self.attempt():
            raise refuse(503, f"the kernel refuses the plan in force, so nothing can change: {self.error}")

    @contextmanager
    def guard(self) -> Iterator[None]:
        """What fails inside is not taken back; it is mended later."""
        try:
            yield
        except Exception as error:
            self.after(error)
            if self.pending:
                raise


def _reason(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror} ({errno.errorcode.get(error.errno or 0, 'unknown error')})"
    return str(error) or type(error).__name__
