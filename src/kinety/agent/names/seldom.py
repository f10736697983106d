"""What is said now and then where it could be said a thousand times a second."""

import time
from collections.abc import Callable


class Seldom:
    """Says when to say it, and how often that was left out."""

    def __init__(self, pause: float = 60.0, now: Callable[[], float] = time.monotonic) -> None:
        """``pause``: seconds in which it is said once."""
        self._pause = pause
        self._now = now
        self._next = float("-inf")
        self._left_out = 0

    def __call__(self) -> int | None:
        """It could be said: how often it was not since it last was, or None where it is not now either."""
        now = self._now()
        if now < self._next:
            self._left_out += 1
            return None
        left_out, self._left_out, self._next = self._left_out, 0, now + self._pause
        return left_out
