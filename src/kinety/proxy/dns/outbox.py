"""What one end of the link has to say, sent once for each turn of the event loop.

A system call for every answer, and the other process woken by each, was a third of what new names cost.
"""

import asyncio

from kinety.proxy.dns import frame


class Outbox:
    """The writing side of a connection. Values leave in the order in which they were put."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._gathered: list[bytes] = []

    def put(self, value: frame.Value) -> None:
        """Send a value, soon; it is lost when the connection ends before."""
        if not self._gathered:
            asyncio.get_running_loop().call_soon(self._send)
        self._gathered.append(frame.encode(value))

    def _send(self) -> None:
        gathered, self._gathered = self._gathered, []
        if not self._writer.is_closing():
            self._writer.write(b"".join(gathered))
