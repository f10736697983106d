"""A table of open files that is full but for so many."""

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def crowded(room: int) -> Iterator[None]:
    """Every descriptor taken but so many."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(map(int, os.listdir("/proc/self/fd")))
    fillers = [os.open("/dev/null", os.O_RDONLY) for _ in range(highest)]
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(fillers) + 1 + room, limits[1]))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for filler in fillers:
            os.close(filler)
