"""Ctrl-C, once and politely: whatever is being built or taken down is finished first.

What a lab makes in several steps (a namespace and its name, a process and the variable that knows it)
would be lost to an interrupt between two of them, and so would the rest of a clean-up to an impatient
second Ctrl-C. Therefore the other way round: signals wait, except where an interrupt is `allowed`, and
the first one that gets through closes the door behind it.
"""

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

#: From a terminal, from whoever ends processes, and from a terminal that goes away.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interruption:
    """Turns signals into KeyboardInterrupt where that is allowed. Make one with `interruptible`."""

    def __init__(self) -> None:
        self._allowed = False
        self._pending = False

    @contextlib.contextmanager
    def allowed(self) -> Iterator[None]:
        """Let the block be interrupted, by a signal that came before it too. Raises KeyboardInterrupt."""
        self._allowed = True
        try:
            self._raise_pending()
            yield
        finally:
            self._allowed = False

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Let the block end first, within one that may be interrupted. Raises KeyboardInterrupt after it."""
        former, self._allowed = self._allowed, False
        try:
            yield
        finally:
            self._allowed = former
            self._raise_pending()

    def arrive(self, number: int, frame: FrameType | None) -> None:
        """The signals' handler."""
        self._pending = True
        self._raise_pending()

    def _raise_pending(self) -> None:
        if self._allowed and self._pending:
            self._allowed = self._pending = False
            raise KeyboardInterrupt

    def finish(self) -> None:
        """Answer a signal that was never let through. Raises KeyboardInterrupt."""
        self._allowed = True
        self._raise_pending()


@contextlib.contextmanager
def interruptible() -> Iterator[Interruption]:
    """Handle the signals while the block runs; one that was ignored stays so. For the main thread.

    Raises KeyboardInterrupt after the block when a signal came that nothing has raised.
    """
    interruption = Interruption()
    former = {
        number: signal.signal(number, interruption.arrive)
        for number in SIGNALS
        if signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        yield interruption
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
    interruption.finish()
