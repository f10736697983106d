"""The only way tests wait: until something is so, or a deadline."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
_PAUSE_SECONDS = 0.005


def wait_until(predicate: Callable[[], T], deadline: float, what: str = "") -> T:
    """Ask until the answer is true and return it. Raises TimeoutError after ``deadline`` seconds."""
    end = time.monotonic() + deadline
    while not (answer := predicate()):
        if time.monotonic() > end:
            raise TimeoutError(f"not within {deadline:g} s: {what or predicate}")
        time.sleep(_PAUSE_SECONDS)
    return answer
