"""Memory of this process that nothing needs any more."""

import ctypes

_TRIM = getattr(ctypes.CDLL(None), "malloc_trim", None)


def give_back() -> None:
    """Return free pages between used ones to the kernel: malloc_trim(3), where the C library has it."""
    if _TRIM is not None:
        _TRIM(0)
